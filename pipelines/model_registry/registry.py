"""Model versions in BentoML's model store, each with its lineage and a checksum of every file.

A version is one folder of the store, `models/NAME/VERSION/` under `places.models_folder()`:

    files/         what the model wrote
    model.yaml     what BentoML's own tools read and show
    manifest.json  our record: lineage, metrics, and size and sha256 of every other file
"""

import dataclasses
import difflib
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import pickletools
import platform
import re
import secrets
import shutil
import subprocess
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from feature_repo import places
from feature_repo.errors import LookbookError

MANIFEST = "manifest.json"
FILES = "files"
RECORDED_LIBRARIES = (
    "bentoml",
    "duckdb",
    "faiss-cpu",
    "feast",
    "lightgbm",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "torch",
)
PICKLE_SUFFIXES = frozenset(
    (".pkl", ".pickle", ".pk", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt")
)
PICKLE_OPCODES = frozenset(ord(opcode.code) for opcode in pickletools.opcodes)
RESTORE = "restore the version's folder from a backup, or train it again"

log = logging.getLogger(__name__)


LEFT_SECONDS = 86_400
"""Nobody is that long at writing a version."""


class RegistryError(LookbookError, RuntimeError):
    """The registry refuses; the text is one sentence with the reason and what to do."""


def _commit() -> str:
    """The commit of the working tree, "+dirty" when files differ from it, "unknown" outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(places.PROJECT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository; that commit is not ours.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != places.PROJECT:
            return "unknown"
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def environment() -> dict[str, str]:
    """Versions of Python, the machine and the libraries that shape a trained model."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in RECORDED_LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from; commit and environment are filled in when not given.

    `data_cutoff`: trained strictly on days before it. `feature_views`: {view: what the service takes from it
    and a fingerprint of its definition} (`features.View`). `parents`: tags of the versions it was
    made from.
    """

    feature_service: str | None
    feature_schema_hash: str | None
    data_cutoff: date
    data_hash: str
    seed: int
    commit: str = field(default_factory=_commit)
    settings: dict[str, Any] = field(default_factory=dict)
    feature_views: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=environment)
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One registered version; `path` is the folder that its `write` filled.

    `content_hash` is over names and contents of those files alone: two trainings with the same
    result have the same one.
    """

    tag: str
    path: Path
    lineage: Lineage
    metrics: dict[str, Any]
    created: datetime
    content_hash: str


def save_version(
    name: str,
    write: Callable[[Path], None],
    lineage: Lineage,
    metrics: Mapping[str, Any],
) -> str:
    """Register what `write` puts into the folder it is given; returns the tag "name:version".

    All or nothing: whatever happens inside, also a kill, the store holds the whole version or
    none. An exception from `write` passes through.

    Raises:
        RegistryError: an invalid name, no file written, a pickle or a link among the files, or
            lineage or metrics that JSON cannot hold.
    """
    check_name(name, "model name")
    created = datetime.now(UTC)
    # Sorts by time; the random end keeps two processes within a microsecond apart.
    version = f"{created:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
    record: dict[str, Any] = {
        "tag": f"{name}:{version}",
        "created": created.isoformat(),
        "lineage": plain(dataclasses.asdict(lineage), "lineage"),
        "metrics": plain(metrics, "metrics"),
    }
    target = _store() / name / version
    # BentoML's own save copies file by file into the store: a kill halfway leaves a folder on
    # which `bentoml models list` fails ever after. A rename shows the whole version or nothing.
    with staging_room(name) as room:
        folder = room / version
        (folder / FILES).mkdir(parents=True)
        write(folder / FILES)
        files = _measure(folder, record["tag"])
        if not files:
            raise RegistryError(
                f"{record['tag']} was not saved: its `write` put no file into the folder; "
                "write the model's files there."
            )
        record["content_hash"] = _hash(files)
        _write_bentoml_card(folder, record)
        record["files"] = _measure(folder, record["tag"])
        record["checksum"] = _hash(record)
        (folder / MANIFEST).write_text(json.dumps(record, indent=2), encoding="utf-8")
        _to_disk(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        _to_disk(target.parent, deep=False)
    _point_latest(target.parent)
    return str(record["tag"])


def content_hash_of(write: Callable[[Path], None]) -> str:
    """The content hash that a version would have which `write` fills; nothing is registered."""
    with staging_room("measured") as room:
        (room / FILES).mkdir()
        write(room / FILES)
        return _hash(_measure(room, "what was made"))


def open_version(tag: str) -> Version:
    """A version whose every file has just been checked; a bare name means its newest version.

    Raises:
        RegistryError: an unknown tag (with the nearest known ones), a file that is corrupted,
            truncated, missing, foreign or a pickle, or a version that Lookbook did not save.
    """
    folder = _find(tag)
    return _version(folder, _checked(folder, f"{folder.parent.name}:{folder.name}"))


def _checked(folder: Path, tag: str) -> dict[str, Any]:
    """The record of a version, of which every file is as it was saved."""
    record = _read_manifest(folder, tag)
    found = _measure(folder, tag, record["files"])
    for name in sorted(record["files"].keys() - found.keys()):
        raise RegistryError(f"{tag} is refused: {name} is missing; {RESTORE}.")
    return record


def version_folder(tag: str) -> Path:
    """The whole folder of a version, its record included, every file checked.

    Raises:
        RegistryError: as `open_version`.
    """
    return open_version(tag).path.parent


def adopt_version(folder: Path, tag: str) -> bool:
    """Take a version that another registry saved, from a folder on the disk of this one; whole or not at all.

    Returns:
        False if it is here already.

    Raises:
        RegistryError: a file of it is corrupted, truncated, missing, foreign or a pickle, or another version has
            its tag.
    """
    name, _, version = tag.partition(":")
    check_name(name, "model name")
    check_name(version, "model version")
    if folder.name != version:
        raise RegistryError(f"{tag} is refused: its folder is named {folder.name}.")
    record = _checked(folder, tag)
    target = _store() / name / version
    if target.exists():
        if _read_manifest(target) != record:
            raise RegistryError(
                f"{tag} is refused: another version has this tag here; remove one of them first."
            )
        return False
    _to_disk(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    _to_disk(target.parent, deep=False)
    _point_latest(target.parent)
    return True


def remove_version(tag: str) -> None:
    """Let a version go; what a kill leaves of it is in the staging room and no version.

    Raises:
        RegistryError: an unknown tag.
    """
    folder = _find(tag)
    with staging_room(folder.parent.name) as room:
        folder.rename(room / folder.name)
    if _folders(folder.parent.name):
        _point_latest(folder.parent)
    else:
        (folder.parent / "latest").unlink(missing_ok=True)
        folder.parent.rmdir()


@contextmanager
def versions_stay(*, letting_go: bool = False) -> Iterator[None]:
    """While versions are chosen and pinned or pointed at, none of them goes; whoever lets them go waits, and is alone.

    Args:
        letting_go: to be the one who lets go.
    """
    file = places.models_folder() / "versions.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if letting_go else fcntl.LOCK_SH)
        yield


def clear_staging() -> None:
    """Remove what killed processes have left in the staging room, a day later."""
    for left in (places.models_folder() / "staging").glob("*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def staging_room(name: str) -> Iterator[Path]:
    """A room on the store's disk that is emptied at the end."""
    staging = places.models_folder() / "staging"
    staging.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging, prefix=f"{name}-") as room:
        yield Path(room)


def list_versions(name: str | None = None) -> list[Version]:
    """Registered versions, newest first, of one name or of all; their files are not checked.

    A folder without a readable manifest is left out with a warning in the log, so that one
    broken version never hides the others.
    """
    found = []
    for folder in _folders(name):
        try:
            found.append(_version(folder, _read_manifest(folder)))
        except RegistryError as error:
            log.warning("%s", error)
    return sorted(found, key=lambda version: (version.created, version.tag), reverse=True)


def check_name(name: str, what: str) -> None:
    """Names of models and aliases follow BentoML's tags, which also are safe folder names.

    Raises:
        RegistryError: the name does not.
    """
    if len(name) > 63 or not re.fullmatch(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?", name):
        raise RegistryError(
            f"{name!r} is not a valid {what}: use at most 63 lower-case letters, digits, '_', '-' "
            "or '.', beginning and ending with a letter or digit."
        )


def plain(value: Any, where: str) -> Any:
    """The value in JSON's own types; dates and paths as text, a number that is none as null.

    Raises:
        RegistryError: something else is inside; `where` names it.
    """
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        value = value.tolist()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, date | Path):
        return value.isoformat() if isinstance(value, date) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    raise RegistryError(
        f"{where} is a {type(value).__name__}, which the registry cannot record: "
        "give text, numbers, dates, lists and dictionaries."
    )


def _store() -> Path:
    """Where BentoML keeps models when BENTOML_HOME is `places.models_folder()`."""
    return places.models_folder() / "models"


def _folders(name: str | None = None) -> list[Path]:
    """The folders of all versions, or of one name's, in order of name and time."""
    return sorted(path for path in _store().glob(f"{name or '*'}/*") if path.is_dir())


def _find(tag: str) -> Path:
    name, _, version = tag.partition(":")
    check_name(name, "model name")
    versions = _folders(name)
    if version in ("", "latest") and versions:
        return versions[-1]
    for folder in versions:
        if folder.name == version:
            return folder
    known = [f"{path.parent.name}:{path.name}" for path in _folders()]
    if not known:
        raise RegistryError(f"{tag} is unknown: nothing is registered yet; run `lookbook train`.")
    near = [f"{name}:{path.name}" for path in reversed(versions)][:3]
    names = sorted({other.partition(":")[0] for other in known})
    # Here alone, for a registry that opens what is there needs no catalogue.
    from pipelines.model_catalog import RANKERS, RETRIEVERS

    if name not in names and name in {**RETRIEVERS, **RANKERS}:
        raise RegistryError(f"{name} has not been trained yet: run `lookbook train {name}`.")
    near = near or difflib.get_close_matches(name, names, n=3) or names[:10]
    raise RegistryError(f"{tag} is unknown: the nearest known are {', '.join(near)}.")


def _version(folder: Path, record: dict[str, Any]) -> Version:
    lineage = record["lineage"] | {
        "data_cutoff": date.fromisoformat(record["lineage"]["data_cutoff"]),
        "parents": tuple(record["lineage"]["parents"]),
    }
    return Version(
        tag=record["tag"],
        path=folder / FILES,
        lineage=Lineage(**lineage),
        metrics=record["metrics"],
        created=datetime.fromisoformat(record["created"]),
        content_hash=record["content_hash"],
    )


def _read_manifest(folder: Path, tag: str = "") -> dict[str, Any]:
    """The record of a version, checked against its own checksum and its tag, that of the folder if not given."""
    tag = tag or f"{folder.parent.name}:{folder.name}"
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        checksum = record.pop("checksum")
    except FileNotFoundError:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} is missing, so Lookbook did not save it or it was "
            f"damaged; {RESTORE}."
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} cannot be read ({error}); {RESTORE}."
        ) from error
    if checksum != _hash(record):
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} is corrupted (its checksum is not the one saved); {RESTORE}."
        )
    if record["tag"] != tag:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} belongs to {record['tag']}; move the folder back to that name."
        )
    return record


