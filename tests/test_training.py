"""What rankers learn from: the rows of past weeks on disk, what came of them, and what is left out of them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import places
from pipelines import training
from pipelines.data.split import Week, buyers
from pipelines.evaluation import ablations
from pipelines.evaluation.ablations import ablate
from pipelines.model_catalog import RELEASE, make_ranker
from pipelines.rankers.base import HISTORY, KEPT, told
from pipelines.recommender import without_source
from pipelines.training import TrainingSet, fit_ranker, training_set
from pipelines.warehouse import reading

WEEK = Week(date(2020, 9, 9))
FEW = replace(
    RELEASE,
    per_source={"repurchase": 50, "popular": 50, "co_purchase": 20},
    training_weeks=1,
    training_customers=60,
)


def rows_of(week: Week = WEEK, settings: training.ReleaseSettings = FEW) -> TrainingSet:
    with reading() as con:
        return training_set(con, [week], settings)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "PART_CUSTOMERS", 15)
    return


def together(rows: TrainingSet) -> pd.DataFrame:
    found = pd.concat(list(rows), ignore_index=True)
    return found.sort_values(["customer_id", "article_id"], ignore_index=True)


def test_rows_are_all_candidates_of_buyers_and_what_they_bought(
    shop: Path, small_parts: None
) -> None:
    rows = rows_of()
    assert len(rows) > 2
    assert rows.rows == sum(map(len, rows))
    parts = [set(part["customer_id"]) for part in rows]
    assert not parts[0] & parts[1]
    found = together(rows)
    with reading() as con:
        bought = buyers(con, WEEK)
        shown, viewed = (
            con.execute(
                "SELECT DISTINCT customer_id, article_id FROM raw.interactions WHERE kind = ? "
                "AND event_time >= '2020-09-09' AND event_time < '2020-09-16'",
                [kind],
            ).fetchall()
            for kind in ("impression", "view")
        )
    pairs = pd.MultiIndex.from_frame(found[["customer_id", "article_id"]])
    assert pairs.is_unique
    want = pairs.isin(pd.MultiIndex.from_frame(bought[["customer_id", "article_id"]]))
    assert (found["label"].to_numpy() == want).all()
    assert want.sum() > 20
    # What was not shown tells nothing of views.
    expected = np.where(pairs.isin(shown), pairs.isin(viewed).astype(int), -1)
    assert (found["label_view"].to_numpy() == expected).all()
    assert {-1, 0, 1} == set(found["label_view"])
    assert (found[KEPT] == 1).all()
    # Also those whose candidates have no hit: chances are of all buyers.
    assert found["customer_id"].nunique() == bought["customer_id"].nunique()
    assert found.groupby("customer_id")["label"].max().min() == 0
    assert not [name for name in found if "price" in name and "__" not in name]


def test_of_what_was_not_bought_a_sample_stays(shop: Path) -> None:
    whole = together(rows_of())
    some = together(rows_of(settings=replace(FEW, negatives={"candidates": 10})))
    assert some["label"].sum() == whole["label"].sum()
    assert (some["label_view"] == 0).sum() == (whole["label_view"] == 0).sum()
    plain = some[~told(some)]
    assert plain.groupby("customer_id").size().max() == 10
    # Weighted by what they stand for, they are as many as there were.
    assert (1 / plain[KEPT]).sum() == pytest.approx((~told(whole)).sum(), rel=1e-6)
    # Who else is asked about does not matter.
    fewer = together(
        rows_of(settings=replace(FEW, negatives={"candidates": 10}, training_customers=20))
    )
    own = some[some["customer_id"].isin(fewer["customer_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, fewer)


def test_other_strategies_add_what_no_retriever_named(shop: Path) -> None:
    found = together(
        rows_of(settings=replace(FEW, negatives={"candidates": 5, "random_per_week": 8}))
    )
    drawn = found[found["best__rank"].isna()]
    assert len(drawn) > 100
    assert (drawn["label"] == 0).all()
    assert drawn["fused__score"].isna().all()
    assert drawn["article_activity__t_purchases_30d"].notna().any()
    assert (drawn[KEPT] == 1).all()
    assert not found.duplicated(["customer_id", "article_id"]).any()
    ranker = fit_ranker([found], FEW)
    assert np.isfinite(ranker.score(found)).all()
    # Chances are of candidates, however many easy negatives stand beside them.
    named = found[found["best__rank"].notna()]
    plain = fit_ranker([named], FEW)
    expected = [(one.chances(named)["purchase"] / named[KEPT]).sum() for one in (ranker, plain)]
    assert expected[0] == pytest.approx(expected[1], rel=0.1)


def test_history_is_one_list_for_all_rows_of_a_customer(shop: Path) -> None:
    rows = rows_of()
    part = replace(rows, with_history=True)[0]
    assert set(HISTORY) <= set(part)
    for _, own in part.groupby("customer_id")[HISTORY[0]]:
        assert all(found is own.iloc[0] for found in own)
    assert set(HISTORY).isdisjoint(rows[0])
    assert set(HISTORY).isdisjoint(rows.of(make_ranker("gradient_boosting"))[0])


def test_columns_can_be_left_out(shop: Path) -> None:
    part = replace(rows_of(), without=("customer_activity__", "popular__"))[0]
    assert not [n for n in part if n.startswith(("customer_activity__", "popular__"))]
    assert "popular_by" not in part
    assert "article_activity__trend" in part


def test_rows_are_made_once_for_the_same_data_and_settings(own_shop: Path) -> None:
    shutil.rmtree(own_shop / "training" / "rows", ignore_errors=True)
    rows = rows_of()
    files = {file: file.stat().st_mtime_ns for file in rows.folders[0].glob("rows-*")}
    again = rows_of()
    assert again.folders == rows.folders
    assert files == {file: file.stat().st_mtime_ns for file in rows.folders[0].glob("rows-*")}
    assert rows_of(settings=replace(FEW, training_customers=30)).folders != rows.folders
    # What nobody has used for long is let go.
    long_ago = 1_600_000_000
    for folder in (own_shop / "training" / "rows").iterdir():
        for file in (folder, folder / "done.json"):
            os.utime(file, (long_ago, long_ago))
    last = rows_of(settings=replace(FEW, training_customers=20))
    assert [*(own_shop / "training" / "rows").iterdir()] == [*last.folders]


KILLED = """
import os, signal
from tests import test_training as t
from pipelines import training
training.PART_CUSTOMERS = 15
written = training._lean
def lean(rows, count=[0]):
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return written(rows)
training._lean = lean
t.rows_of()
"""


def test_rows_survive_a_kill(own_shop: Path, small_parts: None) -> None:
    shutil.rmtree(own_shop / "training" / "rows", ignore_errors=True)
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=places.PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    (folder,) = (own_shop / "training" / "rows").iterdir()
    left = {file: file.stat().st_mtime_ns for file in folder.glob("rows-*")}
    assert len(left) == 2
    rows = rows_of()
    assert rows.folders == (folder,)
    assert len(rows) > 2
    assert {file: file.stat().st_mtime_ns for file in left} == left
    whole = together(rows)
    for file in [*folder.iterdir()]:
        file.unlink()
    pd.testing.assert_frame_equal(whole, together(rows_of()))


def test_without_a_source_candidates_are_those_of_the_others(shop: Path) -> None:
    """As if the retriever had never been asked."""
    whole = together(rows_of())
    less = FEW.per_source.keys() - {"popular"}
    alone = together(
        rows_of(settings=replace(FEW, per_source={name: FEW.per_source[name] for name in less}))
    )
    found = without_source(whole, "popular", FEW.weights)
    assert len(found) < len(whole)
    alone = alone[found.columns]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), alone, check_dtype=False, rtol=1e-5)


@pytest.mark.parametrize("kind", ["views", "retrievers", "negatives"])
def test_ablations_say_what_each_part_is_worth(
    shop: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ablations._samples()
    few = ("30 candidates", "popularity alone", "30 candidates and shown")
    monkeypatch.setattr(ablations, "_samples", lambda: {name: ways[name] for name in few})
    settings = replace(
        FEW, ranker_settings={"trees": 10, "min_leaf": 20, "leaves": 7}, training_customers=40
    )
    found = ablate(kind, date(2020, 9, 15), settings=settings, customers=40)
    parts = [row.part for row in found.rows]
    expected = {
        "views": {"customer_article", "article_activity", "calendar", "all scores and ranks"},
        "retrievers": set(settings.per_source),
        "negatives": set(few),
    }[kind]
    assert expected <= set(parts)
    assert "release" not in parts
    costs = [row.changes["MAP@12"]["mean"] for row in found.rows]
    assert costs == sorted(costs)
    assert any(cost != 0 for cost in costs)
    for row in found.rows:
        assert row.metrics["MAP@12"]["mean"] - found.whole["MAP@12"]["mean"] == pytest.approx(
            row.changes["MAP@12"]["mean"]
        )
