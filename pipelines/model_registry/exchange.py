"""A release as one file, to carry it to another registry; and letting go of versions that nothing needs.

The file is a ZIP of the folders of its versions, each with its record. What comes in is believed in nothing: names,
sizes, checksums and the absence of pickles are checked before anything is seen by the registry, parts go in before the
release that names them, and each whole or not at all.
"""

import json
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import (
    RegistryError,
    adopt_version,
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
        RegistryError: a version in it is corrupted, foreign or holds a pickle.
    """
    try:
        with zipfile.ZipFile(source) as file, staging_room("import") as room:
            tags = _contents(file, source)
            _unpack(file, tags, room, source)
            with versions_stay():
                taken = [tag for tag in tags if adopt_version(_folder(room, tag), tag)]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RegistryError):
            raise
        raise InputError(
            f"{source} is no release, or damaged ({error}): export it again."
        ) from error
    return tags[-1], taken


def _contents(file: zipfile.ZipFile, source: Path) -> list[str]:
    """The tags of the versions in the file, the release last."""
    try:
        said = json.loads(file.read(CONTENTS))
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
    total = sum(member.file_size for member in file.infolist())
    if total > MOST_BYTES:
        raise InputError(
            f"{source} is refused: unpacked it has {total:,} bytes, more than {MOST_BYTES:,}."
        )
    free = shutil.disk_usage(room).free
    if total > free:
        raise InputError(f"{source} needs {total:,} bytes, and {free:,} are free: make room.")
    for member in file.infolist():
        if member.filename == CONTENTS:
            continue
        parts = PurePosixPath(member.filename).parts
        strange = member.filename.startswith("/") or ".." in parts or "\\" in member.filename
        if strange or member.is_dir() or parts[:2] not in expected or len(parts) < 3:
            raise InputError(
                f"{source} is refused: {member.filename!r} is of none of its versions."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{source} is refused: {member.filename!r} is a link.")
        target = room.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with file.open(member) as packed, target.open("xb") as unpacked:
            shutil.copyfileobj(packed, unpacked)


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
        RegistryError: the history of aliases cannot be read, and then nothing goes.
    """
    if dry_run:
        return _needless(keep)
    with versions_stay(letting_go=True):
        goes = _needless(keep)
        for tag in goes:
            remove_version(tag)
    clear_staging()
    return goes


def _needless(keep: int) -> list[str]:
    """What `prune` lets go, releases first: none is ever there without its parts."""
    stays = set(releases.ever_pointed_at())
    by_name: dict[str, list[str]] = {}
    parents = {}
    for version in list_versions():
        by_name.setdefault(version.tag.partition(":")[0], []).append(version.tag)
        parents[version.tag] = version.lineage.parents
    for tags in by_name.values():
        stays.update(tags[:keep])
    waiting = list(stays)
    while waiting:
        new = set(parents.get(waiting.pop(), ())) - stays
        stays |= new
        waiting += new
    goes = [tag for tag in parents if tag not in stays]
    return sorted(goes, key=lambda tag: not tag.startswith(f"{releases.NAME}:"))
