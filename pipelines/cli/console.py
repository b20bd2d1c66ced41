"""What every verb of the command shares: the group, progress on standard error, results and errors.

Every verb prints progress on standard error and its result on standard output; with `--json` the
last line of standard output is one JSON object. Errors that people can mend are one sentence and
exit status 1. Heavy imports (feast, bentoml, lightgbm) stand inside the verbs, so that `--help` answers
at once.
"""

import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from feature_repo.errors import InputError, LookbookError

screen = Console(stderr=True, highlight=False, soft_wrap=True)


class Group(click.Group):
    """Shows what people can mend as one sentence, and lets bugs keep their trace."""

    def invoke(self, ctx: click.Context) -> Any:
        if not sys.warnoptions:
            # What libraries tell their developers is not for people who use the command. A filter would
            # not do: Feast sets its own when it is imported.
            warnings.showwarning = lambda *said, **more: None
        try:
            return super().invoke(ctx)
        except LookbookError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}.") from error
        except RuntimeError as error:
            # DuckDB answers Ctrl-C in the middle of a query with an error of its own.
            if "interrupt" not in str(error).lower():
                raise
            raise click.Abort from error


def say(text: str) -> None:
    screen.print(text, style="dim", markup=False)


@contextmanager
def ends_when_terminated() -> Iterator[None]:
    """Lets a step clean up behind itself when the process is told to end, as Ctrl-C does."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
    """Shows how far each step is: as bars on a screen, else as a line now and then."""
    if screen.is_terminal:
        tasks: dict[str, TaskID] = {}
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=screen
        ) as bars:

            def show(step: str, done: float) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=1.0)
                bars.update(tasks[step], completed=done)

            yield show
    else:
        shown: dict[str, int] = {}

        def say_quarters(step: str, done: float) -> None:
            quarter = int(done * 4)
            if quarter > shown.get(step, 0):
                shown[step] = quarter
                say(f"{step}: {quarter * 25}%" if quarter < 4 else f"{step} written")

        yield say_quarters


def verb(function: Callable[..., Any]) -> Callable[..., None]:
    """Adds `--json`; the function returns (what to print, the JSON object), and an exit status if it
    is not 0."""

    @click.option("--json", "as_json", is_flag=True, help="End with one JSON object on one line.")
    @wraps(function)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
        text, result, *status = function(*args, **kwargs)
        if as_json:
            click.echo(json.dumps(result, default=str))
        elif isinstance(text, str):
            click.echo(text)
        else:
            # A pipe has no width; a table must not be cut to fit one.
            Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(text)
        if status:
            sys.exit(status[0])

    return run


def as_day(ctx: click.Context, parameter: click.Parameter, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a day: write it as 2020-09-22.") from error


def as_moment(ctx: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not a moment: write it as 2020-09-22 or 2020-09-22T14:30."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_evaluation(file: TextIO | None) -> Any:
    """What `lookbook evaluate --json` wrote; None without a file.

    Raises:
        InputError: it is not JSON, or of something else.
    """
    if file is None:
        return None
    try:
        found = json.load(file)
    except ValueError as error:
        raise InputError(f"{file.name} is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("models"), dict):
        raise InputError(
            f"{file.name} judges no models: give what `lookbook evaluate --json` wrote."
        )
    return found


def as_weights(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, float] | None:
    """Callback: weights by name, written purchase=1,view=0.1."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, equals, weight = part.partition("=")
        try:
            found[name.strip()] = float(weight)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(
                f"{part!r} has no number: write it as NAME=NUMBER, with commas between."
            )
    return found


def as_rerankers(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> dict[str, dict[str, Any]] | None:
    """Callback: re-rankers with their settings, written freshness=0.25,dpp=0.2 or in a JSON file."""
    if text is None or not text.endswith(".json"):
        weights = as_weights(ctx, parameter, text)
        return None if weights is None else {n: {"strength": w} for n, w in weights.items()}
    try:
        found = json.loads(Path(text).read_text(encoding="utf-8"))
    except ValueError as error:
        raise click.BadParameter(f"{text} is not JSON: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise click.BadParameter(
            f'{text} names no re-rankers: write it as {{"dpp": {{"strength": 0.2}}}}.'
        )
    return found


DECLARED = "lookbook.declaration"
"""Where a verb finds the file of its declaration, in the context's `meta`."""


def as_release(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> Any:
    """Callback: the `ReleaseSettings` that a file declares, the usual ones without a file."""
    from pipelines.model_catalog import RELEASE, read_release

    ctx.meta[DECLARED] = file
    return RELEASE if file is None else read_release(file)


DECLARATION = click.Path(exists=True, dir_okay=False, path_type=Path)
declared_release = click.option(
    "--release",
    "settings",
    type=DECLARATION,
    callback=as_release,
    metavar="FILE.yaml",
    help="The declaration of a release; if left out that which LOOKBOOK_RELEASE names, or "
    "pipelines/releases/default.yaml.",
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lookbook")
def main() -> None:
    """Feature store, model registry and recommender for a fashion shop.

    State lives in the folder LOOKBOOK_HOME (default: .lookbook/; a relative path is below the
    project).

    \b
    Example:
      lookbook demo
    """
