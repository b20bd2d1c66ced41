"""Weekly folds: what is judged, on whom, and that nothing trained for a week has seen it."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines import feature_tables, features
from pipelines.data.load import load
from pipelines.data.split import Week, buyers, split_weeks, weeks_before
from pipelines.data.synthetic import synthesize
from pipelines.evaluation.metrics import ACCURACY, bootstrap
from pipelines.evaluation.weekly import Evaluation, evaluate, model_names, usual_names
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RELEASE
from pipelines.recommender import Recommender, customer_state
from pipelines.training import fit_ranker, fit_retrievers, training_set, training_weeks
from pipelines.warehouse import reading

LAST_DAY = date(2020, 9, 22)
HISTORY = "repurchase_then_popular"
TEST_WEEK = Week(date(2020, 9, 16))
NEW_CUSTOMER, NEW_ARTICLE = "f" * 64, "0999999999"


def plant(shop: Path, home: Path, lines: list[str]) -> None:
    """A copy of the made-up shop at `home` (LOOKBOOK_HOME), with more lines of transactions."""
    shutil.copytree(shop, home)
    files = home / "files"
    shutil.copytree(shop.parent / "files", files)
    with (files / "transactions_train.csv").open("a") as transactions:
        transactions.writelines(f"{line}\n" for line in lines)
    load(str(files))
    feature_tables.build()


# --- weeks --------------------------------------------------------------------------------------


def test_test_weeks_are_whole_and_end_on_the_last_day() -> None:
    weeks = weeks_before(date(2011, 12, 9) + timedelta(days=1), 4)
    starts = [week.start.isoformat() for week in weeks]
    assert starts == ["2011-11-12", "2011-11-19", "2011-11-26", "2011-12-03"]
    assert weeks[-1].end == date(2011, 12, 10)
    assert [week.end for week in weeks[:-1]] == [week.start for week in weeks[1:]]
    assert weeks[0].moment.isoformat() == "2011-11-12T00:00:00+00:00"


def test_choices_are_made_before_the_weeks_that_are_reported() -> None:
    """H&M's files end on 2020-09-22, in week 39: test are weeks 33 to 39."""
    end, weeks = split_weeks("test", LAST_DAY)
    tests = weeks_before(end + timedelta(days=1), weeks)
    ends = [(week.end - timedelta(days=1)).isocalendar() for week in tests]
    assert [(day.year, day.week) for day in ends] == [(2020, n) for n in range(33, 40)]
    assert split_weeks("last", LAST_DAY) == (LAST_DAY, 1)
    before, count = split_weeks("development", LAST_DAY)
    assert before + timedelta(days=1) == tests[0].start
    assert count == 4
    assert split_weeks("development", LAST_DAY, 2) == (before, 2)
    with pytest.raises(
        LookbookError, match="no split 'kaggle'; there are: development, test, last"
    ):
        split_weeks("kaggle", LAST_DAY)
    with pytest.raises(LookbookError, match="weeks of its own"):
        split_weeks("last", LAST_DAY, 2)


def test_training_weeks_end_where_the_test_week_starts(shop: Path) -> None:
    with reading() as con:
        weeks = training_weeks(con, TEST_WEEK.start)
    assert len(weeks) == RELEASE.training_weeks
    assert weeks[-1].end == TEST_WEEK.start


def test_a_weeks_buyers_are_those_of_its_seven_days(shop: Path) -> None:
    with reading() as con:
        found = buyers(con, TEST_WEEK)
        expected = con.execute(
            "SELECT customer_id, article_id, sum(price) FROM raw.transactions "
            "WHERE t_dat BETWEEN '2020-09-16' AND '2020-09-22' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    # Staging holds money as DECIMAL.
    expected = pd.DataFrame(expected, columns=found.columns)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)


# --- nothing of the week is known ---------------------------------------------------------------


