"""A release as one file, to carry it to another registry; and letting go of versions that nothing needs.

The file is a ZIP of the folders of its versions, each with its record. What comes in is believed in nothing: names,
sizes, checksums and the absence of pickles are checked before anything is seen by the registry, parts go in before the
release that names them, and each whole or not at all.
"""

import json
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import (
    CARD,
    MANIFEST,
    RegistryError,
    Version,
    adopt_version,
    arrived_version,
    clear_staging,
    list_versions,
    remove_version,
    staging_room,
    version_folder,
    versions_stay,
)

CONTENTS = "lookbook-release.json"
FORMAT = 1
MOST_BYTES = 64 * 2**30
"""Of all files together, unpacked."""
MOST_OF_CONTENTS = 2**20
MOST_OF_A_RECORD = 64 * 2**20
"""Of a file that is read into memory at once."""
DEEPEST = 16
"""Folders below each other."""


@versions_stay()
def export_release(tag_or_alias: str, out: Path) -> str:
    """Write a release with all its parts as one file; returns its tag.

    Raises:
        RegistryError: it, or a part, is unknown or damaged.
        InputError: `out` cannot be written.
    """
    places.check_place(out)
    chosen = releases.get(tag_or_alias)
    # The release comes last, as it will when it is taken in.
    tags = [*dict.fromkeys(chosen.parts.values()), chosen.tag]
    with (
        places.whole_file(out) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        file.writestr(CONTENTS, json.dumps({"format": FORMAT, "versions": tags}))
        for tag in tags:
            folder = version_folder(tag)
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    name = PurePosixPath(*tag.split(":"), *path.relative_to(folder).parts)
                    file.write(path, str(name))
    return chosen.tag


def import_release(source: Path) -> tuple[str, list[str]]:
    """Take a release in that `export_release` wrote.

    Returns:
        its tag, and the tags of the versions that were not here yet.

    Raises:
        InputError: the file is no such file, or is damaged.
        RegistryError: a version in it is corrupted, foreign or forged, or holds a pickle; nothing is taken then.
    """
    with staging_room("import") as room:
        arrived = [arrived_version(_folder(room, tag)) for tag in _unpacked(source, room)]
        _refuse_unfit_parts(arrived, source)
        with versions_stay():
            taken = [version.tag for version in arrived if adopt_version(version)]
    return arrived[-1].tag, taken


def _refuse_unfit_parts(arrived: Sequence[Version], source: Path) -> None:
    """A release needs all its parts, and `prune` knows them as its parents."""
    *parts, release = arrived
    named = sorted(set(releases.read(release, {}).parts.values()))
    if named != sorted(part.tag for part in parts) or named != sorted(release.lineage.parents):
        raise InputError(
            f"{source} is refused: it does not hold just {release.tag} and the parts that it names: export it again."
        )


def _unpacked(source: Path, room: Path) -> list[str]:
    """The tags of the versions in the file, the release last; their folders are in the room then."""
    try:
        with zipfile.ZipFile(source) as file:
            _refuse_sizes(file, room, source)
            tags = _contents(file, source)
            _unpack(file, tags, room, source)
            return tags
    except LookbookError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{source} is no release, or damaged ({reason}): export it again."
        ) from error


def _refuse_sizes(file: zipfile.ZipFile, room: Path, source: Path) -> None:
    """By what the file says of itself: of no member is more unpacked than it says."""
    for member in file.infolist():
        name, most = PurePosixPath(member.filename).name, MOST_BYTES
        if member.filename == CONTENTS:
            most = MOST_OF_CONTENTS
        elif name in (MANIFEST, CARD, releases.FILE):
            most = MOST_OF_A_RECORD
        if member.file_size > most:
            raise InputError(
                f"{source} is refused: {member.filename!r} has {member.file_size:,} bytes, more than {most:,}."
            )
        # Other methods are not unpacked by the piece, whatever is asked for.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{source} is refused: {member.filename!r} is packed in another way than by deflating."
            )
    total = sum(member.file_size for member in file.infolist())
    if total > MOST_BYTES:
        raise InputError(
            f"{source} is refused: unpacked it has {total:,} bytes, more than {MOST_BYTES:,}."
        )
    free = shutil.disk_usage(room).free
    if total > free:
        raise InputError(f"{source} needs {total:,} bytes, and {free:,} are free: make room.")


