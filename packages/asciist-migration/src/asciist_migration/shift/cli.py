"""The command `asciist-shift`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from asciist_migration.shift import configuration
from asciist_migration.shift.art import HttpArtSampler
from asciist_migration.shift.configuration import Configuration
from asciist_migration.shift.controller import Controller, GaveWayError
from asciist_migration.shift.drawing import draw
from asciist_migration.shift.journal import Journal, read
from asciist_migration.shift.ports import CdnError, PlanError, ShiftError
from asciist_migration.shift.request_log import RequestLog
from asciist_migration.shift.state import Phase, Plan, State, replay
from operations.observability.objective import OBJECTIVE

FAILED: Final = 1
"""Exit status if the command failed. It may be tried again."""
PAUSED: Final = 3
"""Exit status if the shift is paused, and an operator must look."""
ROLLED_BACK: Final = 4
"""Exit status if the new origin has failed, and all requests go to the old one."""
GAVE_WAY: Final = 5
"""Exit status if another command has taken over."""

_WAIT_SECONDS: Final = 60
"""Maximum seconds until a controller gives way, which it does between two calls of a port."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="shift.toml",
    show_default=True,
    help="Configuration of the shift.",
)
@click.pass_context
def main(context: click.Context, path: Path) -> None:
    """Move the traffic of a service from one origin to another at a CDN, in steps that are judged.

    Exit status: 0 if done, 1 if it failed, 2 for invalid usage, 3 if the shift is paused, 4 if it
    was rolled back, 5 if another command took over.
    """
    context.obj = path


@main.command()
@click.pass_obj
def plan(path: Path) -> None:
    """Check that both origins are ready, and note the plan in the journal."""
    with _controller(path) as (controller, chosen):
        addresses = {
            name: origin.address
            for name, origin in configuration.cdn(chosen).read().origins.items()
        }
        missing = {chosen.old, chosen.new} - addresses.keys()
        if missing:
            raise PlanError(f"the CDN has no origin {', '.join(sorted(missing))}")
        controller.plan(
            Plan(
                old=chosen.old,
                new=chosen.new,
                interval_seconds=chosen.interval_seconds,
                min_requests=chosen.min_requests,
                poll_seconds=chosen.poll_seconds,
                late_seconds=chosen.late_seconds,
                slower=chosen.slower,
                addresses={name: addresses[name] for name in (chosen.old, chosen.new)},
            )
        )


@main.command()
@click.pass_obj
def step(path: Path) -> None:
    """Judge the step under way, and go on to the next, or pause, or roll back."""
    _go(path, Controller.step)


@main.command()
@click.pass_obj
def run(path: Path) -> None:
    """Repeat steps until the shift is paused, rolled back or finished. The last step is watched
    until then."""
    _go(path, Controller.run)


@main.command()
@click.pass_obj
def status(path: Path) -> None:
    """Draw the state of the shift, the weights in force and the last judgement."""
    with _messages():
        chosen = configuration.load(path)
        state = replay(read(chosen.journal))
        try:
            click.echo(draw(state, configuration.cdn(chosen).read().weights))
        except CdnError as error:
            click.echo(draw(state, str(error)))


@main.command()
@click.argument("origin")
@click.pass_obj
def weight(path: Path, origin: str) -> None:
    """Print the weight in force of an origin, for `asciist-move --weight-command`."""
    with _messages():
        weights = configuration.cdn(configuration.load(path)).read().weights
        if origin not in weights:
            raise PlanError(f"the CDN has no origin {origin}, but {', '.join(weights)}")
        click.echo(weights[origin])


@main.command()
@click.pass_obj
def pause(path: Path) -> None:
    """Leave the weights as they are. `step` and `run` go on from there."""
    with _controller(path, wait_seconds=_WAIT_SECONDS) as (controller, _):
        controller.pause()


@main.command()
@click.option("--force", is_flag=True, help="Roll back even if the old origin does not work.")
@click.pass_obj
def abort(path: Path, force: bool) -> None:
    """Send all requests to the old origin again."""
    with _controller(path, wait_seconds=_WAIT_SECONDS) as (controller, _):
        controller.abort(force=force)


@main.command()
@click.pass_obj
def finish(path: Path) -> None:
    """Take the old origin out, after the last step has passed."""
    with _controller(path, wait_seconds=_WAIT_SECONDS) as (controller, _):
        controller.finish()


def _go(path: Path, go: Callable[[Controller], State]) -> None:
    with _controller(path) as (controller, _):
        state = go(controller)
    if state.phase is Phase.PAUSED:
        sys.exit(PAUSED)
    if state.phase is Phase.ROLLED_BACK:
        sys.exit(ROLLED_BACK)


@contextmanager
def _controller(
    path: Path, *, wait_seconds: float = 0
) -> Iterator[tuple[Controller, Configuration]]:
    """Yield the controller of a configuration, excluding other controllers."""
    with _messages():
        chosen = configuration.load(path)
        with Journal(chosen.journal, wait_seconds=wait_seconds) as journal:
            controller = Controller(
                journal=journal,
                cdn=configuration.cdn(chosen),
                metrics=RequestLog(
                    chosen.log,
                    backend=chosen.cdn["backend" if chosen.kind == "haproxy" else "pool_id"],
                ),
                art=HttpArtSampler(chosen.urls, chosen.images),
                objective=OBJECTIVE,
                say=click.echo,
            )
            yield controller, chosen


@contextmanager
def _messages() -> Iterator[None]:
    """Print errors as a line on standard error, and exit with a status."""
    try:
        yield
    except GaveWayError as error:
        click.echo(f"asciist-shift: {error}", err=True)
        sys.exit(GAVE_WAY)
    except (ShiftError, OSError) as error:
        click.echo(f"asciist-shift: {error}", err=True)
        sys.exit(FAILED)
