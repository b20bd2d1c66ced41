"""The model registry: whole versions, whole releases, aliases that cannot lie."""

import dataclasses
import json
import logging
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from feature_repo import places
from pipelines.model_registry import registry, release
from pipelines.model_registry.registry import (
    Lineage,
    RegistryError,
    list_versions,
    open_version,
    save_version,
)

IMPORTS = os.pathsep.join([str(places.PROJECT), str(Path(__file__).parent)])
LINEAGE = Lineage(
    feature_service=None,
    feature_schema_hash=None,
    data_cutoff=date(2020, 9, 16),
    data_hash="d4",
    seed=7,
    settings={"window_days": (7, 30)},
)


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path))
    return tmp_path


def text(content: str = "tree\n") -> Callable[[Path], None]:
    """A model that writes one text file and one in a folder below."""

    def write(folder: Path) -> None:
        (folder / "booster.txt").write_text(content)
        (folder / "words").mkdir()
        (folder / "words" / "colours.json").write_text('["red"]')

    return write


def a_release(content: str = "tree\n") -> str:
    part = save_version("popular", text(content), LINEAGE, {})
    return release.create({"popular": part}, {"k": 12}, LINEAGE, {"MAP@12": 0.2}).tag


def python(
    code: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Run code in a process of its own, on the same shop."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=places.PROJECT,
        env=dict(os.environ if env is None else env) | {"PYTHONPATH": IMPORTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def bentoml(*arguments: str) -> str:
    """BentoML's own command on the same store."""
    done = subprocess.run(
        [Path(sys.executable).with_name("bentoml"), *arguments],
        env=os.environ
        | {"BENTOML_HOME": str(places.models_folder()), "BENTOML_DO_NOT_TRACK": "True"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- versions ---------------------------------------------------------------------------------


def test_a_version_comes_back_as_it_was_saved() -> None:
    before = datetime.now(UTC)
    metrics = {"MAP@12": {"mean": np.float32(0.25), "low": 0.2}, "empty segment": float("nan")}
    tag = save_version("popular", text(), LINEAGE, metrics)

    version = open_version(tag)

    assert re.fullmatch(r"popular:\d{8}-\d{6}-\d{6}-[0-9a-f]{6}", tag)
    assert version.tag == tag
    assert (version.path / "booster.txt").read_text() == "tree\n"
    assert (version.path / "words" / "colours.json").read_text() == '["red"]'
    assert version.lineage == dataclasses.replace(LINEAGE, settings={"window_days": [7, 30]})
    assert version.metrics == {"MAP@12": {"mean": 0.25, "low": 0.2}, "empty segment": None}
    assert before <= version.created <= datetime.now(UTC)


def test_lineage_fills_in_the_commit_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit() -> str:
        return dataclasses.replace(LINEAGE, commit=registry._commit()).commit

    assert LINEAGE.environment["python"].startswith("3.")
    assert {"lightgbm", "bentoml"} <= LINEAGE.environment.keys()

    project = tmp_path / "project"
    (project / "inner").mkdir(parents=True)
    monkeypatch.setattr(places, "PROJECT", project)
    assert commit() == "unknown"
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    assert re.fullmatch(r"[0-9a-f]{40}", commit())
    (project / "model.py").write_text("")
    assert re.fullmatch(r"[0-9a-f]{40}\+dirty", commit())
    monkeypatch.setattr(places, "PROJECT", project / "inner")
    assert commit() == "unknown", "a commit of an outer repository is not ours"


def test_same_files_same_content_hash() -> None:
    first, again, other = (
        open_version(save_version("popular", text(content), LINEAGE, {"n": number}))
        for number, content in enumerate(["a", "a", "b"])
    )
    assert first.tag != again.tag
    assert first.content_hash == again.content_hash != other.content_hash


def test_versions_are_listed_newest_first_and_a_bare_name_is_the_newest() -> None:
    assert list_versions() == []
    old = save_version("popular", text(), LINEAGE, {})
    other = save_version("ranker", text(), LINEAGE, {})
    new = save_version("popular", text(), LINEAGE, {})

    assert [version.tag for version in list_versions()] == [new, other, old]
    assert [version.tag for version in list_versions("popular")] == [new, old]
    assert sorted([new, old]) == [old, new]
    assert open_version("popular").tag == open_version("popular:latest").tag == new


def test_bentoml_shows_the_versions() -> None:
    old = save_version("popular", text(), LINEAGE, {"MAP@12": 0.25, "none": None})
    new = save_version("popular", text(), LINEAGE, {})

    listed = json.loads(bentoml("models", "list", "-o", "json"))
    shown = json.loads(bentoml("models", "get", old, "-o", "json"))

    assert {entry["tag"] for entry in listed} == {old, new}
    assert shown["metadata"]["metrics"] == {"MAP@12": 0.25}
    assert shown["metadata"]["lineage"]["data_cutoff"] == "2020-09-16"
    latest = json.loads(bentoml("models", "get", "popular:latest", "-o", "json"))
    assert f"popular:{latest['version']}" == new
    wrapped = bentoml("models", "get", old, "-o", "path")
    assert "".join(wrapped.split()) == str(open_version(old).path.parent)
    assert [version.tag for version in list_versions()] == [new, old]


def test_saving_touches_no_other_bentoml_home(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BENTOML")}
    home = tmp_path / "person"
    home.mkdir()
    saving = python(
        """
        from test_model_registry import LINEAGE, save_version, text
        save_version("popular", text(), LINEAGE, {})
        """,
        env=env | {"HOME": str(home)},
    )
    assert saving.wait() == 0
    assert list(home.iterdir()) == []
    assert len(list_versions()) == 1


def test_a_failing_write_leaves_no_version() -> None:
    def fails(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_version("popular", fails, LINEAGE, {})
    assert list_versions() == []
    assert list((places.models_folder() / "staging").iterdir()) == []


def test_a_killed_write_leaves_no_version_and_the_store_readable() -> None:
    whole = save_version("popular", text(), LINEAGE, {})
    killed = python("""
        import os, signal
        from test_model_registry import LINEAGE, save_version
        def write(folder):
            (folder / "half.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        save_version("popular", write, LINEAGE, {})
    """)
    assert killed.wait() == -signal.SIGKILL
    assert [version.tag for version in list_versions()] == [whole]
    assert [entry["tag"] for entry in json.loads(bentoml("models", "list", "-o", "json"))] == [
        whole
    ]


def test_a_version_is_whole_from_the_moment_it_can_be_seen() -> None:
    saving = python("""
        from test_model_registry import LINEAGE, save_version
        def write(folder):
            for number in range(500):
                (folder / f"{number}.txt").write_text("text")
        save_version("popular", write, LINEAGE, {})
    """)
    folder = places.models_folder() / "models" / "popular"
    deadline = time.monotonic() + 30
    while not [path for path in folder.glob("*") if path.is_dir()]:
        assert time.monotonic() < deadline
    saving.kill()
    saving.wait()
    assert len(list(open_version("popular").path.iterdir())) == 500


@pytest.mark.parametrize(
    ("name", "write", "lineage", "sentence"),
    [
        ("Two Tower", text(), LINEAGE, "'Two Tower' is not a valid model name"),
        ("../escape", text(), LINEAGE, "'../escape' is not a valid model name"),
        ("popular", lambda folder: None, LINEAGE, "put no file into the folder"),
        (
            "popular",
            text(),
            dataclasses.replace(LINEAGE, settings={"loss": object()}),
            "lineage.settings.loss is a object",
        ),
        (
            "popular",
            lambda folder: (folder / "model.pkl").write_text(""),
            LINEAGE,
            "files/model.pkl is named as a pickle",
        ),
        (
            "popular",
            lambda folder: (folder / "a").symlink_to("/etc/hosts"),
            LINEAGE,
            "files/a is not a plain file",
        ),
    ],
)
def test_what_cannot_be_saved(
    name: str, write: Callable[[Path], None], lineage: Lineage, sentence: str
) -> None:
    with pytest.raises(RegistryError, match=re.escape(sentence)):
        save_version(name, write, lineage, {})
    assert list_versions() == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: flip(f / "files/booster.txt"), "files/booster.txt is corrupted"),
        (
            lambda f: os.truncate(f / "files/booster.txt", 3),
            "files/booster.txt has 3 bytes where 5 were saved",
        ),
        (lambda f: (f / "files/booster.txt").unlink(), "files/booster.txt is missing"),
        (
            lambda f: (f / "files/words/more.txt").write_text(""),
            "files/words/more.txt is not among the files that were saved",
        ),
        (lambda f: (f / "new.txt").write_text(""), "new.txt is not among the files"),
        (lambda f: (f / "custom_objects.pkl").write_text(""), "custom_objects.pkl is named as"),
        (
            lambda f: (
                (f / "files/booster.txt").unlink(),
                (f / "files/booster.txt").symlink_to("/etc/hosts"),
            ),
            "files/booster.txt is not a plain file",
        ),
        (
            lambda f: (f / "model.yaml").write_text("name: x"),
            "model.yaml has 7 bytes where",
        ),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda f: os.truncate(f / "manifest.json", 9), "manifest.json cannot be read"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json cannot be read"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
        (
            lambda f: (f / "manifest.json").write_text(
                (f / "manifest.json").read_text().replace('"seed": 7', '"seed": 8')
            ),
            "manifest.json is corrupted",
        ),
    ],
)
def test_a_damaged_version_is_refused_with_file_and_reason(
    damage: Callable[[Path], None], sentence: str
) -> None:
    tag = save_version("popular", text(), LINEAGE, {})
    damage(open_version(tag).path.parent)
    with pytest.raises(
        RegistryError, match=rf"^{tag} is refused: {re.escape(sentence)}.*; .*\.$"
    ) as caught:
        open_version(tag)
    assert "\n" not in str(caught.value)


def test_a_version_under_another_name_is_refused() -> None:
    tag = save_version("popular", text(), LINEAGE, {})
    folder = open_version(tag).path.parent
    folder.rename(folder.with_name("20200101"))
    with pytest.raises(RegistryError, match=f"belongs to {tag}"):
        open_version("popular:20200101")


def test_one_broken_version_does_not_hide_the_others(caplog: pytest.LogCaptureFixture) -> None:
    broken = save_version("popular", text(), LINEAGE, {})
    whole = save_version("popular", text(), LINEAGE, {})
    (open_version(broken).path.parent / "manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert [version.tag for version in list_versions()] == [whole]
    assert broken in caplog.text


def test_pickles_are_known_by_name_and_by_content(tmp_path: Path) -> None:
    def saved(name: str, content: bytes) -> str:
        return save_version("m", lambda folder: _write(folder / name, content), LINEAGE, {})

    for name in ["a.pickle", "a.JOBLIB", "a.pt", "a.pth", "a.pkl.gz"]:
        with pytest.raises(RegistryError, match=f"files/{name} is named as a pickle"):
            saved(name, b"anything")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        for content in [{"weights": list(range(99))}, 1, None]:
            with pytest.raises(RegistryError, match=r"files/model\.bin begins as a pickle"):
                saved("model.bin", pickle.dumps(content, protocol))
    with zipfile.ZipFile(tmp_path / "state", "w") as archive:
        archive.writestr("archive/data.pkl", "")
    with pytest.raises(RegistryError, match=r"holds a pickle \(archive/data\.pkl\)"):
        saved("state.bin", (tmp_path / "state").read_bytes())

    # The length of a safetensors header can look like a pickle's first bytes.
    safetensors = (0x28_0480).to_bytes(8, "little") + b'{"a":1}'
    assert safetensors[0] == 0x80
    assert saved("weights.safetensors", safetensors)
    with pytest.raises(RegistryError, match="begins as a pickle"):
        saved("weights.bin", safetensors)
    with zipfile.ZipFile(tmp_path / "arrays", "w") as archive:
        archive.writestr("a.npy", "")
    assert saved("arrays.npz", (tmp_path / "arrays").read_bytes())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_an_unknown_tag_names_the_nearest() -> None:
    with pytest.raises(RegistryError, match="nothing is registered yet; run `lookbook train`"):
        open_version("popular")
    tag = save_version("popular", text(), LINEAGE, {})
    save_version("ranker", text(), LINEAGE, {})
    with pytest.raises(RegistryError, match="nearest known are popular"):
        open_version("popullar")
    with pytest.raises(RegistryError, match=f"nearest known are {tag}"):
        open_version("popular:20200101")
    with pytest.raises(RegistryError, match=r"nearest known are popular, ranker\."):
        open_version("zzz:1")


# --- releases ---------------------------------------------------------------------------------


def test_a_release_pins_its_parts() -> None:
    with_features = dataclasses.replace(
        LINEAGE, feature_service="ranking", feature_schema_hash="abc"
    )
    popular = save_version("popular", text(), LINEAGE, {})
    ranker = save_version("gradient_boosting", text(), with_features, {})

    made = release.create(
        {"retriever.popular": "popular", "ranker": ranker},
        {"rerankers": ["diversity"]},
        LINEAGE,
        {"MAP@12": {"mean": 0.2, "low": 0.1, "high": 0.3}},
    )
    save_version("popular", text("later"), LINEAGE, {})

    assert made.parts == {"retriever.popular": popular, "ranker": ranker}
    assert made.feature_services == {"ranking": "abc"}
    assert made.lineage.parents == (popular, ranker)
    assert made.settings == {"rerankers": ["diversity"]}
    assert made.metrics["MAP@12"]["mean"] == 0.2
    assert release.get(made.tag) == made
    assert {role: part.tag for role, part in made.open_parts().items()} == made.parts
    assert made.tag in bentoml("models", "list")


def test_a_release_refuses_parts_that_do_not_fit() -> None:
    def part(**changes: object) -> str:
        return save_version("m", text(), dataclasses.replace(LINEAGE, **changes), {})  # type: ignore[arg-type]

    def refused(sentence: str, **parts: str) -> None:
        with pytest.raises(RegistryError, match=sentence):
            release.create(parts, {}, LINEAGE, {})

    good = part(feature_service="ranking", feature_schema_hash="abc")
    other_schema = part(feature_service="ranking", feature_schema_hash="xyz")
    later = part(data_cutoff=date(2020, 9, 17))
    damaged = part()
    flip(open_version(damaged).path / "booster.txt")

    refused("needs at least one part")
    refused("m:1 is unknown", ranker="m:1")
    refused("files/booster.txt is corrupted", ranker=damaged)
    refused("schema xyz of the feature service ranking", a=good, b=other_schema)
    refused("after the release's cutoff 2020-09-16", ranker=later)
    assert release.list_releases() == []
    nested = release.create({"ranker": good}, {}, LINEAGE, {}).tag
    refused("is itself a release", ranker=nested)


def test_releases_are_listed_with_their_aliases() -> None:
    first, second = a_release("a"), a_release("b")
    release.promote(first)
    release.promote(second)
    release.promote(second, alias="shadow")

    assert [(found.tag, found.aliases) for found in release.list_releases()] == [
        (second, ("production", "shadow")),
        (first, ("previous",)),
    ]
    assert release.list_releases()[0].lineage.data_cutoff == date(2020, 9, 16)
    assert release.list_releases()[0].metrics == {"MAP@12": 0.2}
    assert release.aliases() == {"previous": first, "production": second, "shadow": second}


# --- aliases ----------------------------------------------------------------------------------


def test_promote_moves_production_and_previous() -> None:
    first, second = a_release("a"), a_release("b")
    before = datetime.now(UTC)

    assert release.promote(first, why="first", by="ana").before is None
    assert "previous" not in release.aliases()
    move = release.promote(second, why="better", by="ben")

    assert (move.alias, move.release, move.before) == ("production", second, first)
    assert (move.by, move.why, move.action) == ("ben", "better", "promote")
    assert before <= move.moved_at <= datetime.now(UTC)
    assert str(move) == f"production points at {second}, before at {first} (promote by ben)."
    assert release.resolve("production") == second
    assert release.get("previous").tag == first
    assert release.history()[-1] == move
    assert [row.why for row in release.history("previous")] == ["better"]


def test_promoting_what_is_there_says_so_and_adds_no_row() -> None:
    first = a_release()
    release.promote(first)
    again = release.promote(first)
    assert not again.changed
    assert str(again) == f"production already points at {first}; nothing moved."
    assert len(release.history()) == 1


def test_only_production_moves_previous() -> None:
    first, second = a_release("a"), a_release("b")
    release.promote(first, alias="shadow")
    release.promote(second, alias="shadow")
    assert release.aliases() == {"shadow": second}
    release.promote("shadow")
    assert release.resolve("production") == second
    with pytest.raises(RegistryError, match="previous follows production by itself"):
        release.promote(first, alias="previous")
    with pytest.raises(RegistryError, match="previous follows production by itself"):
        release.rollback("previous")


def test_rollback_undoes_promotions_down_to_the_first() -> None:
    a, b, c, d = (a_release(content) for content in "abcd")
    for tag in (a, b, c):
        release.promote(tag)

    move = release.rollback(why="complaints")
    assert (move.release, move.before, move.action, move.why) == (b, c, "rollback", "complaints")
    assert release.resolve("previous") == c
    release.promote(d)
    assert release.rollback().release == b
    assert release.rollback().release == a
    with pytest.raises(RegistryError, match=f"no earlier release to go back to, {a} is its first"):
        release.rollback()
    with pytest.raises(RegistryError, match="it points at none yet"):
        release.rollback("shadow")

    assert [move.release for move in release.history()] == [a, b, c, b, d, b, a]
    assert release.promote("previous").release == b, "a rollback can be taken back"


def test_a_rollback_is_told_when_someone_moved_the_alias_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b, c = (a_release(content) for content in "abc")
    release.promote(a)
    release.promote(b)
    check_target = release.get

    def someone_promotes_meanwhile(tag: str) -> release.Release:
        monkeypatch.setattr(release, "get", check_target)
        release.promote(c)
        return check_target(tag)

    monkeypatch.setattr(release, "get", someone_promotes_meanwhile)
    with pytest.raises(RegistryError, match="moved by someone else at the same moment"):
        release.rollback()
    assert release.resolve("production") == c


def test_expected_is_compared_and_swapped() -> None:
    a, b = a_release("a"), a_release("b")
    release.promote(a, expected=None)
    with pytest.raises(RegistryError, match=f"production points at {a}, not at nothing"):
        release.promote(b, expected=None)
    with pytest.raises(RegistryError, match=f"production points at {a}, not at {b}"):
        release.promote(b, expected=b)
    assert release.promote(b, expected=a).release == b


def test_an_alias_never_points_at_what_does_not_open() -> None:
    good, bad = a_release("a"), a_release("b")
    release.promote(bad)
    release.promote(good)
    part = open_version(release.get(bad).parts["popular"])
    flip(part.path / "booster.txt")

    for attempt in (lambda: release.promote(bad), release.rollback):
        with pytest.raises(RegistryError, match=r"its popular: .* files/booster.txt is corrupted"):
            attempt()
    for tag, sentence in [
        ("release:20200101", "is unknown"),
        (part.tag, "is a model version, not a release"),
        ("shadow", "No alias 'shadow' exists"),
    ]:
        with pytest.raises(RegistryError, match=sentence):
            release.promote(tag)
    with pytest.raises(RegistryError, match="not a valid alias"):
        release.promote(good, alias="Not Valid")
    assert release.resolve("production") == good
    assert len(release.history()) == 2


def test_an_unknown_alias_lists_the_known() -> None:
    with pytest.raises(RegistryError, match=r"There is no release yet.*lookbook train"):
        release.resolve("production")
    release.promote(a_release(), alias="shadow")
    with pytest.raises(RegistryError, match=r"No alias 'production' exists \(known: shadow\)"):
        release.get("production")


def test_a_damaged_release_is_left_out_of_the_list(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = a_release("a"), a_release("b")
    os.truncate(open_version(bad).path / "release.json", 4)
    foreign = save_version("release", text(), LINEAGE, {})
    with caplog.at_level(logging.WARNING):
        assert [found.tag for found in release.list_releases()] == [good]
    assert bad in caplog.text
    with pytest.raises(RegistryError, match=r"release\.json does not describe a release"):
        release.get(foreign)


def test_history_cannot_be_rewritten_and_a_broken_file_is_named() -> None:
    release.promote(a_release())
    file = places.models_folder() / "aliases.sqlite"
    con = sqlite3.connect(file)
    for statement in ("DELETE FROM moves", "UPDATE moves SET why = 'other'"):
        with pytest.raises(sqlite3.DatabaseError, match="only added to"):
            con.execute(statement)
    con.close()
    file.write_bytes(b"not a database, not at all" * 99)
    with pytest.raises(RegistryError, match=r"aliases\.sqlite cannot be used"):
        release.resolve("production")


def test_resolve_is_fast() -> None:
    release.promote(a_release())
    start = time.perf_counter()
    for _ in range(100):
        release.resolve("production")
    assert (time.perf_counter() - start) / 100 < 0.02


def test_a_kill_between_the_two_rows_of_a_promotion_moves_nothing() -> None:
    first, second = a_release("a"), a_release("b")
    release.promote(first)
    killed = python(
        """
        import os, signal, sys
        from pipelines.model_registry import release
        insert, done = release._insert, []
        def insert_or_die(*arguments):
            if done:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(insert(*arguments))
            return done[0]
        release._insert = insert_or_die
        release.promote(sys.argv[1])
        """,
        second,
    )
    assert killed.wait() == -signal.SIGKILL
    assert release.aliases() == {"production": first}
    release.promote(second)
    assert release.aliases() == {"production": second, "previous": first}


def test_two_promotions_at_once_one_wins_and_the_other_is_told() -> None:
    first, *rivals = (a_release(content) for content in "abc")
    release.promote(first)
    code = """
        import sys
        from pipelines.model_registry import release
        try:
            print(release.promote(sys.argv[1], expected=sys.argv[2]))
        except release.RegistryError as error:
            print(error)
    """
    told = [process.communicate()[0] for process in [python(code, tag, first) for tag in rivals]]
    assert sum("points at" in line and "before at" in line for line in told) == 1
    assert sum("as expected" in line for line in told) == 1
    assert len(release.history()) == 2


def test_history_is_whole_after_promotions_and_kills_from_four_processes() -> None:
    tags = [a_release(content) for content in "abcde"]
    code = """
        import sys
        from pipelines.model_registry import release
        worker, turns, *tags = sys.argv[1:]
        for turn in range(int(turns)):
            try:
                if turn % 5 == 4:
                    move = release.rollback(by=worker, why=str(turn))
                else:
                    move = release.promote(tags[(turn + int(worker)) % 5], by=worker, why=str(turn))
            except release.RegistryError as refused:
                assert "moved by someone else" in str(refused) or "no earlier" in str(refused)
                continue
            if move.changed:
                print(move.seq, move.release, flush=True)
    """
    endless = "1000000"
    workers = [
        python(code, str(number), endless if number in (1, 3) else "130", *tags)
        for number in range(4)
    ]
    reported: list[tuple[int, str, str]] = []
    for number in (1, 3):  # killed wherever they are, some moves later
        output = workers[number].stdout
        assert output is not None
        lines = [output.readline() for _ in range(10 * number)]
        workers[number].kill()
        lines += output.readlines()
        reported += [(int(line.split()[0]), line.split()[1], str(number)) for line in lines if line]
        assert workers[number].wait() == -signal.SIGKILL
    while any(worker.poll() is None for worker in workers):
        # One release, and a whole one.
        assert release.get("production").open_parts()
        time.sleep(0.02)
    for number in (0, 2):
        printed, errors = workers[number].communicate()
        assert workers[number].returncode == 0, errors
        reported += [
            (int(line.split()[0]), line.split()[1], str(number)) for line in printed.splitlines()
        ]

    moves = release.history()
    assert len(moves) >= 200
    assert {(seq, tag, by) for seq, tag, by in reported} <= {
        (move.seq, move.release, move.by) for move in moves
    }
    assert [move.before for move in moves] == [None, *(move.release for move in moves[:-1])]
    assert all(move.changed for move in moves)
    assert [(move.release, move.by, move.why) for move in release.history("previous")] == [
        (move.before, move.by, move.why) for move in moves[1:]
    ]
    assert release.aliases() == {"production": moves[-1].release, "previous": moves[-1].before}

    standing: list[str] = []
    for move in moves:
        if move.action == "promote":
            standing.append(move.release)
        else:
            standing.pop()
            assert standing[-1] == move.release
