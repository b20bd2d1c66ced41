"""Every ranker of the catalogue keeps one contract, on made-up candidates with a visible rule.

The rule: of a customer's candidates those with a signal above 0.5 are bought, and red ones more
easily. How much a customer buys at all is written in a column of theirs, and must not matter.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines.model_catalog import RANKERS, make_ranker
from pipelines.rankers.base import Ranker, learnable

WEEKS = ("2020-08-26", "2020-09-02", "2020-09-09")
CUSTOMERS = 120
CANDIDATES = 20


def candidates(seed: int) -> pd.DataFrame:
    """`CANDIDATES` rows for each customer and week, in no order."""
    rng = np.random.default_rng(seed)
    keys = pd.MultiIndex.from_product(
        [
            WEEKS,
            [f"customer{n:03}" for n in range(CUSTOMERS)],
            [f"0{n:09}" for n in range(CANDIDATES)],
        ],
        names=["week", "customer_id", "article_id"],
    )
    rows = keys.to_frame(index=False)
    signal = rng.random(len(rows))
    red = rng.random(len(rows)) < 0.3
    keen = rows["customer_id"].str[-3:].astype(int) / CUSTOMERS
    bought = (signal + 0.2 * red > 0.5) & (rng.random(len(rows)) < 0.1 + 0.8 * keen)
    rows = rows.assign(
        event_timestamp=pd.Timestamp("2020-09-09", tz="UTC"),
        view__signal=signal.astype("float32"),
        view__colour=np.where(red, "red", np.where(rng.random(len(rows)) < 0.5, "blue", None)),
        view__noise=rng.random(len(rows)),
        customer__keen=keen,
        view__constant=1.0,
        view__unknown=None,
        view__times=rng.integers(0, 5, len(rows)),
        view__last_bought=pd.Timestamp("2020-09-01", tz="UTC"),
        view__recent=[["0000000001"]] * len(rows),
        label=bought.astype("int8"),
    )
    return rows.sample(frac=1, random_state=seed, ignore_index=True)


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    return candidates(seed=1)


@pytest.fixture(scope="module")
def unseen() -> pd.DataFrame:
    return candidates(seed=2)


@pytest.fixture(scope="module", params=list(RANKERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str, training: pd.DataFrame) -> Ranker:
    return make_ranker(name).fit([training])


def same(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_array_equal(left, right)


# --- the contract -------------------------------------------------------------------------------


def test_the_catalogue_calls_a_ranker_by_its_own_name(name: str) -> None:
    assert make_ranker(name).name == name


def test_the_obvious_rule_orders_each_customers_candidates(
    fitted: Ranker, unseen: pd.DataFrame
) -> None:
    scores = fitted.score(unseen)
    assert scores.shape == (len(unseen),)
    assert scores.dtype == "float64"
    assert np.isfinite(scores).all()
    likely = (unseen["view__signal"] + 0.2 * (unseen["view__colour"] == "red")) > 0.5
    order = unseen.assign(score=scores, likely=likely).sort_values(
        ["week", "customer_id", "score"], ascending=[True, True, False]
    )
    # Of as many as are likely, the customer's first are the likely ones.
    group = order.groupby(["week", "customer_id"])
    place = group.cumcount()
    first = order[place < group["likely"].transform("sum")]
    assert first["likely"].mean() > 0.95


def test_rows_are_scored_one_by_one(fitted: Ranker, unseen: pd.DataFrame) -> None:
    scores = fitted.score(unseen)
    few = [5, 3, 4000]
    same(fitted.score(unseen.iloc[few]), scores[few])
    same(fitted.score(unseen.iloc[:0]), scores[:0])


def test_missing_values_are_scored(fitted: Ranker, unseen: pd.DataFrame) -> None:
    rows = unseen.head(50).copy()
    for column in learnable(rows):
        rows[column] = None
    assert np.isfinite(fitted.score(rows)).all()


def test_a_category_that_was_never_seen_is_scored_as_unknown(
    fitted: Ranker, unseen: pd.DataFrame
) -> None:
    rows = unseen.head(50)
    same(
        fitted.score(rows.assign(view__colour="octarine")),
        fitted.score(rows.assign(view__colour=None)),
    )


def test_neither_the_order_of_columns_nor_others_matter(
    fitted: Ranker, unseen: pd.DataFrame
) -> None:
    other = unseen[unseen.columns[::-1]].assign(view__new=1.0)
    same(fitted.score(other), fitted.score(unseen))


def test_a_missing_column_is_named(fitted: Ranker, unseen: pd.DataFrame) -> None:
    with pytest.raises(LookbookError, match=r"lack view__signal.*train again"):
        fitted.score(unseen.drop(columns="view__signal"))


@pytest.mark.parametrize("rows", [slice(None), slice(0)], ids=["none bought", "no rows"])
def test_nothing_to_learn_is_said(name: str, training: pd.DataFrame, rows: slice) -> None:
    with pytest.raises(LookbookError, match="nothing to learn from"):
        make_ranker(name).fit([training.assign(label=0).iloc[rows]])


def test_one_that_was_not_trained_says_so(name: str, unseen: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="not been trained"):
        make_ranker(name).score(unseen)


def test_what_was_saved_scores_the_same(
    fitted: Ranker, name: str, unseen: pd.DataFrame, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    loaded = make_ranker(name).load(tmp_path)
    same(loaded.score(unseen), fitted.score(unseen))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert not file.read_bytes().startswith(b"\x80"), f"{file.name} is a pickle"


def test_neither_the_order_of_rows_nor_of_runs_matters(
    fitted: Ranker, name: str, training: pd.DataFrame, unseen: pd.DataFrame
) -> None:
    again = make_ranker(name).fit([training.sample(frac=1, random_state=9)])
    same(again.score(unseen), fitted.score(unseen))


def test_the_number_of_threads_does_not_matter(
    fitted: Ranker, name: str, training: pd.DataFrame, unseen: pd.DataFrame, tmp_path: Path
) -> None:
    training.to_parquet(tmp_path / "training.parquet")
    unseen.to_parquet(tmp_path / "unseen.parquet")
    code = (
        "import numpy as np, pandas as pd, sys; from pipelines.model_catalog import make_ranker\n"
        "read = lambda file: pd.read_parquet(f'{sys.argv[2]}/{file}.parquet')\n"
        "scores = make_ranker(sys.argv[1]).fit([read('training')]).score(read('unseen'))\n"
        "np.save(f'{sys.argv[2]}/scores.npy', scores)"
    )
    for threads in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", code, name, str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(places.PROJECT)},
            check=True,
        )
        same(np.load(tmp_path / "scores.npy"), fitted.score(unseen))


def test_explanations_add_up_to_the_score(fitted: Ranker, unseen: pd.DataFrame) -> None:
    rows = unseen.iloc[5:300]
    parts = fitted.explain(rows)
    assert parts.index.equals(rows.index)
    base = fitted.score(rows) - parts.sum(axis=1)
    assert base.to_numpy() == pytest.approx(base.iloc[0], abs=1e-6)
    strongest = parts.abs().sum().idxmax()
    assert strongest == "view__signal"
    assert (parts.get("view__constant", pd.Series([0.0])) == 0).all()


# --- what may be learned from -------------------------------------------------------------------


def test_moments_lists_and_keys_are_not_learned_from(training: pd.DataFrame) -> None:
    assert learnable(training) == [
        "view__signal",
        "view__colour",
        "view__noise",
        "customer__keen",
        "view__constant",
        "view__unknown",
        "view__times",
    ]
