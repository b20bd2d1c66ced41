"""Gates: each refuses a release that is made to fail it, and says why; what they said stays."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.stores import point_in_time
from pipelines import features
from pipelines.cli import main
from pipelines.evaluation.weekly import evaluate
from pipelines.model_catalog import DEFAULT, GATES, RELEASE, ReleaseSettings, read_release
from pipelines.model_registry import composing, evidence, gates, publishing, registry, release
from pipelines.model_registry.registry import RegistryError, open_version, save_version
from pipelines.nearest import Index
from pipelines.warehouse import reading

POOR = ReleaseSettings(
    per_source={"popular": 12},
    ranker="logistic_regression",
    training_weeks=1,
    training_customers=100,
)
"""Everybody is shown the same twelve articles."""
ON_THIS = {"quality": {"weeks": 1, "customers": 400}}
"""Of a shop as small as this."""


@pytest.fixture(scope="module")
def two(built_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the shop with a poor release that nobody has promoted, and its evaluation against production."""
    home = tmp_path_factory.mktemp("two") / "home"
    shutil.copytree(built_shop, home)
    with at(home):
        cutoff = release.get("production").lineage.data_cutoff
        publishing.train(cutoff, ["popular", "logistic_regression"], POOR)
        made = made_of(POOR, ON_THIS)
        (home / "poor").write_text(made.tag)
        assert not gates.check(made.tag).passed
    return home


