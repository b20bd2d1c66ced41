"""Releases travel as one file that is believed in nothing, and what nothing needs is let go."""

import json
import os
import pickle
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines.cli import main
from pipelines.model_registry import registry, release
from pipelines.model_registry.exchange import CONTENTS, export_release, import_release, prune
from pipelines.model_registry.registry import list_versions, open_version, save_version
from tests.test_model_registry import LINEAGE


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
