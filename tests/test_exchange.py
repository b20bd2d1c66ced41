"""Releases travel as one file that is believed in nothing, and what nothing needs is let go."""

import hashlib
import io
import json
import os
import pickle
import shutil
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from pipelines.cli import main
from pipelines.model_registry import exchange, registry, release
from pipelines.model_registry.exchange import CONTENTS, export_release, import_release, prune
from pipelines.model_registry.registry import (
    RegistryError,
    list_versions,
    open_version,
    save_version,
)
from tests.test_model_registry import LINEAGE, bentoml


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "here"))
    return tmp_path / "here"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes another, empty home the one in use."""
    return lambda: monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "elsewhere"))


def part(name: str, content: str = "tree\n") -> str:
    def write(folder: Path) -> None:
        (folder / "model.txt").write_text(content)
        (folder / "words").mkdir()
        (folder / "words" / "colours.json").write_text('["red"]')

    return save_version(name, write, LINEAGE, {})


def a_release(content: str = "tree\n") -> release.Release:
    parts = {name: part(name, content) for name in ("popular", "ease")}
    return release.create(parts, {"k": 12}, LINEAGE, {"MAP@12": 0.2})


@pytest.fixture
def carried(tmp_path: Path, elsewhere: Callable[[], None]) -> tuple[Path, str]:
    """The file of a release, seen from an empty home, and the folder of one of its parts in it."""
    made = a_release()
    file = tmp_path / "release.zip"
    export_release(made.tag, file)
    elsewhere()
    return file, made.parts["popular"].replace(":", "/")


def with_more(file: Path, member: str | zipfile.ZipInfo, content: str) -> Path:
    """The file with one more member."""
    other = shutil.copy(file, file.with_name("other.zip"))
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr(member, content)
    return Path(other)


def rewritten(file: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The file with each member changed; None leaves it out."""
    other = file.with_name("other.zip")
    with zipfile.ZipFile(file) as read, zipfile.ZipFile(other, "w") as write:
        for name in read.namelist():
            content = change(name, read.read(name))
            if content is not None:
                write.writestr(name, content)
    return other


def forged(
    file: Path,
    folder: str,
    change: Callable[[dict[str, Any]], object] = lambda record: None,
    files: Mapping[str, bytes | None] = {},
    called: str = "",
) -> Path:
    """The file with one version changed by somebody who also makes its record right.

    Args:
        folder: of the version.
        change: of its record.
        files: new contents of files of the model, None takes one away.
        called: another version than the one in `folder`.
    """
    with zipfile.ZipFile(file) as read:
        members = {name: read.read(name) for name in read.namelist()}
    record = json.loads(members.pop(f"{folder}/manifest.json"))
    record.pop("checksum")
    for name, content in files.items():
        members.pop(f"{folder}/{name}", None)
        record["files"].pop(name, None)
        if content is not None:
            members[f"{folder}/{name}"] = content
            digest = hashlib.sha256(content).hexdigest()
            record["files"][name] = {"size": len(content), "sha256": digest}
    model = {name: said for name, said in record["files"].items() if name != "model.yaml"}
    record["content_hash"] = registry._hash(model)
    name, _, version = folder.partition("/")
    if called:
        record["tag"] = f"{name}:{called}"
        members[CONTENTS] = members[CONTENTS].replace(version.encode(), called.encode())
    change(record)
    record["checksum"] = registry._hash(record)
    members[f"{folder}/manifest.json"] = json.dumps(record).encode()
    other = file.with_name("forged.zip")
    with zipfile.ZipFile(other, "w") as write:
        for member, content in members.items():
            write.writestr(member.replace(folder, f"{name}/{called or version}"), content)
    return other


def tag_of(file: Path) -> str:
    with zipfile.ZipFile(file) as read:
        return str(json.loads(read.read(CONTENTS))["versions"][-1])