def _contents(file: zipfile.ZipFile, source: Path) -> list[str]:
    """The tags of the versions in the file, the release last."""
    try:
        with file.open(CONTENTS) as stream:
            # Without a bound all of it is unpacked before the rest is thrown away.
            said = json.loads(stream.read(MOST_OF_CONTENTS))
        tags = [str(tag) for tag in said["versions"]]
        version = said["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source} is no release: `lookbook release export` writes one."
        ) from error
    if version != FORMAT:
        raise InputError(
            f"{source} is of format {version!r}, and this Lookbook reads {FORMAT}: export it with the same version."
        )
    for tag in tags:
        # They become names of folders.
        if tag.count(":") != 1 or not all(
            PurePosixPath(part).name == part for part in tag.split(":")
        ):
            raise InputError(f"{source} is refused: {tag!r} is no tag of a version.")
    if not tags or not tags[-1].startswith(f"{releases.NAME}:"):
        raise InputError(f"{source} is refused: it holds no release.")
    return tags


def _unpack(file: zipfile.ZipFile, tags: Sequence[str], room: Path, source: Path) -> None:
    expected = {tuple(tag.split(":")) for tag in tags}
    for member in file.infolist():
        if member.filename == CONTENTS:
            continue
        parts = PurePosixPath(member.filename).parts
        strange = member.filename.startswith("/") or ".." in parts or "\\" in member.filename
        if (
            strange
            or member.is_dir()
            or parts[:2] not in expected
            or not 3 <= len(parts) <= DEEPEST
        ):
            raise InputError(
                f"{source} is refused: {member.filename!r} is of none of its versions."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{source} is refused: {member.filename!r} is a link.")
        target = room.joinpath(*parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open(member) as packed, target.open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except OSError as error:
            raise InputError(
                f"{source} is refused: {member.filename!r} cannot be unpacked ({error.strerror})."
            ) from error


def _folder(room: Path, tag: str) -> Path:
    folder = room.joinpath(*tag.split(":"))
    if not folder.is_dir():
        raise RegistryError(
            f"{tag} is refused: the file does not hold it; export the release again."
        )
    return folder


def prune(keep: int = 3, *, dry_run: bool = False) -> list[str]:
    """Let versions go that nothing needs, and what killed processes have left; returns their tags.

    What stays: every release that an alias points at or ever pointed at, the `keep` newest releases and the `keep`
    newest versions of each model, and all parts of releases that stay.

    Raises:
        RegistryError: what is needed cannot be known, and then nothing goes: the history of aliases is empty or cannot
            be read, a release in it is not there, or a version's record cannot be read.
    """
    with versions_stay(letting_go=not dry_run):
        goes = _needless(keep)
        for tag in () if dry_run else goes:
            remove_version(tag)
    if not dry_run:
        clear_staging()
    return goes


def _needless(keep: int) -> list[str]:
    """What `prune` lets go, releases first: none is ever there without its parts."""
    stays = set(releases.ever_pointed_at())
    if not stays:
        raise RegistryError(
            "Nothing is let go: no alias ever pointed at a release, so what is needed is not known; promote one, or "
            "restore aliases.sqlite from a backup."
        )
    by_name: dict[str, list[str]] = {}
    parents = {}
    try:
        versions = list_versions(every=True)
    except RegistryError as error:
        raise RegistryError(f"Nothing is let go: {error}") from error
    for version in versions:
        by_name.setdefault(version.tag.partition(":")[0], []).append(version.tag)
        parents[version.tag] = version.lineage.parents
    for tag in sorted(stays - parents.keys()):
        raise RegistryError(
            f"Nothing is let go: an alias points or pointed at {tag}, which is not there; restore it from a backup."
        )
    for tags in by_name.values():
        stays.update(tags[:keep])
    waiting = list(stays)
    while waiting:
        new = set(parents.get(waiting.pop(), ())) - stays
        stays |= new
        waiting += new
    goes = [tag for tag in parents if tag not in stays]
    return sorted(goes, key=lambda tag: not tag.startswith(f"{releases.NAME}:"))
