"""Where files are: Lookbook's state, all under one folder, LOOKBOOK_HOME; and how one is written."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from feature_repo.errors import InputError

PROJECT = Path(__file__).resolve().parents[1]


def home() -> Path:
    """The state folder: `LOOKBOOK_HOME`, or `.lookbook/` beside `feature_repo/`.

    Read at every call, so that a test or a second shop can move it. A relative path is below the
    project's folder: `feast apply` changes the working directory, so nothing may depend on that.
    """
    return _resolved(os.environ.get("LOOKBOOK_HOME") or ".lookbook", os.environ.get("HOME"))


@lru_cache(maxsize=64)
def _resolved(chosen: str, user: str | None) -> Path:
    """A request asks several times, and the file system takes its time.

    Args:
        user: the home of who runs this, which ~ stands for.
    """
    return (PROJECT / Path(chosen).expanduser()).resolve()


def resolve(path: str | Path) -> Path:
    """A path from `feature_store.yaml`, read as relative to the state folder."""
    return home() / path


def warehouse_file() -> Path:
    return home() / "warehouse.duckdb"


def models_folder() -> Path:
    """BentoML's home: model versions, and the release history beside them."""
    return home() / "models"


@cache
def code_hash(*rooms: str, without: tuple[str, ...] = ()) -> str:
    """A fingerprint of the code in the rooms and its settings, as they were when first asked for.

    Args:
        without: beginnings of paths below a room that do not matter.
    """
    digest = hashlib.sha256()
    for room in rooms:
        for file in sorted((PROJECT / room).rglob("*")):
            place = file.relative_to(PROJECT / room).as_posix()
            if file.suffix in (".py", ".sql", ".yaml") and not place.startswith(without):
                digest.update(f"{place}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def check_place(out: Path) -> None:
    """To know that a file can be written before the work that fills it.

    Raises:
        InputError: `out` is a folder, lies below a file, or may not be written.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file.")
    nearest = next(parent for parent in out.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise InputError(f"{out} cannot be written: {nearest} is a file, not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be written: {nearest} may not be changed.")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` that takes its place at the end, or disappears.

    So nobody ever sees a part of it, and two who write the same file at once do not share one; the
    last to end wins. Folders on the way are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        # People know the file by its own name; a full disk tells none.
        if error.errno and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)
