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
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from feature_repo import places
from feature_repo.errors import LookbookError

MANIFEST = "manifest.json"
FILES = "files"
CARD = "model.yaml"
MOMENT = "%Y%m%d-%H%M%S-%f"
"""How a version's name begins: it sorts by time."""
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
KINDS = frozenset((".faiss", ".json", ".npy", ".npz", ".parquet", ".safetensors", ".txt"))
"""What our models write, and so what is taken from another registry."""
PICKLE_OPCODES = frozenset(ord(opcode.code) for opcode in pickletools.opcodes)
RESTORE = "restore the version's folder from a backup, or train it again"

LEFT_SECONDS = 86_400
"""Nobody is that long at writing a version."""

log = logging.getLogger(__name__)


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
    """Versions of Python, the machine, threads, the libraries that shape a trained model, and a fingerprint of our
    code."""
    found = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        # Sums in another order end otherwise.
        "threads": os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count()),
        "code": places.code_hash("feature_repo", "pipelines", without=("releases",))[:16],
    }
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

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())


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
    # The random end keeps two processes within a microsecond apart.
    version = f"{created:{MOMENT}}-{secrets.token_hex(3)}"
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
    return _checked(_find(tag))


def _checked(folder: Path) -> Version:
    """A version of which every file is as it was saved."""
    record = _read_manifest(folder)
    found = _version(folder, record)
    try:
        there = _measure(folder, found.tag, record["files"])
    except FileNotFoundError:
        raise RegistryError(
            f"{found.tag} is refused: it was let go while it was read; name another version."
        ) from None
    for name in sorted(record["files"].keys() - there.keys()):
        raise RegistryError(f"{found.tag} is refused: {name} is missing; {RESTORE}.")
    return found


def version_folder(tag: str) -> Path:
    """The whole folder of a version, its record included, every file checked.

    Raises:
        RegistryError: as `open_version`.
    """
    return open_version(tag).path.parent


def arrived_version(folder: Path) -> Version:
    """A version that another registry saved, in a folder NAME/VERSION that is not in this one yet.

    Whoever forges a version can forge its record too, so beside the checks of `open_version` nothing is taken that
    would outlast the import as damage: a name that sorts before all others, a card on which BentoML fails, a file of
    a kind that no model of ours writes.

    Raises:
        RegistryError: it is refused.
    """
    check_name(folder.parent.name, "model name")
    found, record = _checked(folder), _read_manifest(folder)

    def refuse(reason: str) -> None:
        raise RegistryError(f"{found.tag} is refused: {reason}; export it again where it was made.")

    made = re.fullmatch(r"([0-9]{8}-[0-9]{6}-[0-9]{6})-[0-9a-f]{6}", folder.name)
    if made is None or made[1] != f"{found.created:{MOMENT}}":
        refuse(f"its version is not made of the moment {found.created.isoformat()} of its record")
    if found.created > datetime.now(UTC) + timedelta(days=1):
        refuse(f"it was created at {found.created.isoformat()}, which is still to come")
    for name in record["files"]:
        if name != CARD and not (name.startswith(f"{FILES}/") and Path(name).suffix in KINDS):
            refuse(f"{name} is of no kind that a model writes ({', '.join(sorted(KINDS))})")
        if Path(name).suffix in (".npy", ".npz") and not _holds_plain_arrays(folder / name):
            refuse(f"{name} does not hold arrays of numbers and text alone")
    model = {name: said for name, said in record["files"].items() if name != CARD}
    if found.content_hash != _hash(model):
        refuse("its content hash is not that of its files")
    if not _bentoml_reads(folder, found.tag):
        refuse(f"BentoML cannot read its {CARD}, or finds another model there")
    return found