def fold(customers: list[str]) -> dict[str, Any]:
    """All that goes into the metrics of the test week, of the warehouse as it is now."""
    with reading() as con:
        rows = training_set(con, training_weeks(con, TEST_WEEK.start)[-2:])
        retrievers = fit_retrievers(con, TEST_WEEK.start, RELEASE.retrievers)
    ranker = fit_ranker(rows)
    recommender = Recommender(retrievers, RELEASE.per_source, ranker)
    known = OfflineFeatures(TEST_WEEK.moment)
    candidates = recommender.candidates(customer_state(customers, known), TEST_WEEK.moment)
    return {
        "training rows": pd.concat(list(rows)),
        "candidates": candidates,
        "features": known.read(candidates, ranker.feature_service),
        "effects": ranker.explain(known.read(candidates, ranker.feature_service)),
        "recommendations": recommender.recommend(customers, known, TEST_WEEK.moment, 12),
    }


def test_what_happens_in_the_week_or_later_changes_nothing_before(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading() as con:
        bought = buyers(con, TEST_WEEK)
        article = con.execute("SELECT min(article_id) FROM staging.purchases").fetchall()[0][0]
    customers = sorted(bought["customer_id"].unique())[:40]
    before = fold(customers)

    future = [
        f"{day},{customer},{bought_then},{price},{channel}"
        for day in ("2020-09-16", "2020-09-19", "2020-09-22", "2020-09-23", "2020-10-20")
        for customer in (*customers[:10], NEW_CUSTOMER)
        for bought_then, price, channel in ((article, 0.9, 1), (NEW_ARTICLE, 0.0001, 2))
    ]
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    plant(shop, tmp_path / "home", future)
    after = fold(customers)

    assert len(before["training rows"]) > 1000
    for part, rows in before.items():
        pd.testing.assert_frame_equal(after[part], rows, check_exact=True, obj=part)
    # The planted rows are there: they are what the week is judged on.
    with reading() as con:
        assert len(buyers(con, TEST_WEEK)) > len(bought)


def test_customers_without_history_count(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading() as con:
        (most_popular,) = con.execute(
            "SELECT article_id FROM staging.purchases WHERE day BETWEEN '2020-09-09' AND '2020-09-15' "
            "GROUP BY article_id ORDER BY count(DISTINCT customer_id) DESC, article_id LIMIT 1"
        ).fetchall()[0]
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    plant(shop, tmp_path / "home", [f"2020-09-20,{NEW_CUSTOMER},{most_popular},0.05,2"])

    found = evaluate(LAST_DAY, weeks=1, models=["repurchase", "popular", HISTORY])

    cold = found.per_customer[found.per_customer["customer_id"] == NEW_CUSTOMER]
    assert cold.set_index("model")["MAP@12"].to_dict() == {
        "repurchase": 0.0,
        "popular": 1.0,
        HISTORY: 1.0,
    }


# --- what comes out -----------------------------------------------------------------------------


def test_json_has_weeks_and_models_with_intervals(shop: Path) -> None:
    found = evaluate(LAST_DAY, weeks=2, models=["popular", "repurchase", "popular"])
    result = json.loads(json.dumps(found.to_dict()))
    assert result["weeks"] == ["2020-09-09", "2020-09-16"]
    assert list(result["models"]) == ["popular", "repurchase"]
    for metrics in result["models"].values():
        assert list(metrics)[: len(ACCURACY)] == list(ACCURACY)
        for name, value in metrics.items():
            assert value.keys() == {"mean", "low", "high"}
            assert value["low"] <= value["mean"] + 1e-12
            assert value["mean"] <= value["high"] + 1e-12
            assert name not in ACCURACY or (value["low"] >= 0 and value["high"] <= 1)
    assert result["customers"] == found.per_customer["customer_id"].nunique()


def test_every_model_is_judged_on_the_same_customers(shop: Path) -> None:
    found = evaluate(LAST_DAY, weeks=1, settings=replace(RELEASE, training_weeks=2))
    assert list(found.models) == usual_names()
    with reading() as con:
        expected = sorted(buyers(con, TEST_WEEK)["customer_id"].unique())
    for _, rows in found.per_customer.groupby("model"):
        assert sorted(rows["customer_id"]) == expected


def test_weeks_without_buyers_are_left_out_of_the_mean(shop: Path) -> None:
    one = evaluate(LAST_DAY, weeks=1, models=["popular", HISTORY])
    three = evaluate(LAST_DAY + timedelta(days=14), weeks=3, models=["popular", HISTORY])
    assert len(three.weeks) == 3
    assert three.models == one.models


def test_an_unknown_model_is_named(shop: Path) -> None:
    with pytest.raises(LookbookError, match=r"No model is called 'magic'; there are: release, "):
        evaluate(LAST_DAY, models=["popular", "magic"])


@pytest.mark.parametrize(("weeks", "models"), [(21, None), (22, ["popular"])])
def test_too_short_a_history_is_said(shop: Path, weeks: int, models: list[str] | None) -> None:
    with pytest.raises(LookbookError, match=r"Purchases start on 2020-04-26.*at least 1 week less"):
        evaluate(LAST_DAY, weeks=weeks, models=models)


def test_no_warehouse_is_said(home: Path) -> None:
    with pytest.raises(LookbookError, match="load a shop first"):
        evaluate(LAST_DAY)


# --- on real purchases --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def online_retail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluation]:
    """The last week of Online Retail (data/README.md), trained on fewer weeks than usual."""
    before = os.environ.get("LOOKBOOK_HOME")
    os.environ["LOOKBOOK_HOME"] = str(tmp_path_factory.mktemp("online_retail"))
    try:
        load(f"online-retail:{places.PROJECT / 'data' / 'online_retail.parquet'}")
        built = feature_tables.build()
        features.apply()
        yield evaluate(
            built.through,
            weeks=1,
            models=["release", HISTORY, "repurchase", "popular"],
            settings=replace(RELEASE, training_weeks=2),
        )
    finally:
        os.environ.pop("LOOKBOOK_HOME")
        if before is not None:
            os.environ["LOOKBOOK_HOME"] = before


def test_the_baselines_are_where_others_find_them(online_retail: Evaluation) -> None:
    assert online_retail.weeks == (date(2011, 12, 3),)
    assert online_retail.customers == 464
    means = {name: metrics["MAP@12"]["mean"] for name, metrics in online_retail.models.items()}
    assert means["popular"] == pytest.approx(0.052, abs=0.002)
    assert means["repurchase"] > 0.19


def test_the_release_beats_the_best_simple_model(online_retail: Evaluation) -> None:
    assert online_retail.models["release"]["MAP@12"]["mean"] > 0.22
    wide = online_retail.per_customer.pivot_table(
        index=["customer_id", "week"], columns="model", values="MAP@12"
    )
    better = (wide["release"] - wide[HISTORY]).rename("MAP@12").reset_index()
    assert bootstrap(better)["MAP@12"]["low"] > 0


# --- beside the truth of a made-up shop ---------------------------------------------------------


def test_the_oracle_is_judged_on_the_shop_that_is_loaded(shop: Path, tmp_path: Path) -> None:
    names = ["oracle", "popular", "last_basket_then_popular", "co_purchase_then_popular"]
    found = evaluate(LAST_DAY, weeks=1, models=names, truth=shop.parent / "files")
    assert list(found.models) == names
    means = {name: metrics["MAP@12"]["mean"] for name, metrics in found.models.items()}
    assert means["oracle"] == max(means.values())
    assert "oracle" in model_names(shop.parent / "files")
    synthesize(tmp_path / "other", customers=400, articles=150, days=150, seed=4)
    with pytest.raises(LookbookError, match="is not the shop that is loaded"):
        evaluate(LAST_DAY, weeks=1, models=["popular"], truth=tmp_path / "other")
    with pytest.raises(LookbookError, match="No model is called 'oracle'"):
        evaluate(LAST_DAY, weeks=1, models=["oracle"])