@pytest.fixture
def home(two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it."""
    shutil.copytree(two, tmp_path / "home")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def poor(home: Path) -> str:
    return (home / "poor").read_text()


@contextmanager
def at(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(home))
        yield


def made_of(
    settings: ReleaseSettings,
    asked: Mapping[str, Mapping[str, Any]],
    tags: dict[str, str] | None = None,
) -> release.Release:
    """A release that asks for these gates alone."""
    return composing.create_release(tags, settings=replace(settings, gates=asked))


def like_production(asked: Mapping[str, Mapping[str, Any]]) -> release.Release:
    now = release.get("production")
    parts = dict(now.parts.items())
    return made_of(composing.recorded_settings("it", now.settings, ""), asked, parts)


def only(tag: str) -> gates.Result:
    (result,) = gates.check(tag).results
    return result


def refused(tag: str, gate: str) -> str:
    """What is said when it is to come into production, where it does not come."""
    before = release.aliases()
    with pytest.raises(gates.GateError, match=rf"^{tag} does not pass .*{gate}: ") as error:
        gates.promote(tag)
    assert release.aliases() == before
    return str(error.value)


# Quality, on the same customers and weeks


def test_a_worse_release_is_refused_with_its_interval(home: Path, poor: str) -> None:
    said: list[str] = []
    found = gates.check(poor, progress=said.append)
    assert (found.release, found.against) == (poor, release.resolve("production"))
    # It was judged when the shop was made, and is not again.
    assert not [text for text in said if text.startswith("judging")]
    assert [one.gate for one in found.failed] == ["quality"]
    assert f"of like:{found.against}: -0." in found.failed[0].figure
    assert found.failed[0].needed.startswith("at most 5.0% below production, with 95% certainty")
    assert "quality: MAP@12 0." in refused(poor, "quality")
    assert f"release promote {poor} --force --why" in refused(poor, "quality")


def test_groups_and_coverage_have_floors(home: Path) -> None:
    # Groups are as large as they are here; the evaluation that is kept is the same.
    asked = {
        **ON_THIS,
        "segments": {"of_all": 0.9, "may_lose": 0.0, "customers": 10},
        "coverage": {"least": 0.2},
    }
    tag = made_of(POOR, asked).tag
    found = {one.gate: one for one in gates.check(tag).results}
    assert not found["coverage"].passed
    assert not found["segments"].passed
    # Twelve of the articles on sale.
    assert found["coverage"].figure.endswith("% of the articles on sale are shown")
    assert "at least 20.0%" in refused(tag, "coverage")
    evaluation, _ = gates._Subject(release.get(tag), None, str).evaluation(compared=True)
    of_all = evaluation["models"]["release"]["MAP@12"]["mean"]
    large = {
        f"{kind} {group}": one
        for kind, groups in evaluation["segments"].items()
        for group, one in groups.items()
        if one["customers"] >= 10
    }
    low = {
        g for g, one in large.items() if one["models"]["release"]["MAP@12"]["mean"] < 0.9 * of_all
    }
    lost = {g for g, one in large.items() if one["differences"]["release"]["MAP@12"]["high"] < 0}
    assert low
    assert low != set(large)
    for group in large:
        assert (f"{group} has 0." in found["segments"].figure) == (group in low)
        assert (f"{group} has lost 0." in found["segments"].figure) == (group in lost)


def test_the_same_parts_as_in_production_pass(home: Path) -> None:
    tag = like_production({"quality": {}}).tag
    assert only(tag).figure == f"the same parts as {release.resolve('production')}"
    move = gates.promote(tag, why="the same")
    assert move.gates is not None
    assert (move.release, move.gates["passed"], move.gates["forced"]) == (tag, True, False)
    # It stays, also after it has been taken back.
    release.rollback()
    (kept,) = [one for one in release.history() if one.release == tag]
    assert kept == move
    assert [one.gates for one in release.history("previous")] == [None, None]


def test_production_is_judged_as_it_is_on_weeks_it_has_not_seen(home: Path) -> None:
    now = release.get("production")
    cutoff = now.lineage.data_cutoff
    small = replace(POOR, per_source={"repurchase": 20, "popular": 12})
    publishing.train(cutoff - timedelta(days=7), settings=small)
    old = made_of(small, {})
    gates.promote(old.tag)
    publishing.train(cutoff, settings=small)
    new = made_of(small, {"quality": {"weeks": 4, "customers": 400}})
    said: list[str] = []
    (result,) = gates.check(new.tag, progress=said.append).results
    assert f"judging release and {old.tag} on 1 week" in said
    # Learned from the same days before that week, and by the same code: the same lists.
    assert result.passed
    assert f"of {old.tag}: +0.0000 [+0.0000, +0.0000], 1 week" in result.figure


def test_an_evaluation_of_another_release_is_refused(home: Path, poor: str) -> None:
    last = release.get("production").lineage.data_cutoff - timedelta(days=1)
    names = ["release", "like:production"]
    judged = evaluate(last, weeks=1, models=names, settings=POOR, base="like:production").to_dict()
    judged = json.loads(json.dumps(judged))
    assert judged["releases"] == {"like:production": release.resolve("production")}
    (result,) = gates.check(poor, judged).results
    assert not result.passed
    assert "1 week" in result.figure
    for name, value in (("data_hash", "other"), ("release_ranker", "deep_fm")):
        with pytest.raises(RegistryError, match="does not judge release:"):
            gates.check(poor, {**judged, name: value})


def test_chances_that_are_wrong_are_refused(home: Path) -> None:
    cutoff = release.get("production").lineage.data_cutoff
    publishing.train(cutoff - timedelta(days=7), settings=POOR)
    honest = open_version("logistic_regression")

    def write(folder: Path) -> None:
        shutil.copytree(honest.path, folder, dirs_exist_ok=True)
        (file,) = [one for one in folder.glob("*.json") if "calibrations" in one.read_text()]
        said = json.loads(file.read_text())
        curve = said["calibrations"]["purchase"]
        curve["chances"] = [min(3 * chance, 0.99) for chance in curve["chances"]]
        file.write_text(json.dumps(said))

    wrong = save_version("logistic_regression", write, honest.lineage, {})
    figures = {}
    for tag in (honest.tag, wrong):
        made = made_of(
            POOR,
            {"calibration": {"least": 0.1, "most": 1.2, "entropy": 9}},
            {"logistic_regression": tag},
        )
        judged = evaluate(cutoff - timedelta(days=1), weeks=1, models=[made.tag]).to_dict()
        (result,) = gates.check(made.tag, judged).results
        figures[tag] = result
    assert figures[honest.tag].passed
    assert not figures[wrong].passed
    ratios = [float(one.figure.split()[0]) for one in figures.values()]
    assert ratios[1] == pytest.approx(3 * ratios[0], rel=0.05)


def upside_down(tag: str) -> str:
    """A version of a logistic regression that puts last what this puts first."""
    from safetensors.numpy import load_file, save_file

    honest = open_version(tag)

    def write(folder: Path) -> None:
        shutil.copytree(honest.path, folder, dirs_exist_ok=True)
        (file,) = folder.glob("*.safetensors")
        saved = load_file(file)
        turned = {n: -value if n.startswith("linear") else value for n, value in saved.items()}
        save_file(turned, file)

    return save_version("logistic_regression", write, honest.lineage, {})


def test_parts_that_are_not_what_was_judged_are_refused(home: Path, poor: str) -> None:
    """Of the same declaration, data and seed; a ranker that is upside down is told by its answers."""
    settings = replace(POOR, per_source={"repurchase": 20, "popular": 12})
    cutoff = release.get("production").lineage.data_cutoff
    publishing.train(cutoff, settings=settings)
    last = cutoff - timedelta(days=1)
    judged = evaluate(last, weeks=1, models=["release"], settings=settings).to_dict()
    asked = {
        "parts": {"may_lose": 0.1, "customers": 400},
        "quality": {**ON_THIS["quality"], "may_lose": 1.0},
    }
    found = {}
    honest = open_version("logistic_regression").tag
    for tag in (honest, upside_down(honest)):
        made = composing.create_release(
            {"logistic_regression": tag}, judged, replace(settings, gates=asked)
        )
        found[tag] = {one.gate: one for one in gates.check(made.tag).results}
    assert found[honest].pop("parts").passed
    (_, wrong) = found.values()
    assert not wrong["parts"].passed
    assert "and of its declaration 0." in wrong["parts"].figure
    # It is not taken for the one in production, though it is declared and trained alike.
    release.promote(release.list_releases()[1].tag)
    assert "the same parts" not in gates.check(made.tag).results[1].figure


def test_a_retriever_of_other_settings_is_compared_with_what_it_was(home: Path) -> None:
    settings = replace(POOR, per_source={"repurchase": 20})
    cutoff = release.get("production").lineage.data_cutoff
    publishing.train(cutoff, settings=settings)
    gates.promote(made_of(settings, {}).tag)
    # What sells no longer is named as what sells ever more.
    other = replace(settings, retriever_settings={"repurchase": {"trend": 0.0}})
    publishing.train(cutoff, settings=other)
    result = only(made_of(other, {"quality": {**ON_THIS["quality"], "may_lose": 1.0}}).tag)
    assert " of like:release:" in result.figure
    assert "[+0.0000, +0.0000]" not in result.figure


def test_an_evaluation_of_another_declaration_says_nothing(home: Path, poor: str) -> None:
    last = release.get("production").lineage.data_cutoff - timedelta(days=1)
    judged = evaluate(last, weeks=1, models=["release"]).to_dict()
    with pytest.raises(RegistryError, match=r"does not judge .* its per_source is|does not judge"):
        gates.check(poor, judged)
    with pytest.raises(RegistryError, match="does not judge this release, for its per_source is"):
        composing.create_release({}, {**judged, "release_ranker": "logistic_regression"}, POOR)
    own = evaluate(last, weeks=1, models=["release"], settings=POOR).to_dict()
    for lacking in ("declared", "data_hash"):
        with pytest.raises(RegistryError, match="does not judge"):
            gates.check(poor, {n: v for n, v in own.items() if n != lacking})
    # Of too few, it is measured anew.
    few = evaluate(last, weeks=1, models=["release"], settings=POOR, customers=3).to_dict()
    tag = made_of(POOR, {**ON_THIS, "coverage": {"least": 0.0}}).tag
    assert gates.check(tag, few).results[1].figure == gates.check(tag).results[1].figure
    nan = json.loads(json.dumps(own))
    for groups in nan["segments"].values():
        for one in groups.values():
            one["models"]["release"]["MAP@12"]["mean"] = float("nan")
    release.promote(poor)
    asked = {**ON_THIS, "segments": {"customers": 1}, "calibration": {}}
    result = {one.gate: one for one in gates.check(made_of(POOR, asked).tag, nan).results}
    assert not result["segments"].passed
    nan.pop("rankers")
    found = gates.check(made_of(POOR, asked).tag, nan)
    assert "cannot be measured: KeyError('rankers')" in str(found.failed)


def test_an_alias_never_points_at_what_cannot_be_loaded(home: Path, poor: str) -> None:
    before = release.aliases()
    honest = release.get(poor)
    good = open_version(honest.parts["logistic_regression"])

    def write(folder: Path) -> None:
        shutil.copytree(good.path, folder, dirs_exist_ok=True)
        for file in folder.glob("*.safetensors"):
            file.write_bytes(b"this is no model")

    tag = save_version("logistic_regression", write, good.lineage, {})
    parts = {**honest.parts, "logistic_regression": tag}
    bad = release.create(parts, honest.settings, honest.lineage, {}).tag
    for alias in ("shadow", "production"):
        with pytest.raises(RegistryError, match="cannot be loaded by this code, its logistic_regr"):
            gates.promote(bad, alias, "all the same", force=True)
    assert release.aliases() == before
    # Nor does it go back to such.
    release.promote(bad)
    gates.promote(poor, why="so", force=True)
    with pytest.raises(RegistryError, match="cannot be loaded by this code"):
        evidence.rollback()
    assert release.resolve("production") == poor


def test_a_damaged_production_is_replaced_by_force(home: Path) -> None:
    tag = like_production({"quality": {}}).tag
    manifest = release.get("production").path.parent / registry.MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-100])
    assert "quality: cannot be measured: release:" in refused(tag, "quality")
    with pytest.raises(RegistryError, match="needs a reason"):
        gates.promote(tag, force=True, why=" ")
    assert gates.promote(tag, force=True, why="it is damaged").release == tag


# What is asked of it as it stands


def test_values_that_are_others_online_are_refused(home: Path) -> None:
    tag = like_production({"parity": {"customers": 5}}).tag
    assert only(tag).passed
    assert " 0 different" in only(tag).figure
    with reading() as con:
        rows = con.execute(
            "SELECT * EXCLUDE (valid_to) FROM features.customer_activity WHERE valid_to IS NULL"
        ).df()
    newer = rows["valid_from"] + pd.Timedelta(seconds=1)
    rows = rows.assign(valid_from=newer, created_at=pd.Timestamp.now(), t_transactions_30d=77)
    features.feature_store().write_to_online_store("customer_activity", rows)
    said = refused(tag, "parity")
    assert "t_transactions_30d" in said
    assert "at most 0 values different" in said


def test_an_online_store_that_is_older_is_no_measure(home: Path) -> None:
    from pipelines.online import materialize

    tag = like_production({"parity": {}, "latency": {}}).tag
    materialize(release.get(tag).lineage.data_cutoff - timedelta(days=8))
    assert "latency: cannot be measured: The online store was brought up to" in refused(
        tag, "parity"
    )


def test_a_leak_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = like_production({"leak_lab": {"rows": 60}}).tag
    honest = point_in_time._matches

    def broken(*given: Any) -> str:
        return honest(*given).replace("asked.__asked", "(asked.__asked + INTERVAL 1 DAY)")

    monkeypatch.setattr(point_in_time, "_matches", broken)
    said = refused(tag, "leak_lab")
    assert "same day" in said or "future rows" in said
    assert "at most 0 leaks" in said


def test_a_slow_release_is_refused(home: Path) -> None:
    tag = like_production({"latency": {"milliseconds": 0.01, "requests": 5}}).tag
    assert "95% of 5 answers within" in refused(tag, "latency")
    assert only(like_production({"latency": {"milliseconds": 60_000, "requests": 5}}).tag).passed


def test_an_index_that_finds_too_little_is_refused(home: Path) -> None:
    now = release.get("production")
    plain = open_version(now.parts["ease"])
    vectors = np.random.default_rng(0).normal(size=(2_000, 32)).astype("float32")

    def write(folder: Path) -> None:
        shutil.copytree(plain.path, folder, dirs_exist_ok=True)
        Index.build(vectors, made_for="x", kind="ivf", least_recall=0.3, most_effort=8).save(folder)

    tag = save_version("ease", write, plain.lineage, {})
    settings = composing.recorded_settings("it", now.settings, "")
    parts = {**now.parts, "ease": tag}
    said = refused(made_of(settings, {"index_recall": {}}, parts).tag, "index_recall")
    assert "ease finds 0." in said
    assert "at least 0.98" in said
    assert only(like_production({"index_recall": {}}).tag).passed


def test_a_release_that_is_too_large_is_refused(home: Path) -> None:
    said = refused(like_production({"size": {"megabytes": 0.1}}).tag, "size")
    assert "the largest part gradient_boosting with" in said
    assert "up to 0.1 MB" in said


# Moving


def test_only_production_asks(home: Path, poor: str) -> None:
    assert gates.promote(poor, "shadow").release == poor
    assert release.history("shadow")[-1].gates is None


def test_a_refusal_and_a_force_by_the_command(home: Path, poor: str) -> None:
    before = release.resolve("production")
    asked = CliRunner().invoke(main, ["release", "check", poor, "--json"])
    assert asked.exit_code == 1
    assert json.loads(asked.stdout.splitlines()[-1])["results"][0]["gate"] == "quality"
    done = CliRunner().invoke(main, ["release", "promote", poor])
    assert done.exit_code == 1
    assert release.resolve("production") == before
    done = CliRunner().invoke(main, ["release", "promote", poor, "--force"])
    assert done.exit_code == 2
    assert "--force needs --why" in done.output
    done = CliRunner().invoke(main, ["release", "promote", poor, "--force", "--why", "no time"])
    assert done.exit_code == 0
    assert "forced past quality" in done.output
    move = release.history()[-1]
    assert move.gates is not None
    assert move.gates["forced"]
    assert move.why == "no time"
    assert not move.gates["results"][0]["passed"]
    assert "forced past quality" in CliRunner().invoke(main, ["release", "show"]).output


def test_who_moves_production_meanwhile_is_not_overwritten(
    home: Path, poor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, other = like_production({}), like_production({})
    asked = gates.check

    def slowly(*given: Any, **more: Any) -> gates.Check:
        found = asked(*given, **more)
        release.promote(other.tag)
        return found

    monkeypatch.setattr(gates, "check", slowly)
    with pytest.raises(RegistryError, match=f"production points at {other.tag}, not at"):
        gates.promote(new.tag)
    assert release.resolve("production") == other.tag


def test_a_history_older_than_gates_goes_on(home: Path) -> None:
    file = places.models_folder() / "aliases.sqlite"
    with sqlite3.connect(file) as con:
        con.execute("ALTER TABLE moves DROP COLUMN gates")
    con.close()
    before = release.history()
    tag = like_production({"size": {}}).tag
    gates.promote(tag)
    assert [one.gates is None for one in release.history()] == [True] * len(before) + [False]


def test_a_release_older_than_gates_is_asked_what_is_asked_today(home: Path) -> None:
    now = release.get("production")
    settings = {name: value for name, value in now.settings.items() if name != "gates"}
    old = release.create(now.parts, settings, now.lineage, {})
    assert gates._Subject(old, None, str).gates == RELEASE.gates
    assert set(read_release(DEFAULT).gates) == set(GATES) == set(gates.MEASURES)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("{size: 3}", "gates of size are 3"),
        ("[size]", "gates are thresholds for each gate"),
        ("{speed: {}}", "gates name 'speed'; there are: quality, parts"),
        ("{size: {bytes: 3}}", "gates of size name 'bytes'; there are: megabytes"),
        ("{size: {megabytes: -1}}", "megabytes is -1, and must be 0 or more"),
        ("{size: {megabytes: .inf}}", "megabytes is inf"),
        ("{quality: {weeks: 1.5}}", "weeks is 1.5, and must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_names_the_line(tmp_path: Path, said: str, why: str) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(
        f"per_source: {{popular: 5}}\nranker: dlrm\ntraining_weeks: 1\ntraining_customers: 9\ngates: {said}\n"
    )
    with pytest.raises(InputError, match=why):
        read_release(file)