def adopt_version(arrived: Version) -> bool:
    """Take a version that `arrived_version` found right, from the disk of the registry; whole or not at all.

    Returns:
        False if it is here already.

    Raises:
        RegistryError: another version has its tag.
    """
    folder = arrived.path.parent
    target = _store() / folder.parent.name / folder.name
    if target.exists():
        if _read_manifest(target) != _read_manifest(folder):
            raise RegistryError(
                f"{arrived.tag} is refused: another version has this tag here; remove one of them first."
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


def list_versions(name: str | None = None, *, every: bool = False) -> list[Version]:
    """Registered versions, newest first, of one name or of all; their files are not checked.

    A folder without a readable manifest is left out with a warning in the log, so that one
    broken version never hides the others. What goes meanwhile is left out.

    Args:
        every: leave none out.

    Raises:
        RegistryError: `every`, and a record cannot be read.
    """
    found = []
    for folder in _folders(name):
        try:
            found.append(_version(folder, _read_manifest(folder)))
        except RegistryError as error:
            if not folder.exists():
                continue
            if every:
                raise
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
    found: list[Path] = []
    for versions in sorted(_store().glob(name or "*")):
        # The last version of a name may go meanwhile, and the folder with it.
        with suppress(FileNotFoundError, NotADirectoryError):
            found += sorted(path for path in versions.iterdir() if path.is_dir())
    return found


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
    from pipelines.model_registry.publishing import BESIDE

    if name not in names and name in BESIDE:
        raise RegistryError(f"{name} has not been trained yet: run `lookbook train`.")
    near = near or difflib.get_close_matches(name, names, n=3) or names[:10]
    raise RegistryError(f"{tag} is unknown: the nearest known are {', '.join(near)}.")


def _version(folder: Path, record: dict[str, Any]) -> Version:
    """What a record says.

    Raises:
        RegistryError: it says something else than `save_version` writes.
    """
    try:
        said, files = record["lineage"], record["files"]
        cutoff, parents = date.fromisoformat(said["data_cutoff"]), tuple(said["parents"])
        lineage = Lineage(**said | {"data_cutoff": cutoff, "parents": parents})
        found = Version(
            tag=record["tag"],
            path=folder / FILES,
            lineage=lineage,
            metrics=record["metrics"],
            created=datetime.fromisoformat(record["created"]),
            content_hash=record["content_hash"],
        )
        features = (lineage.feature_service, lineage.feature_schema_hash)
        texts = [lineage.data_hash, lineage.commit, found.content_hash, *parents]
        texts += [text for text in features if text is not None]
        texts += [file["sha256"] for file in files.values()]
        counts = [lineage.seed, *(file["size"] for file in files.values())]
        tables = [found.metrics, lineage.settings, lineage.feature_views, lineage.environment]
        for kind, values in ((str, texts), (int, counts), (dict, tables)):
            for value in values:
                if not isinstance(value, kind):
                    raise TypeError(f"{value!r:.40} where {kind.__name__} belongs")
        if found.created.utcoffset() != timedelta(0):
            raise ValueError(f"created {found.created} is not in UTC")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(
            f"{folder.parent.name}:{folder.name} is refused: {MANIFEST} does not describe a version ({error!r}); "
            f"{RESTORE}."
        ) from error
    return found


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The record of a version, checked against its own checksum and the name of the folder."""
    tag = f"{folder.parent.name}:{folder.name}"
    try:
        record = json.loads((folder / MANIFEST).read_bytes())
        checksum, found = record.pop("checksum"), _hash(record)
    except FileNotFoundError:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} is missing, so Lookbook did not save it or it was "
            f"damaged; {RESTORE}."
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} cannot be read ({error}); {RESTORE}."
        ) from error
    if checksum != found:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} is corrupted (its checksum is not the one saved); {RESTORE}."
        )
    if record.get("tag") != tag:
        raise RegistryError(
            f"{tag} is refused: {MANIFEST} belongs to {record.get('tag')}; move the folder back to that name."
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


def _holds_plain_arrays(path: Path) -> bool:
    """Whether all arrays of a NumPy file are none of Python objects, which it would hold as a pickle."""
    from numpy.lib import format as npy

    def plain_array(stream: IO[bytes]) -> bool:
        # Headers of the first format are at most 64 KB, and it is the one that NumPy writes for plain arrays.
        if npy.read_magic(stream) != (1, 0):
            return False
        return not npy.read_array_header_1_0(stream)[2].hasobject

    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                return plain_array(file)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as packed:
                    if not plain_array(packed):
                        return False
        return True
    except Exception:  # a forged file can fail in any way, and then it holds none
        return False


def _bentoml() -> ModuleType:
    """Half a second, and only what comes in needs it. It turns warnings on that speak of its own parts."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bentoml
    return bentoml


def _bentoml_reads(folder: Path, tag: str) -> bool:
    """Whether `bentoml models list` can show it; on a card that it cannot read, it fails for all models."""
    try:
        info = _bentoml().Model.from_path(folder).info
        return str(info.tag) == tag and not info.module  # a module's name would be imported
    except Exception:  # whatever YAML and BentoML raise
        return False


def _write_bentoml_card(folder: Path, record: dict[str, Any]) -> None:
    """`model.yaml`, from which `bentoml models list/get` show the version."""
    bentoml = _bentoml()

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
    with (folder / CARD).open("w", encoding="utf-8") as stream:
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
