"""Every ranker of the catalogue keeps one contract, on made-up candidates with a visible rule.

The rule: of a customer's candidates those with a signal above 0.5 are bought, and red ones more
easily. How much a customer buys at all is written in a column of theirs, and must not matter.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_info, threadpool_limits

from feature_repo import places
from feature_repo.errors import LookbookError
from pipelines.model_catalog import RANKERS, make_ranker
from pipelines.rankers.base import HISTORY, KEPT, ObjectiveError, Ranker, learnable

WEEKS = ("2020-08-26", "2020-09-02", "2020-09-09")
CUSTOMERS = 120
CANDIDATES = 20
QUICK: dict[str, Any] = {"epochs": 8, "batch_size": 8, "learning_rate": 0.01}
"""Of neural rankers: enough for what these small worlds teach."""
NEURAL = [name for name in RANKERS if name not in ("gradient_boosting", "blend")]
READERS = [name for name in NEURAL if RANKERS[name].model.reads_history]


def quick(name: str, **settings: Any) -> Ranker:
    if name == "blend":
        return make_ranker(name, {"network": QUICK} | settings)
    return make_ranker(name, QUICK | settings if name in NEURAL else settings)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make networks of this size slower, on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    bought_before = {
        customer: [f"0{n:09}" for n in rng.choice(CANDIDATES, rng.integers(0, 5), replace=False)]
        for customer in rows["customer_id"].unique()
    }
    ids = rows["customer_id"].map(bought_before)
    rows = rows.assign(
        **dict(zip(HISTORY, (ids, ids.map(lambda own: [1.0] * len(own))), strict=True))
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
    return quick(name).fit([training])


def same(left: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_array_equal(left, right)


def alike(name: str, left: np.ndarray, right: np.ndarray) -> None:
    """Products of matrices of another shape may differ in their last digits."""
    if name in (*NEURAL, "blend"):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)
    else:
        same(left, right)


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


def test_rows_are_scored_one_by_one(fitted: Ranker, name: str, unseen: pd.DataFrame) -> None:
    scores = fitted.score(unseen)
    few = [5, 3, 4000]
    alike(name, fitted.score(unseen.iloc[few]), scores[few])
    alike(name, fitted.score(unseen.iloc[:0]), scores[:0])


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
    again = quick(name).fit([training.sample(frac=1, random_state=9)])
    same(again.score(unseen), fitted.score(unseen))


def test_the_number_of_threads_does_not_matter(
    name: str, training: pd.DataFrame, unseen: pd.DataFrame
) -> None:
    # Trees share all rows out among the threads; of a network few tell.
    rows = training
    if name != "gradient_boosting":
        rows = rows[rows["customer_id"] < "customer040"]
    once = {"network": QUICK | {"epochs": 1}} if name == "blend" else {"epochs": 1}
    scores = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with threadpool_limits(threads, "openmp"):
            pools = [pool for pool in threadpool_info() if pool["user_api"] == "openmp"]
            assert {pool["num_threads"] for pool in pools} == {threads}
            ranker = quick(name, **({} if name == "gradient_boosting" else once))
            scores.append(ranker.fit([rows]).score(unseen))
    torch.set_num_threads(1)
    alike(name, scores[0], scores[1])


def test_explanations_add_up_to_the_score(fitted: Ranker, unseen: pd.DataFrame) -> None:
    rows = unseen.iloc[5:300]
    parts = fitted.explain(rows)
    assert parts.index.equals(rows.index)
    base = fitted.score(rows) - parts.sum(axis=1)
    assert base.to_numpy() == pytest.approx(base.iloc[0], abs=1e-6)
    strongest = parts.abs().sum().idxmax()
    assert strongest == "view__signal"
    assert (parts.get("view__constant", pd.Series([0.0])) == 0).all()


@pytest.fixture(scope="module")
def sampled() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candidates of which one in a hundred to one in five is bought, as their signal says; and, of those
    to learn from, all that were bought and a tenth of the others."""
    rng = np.random.default_rng(3)

    def made(customers: int) -> pd.DataFrame:
        rows = pd.DataFrame({"customer": np.arange(customers).repeat(40)})
        signal = rng.random(len(rows))
        return pd.DataFrame(
            {
                "customer_id": "c" + rows["customer"].astype(str),
                "article_id": [f"a{n}" for n in np.tile(np.arange(40), customers)],
                "week": WEEKS[0],
                "view__signal": signal,
                "label": (rng.random(len(rows)) < 0.01 + 0.19 * signal).astype("int8"),
                **{name: [[]] * len(rows) for name in HISTORY},
            }
        )

    training = made(1200)
    bought = training["label"] == 1
    training[KEPT] = np.where(bought, 1, 0.1)
    return training[bought | (rng.random(len(training)) < 0.1)], made(500)


