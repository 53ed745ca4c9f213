"""The record of a move: a journal, a cursor and a lock, in a directory of this machine."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from asciist.errors import AsciistError


class MoveError(AsciistError):
    """A step of the move is refused or has failed; the message says what to do."""


class Phase(Enum):
    """Phases of a move."""

    ATTACHED = "attached"
    """Each deployment has the other's store as its peer. Traffic may go to both."""
    SWITCHED = "switched"
    """The old deployment gets no traffic, and the new store is complete. The peers are still
    attached."""
    FINISHED = "finished"
    """The new deployment no longer needs the old store."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """The roles of the two stores, by URL, and the phase of the move."""

    source: str
    destination: str
    phase: Phase = Phase.ATTACHED


class Journal:
    """The record of one move."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        """`directory` is created if it does not exist. `clock` returns seconds since the epoch."""
        directory.mkdir(parents=True, exist_ok=True)
        self._lines = directory / "journal.jsonl"
        self._cursor = directory / "cursor.json"
        self._lock = directory / "lock"
        self._clock = clock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other moves on this machine during a `with` block. Raises MoveError if one is
        running."""
        with self._lock.open("a") as file:
            try:
                # released when the process ends, however it ends
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise MoveError(
                    f"another asciist-move is running with {self._lock.parent}: wait until it has"
                    " ended"
                ) from error
            yield

    def write(self, event: str, position: Position, **figures: Any) -> None:
        """Append an event, with the roles and the phase after it. It is on the disk when this
        returns."""
        line = {
            "time": round(self._clock(), 3),
            "event": event,
            "from": position.source,
            "to": position.destination,
            "phase": position.phase.value,
            **figures,
        }
        with self._lines.open("ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # ends a line that a crash has cut off
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[dict[str, Any]]:
        """Return all events, oldest first, without a line truncated by a crash."""
        events = []
        for line in self._lines.read_bytes().splitlines() if self._lines.exists() else ():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def position(self) -> Position | None:
        """Return the roles and the phase after the last event; None before the first event."""
        events = self.events()
        if not events:
            return None
        last = events[-1]
        return Position(source=last["from"], destination=last["to"], phase=Phase(last["phase"]))

    def cursor(self, position: Position) -> str:
        """Return the key up to which an interrupted copy between these stores is complete; empty if
        there is none."""
        try:
            saved = json.loads(self._cursor.read_bytes())
        except (FileNotFoundError, ValueError):
            return ""
        is_same = (saved.get("from"), saved.get("to")) == (position.source, position.destination)
        return str(saved.get("after", "")) if is_same else ""

    def save_cursor(self, position: Position, after: str) -> None:
        """Replace the cursor. After a crash, either the old or the new one remains."""
        temporary = self._cursor.with_suffix(".tmp")
        temporary.write_text(
            json.dumps({"from": position.source, "to": position.destination, "after": after})
        )
        temporary.replace(self._cursor)

    def forget_cursor(self) -> None:
        """Delete the cursor, so that the next copy begins at the first key."""
        self._cursor.unlink(missing_ok=True)