def test_a_release_is_the_same_elsewhere(tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    made = a_release()
    release.promote(made.tag)
    assert export_release("production", tmp_path / "release.zip") == made.tag
    hashes = {role: version.content_hash for role, version in made.open_parts().items()}
    elsewhere()
    assert not list_versions()
    tag, taken = import_release(tmp_path / "release.zip")
    assert tag == made.tag
    assert set(taken) == {*made.parts.values(), made.tag}
    found = release.get(tag)
    assert found.parts == made.parts
    assert found.lineage == made.lineage
    assert {r: v.content_hash for r, v in found.open_parts().items()} == hashes
    assert release.aliases() == {}
    assert import_release(tmp_path / "release.zip") == (tag, [])
    release.promote(tag)
    assert not list((places.models_folder() / "staging").iterdir())


def test_every_bit_that_is_another_is_refused_and_nothing_of_it_stays(
    carried: tuple[Path, str], tmp_path: Path
) -> None:
    file, popular = carried

    def refused(change: Callable[[str, bytes], bytes | None], said: str) -> None:
        with pytest.raises(LookbookError, match=said):
            import_release(rewritten(file, change))
        assert not release.list_releases()
        assert not list((places.models_folder() / "staging").iterdir())
        shutil.rmtree(places.models_folder())

    name = f"{popular}/files/model.txt"
    refused(lambda n, c: b"twig\n" if n == name else c, r"popular:.*model.txt is corrupted")
    refused(lambda n, c: b"" if n == name else c, r"model.txt has 0 bytes where 5 were saved")
    refused(lambda n, c: None if n == name else c, r"model.txt is missing")
    refused(
        lambda n, c: c.replace(b"d4", b"d5") if n == f"{popular}/manifest.json" else c,
        r"popular:.*manifest.json is corrupted",
    )
    refused(lambda n, c: None if n.startswith(popular) else c, r"does not hold it")
    whole = file.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.zip").write_bytes(whole[:size])
        with pytest.raises(LookbookError, match="is no release, or damaged"):
            import_release(tmp_path / "cut.zip")
        assert not list_versions()


def test_what_lies_outside_of_its_versions_is_refused(
    carried: tuple[Path, str], tmp_path: Path
) -> None:
    file, popular = carried
    for name in (
        "../evil.txt",
        "/tmp/evil.txt",
        f"{popular}/../../evil.txt",
        "stranger/1/files/model.txt",
        "readme.txt",
        f"{popular}\\..\\evil.txt",
    ):
        other = with_more(file, name, "evil")
        with pytest.raises(LookbookError, match="is of none of its versions"):
            import_release(other)
    other = with_more(file, f"{popular}/files/more.txt", "foreign")
    with pytest.raises(
        LookbookError, match=r"files/more.txt is not among the files that were saved"
    ):
        import_release(other)
    link = zipfile.ZipInfo(f"{popular}/files/link")
    link.external_attr = 0o120777 << 16
    other = with_more(file, link, "/etc/passwd")
    with pytest.raises(LookbookError, match="is a link"):
        import_release(other)
    assert not list_versions()
    for text, said in (
        ("[]", "is no release"),
        ('{"format": 2, "versions": []}', "of format 2"),
        ('{"format": 1, "versions": []}', "it holds no release"),
        ('{"format": 1, "versions": ["../x:1"]}', "is no tag"),
        ('{"format": 1, "versions": ["popular:.."]}', "it holds no release"),
        ('{"format": 1, "versions": ["release:1"]}', "none of its versions"),
    ):
        changed = rewritten(file, lambda n, c, text=text: text.encode() if n == CONTENTS else c)  # type: ignore[misc]
        with pytest.raises(LookbookError, match=said):
            import_release(changed)
    assert not list_versions()


def test_a_pickle_in_a_release_is_refused_though_its_record_is_right(
    carried: tuple[Path, str], tmp_path: Path
) -> None:
    """Whoever forges a release can forge its checksums too."""
    file, popular = carried
    evil = pickle.dumps({"run": print})

    def forged(name: str, content: bytes) -> bytes:
        if name == f"{popular}/files/model.txt":
            return evil
        if name == f"{popular}/manifest.json":
            record = json.loads(content)
            record.pop("checksum")
            record["files"]["files/model.txt"] = {
                "size": len(evil),
                "sha256": registry.hashlib.sha256(evil).hexdigest(),
            }
            record["checksum"] = registry._hash(record)
            return json.dumps(record).encode()
        return content

    with pytest.raises(LookbookError, match=r"model.txt begins as a pickle"):
        import_release(rewritten(file, forged))
    assert not list_versions()


def test_two_versions_of_one_tag_do_not_replace_each_other(tmp_path: Path) -> None:
    made = a_release()
    file = tmp_path / "release.zip"
    export_release(made.tag, file)
    name, version = made.parts["popular"].split(":")
    folder = places.models_folder() / "models" / name / version
    shutil.rmtree(folder)
    other = part("popular", "another\n")
    (folder.parent / other.split(":")[1]).rename(folder)
    record = json.loads((folder / registry.MANIFEST).read_text())
    record.pop("checksum")
    record["tag"] = made.parts["popular"]
    record["checksum"] = registry._hash(record)
    (folder / registry.MANIFEST).write_text(json.dumps(record))
    with pytest.raises(LookbookError, match="another version has this tag"):
        import_release(file)


def test_what_an_alias_or_its_history_needs_never_goes() -> None:
    made = [a_release(f"tree {n}\n") for n in range(6)]
    loose = part("popular", "loose\n")
    for found in made[:3]:
        release.promote(found.tag)
    release.rollback()
    release.promote(made[0].tag, "shadow")
    needed = {tag for found in (*made[:3], made[5]) for tag in (found.tag, *found.parts.values())}
    needed |= {loose}
    would = prune(keep=1, dry_run=True)
    assert len(list_versions()) == 6 * 3 + 1
    gone = prune(keep=1)
    assert gone == would
    assert {version.tag for version in list_versions()} == needed
    assert {tag for found in made[3:5] for tag in (found.tag, *found.parts.values())} == set(gone)
    for found in (*made[:3], made[5]):
        release.get(found.tag).open_parts()
    assert open_version("popular").tag == loose
    assert prune(keep=1) == []
    assert not list((places.models_folder() / "staging").iterdir())


def test_the_verbs(tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    def lookbook(*words: str) -> str:
        done = CliRunner().invoke(main, ["release", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    made = a_release()
    release.promote(made.tag)
    file = str(tmp_path / "release.zip")
    assert made.tag in lookbook("export", "--out", file)
    assert "0 versions would go" in lookbook("prune", "--dry-run")
    elsewhere()
    assert "3 versions taken in" in lookbook("import", file)
    assert "it was here already" in lookbook("import", file)
    release.promote(made.tag)
    assert "0 versions gone" in lookbook("prune")
    (tmp_path / "text.zip").write_text("no zip")
    done = CliRunner().invoke(main, ["release", "import", str(tmp_path / "text.zip")])
    assert done.exit_code == 1
    assert "is no release, or damaged" in done.output


def test_nothing_goes_while_it_is_chosen_and_what_a_kill_left_goes_later(here: Path) -> None:
    old = time.time() - 2 * 86_400
    for name, moment in (("killed", old), ("at work", time.time())):
        (here / "models" / "staging" / name).mkdir(parents=True)
        os.utime(here / "models" / "staging" / name, (moment, moment))
    first, second = a_release().tag, a_release("other\n").tag
    release.promote(second)
    assert first in prune(1, dry_run=True)
    # Somebody is about to point at a release that would go.
    pruning = threading.Thread(target=lambda: prune(1))
    with registry.versions_stay():
        pruning.start()
        pruning.join(0.3)
        assert pruning.is_alive()
        release.promote(first, "shadow")
    pruning.join(20)
    assert {found.tag for found in release.list_releases()} == {first, second}
    assert [file.name for file in (here / "models" / "staging").iterdir()] == ["at work"]


def test_nothing_goes_when_it_is_not_known_what_is_needed(here: Path) -> None:
    made = [a_release(f"tree {n}\n").tag for n in range(4)]
    everything = sorted(version.tag for version in list_versions())

    def refused(said: str) -> None:
        for dry_run in (True, False):
            with pytest.raises(RegistryError, match=rf"^Nothing is let go: {said}.*\.$"):
                prune(1, dry_run=dry_run)

    refused("no alias ever pointed at a release")
    release.promote(made[0])
    manifest = open_version(made[0]).path.parent / registry.MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:100])
    refused(f"{made[0]} is refused: manifest.json cannot be read")
    manifest.write_bytes(whole)
    manifest.parent.rename(here / "aside")
    refused(f"an alias points or pointed at {made[0]}, which is not there")
    (here / "aside").rename(manifest.parent)
    history = here / "models" / "aliases.sqlite"
    history.rename(here / "aside")
    refused("no alias ever pointed at a release")
    (here / "aside").replace(history)
    assert sorted(version.tag for version in list_versions()) == everything
    assert len(prune(1)) == 2 * 3
    assert release.get("production").open_parts()


def test_a_forged_record_breaks_nothing(carried: tuple[Path, str]) -> None:
    """Its checksums are right, as whoever forges them would have it."""
    file, popular = carried
    of_release = tag_of(file).replace(":", "/")
    late = datetime.now(UTC) + timedelta(days=2)

    def refused(said: str, *arguments: Any, folder: str = popular, **named: Any) -> None:
        with pytest.raises(LookbookError, match=said) as caught:
            import_release(forged(file, folder, *arguments, **named))
        assert "\n" not in str(caught.value)
        assert list_versions() == []

    def say(**said: Any) -> Callable[[dict[str, Any]], object]:
        return lambda record: record.update(said)

    no_version = r"manifest.json does not describe a version"
    refused(no_version, lambda record: record["lineage"].update(mood="good"))
    for left_out in ("lineage", "files", "created", "metrics"):
        refused(rf"{no_version} \(KeyError\('{left_out}", lambda r, key=left_out: r.pop(key))
    refused(no_version, say(files={"files/model.txt": {}}))
    refused(no_version, say(metrics=[]))
    refused(no_version, lambda record: record["lineage"].update(settings=None))
    refused("created 2020-09-16 .* is not in UTC", say(created="2020-09-16"))
    refused("belongs to None", lambda record: record.pop("tag"))
    refused("not made of the moment", say(created="2020-09-16T00:00:00+00:00"))
    refused("content hash is not that of its files", say(content_hash="0"))
    for name in ("latest", "zzzz", "9990101-000000-000000-abcdef"):
        refused("not made of the moment", folder=of_release, called=name)
    for moment in (late, late.replace(year=9999)):
        later = f"{moment:%Y%m%d-%H%M%S-%f}-abcdef"
        said = say(created=moment.isoformat())
        refused("is still to come", said, folder=of_release, called=later)
    refused("BentoML cannot read its model.yaml", files={"model.yaml": None})
    refused("BentoML cannot read its model.yaml", files={"model.yaml": b"name: [\n"})
    refused("does not hold just", lambda r: r["lineage"].update(parents=[]), folder=of_release)
    for content in (b"[]", b'{"parts": []}', b"[" * 99_999):
        files = {"files/release.json": content}
        refused("does not describe a release", folder=of_release, files=files)

    tag, _ = import_release(file)
    assert tag in bentoml("models", "list")
    assert release.list_releases()[0].tag == tag


def test_a_release_comes_with_its_parts_and_nothing_else(carried: tuple[Path, str]) -> None:
    file, popular = carried

    def with_fewer(name: str, content: bytes) -> bytes | None:
        if name == CONTENTS:
            said = json.loads(content)
            said["versions"].remove(popular.replace("/", ":"))
            return json.dumps(said).encode()
        return None if name.startswith(popular) else content

    with pytest.raises(InputError, match="does not hold just release:"):
        import_release(rewritten(file, with_fewer))
    assert list_versions() == []


def test_only_what_models_write_is_taken(carried: tuple[Path, str], tmp_path: Path) -> None:
    file, popular = carried
    with zipfile.ZipFile(tmp_path / "state", "w") as archive:
        archive.writestr("archive/data.pkl", "")
    objects, objects_zipped = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([print], dtype=object))
    np.savez(objects_zipped, n=np.arange(3), evil=np.array([print], dtype=object))
    for name, content in (
        ("extra.bin", pickle.dumps({"run": print}, protocol=0)),
        ("extra.gz", b"\x1f\x8b"),
        ("extra.zip", b"0000" + (tmp_path / "state").read_bytes()),
        ("extra", b""),
    ):
        with pytest.raises(RegistryError, match=rf"files/{name} is of no kind that a model writes"):
            import_release(forged(file, popular, files={f"files/{name}": content}))
    with pytest.raises(RegistryError, match=r"more\.json is of no kind"):
        import_release(forged(file, popular, files={"more.json": b"{}"}))
    for name, content in (
        ("a.npy", objects.getvalue()),
        ("a.npz", objects_zipped.getvalue()),
        ("a.npz", b"0000" + (tmp_path / "state").read_bytes()),
        ("a.npy", pickle.dumps({"run": print}, protocol=0)),
        ("a.npz", b""),
    ):
        with pytest.raises(RegistryError, match=rf"files/{name} does not hold arrays of numbers"):
            import_release(forged(file, popular, files={f"files/{name}": content}))
    assert list_versions() == []
    numbers, numbers_zipped = io.BytesIO(), io.BytesIO()
    np.save(numbers, np.arange(3))
    np.savez(numbers_zipped, n=np.arange(3), names=np.array(["red", "blue"]))
    files = {"files/a.npy": numbers.getvalue(), "files/a.npz": numbers_zipped.getvalue()}
    import_release(forged(file, popular, files=files))
    assert len(list_versions()) == 3


def test_a_file_that_cannot_be_unpacked_is_refused_in_a_sentence(
    carried: tuple[Path, str], tmp_path: Path
) -> None:
    file, popular = carried

    def refused(source: Path, said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            import_release(source)
        assert "\n" not in str(caught.value)
        assert list_versions() == []

    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = with_more(file, f"{popular}/files/model.txt", "again")
    refused(twice, r"model.txt' cannot be unpacked \(File exists\)")
    below_a_file = with_more(file, f"{popular}/files/model.txt/below.txt", "")
    refused(below_a_file, r"below.txt' cannot be unpacked \(File exists\)")
    long = with_more(file, f"{popular}/files/{'x' * 300}", "")
    refused(long, r"cannot be unpacked \(File name too long\)")
    refused(with_more(file, f"{popular}/{'a/' * 900}b.txt", ""), "is of none of its versions")
    refused(tmp_path, r"damaged \(Is a directory\)")
    refused(tmp_path / "none.zip", r"damaged \(No such file")
    with zipfile.ZipFile(file) as read:
        member = read.getinfo(f"{popular}/manifest.json")
    content = bytearray(file.read_bytes())
    start = member.header_offset + 30 + len(member.filename) + 8
    content[start : start + 60] = b"\xff" * 60
    (tmp_path / "noise.zip").write_bytes(content)
    refused(tmp_path / "noise.zip", "is no release, or damaged .*invalid")


def test_a_bomb_is_refused_before_it_is_unpacked(carried: tuple[Path, str], tmp_path: Path) -> None:
    _, popular = carried
    bomb = tmp_path / "bomb.zip"
    zeros = bytes(100 * 2**20)
    for name in (CONTENTS, f"{popular}/manifest.json", f"{popular}/model.yaml"):
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(name, zeros)
        with pytest.raises(InputError, match=rf"{name}' has 104,857,600 bytes, more than"):
            import_release(bomb)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(CONTENTS, "{}")
    with pytest.raises(InputError, match="packed in another way than by deflating"):
        import_release(bomb)
    # It says that it is small.
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(CONTENTS, zeros)
    content = bomb.read_bytes().replace(
        len(zeros).to_bytes(4, "little"), (99).to_bytes(4, "little")
    )
    bomb.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match="is no release"):
        import_release(bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 * 2**20


def test_export_and_lists_beside_prune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = [a_release(f"tree {n}\n") for n in range(3)]
    release.promote(made[2].tag)
    pruning = threading.Thread(target=lambda: prune(1))
    read_folder = exchange.version_folder

    def prune_meanwhile(tag: str) -> Path:
        if not pruning.is_alive():
            pruning.start()
            monkeypatch.setattr(exchange, "version_folder", read_folder)
        pruning.join(0.3)
        assert pruning.is_alive(), "it waits for the export"
        return read_folder(tag)

    monkeypatch.setattr(exchange, "version_folder", prune_meanwhile)
    assert export_release(made[0].tag, tmp_path / "release.zip") == made[0].tag
    pruning.join(20)
    assert [found.tag for found in release.list_releases()] == [made[2].tag]

    other = a_release("other\n")
    monkeypatch.setattr(exchange, "version_folder", read_folder)
    read_manifest, walk = registry._read_manifest, registry._walk

    def let_go(folder: Path) -> None:
        monkeypatch.undo()
        monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "here"))
        registry.remove_version(f"{folder.parent.name}:{folder.name}")

    def gone_before(folder: Path) -> Any:
        if folder.name == other.tag.partition(":")[2]:
            let_go(folder)
        return read_manifest(folder)

    monkeypatch.setattr(registry, "_read_manifest", gone_before)
    assert [found.tag for found in release.list_releases()] == [made[2].tag]

    other = a_release("another\n")

    def gone_after(folder: Path) -> Any:
        for path in walk(folder):
            if folder.name == other.tag.partition(":")[2] and path.name == release.FILE:
                let_go(folder)
            yield path

    monkeypatch.setattr(registry, "_walk", gone_after)
    assert [found.tag for found in release.list_releases()] == [made[2].tag]
    assert caplog.text == ""
