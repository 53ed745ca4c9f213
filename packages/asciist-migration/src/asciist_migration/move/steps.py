"""The steps of a move. Each can be repeated, and records its actions in the journal."""

import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from asciist.errors import ArtifactNotFoundError
from asciist.protocol.read_only import VALID_SECONDS
from asciist.settings import READ_ONLY_MARKER
from asciist.timeouts import Timeouts
from asciist_migration.move.copying import Copier, CopyReport
from asciist_migration.move.journal import Journal, MoveError, Phase, Position
from asciist_migration.move.stores import Kind, Side, compare

DRAIN_SECONDS: Final = Timeouts().deregistration_delay
"""Seconds until the last request sent to an origin before its weight became 0 is answered: the
slowest upload with its answer, as for a load balancer that deregisters a target."""
_HOOK_SECONDS: Final = 60
"""Maximum seconds for the command that prints the weight."""
_PASSES: Final = 3
"""Copies of the difference after which it must be empty. The second finds something only if objects
were deleted or written meanwhile."""

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of one move. Run them while the journal is locked. All raise MoveError and
    UnavailableError."""

    journal: Journal
    source: Side
    destination: Side
    copier: Copier
    sleep: Callable[[float], None] = time.sleep
    report_progress: Callable[[CopyReport], None] = lambda _report: None

    def backfill(self) -> Figures:
        """Copy objects missing from the destination. Continue an interrupted copy where it
        stopped."""
        position = self._position()
        if position.phase is Phase.FINISHED:
            raise MoveError("the move is finished: `invert` begins one in the other direction")
        after = self.journal.cursor(position)
        self.journal.write("backfill started", position, after=after)
        report = self._copy(position, after)
        self.journal.write("backfill ended", position, **asdict(report))
        if report.failed or report.conflicts:
            raise MoveError(_described("the copy is not complete", report))
        return {"resumed_after": after, **asdict(report)}

    def verify(self, *, is_complete: bool) -> Figures:
        """Compare the bytes of all objects in both stores, or of a sample."""
        return self._verify(self._position(), is_complete=is_complete)

    def status(self) -> Figures:
        """Return the roles, the phase, and the number of objects missing from the destination.
        Writes nothing."""
        position = self.journal.position()
        counts = dict.fromkeys(Kind, 0)
        missing_bytes = 0
        for entry, kind in compare(self.source, self.destination):
            counts[kind] += 1
            missing_bytes += entry.size if kind is Kind.MISSING else 0
        return {
            "from": position.source if position else self.source.name,
            "to": position.destination if position else self.destination.name,
            "phase": position.phase.value if position else "not begun",
            "last_event": self.journal.events()[-1]["event"] if position else "",
            "cursor": self.journal.cursor(position) if position else "",
            **{f"objects_{kind.value}": count for kind, count in counts.items()},
            "bytes_missing": missing_bytes,
            "from_read_only": _has_marker(self.source),
            "to_read_only": _has_marker(self.destination),
        }

    def set_read_only(self, *, is_on: bool) -> Figures:
        """Switch the read-only mode of the source's deployment, and wait until every process has
        noticed."""
        position = self._position()
        if is_on:
            self.source.artifacts.put(READ_ONLY_MARKER, b"")
        else:
            self.source.artifacts.delete(READ_ONLY_MARKER)
        self.sleep(VALID_SECONDS)
        self.journal.write(f"read-only {'on' if is_on else 'off'}", position)
        return {"read_only": is_on, "store": self.source.name}

    def switch(
        self,
        weight: Callable[[], float],
        *,
        drain_seconds: float = DRAIN_SECONDS,
        is_complete: bool = False,
    ) -> Figures:
        """Make sure that the old deployment gets no requests, and that the new store is complete.

        `weight` returns the weight of the old deployment, which must be 0. With `is_complete`, all
        bytes are compared. The old deployment is in read-only mode while it drains.
        """
        position = self._position()
        if position.phase is Phase.FINISHED:
            return {"phase": position.phase.value, "done": "nothing: the move is finished"}
        return self._close(position, Phase.SWITCHED, weight, drain_seconds, is_complete=is_complete)

    def finish(
        self,
        weight: Callable[[], float],
        *,
        drain_seconds: float = DRAIN_SECONDS,
        is_complete: bool = False,
    ) -> Figures:
        """Repeat `switch`, because requests may have been sent to the old deployment meanwhile, and
        detach the old store.

        The old deployment stays in read-only mode.
        """
        position = self._position()
        if position.phase is Phase.FINISHED:
            return {"phase": position.phase.value, "done": "nothing: the move is finished"}
        if position.phase is not Phase.SWITCHED:
            raise MoveError("the new deployment is not in charge yet: run `switch` first")
        figures = self._close(
            position, Phase.FINISHED, weight, drain_seconds, is_complete=is_complete
        )
        return {
            **figures,
            "next": (
                f"empty {self.source.name}, then take the peer store out of the settings of the new"
                " deployment"
            ),
        }

    def invert(self) -> Figures:
        """Swap the roles, at any time: `source` and `destination` are the new ones."""
        position = self.journal.position()
        new = Position(source=self.source.name, destination=self.destination.name)
        if position is None:
            raise MoveError("nothing has been moved, so there is nothing to invert: run `backfill`")
        if (position.source, position.destination) == (new.source, new.destination):
            return {"phase": position.phase.value, "done": "nothing: these are the roles already"}
        if (position.source, position.destination) != (new.destination, new.source):
            raise MoveError(_other_stores(position))
        done = "swapped the roles"
        if position.phase is Phase.FINISHED:
            if next(self.destination.entries(), None):
                raise MoveError(
                    f"{self.destination.name} still has objects, and some may have been deleted"
                    " since the move was finished: empty it first"
                )
            done += ": set the peer store of both deployments before anything else"
        for side in (self.source, self.destination):
            side.artifacts.delete(READ_ONLY_MARKER)
        self.journal.write("inverted", new)
        self.journal.forget_cursor()
        return {"phase": new.phase.value, "done": done}

    def _close(
        self,
        position: Position,
        phase: Phase,
        weight: Callable[[], float],
        drain_seconds: float,
        *,
        is_complete: bool,
    ) -> Figures:
        _check_weight(weight())
        # What takes long is done while the old deployment can still be used.
        self._copy_difference(position)
        verified = self._verify(position, is_complete=is_complete)
        self.journal.write("read-only, draining", position, drain_seconds=drain_seconds)
        keeps_marker = _has_marker(self.source)
        # even if requests are shifted back meanwhile, they write nothing
        self.source.artifacts.put(READ_ONLY_MARKER, b"")
        began = time.monotonic()
        try:
            self.sleep(max(drain_seconds, VALID_SECONDS))
            copied = self._copy_difference(position)
            _check_weight(weight())
            keeps_marker |= phase is Phase.FINISHED
            read_only_seconds = round(time.monotonic() - began, 1)
        finally:
            if not keeps_marker:
                self.source.artifacts.delete(READ_ONLY_MARKER)
        reached = Position(source=position.source, destination=position.destination, phase=phase)
        self.journal.write(phase.value, reached, **copied)
        return {"phase": phase.value, "read_only_seconds": read_only_seconds, **copied, **verified}

    def _verify(self, position: Position, *, is_complete: bool) -> Figures:
        report = self.copier.verify(is_complete=is_complete)
        self.journal.write("verified", position, **asdict(report))
        if report.mismatches:
            raise MoveError(f"{report.mismatches} objects differ: {'; '.join(report.problems)}")
        return {"compared": report.compared, "mismatches": report.mismatches}

    def _copy_difference(self, position: Position) -> Figures:
        """Copy until nothing is missing. Return the figures of all passes."""
        copied = copied_bytes = 0
        for _ in range(_PASSES):
            report = self._copy(position, "")
            self.journal.write("difference copied", position, **asdict(report))
            if report.failed or report.conflicts:
                raise MoveError(_described("the difference is not copied", report))
            if report.expiring:
                raise MoveError(
                    f"{report.expiring} objects expire within an hour and are not copied, but"
                    " clients may still ask for them: repeat this in an hour"
                )
            copied += report.copied + report.repaired
            copied_bytes += report.bytes
            if not report.copied and not report.repaired:
                return {"copied": copied, "bytes": copied_bytes, "expired": report.expired}
        raise MoveError(
            f"each of {_PASSES} passes found more objects in {self.source.name}: something still"
            " writes there. Find it, or switch the read-only mode on, and repeat this"
        )

    def _copy(self, position: Position, after: str) -> CopyReport:
        report = self.copier.copy(
            after=after,
            save_cursor=lambda key: self.journal.save_cursor(position, key),
            report_progress=self.report_progress,
        )
        if not report.failed:
            self.journal.forget_cursor()
        return report

    def _position(self) -> Position:
        """Return the roles and the phase. Raises MoveError if the journal belongs to other
        stores."""
        position = self.journal.position() or Position(
            source=self.source.name, destination=self.destination.name
        )
        if (position.source, position.destination) != (self.source.name, self.destination.name):
            raise MoveError(_other_stores(position))
        return position


def weight_from(command: str) -> float:
    """Return the number printed by a command. Raises MoveError."""
    try:
        ended = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            shlex.split(command), capture_output=True, text=True, check=True, timeout=_HOOK_SECONDS
        )
        return float(ended.stdout)
    except subprocess.CalledProcessError as error:
        raise MoveError(
            f"the command for the weight failed with status {error.returncode}:"
            f" {error.stderr.strip()}"
        ) from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise MoveError(f"the command for the weight gave no number: {error}") from error


def _check_weight(weight: float) -> None:
    if weight != 0:  # also NaN
        raise MoveError(f"the old deployment still has the weight {weight:g}: set it to 0 first")


def _has_marker(side: Side) -> bool:
    try:
        side.artifacts.get(READ_ONLY_MARKER)
    except ArtifactNotFoundError:
        return False
    return True


def _other_stores(position: Position) -> str:
    return (
        f"the journal is about a move from {position.source} to {position.destination}: use these,"
        " `invert` it, or give this move another directory with --state"
    )


def _described(problem: str, report: CopyReport) -> str:
    return (
        f"{problem}: {report.failed} failed and {report.conflicts} differ:"
        f" {'; '.join(report.problems)}"
    )