def test_chances_are_those_of_the_whole_data_whatever_was_left_out(
    name: str, sampled: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    training, whole = sampled
    ranker = quick(name, **({"epochs": 4} if name in NEURAL else {})).fit([training])
    chances = ranker.chances(whole)["purchase"]
    labels, rate = whole["label"], whole["label"].mean()
    assert chances.mean() == pytest.approx(rate, rel=0.2)
    by_chance = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    entropy = -np.where(labels == 1, np.log(chances), np.log(1 - chances)).mean()
    assert entropy < by_chance
    if name in NEURAL:
        # Already before the calibration.
        odds = np.exp(-ranker.score(whole))
        assert (1 / (1 + odds)).mean() == pytest.approx(rate, rel=0.25)


# --- neural rankers -----------------------------------------------------------------------------


def families(seed: int) -> pd.DataFrame:
    """Customers who buy what is of the family of what they bought before; nothing else tells."""
    rng = np.random.default_rng(seed)
    family = rng.integers(0, 2, 300)
    rows = pd.DataFrame({"customer": np.arange(300).repeat(10), "article": np.tile(range(10), 300)})
    whose = family[rows["customer"]]
    own = [[f"a{2 * n + of}" for n in rng.choice(5, 3, replace=False)] for of in family]
    return pd.DataFrame(
        {
            "customer_id": "c" + rows["customer"].astype(str),
            "article_id": "a" + rows["article"].astype(str),
            "week": WEEKS[0],
            "view__noise": rng.random(len(rows)),
            "label": (rows["article"] % 2 == whose).astype("int8"),
            HISTORY[0]: [own[customer] for customer in rows["customer"]],
            HISTORY[1]: [[1.0, 1.0, 1.0]] * len(rows),
        }
    )


@pytest.mark.parametrize("name", READERS)
def test_what_a_customer_bought_tells_what_they_will_buy(name: str) -> None:
    ranker = quick(name, epochs=20, weight_decay=0.0).fit([families(1)])
    asked = families(2)
    scores = ranker.score(asked)
    assert roc_auc_score(asked["label"], scores) > 0.9
    # Customers without history, and articles that nobody has seen, are answered too.
    for nothing in ([], None):
        empty = asked.assign(**{column: [nothing] * len(asked) for column in HISTORY})
        assert np.isfinite(ranker.score(empty)).all()
    strange = asked.head(2).assign(article_id=["a1", "never seen"], view__noise=0.5)
    strange = pd.concat([strange, strange.tail(1).assign(article_id="nor this")])
    scores = ranker.score(strange)
    assert scores[0] != pytest.approx(scores[1])
    assert scores[1] == pytest.approx(scores[2])
    effects = ranker.explain(asked)
    assert set(effects) == {"view__noise", "article_id", HISTORY[0]}
    assert effects["view__noise"].abs().mean() < effects[HISTORY[0]].abs().mean()
    with pytest.raises(LookbookError, match=f"lack {HISTORY[0]}"):
        ranker.score(asked.drop(columns=HISTORY[0]))


def test_a_weight_of_the_logistic_regression_is_the_same_in_every_row(unseen: pd.DataFrame) -> None:
    ranker = quick("logistic_regression", epochs=1).fit([unseen])
    one = unseen.head(10).assign(view__colour="red")
    effects = ranker.explain(one)["view__colour"]
    assert effects.to_numpy() == pytest.approx(effects.iloc[0], abs=1e-5)
    effect = ranker.score(one) - ranker.score(one.assign(view__colour=None))
    assert effects.to_numpy() == pytest.approx(effect, abs=1e-5)


@pytest.mark.parametrize("name", NEURAL)
def test_hundreds_of_columns_are_learned_from(name: str) -> None:
    rows = families(1).head(1000)
    rng = np.random.default_rng(4)
    noise = pd.DataFrame(rng.random((len(rows), 300)), rows.index).add_prefix("view__n")
    ranker = quick(name, epochs=1).fit([pd.concat([rows, noise], axis=1)])
    asked = pd.concat([rows, noise], axis=1).head(20)
    assert np.isfinite(ranker.score(asked)).all()
    assert {"view__n0", "view__n299"} <= set(ranker.explain(asked))


KILLED = """
import os, signal, sys
import pandas as pd, torch
from pipelines.model_catalog import make_ranker
torch.set_num_threads(1)
from pathlib import Path
from tests.test_rankers import QUICK, families

def said(text):
    if text.startswith("epoch 3 of"):
        os.kill(os.getpid(), signal.SIGKILL)

make_ranker("wide_and_deep", QUICK).fit([families(1)], checkpoint=Path(sys.argv[1]), progress=said)
"""


def test_a_training_that_was_killed_goes_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(checkpoint)],
        env=os.environ | {"PYTHONPATH": str(places.PROJECT)},
    )
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint.exists()
    said: list[str] = []
    again = quick("wide_and_deep").fit([families(1)], checkpoint=checkpoint, progress=said.append)
    assert said[0].startswith("goes on from checkpoint: epoch 3")
    assert not checkpoint.exists()
    whole = quick("wide_and_deep").fit([families(1)])
    same(again.score(families(2)), whole.score(families(2)))


