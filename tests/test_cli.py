"""The command: every verb explains itself, results are JSON on request, errors are one sentence."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from feature_repo import places
from pipelines.cli import main
from pipelines.data import split
from pipelines.evaluation import ablations
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS
from pipelines.model_registry.registry import open_version, save_version


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name)


VERBS = list(_commands(main))


def lookbook(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def as_json(*words: str) -> dict:
    done = lookbook(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def one_sentence(done: Result) -> str:
    assert done.exit_code != 0
    assert "Traceback" not in done.output
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    done = lookbook(*verb, "--help")
    assert done.exit_code == 0
    assert f"lookbook {' '.join(verb)}" in done.output.split("Example", 1)[1]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_can_answer_in_json(verb: tuple[str, ...]) -> None:
    assert "--json" in lookbook(*verb, "--help").output


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_is_in_the_readme_or_its_pages(verb: tuple[str, ...]) -> None:
    pages = [places.PROJECT / "README.md", *(places.PROJECT / "docs").glob("*.md")]
    assert any(f"lookbook {' '.join(verb)}" in page.read_text() for page in pages)


def test_the_installed_command_answers() -> None:
    command = Path(sys.executable).with_name("lookbook")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert "lookbook" in done.stdout


def test_synthesize_load_build(home: Path, tmp_path: Path) -> None:
    files = tmp_path / "shop"
    sizes = ("--customers", "30", "--articles", "20", "--days", "40", "--seed", "5")
    made = as_json("data", "synthesize", "--out", str(files), *sizes)
    assert made["customers"] == 30
    first = as_json("data", "load", str(files))
    assert first["tables"]["transactions"]["loaded"] == made["transactions"]
    second = as_json("data", "load", str(files))
    assert second["tables"]["transactions"]["unchanged"]
    built = as_json("features", "build", "--through", "2020-09-20")
    assert built["through"] == "2020-09-20"
    assert built["rows"]["staging.customers"] == 30


def test_features_join_keeps_rows_and_order(shop: Path, tmp_path: Path) -> None:
    asked = pd.read_csv(shop.parent / "files" / "transactions_train.csv", dtype=str).tail(5)
    asked = asked[["customer_id", "article_id"]].assign(
        event_timestamp="2020-09-22", postal_code=None, mine=range(5)
    )
    entities, out = tmp_path / "labels.csv", tmp_path / "out" / "rows.parquet"
    asked.to_csv(entities, index=False)
    result = as_json(
        *("features", "join", "--entities", str(entities), "--service", "ranking"),
        *("--out", str(out)),
    )
    found = pd.read_parquet(out)
    assert result["rows"] == 5
    assert found["article_id"].tolist() == asked["article_id"].tolist()
    assert found["mine"].tolist() == list("01234")
    assert found["customer_activity__t_transactions_lifetime"].notna().any()


def test_features_join_finds_the_postal_code_and_names_unknown_keys(
    shop: Path, tmp_path: Path
) -> None:
    files = shop.parent / "files"
    people = pd.read_csv(files / "customers.csv", dtype=str).dropna(subset="postal_code")
    bought = pd.read_csv(files / "transactions_train.csv", dtype=str)
    known = bought[bought["customer_id"].isin(people["customer_id"])].iloc[-1]
    entities, out = tmp_path / "labels.csv", tmp_path / "rows.parquet"
    entities.write_text(
        "customer_id,article_id,event_timestamp\n"
        f"{known.customer_id},{known.article_id},2020-09-23\n"
        f"{known.customer_id},{known.article_id.lstrip('0')},2020-09-23\n"
        "nobody,0000000001,2020-09-23\n"
    )
    words = ("features", "join", "--entities", str(entities), "--service", "ranking")
    result = as_json(*words, "--out", str(out))
    found = pd.read_parquet(out)
    assert found["postal_code_activity__t_purchases_30d"].notna().tolist() == [True, True, False]
    assert "postal_code" not in found
    assert result["unknown"] == {"customer_id": 1, "article_id": 2}
    said = lookbook(*words, "--out", str(out)).stderr
    assert "1 of 3 rows: customer_id is unknown to the shop, for example nobody" in said


def test_features_join_refuses_what_it_cannot_answer(shop: Path, tmp_path: Path) -> None:
    entities, out = tmp_path / "labels.csv", tmp_path / "rows.parquet"
    words = ("features", "join", "--entities", str(entities), "--out", str(out))
    entities.write_text("customer_id,article_id,event_timestamp\na,b,2030-01-01\n")
    assert "built up to 2020-09-23" in one_sentence(lookbook(*words, "--service", "ranking"))
    entities.write_text("customer_id,event_timestamp\na,2020-09-01\n")
    assert "'article_id'" in one_sentence(lookbook(*words, "--service", "ranking"))
    assert "article_display, article_sales, customer_state, everything, ranking" in one_sentence(
        lookbook(*words, "--service", "nonsense")
    )
    numbers = tmp_path / "labels.parquet"
    moment = pd.Timestamp("2020-09-01", tz="UTC")
    pd.DataFrame({"article_id": [108775015], "event_timestamp": [moment]}).to_parquet(numbers)
    words = ("features", "join", "--entities", str(numbers), "--out", str(out))
    assert "article_id" in one_sentence(lookbook(*words, "--service", "article_display"))
    assert not out.exists()


def test_a_moment_after_the_features_is_refused(shop: Path) -> None:
    asked = lookbook("recommend", "--customer", "x", "--at", "2030-01-01")
    assert "built up to 2020-09-23" in one_sentence(asked)
    assert "2020-09-23" in one_sentence(lookbook("train", "popular", "--cutoff", "2030-01-01"))


def test_models_learn_from_something(shop: Path) -> None:
    before = as_json("release", "list")
    said = one_sentence(lookbook("train", "popular", "--cutoff", "1999-01-01"))
    assert "days before the cutoff 1999-01-01" in said
    assert as_json("release", "list") == before


def test_recommend_refuses_what_does_not_go_together(shop: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.csv")
    for words, said in (
        (("--all", "--out", out, "--sponsored", "0108775015"), "--sponsored goes with --customer"),
        (("--customer", "x", "--out", out), "--out goes with --all"),
        (("--customer", " "), "--customer is empty"),
        (
            ("--all", "--out", f"{places.PROJECT}/README.md/out.csv"),
            "README.md is a file, not a folder",
        ),
    ):
        answer = lookbook("recommend", *words)
        assert answer.exit_code != 0
        assert said in answer.output
    assert not list(tmp_path.iterdir())


def test_features_join_names_the_bad_row(shop: Path, tmp_path: Path) -> None:
    entities = tmp_path / "labels.csv"
    entities.write_text(
        "customer_id,article_id,postal_code,event_timestamp\na,b,c,2020-09-01\na,b,c,soon\n"
    )
    out = tmp_path / "rows.parquet"
    words = ("features", "join", "--entities", str(entities), "--service", "ranking")
    assert "row 2" in one_sentence(lookbook(*words, "--out", str(out)))
    assert not out.exists()
    for text, said in (
        ("customer_id\na\n", "event_timestamp"),
        ("customer_id,event_timestamp\na,2020-09-01\nb\n", "Line: 3"),
        ("customer_id,event_timestamp,customer_id\n", "two columns 'customer_id'"),
        ("", "empty"),
    ):
        entities.write_text(text)
        assert said in one_sentence(lookbook(*words, "--out", str(out)))
    entities.write_bytes("customer_id,event_timestamp,größe\n".encode("latin-1"))
    assert "not UTF-8" in one_sentence(lookbook(*words, "--out", str(out)))
    assert "Parquet" in one_sentence(lookbook(*words, "--out", str(tmp_path / "rows.csv")))


def test_recommend_one_customer_now_and_then(shop: Path) -> None:
    customer = pd.read_csv(shop.parent / "files" / "transactions_train.csv")["customer_id"].iloc[-1]
    now = as_json("recommend", "--customer", customer, "-k", "3")
    assert now["known"]
    assert not as_json("recommend", "--customer", "nobody")["known"]
    assert [row["rank"] for row in now["recommendations"]] == [1, 2, 3]
    assert all(row["reason"] for row in now["recommendations"])
    # The same moment, asked of the warehouse instead of the online store.
    then = as_json("recommend", "--customer", customer, "-k", "3", "--at", "2020-09-23")
    ids = [[row["article_id"] for row in found["recommendations"]] for found in (now, then)]
    assert ids[0] == ids[1]


def test_recommend_all_writes_kaggles_file(shop: Path, tmp_path: Path) -> None:
    some = tmp_path / "customers.csv"
    some.write_text("customer_id\nnobody\n")
    out = tmp_path / "submission.csv"
    result = as_json("recommend", "--all", "--customers", str(some), "--out", str(out))
    assert result["customers"] == 1
    lines = out.read_text().splitlines()
    assert lines[0] == "customer_id,prediction"
    customer, prediction = lines[1].split(",")
    assert customer == "nobody"
    assert len(prediction.split(" ")) == 12


def test_release_list_and_show(shop: Path) -> None:
    found = as_json("release", "list")["releases"]
    (production,) = [row["release"] for row in found if "production" in row["aliases"]]
    shown = as_json("release", "show")
    assert shown["release"] == production
    (row,) = [row for row in found if row["release"] == production]
    ranker = row["ranker"]
    assert ranker == RELEASE.ranker
    version = open_version(shown["parts"][ranker])
    assert row["ranker_content_hash"] == version.content_hash
    assert row["training_weeks"] == len(version.lineage.settings["weeks"]) > 0
    assert f"{ranker} {version.content_hash[:8]}" in lookbook("release", "list").stdout
    assert set(shown["parts"]) >= {*RELEASE.retrievers, RELEASE.ranker}


def test_choices_are_those_of_the_library() -> None:
    """They stand in the command too, which must not import so much for `--help`."""
    choices = {option.name: option.type for option in main.commands["evaluate"].params}
    assert tuple(choices["split"].choices) == split.SPLITS
    assert tuple(choices["ablate"].choices) == ablations.KINDS


def test_what_is_out_of_stock_is_not_shown(shop: Path) -> None:
    asked = ("recommend", "--customer", "nobody", "-k", "5")
    usual = [row["article_id"] for row in as_json(*asked)["recommendations"]]
    less = as_json(*asked, "--out-of-stock", usual[0], "--out-of-stock", usual[2])
    shown = [row["article_id"] for row in less["recommendations"]]
    assert shown[:3] == [usual[1], usual[3], usual[4]]
    assert len(shown) == 5


def test_a_release_shows_pages_by_its_rerankers(own_shop: Path, tmp_path: Path) -> None:
    made = as_json("release", "create", "--rerankers", "freshness=0.25,dpp=0.2")["release"]
    chain = as_json("release", "show", made)["settings"]["rerankers"]
    assert list(chain.items()) == [
        ("freshness", {"strength": 0.25}),
        ("dpp", {"strength": 0.2}),
        ("business_rules", {}),
    ]
    rules = tmp_path / "rules.json"
    rules.write_text('{"business_rules": {"caps": [["product", 1]]}, "mmr": {"strength": 0.1}}')
    made = as_json("release", "create", "--rerankers", str(rules))["release"]
    assert list(as_json("release", "show", made)["settings"]["rerankers"]) == [
        "business_rules",
        "mmr",
    ]
    for text, said in (
        ("[]", "names no re-rankers"),
        ('{"dpp": 1}', "names no re-rankers"),
        ("{", "is not JSON"),
        ('{"business_rules": {"caps": 3}}', "caps of business_rules is a list"),
        ('{"dpp": {"strength": "much"}}', "cannot be made with"),
        ('{"business_rules": {"cap": []}}', "has no setting 'cap'"),
        ('{"business_rules": {"blocked": ["shoe"]}}', "The rules name the article shoe"),
    ):
        rules.write_text(text)
        assert said in one_sentence(lookbook("release", "create", "--rerankers", str(rules)))


def test_rerankers_are_priced(shop: Path, tmp_path: Path) -> None:
    page = tmp_path / "evaluation.html"
    words = ("--weeks", "1", "--models", "popular", "--customers", "20", "--rerankers")
    found = as_json("evaluate", *words, "--out", str(page))
    assert {row["reranker"] for row in found["rerankers"]["rows"]} >= {"dpp", "mmr", "freshness"}
    assert "re-rank" in page.read_text()


def test_a_release_is_the_newest_that_fits_or_what_is_chosen(own_shop: Path) -> None:
    usual = as_json("release", "create")["parts"]

    def again(name: str, cutoff: date) -> str:
        found = open_version(usual[name])
        lineage = replace(found.lineage, data_cutoff=cutoff)
        return save_version(
            name,
            lambda to: shutil.copytree(found.path, to, dirs_exist_ok=True) and None,
            lineage,
            {},
        )

    older = again("ease", date(2020, 9, 16))
    assert as_json("release", "create")["parts"] == {**usual, "ease": older}
    assert as_json("release", "create", "--part", usual["ease"])["parts"] == usual
    ranker = again("gradient_boosting", date(2020, 9, 16))
    again("ease", date(2020, 9, 23))
    said = one_sentence(lookbook("release", "create"))
    assert "The repurchase" in said
    assert "has learned from days up to 2020-09-23" in said
    earlier = [
        again(name, date(2020, 9, 16))
        for name in usual
        if name not in ("ease", "gradient_boosting")
    ]
    parts = as_json("release", "create")["parts"]
    assert set(parts.values()) == {*earlier, older, ranker}
    said = one_sentence(lookbook("release", "create", "--part", "popular:latest"))
    assert "The release has no popular" in said
    assert "is unknown" in one_sentence(lookbook("release", "create", "--part", "ease:old"))


def test_training_names_every_model() -> None:
    listed = set(re.findall(r"\w+", lookbook("train", "--help").output))
    assert {*RETRIEVERS, *RANKERS} <= listed


def test_a_model_is_described(shop: Path, tmp_path: Path) -> None:
    said = as_json("card", "gradient_boosting")
    assert said["version"].startswith("gradient_boosting:")
    assert "lambdarank" in said["card"]
    page = tmp_path / "card.html"
    assert as_json("card", "production", "--out", str(page))["version"].startswith("release:")
    assert page.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("recommend", "--customer", "x", "--objective", "view=1"), "leave view out"),
        (("recommend", "--customer", "x", "--objective", "purchase=-1"), "give 0 or more"),
        (("recommend", "--customer", "x", "--objective", "love=1"), "no objective 'love'"),
        (("recommend", "--customer", "x", "--objective", "view"), "write it as NAME=NUMBER"),
        (("recommend", "--customer", "x", "--out-of-stock", "shoe"), "There is no article shoe"),
        (("release", "create", "--ranker", "magic"), "No ranker is called 'magic'"),
        (("release", "create", "--rerankers", "magic=1"), "No re-ranker is called 'magic'"),
        (("release", "create", "--rerankers", "dpp"), "write it as NAME=NUMBER"),
        (("release", "create", "--rerankers", "dpp=7"), "dpp"),
        (("release", "create", "--rerankers", "no.json"), "no.json: No such file"),
        (("card", "magic"), "magic"),
        (("card", "production", "--evaluation", "README.md"), "README.md is not JSON"),
        (("evaluate", "--split", "test", "--weeks", "2"), "weeks of its own"),
        (("evaluate", "--models", "production"), "has learned from days up to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_clear_sentence(
    shop: Path, words: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places.PROJECT)
    assert says in one_sentence(lookbook(*words))


@pytest.mark.parametrize("text", ["[1]", "{}", '{"models": 3}'])
@pytest.mark.parametrize("words", [("card", "production"), ("release", "create")], ids=" ".join)
def test_json_of_something_else_is_no_evaluation(
    shop: Path, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    (tmp_path / "other.json").write_text(text)
    said = one_sentence(lookbook(*words, "--evaluation", str(tmp_path / "other.json")))
    assert "other.json judges no models: give what `lookbook evaluate --json` wrote." in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("features", "build"), "load a shop first"),
        (("train",), "load a shop first"),
        (("evaluate",), "load a shop first"),
        (("recommend", "--customer", "x"), "production"),
        (("release", "promote", "release:latest"), "release"),
        (("release", "rollback"), "production"),
        (("data", "load", "/no/such/folder"), "/no/such/folder"),
        (("data", "load", "nobody:file"), "nobody"),
        (("evaluate", "--weeks", "0"), "--weeks"),
        (("train", "--cutoff", "yesterday"), "yesterday"),
        (("demo", "--data", "/no/such/folder", "--no-serve"), "/no/such/folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_empty_home_gets_one_clear_sentence(
    home: Path, words: tuple[str, ...], says: str
) -> None:
    assert says in one_sentence(lookbook(*words))