def _measure(
    folder: Path, tag: str, saved: dict[str, dict[str, Any]] | None = None
) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file of a version but its manifest.

    Raises:
        RegistryError: a link or a pickle, or (given what was `saved`) a file that differs from it.
    """
    measured: dict[str, dict[str, Any]] = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if name == MANIFEST:
            continue
        try:
            _refuse_pickle_name(path)
            if path.is_symlink() or not path.is_file():
                raise _Unfit("is not a plain file")
            if saved is not None and name not in saved:
                raise _Unfit("is not among the files that were saved")
            size = path.stat().st_size
            if saved is not None and size != saved[name]["size"]:
                raise _Unfit(f"has {size} bytes where {saved[name]['size']} were saved")
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if saved is not None and digest != saved[name]["sha256"]:
                raise _Unfit("is corrupted (its checksum is not the one saved)")
            _refuse_pickle_content(path)
        except _Unfit as reason:
            cure = RESTORE if saved is not None else "save text, JSON, Parquet or safetensors"
            raise RegistryError(f"{tag} is refused: {name} {reason}; {cure}.") from None
        measured[name] = {"size": size, "sha256": digest}
    return measured


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is not itself a real folder, links not followed."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


class _Unfit(Exception):
    """Why a file may not be part of a version."""


def _refuse_pickle_name(path: Path) -> None:
    suffixes = PICKLE_SUFFIXES.intersection(suffix.lower() for suffix in path.suffixes)
    if suffixes:
        raise _Unfit(f"is named as a pickle ({min(suffixes)}), which can run any code when opened")


def _refuse_pickle_content(path: Path) -> None:
    """By the first bytes; pickles of protocol 0 and 1 are plain text and have only their name."""
    with path.open("rb") as stream:
        head = stream.read(9)
    # 0x80, the protocol, an opcode. A safetensors file may begin with the same bytes: they are
    # the length of its JSON header, which then follows as the ninth byte.
    is_pickle = len(head) > 2 and head[0] == 0x80 and head[1] <= 5 and head[2] in PICKLE_OPCODES
    is_safetensors = path.suffix == ".safetensors" and head[8:] == b"{"
    if is_pickle and not is_safetensors:
        raise _Unfit("begins as a pickle, which can run any code when opened")
    if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if PICKLE_SUFFIXES.intersection(Path(member.lower()).suffixes):
                    raise _Unfit(f"holds a pickle ({member}), which can run any code when opened")


def _write_bentoml_card(folder: Path, record: dict[str, Any]) -> None:
    """`model.yaml`, from which `bentoml models list/get` show the version."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    # Half a second, and only saving needs it. It turns warnings on that speak of its own parts.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bentoml

    def without_none(value: Any) -> Any:
        """BentoML's metadata has no null."""
        if isinstance(value, dict):
            return {key: without_none(inner) for key, inner in value.items() if inner is not None}
        if isinstance(value, list):
            return [without_none(inner) for inner in value if inner is not None]
        return value

    model = bentoml.Model.create(
        record["tag"],
        module="",
        api_version="v1",
        signatures={},
        labels={},
        metadata=without_none({key: record[key] for key in ("lineage", "metrics", "content_hash")}),
        context=bentoml.models.ModelContext(framework_name="lookbook", framework_versions={}),
    )
    with (folder / "model.yaml").open("w", encoding="utf-8") as stream:
        model.info.dump(stream)


def _point_latest(folder: Path) -> None:
    """Tell BentoML which version of a name is the newest, replacing the note in one step."""
    with staging_room("latest") as room:
        note = room / "latest"
        note.write_text(_folders(folder.name)[-1].name)
        note.replace(folder / "latest")


def _to_disk(folder: Path, deep: bool = True) -> None:
    """Flush a folder, so that an alias on disk never points at files that are still in memory."""
    paths = [folder, *(folder.rglob("*") if deep else ())]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