# --- several objectives -------------------------------------------------------------------------


def looked_at(seed: int) -> pd.DataFrame:
    """Each of view, cart and purchase follows a signal of its own."""
    rng = np.random.default_rng(seed)
    rows = families(seed).drop(columns="label")
    for column in ("label", "label_cart", "label_view"):
        signal = rng.random(len(rows))
        rows[f"view__of_{column}"] = signal
        rows[column] = (rng.random(len(rows)) < signal**3).astype("int8")
    return rows


@pytest.mark.parametrize("experts", [1, 3])
def test_what_is_weighed_at_the_request_decides_the_order(experts: int) -> None:
    ranker = quick("multi_task", experts=experts).fit([looked_at(1)])
    assert ranker.objectives == ("purchase", "cart", "view")
    asked = looked_at(2)
    chances = ranker.chances(asked)
    for objective, column in zip(
        ranker.objectives, ("label", "label_cart", "label_view"), strict=True
    ):
        assert roc_auc_score(asked[column], chances[objective]) > 0.75
        assert chances[objective].mean() == pytest.approx(asked[column].mean(), rel=0.25)
        scores = ranker.score(asked, {objective: 2.0})
        assert np.corrcoef(scores, asked[f"view__of_{column}"])[0, 1] > 0.7
    weighed = ranker.score(asked, {"purchase": 1.0, "view": 0.5})
    expected = chances["purchase"] + 0.5 * chances["view"]
    assert spearmanr(weighed, expected).statistic > 0.97
    # Chances stand on steps; pages must not be in the order of ids.
    best = np.sort(weighed)[::-1][:200]
    assert len(np.unique(best)) == len(best) > len(np.unique(np.sort(chances["view"])[::-1][:200]))
    effects = ranker.explain(asked.head(20))
    assert effects.abs().sum().idxmax() == "view__of_label"


def test_a_view_is_learnt_of_what_was_shown() -> None:
    """What nobody was shown was not passed over."""
    rows, asked = looked_at(1), looked_at(2)
    was_shown = np.random.default_rng(5).random(len(rows)) < 0.3
    ranker = quick("multi_task").fit(
        [rows.assign(label_view=np.where(was_shown, rows["label_view"], -1))]
    )
    chances = ranker.chances(asked)["view"]
    assert chances.mean() == pytest.approx(asked["label_view"].mean(), rel=0.25)
    assert roc_auc_score(asked["label_view"], chances) > 0.75


def test_several_objectives_are_saved(tmp_path: Path) -> None:
    ranker = quick("multi_task", epochs=1).fit([looked_at(1)])
    ranker.save(tmp_path)
    loaded = quick("multi_task").load(tmp_path)
    assert loaded.objectives == ranker.objectives
    asked = looked_at(2)
    pd.testing.assert_frame_equal(loaded.chances(asked), ranker.chances(asked))


@pytest.mark.parametrize("written_down", ["never", "nowhere"])
def test_without_interactions_purchase_alone_is_learned(written_down: str) -> None:
    rows = looked_at(1).drop(columns=["label_view", "label_cart"])
    if written_down == "never":
        rows = rows.assign(label_view=0, label_cart=0)
    ranker = quick("multi_task", epochs=2).fit([rows])
    assert ranker.objectives == ("purchase",)
    assert list(ranker.chances(rows)) == ["purchase"]
    with pytest.raises(ObjectiveError, match="leave view out"):
        ranker.score(rows, {"view": 1.0})


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
