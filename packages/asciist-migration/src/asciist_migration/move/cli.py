"""The command asciist-move."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from asciist.errors import AsciistError
from asciist.settings import Settings
from asciist_migration.move.copying import Copier, CopyReport
from asciist_migration.move.journal import Journal
from asciist_migration.move.pace import Pace
from asciist_migration.move.steps import DRAIN_SECONDS, Figures, Steps, weight_from
from asciist_migration.move.stores import Side

_EPILOG: Final = (
    "A store is a URL such as s3://bucket, azure://container or file:///directory. See"
    " docs/migration.md."
)

_PROGRESS_SECONDS: Final = 2.0


def _default_state() -> Path:
    return (
        Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "asciist-move"
    )


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Print the figures as one JSON object."
        ),
        click.option(
            "--state",
            type=click.Path(path_type=Path),
            default=_default_state,
            help="Directory of the journal, cursor and lock.",
        ),
        click.option(
            "--to", "destination", required=True, metavar="URL", help="Store of the new deployment."
        ),
        click.option(
            "--from", "source", required=True, metavar="URL", help="Store of the old deployment."
        ),
    ):
        command = option(command)
    return command


def _copying(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that copies."""
    for option in (
        click.option(
            "--objects-per-second",
            type=click.FloatRange(min=0, min_open=True),
            help="Limit on the rate.",
        ),
        click.option(
            "--bytes-per-second",
            type=click.FloatRange(min=0, min_open=True),
            help="Limit on the rate.",
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 256),
            default=16,
            show_default=True,
            help="Objects at a time.",
        ),
        click.option(
            "--max-age-days",
            type=click.FloatRange(min=0, min_open=True),
            default=float(Settings.store_max_days),
            show_default=True,
            help=(
                "Age at which the old store deletes objects. Older ones are not copied, since a"
                " copy starts a new life."
            ),
        ),
    ):
        command = option(command)
    return command


def _closing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the commands that need the weight of the old deployment to be 0."""
    for option in (
        click.option(
            "--verify",
            type=click.Choice(["sample", "all"]),
            default="sample",
            show_default=True,
            help="Objects to compare.",
        ),
        click.option(
            "--drain-seconds",
            type=click.FloatRange(min=0),
            default=DRAIN_SECONDS,
            show_default=True,
            help="Time until the old deployment has answered its last request. The default suits"
            " the default request_timeout; if the old deployment has another one, use 7 times that"
            " plus 10.",
        ),
        click.option(
            "--weight-is-zero",
            is_flag=True,
            help="Confirm that the old deployment gets no requests.",
        ),
        click.option(
            "--weight-command",
            metavar="COMMAND",
            help="Command that prints the weight of the old deployment.",
        ),
    ):
        command = option(command)
    return command


@click.group(epilog=_EPILOG)
def main() -> None:
    """Move the images and art of one deployment to the store of another, while both serve."""


@main.command()
@_common
@_copying
@click.option(
    "--verify",
    type=click.Choice(["none", "sample", "all"]),
    default="sample",
    show_default=True,
    help="Objects to compare.",
)
def backfill(*, as_json: bool, verify: str, **options: Any) -> None:
    """Copy what the new store lacks. Run it again to continue or to copy what is new."""
    with _steps(as_json=as_json, **options) as steps:
        figures = steps.backfill()
        if verify != "none":
            figures |= steps.verify(is_complete=verify == "all")
        _print(figures, as_json=as_json)


@main.command()
@_common
def status(*, as_json: bool, **options: Any) -> None:
    """Show the phase of the move, and what the new store lacks."""
    with _steps(as_json=as_json, is_locked=False, **options) as steps:
        _print(steps.status(), as_json=as_json)


@main.command("read-only")
@_common
@click.argument("mode", type=click.Choice(["on", "off"]))
def read_only(*, as_json: bool, mode: str, **options: Any) -> None:
    """Let the old deployment write nothing, or let it write again."""
    with _steps(as_json=as_json, **options) as steps:
        _print(steps.set_read_only(is_on=mode == "on"), as_json=as_json)


@main.command()
@_common
@_copying
@_closing
def switch(**options: Any) -> None:
    """Drain the old deployment and copy the difference. Its weight must be 0."""
    _close(Steps.switch, **options)


@main.command()
@_common
@_copying
@_closing
def finish(**options: Any) -> None:
    """Repeat `switch`, then let go of the old store."""
    _close(Steps.finish, **options)


def _close(
    step: Callable[..., Figures],
    *,
    as_json: bool,
    verify: str,
    drain_seconds: float,
    weight_is_zero: bool,
    weight_command: str | None,
    **options: Any,
) -> None:
    weight = _weight(weight_command, is_zero=weight_is_zero)
    with _steps(as_json=as_json, **options) as steps:
        figures = step(steps, weight, drain_seconds=drain_seconds, is_complete=verify == "all")
        _print(figures, as_json=as_json)


@main.command()
@_common
def invert(*, as_json: bool, **options: Any) -> None:
    """Swap the roles, at any time: --from is what was --to."""
    with _steps(as_json=as_json, **options) as steps:
        _print(steps.invert(), as_json=as_json)


@contextmanager
def _steps(
    *,
    as_json: bool,
    source: str,
    destination: str,
    state: Path,
    max_age_days: float | None = None,
    concurrency: int = 16,
    bytes_per_second: float | None = None,
    objects_per_second: float | None = None,
    is_locked: bool = True,
) -> Iterator[Steps]:
    """Open both stores, lock the journal, and print errors as the command's last words, with status
    1."""
    try:
        if source.rstrip("/") == destination.rstrip("/"):
            raise click.UsageError("--from and --to are the same store.")
        old, new = Side.at(source.rstrip("/")), Side.at(destination.rstrip("/"))
        pace = Pace(objects_per_second=objects_per_second, bytes_per_second=bytes_per_second)
        copier = Copier(old, new, max_age_days=max_age_days, concurrency=concurrency, pace=pace)
        journal = Journal(state)
        steps = Steps(
            journal=journal, source=old, destination=new, copier=copier, report_progress=_progress()
        )
        if not is_locked:
            yield steps
            return
        with journal.locked():
            yield steps
    except AsciistError as error:
        if as_json:
            _print({"error": str(error)}, as_json=True)
        else:
            click.echo(f"asciist-move: {error}", err=True)
        sys.exit(1)


def _weight(command: str | None, *, is_zero: bool) -> Callable[[], float]:
    if bool(command) == is_zero:
        raise click.UsageError("Use either --weight-command or --weight-is-zero.")
    return (lambda: weight_from(command)) if command else lambda: 0.0


def _print(figures: Figures, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        for text in value if isinstance(value, list) else [value]:
            click.echo(f"{name.replace('_', ' ')}: {text}")


def _progress() -> Callable[[CopyReport], None]:
    """Return a function that prints the progress of a copy, at most once in `_PROGRESS_SECONDS`."""
    printed_at = time.monotonic()

    def print_progress(report: CopyReport) -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at < _PROGRESS_SECONDS:
            return
        printed_at = time.monotonic()
        click.echo(
            f"{report.listed} objects listed, {report.copied} copied ({report.bytes / 1e6:.1f} MB),"
            f" {report.failed} failed, {report.objects_per_second:.0f} objects/s",
            err=True,
        )

    return print_progress
