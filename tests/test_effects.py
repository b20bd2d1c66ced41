"""What moved a score and what led to an article, each beside a twin that looks at every tree and every pair."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pipelines.assortment import Assortment
from pipelines.columns import Columns, texts
from pipelines.rankers.gradient_boosting import GradientBoosting
from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import Asked, Past

MOMENT = datetime(2020, 9, 23, tzinfo=UTC)
COLOURS = ["blue", "green", "red", None]


def made_up(rows: int, seed: int) -> pd.DataFrame:
    """Numbers, some of them missing, and a colour."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"view__number{n}": rng.normal(size=rows) for n in range(3)})
    frame[frame > 1.2] = np.nan
    frame["view__colour"] = texts(*(COLOURS[n] for n in rng.integers(len(COLOURS), size=rows)))
    return frame


def trained(seed: int, trees: int, leaves: int, least: int, objective: str) -> GradientBoosting:
    """A ranker with a booster of random shape, as `fit` would leave it."""
    ranker, frame = GradientBoosting(), made_up(200, seed)
    ranker.columns = list(frame.columns)
    ranker._take({"view__colour": ["blue", "green", "red"]})
    rng = np.random.default_rng(seed)
    label = (frame["view__number0"].fillna(1) + rng.normal(size=200) > 0).astype(int)
    data = lightgbm.Dataset(
        ranker._matrix(frame),
        label=label,
        group=[20] * 10 if objective == "lambdarank" else None,
        feature_name=ranker.columns,
        categorical_feature=["view__colour"],
    )
    parameters = {
        "objective": objective,
        "num_leaves": leaves,
        "min_data_in_leaf": least,
        "min_data_per_group": 5,
        "verbosity": -1,
        "seed": seed,
        "num_threads": 1,
    }
    ranker._use(lightgbm.train(parameters, data, num_boost_round=trees))
    return ranker


def by_walking(ranker: GradientBoosting, frame: pd.DataFrame) -> tuple[np.ndarray, float]:
    """What each split on the way of each row changed, node by node, and what every row gets."""
    assert ranker.booster is not None
    matrix = ranker._matrix(frame).astype("float64")
    found, root = np.zeros(matrix.shape), 0.0
    for tree in ranker.booster.dump_model()["tree_info"]:
        top: dict[str, Any] = tree["tree_structure"]
        root += top.get("internal_value", top.get("leaf_value"))
        for row, values in enumerate(matrix):
            node = top
            while "split_feature" in node:
                value = values[node["split_feature"]]
                if node["decision_type"] == "==":
                    one_of = {float(name) for name in node["threshold"].split("||")}
                    left = value in one_of
                elif np.isnan(value) and node["missing_type"] == "NaN":
                    left = node["default_left"]
                else:
                    left = np.nan_to_num(value) <= node["threshold"]
                child = node["left_child" if left else "right_child"]
                after = child.get("internal_value", child.get("leaf_value"))
                found[row, node["split_feature"]] += after - node["internal_value"]
                node = child
    return found, root


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 6),
    st.integers(2, 9),
    st.sampled_from([1, 10, 150]),
    st.sampled_from(["binary", "lambdarank", "regression"]),
)
def test_effects_are_those_of_the_way_through_each_tree(
    seed: int, trees: int, leaves: int, least: int, objective: str
) -> None:
    ranker, frame = trained(seed, trees, leaves, least, objective), made_up(40, seed + 1)
    effects = ranker.quick_effects(frame)
    expected, root = by_walking(ranker, frame)
    np.testing.assert_allclose(effects.to_numpy(), expected, atol=1e-5)
    assert ranker.booster is not None
    raw = ranker.booster.predict(ranker._matrix(frame), raw_score=True)
    np.testing.assert_allclose(effects.sum(axis=1) + root, raw, atol=1e-5)
    # In sum they are as much as the exact ones.
    exact = ranker.effects(frame).sum(axis=1)
    spread = effects.sum(axis=1) - exact
    assert np.ptp(spread.to_numpy()) < 1e-4
    as_columns = Columns({name: frame[name].to_numpy() for name in frame})
    prepared = ranker.prepared(as_columns)
    for table in (as_columns, prepared, prepared.take(np.arange(40))):
        np.testing.assert_array_equal(ranker.quick_effects(table).to_numpy(), effects.to_numpy())


def test_a_tree_that_is_one_leaf_moves_nothing() -> None:
    ranker = trained(1, 2, 9, 150, "binary")
    assert ranker.booster is not None
    assert {t["num_leaves"] for t in ranker.booster.dump_model()["tree_info"]} == {1}
    assert not ranker.quick_effects(made_up(5, 2)).to_numpy().any()


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 80),
    st.integers(2, 9),
    st.sampled_from([1, 10, 150]),
    st.sampled_from([0.0, 1.0]),
)
def test_compiled_trees_score_as_lightgbm_does_to_the_last_bit(
    seed: int, trees: int, leaves: int, least: int, shift: float
) -> None:
    ranker, frame = trained(seed, trees, leaves, least, "lambdarank"), made_up(60, seed + 1)
    # Values at a threshold, zeros, and ones beyond all that was seen.
    again = made_up(200, seed).head(60)
    tables = (frame, again, again.assign(view__number0=shift), frame.assign(view__number1=1e9))
    before = [ranker._raw(rows)["purchase"] for rows in tables]
    ranker.quicken()
    assert ranker._compiled is not None
    for rows, expected in zip(tables, before, strict=True):
        np.testing.assert_array_equal(ranker._raw(rows)["purchase"], expected)


def test_trees_that_cannot_be_compiled_are_walked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ranker, frame = trained(3, 4, 6, 5, "lambdarank"), made_up(30, 4)
    before = ranker._raw(frame)["purchase"]
    monkeypatch.setattr("pipelines.rankers.gradient_boosting.COMPILED_LEAVES", 10)
    ranker.quicken()
    assert ranker._compiled is None  # too many of them
    monkeypatch.undo()
    monkeypatch.setattr("lleaves.Model.compile", lambda *_, **__: 1 / 0)
    ranker.quicken()
    assert "LightGBM itself walks them" in caplog.text
    np.testing.assert_array_equal(ranker._raw(frame)["purchase"], before)


def test_what_is_saved_moves_scores_as_before_and_what_is_loaded_takes_its_place(
    tmp_path: Path,
) -> None:
    frame = made_up(30, 9)
    first, second = trained(1, 4, 6, 5, "binary"), trained(2, 5, 4, 5, "binary")
    expected = [ranker.quick_effects(frame) for ranker in (first, second)]
    for name, ranker in (("first", first), ("second", second)):
        (tmp_path / name).mkdir()
        ranker.save(tmp_path / name)
    loaded = GradientBoosting().load(tmp_path / "first")
    pd.testing.assert_frame_equal(loaded.quick_effects(frame), expected[0])
    loaded.load(tmp_path / "second")
    pd.testing.assert_frame_equal(loaded.quick_effects(frame), expected[1])


# What led to an article


class Alike(ArticleToArticle):
    name = "alike"

    def fit(self, past: Past) -> "Alike":
        return self

    def reason(self, row: Any, led_by: str | None) -> str:
        return ""


IDS = [f"000000000{n}" for n in range(6)]


def state_of(histories: list[list[tuple[int, int, int]]]) -> dict[str, np.ndarray]:
    """`customer_state` of customers with purchases (article, days ago, times)."""
    last = 18_527  # 2020-09-22
    columns: dict[str, list[Any]] = {name: [] for name in ("articles", "days", "times", "weights")}
    for bought in histories:
        if not bought:
            for values in columns.values():
                values.append(None)
            continue
        columns["articles"].append(texts(*(IDS[a] if a < 6 else "9999999999" for a, *_ in bought)))
        columns["days"].append(np.array([last - ago for _, ago, _ in bought]))
        columns["times"].append(np.array([times for *_, times in bought]))
        columns["weights"].append(np.array([float(times) for *_, times in bought]))
    found = {f"customer_recent__recent_{name}": texts(*of) for name, of in columns.items()}
    return {"customer_id": texts(*(f"c{n}" for n in range(len(histories))))} | found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_led_to_an_article_is_the_own_one_that_counts_most(data: Any) -> None:
    likes = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0])
    dense = np.array(
        data.draw(st.lists(st.lists(likes, min_size=6, max_size=6), min_size=6, max_size=6)),
        dtype="float32",
    )
    retriever = Alike()
    retriever.assortment = Assortment(texts(*IDS), np.ones(6, bool), np.zeros(6, bool))
    retriever.likeness = sparse.csr_matrix(dense)
    purchase = st.tuples(st.integers(0, 6), st.sampled_from([0, 30]), st.integers(1, 3))
    # The feature lists each article once.
    history = st.lists(purchase, max_size=5, unique_by=lambda bought: bought[0])
    histories = data.draw(st.lists(history, min_size=1, max_size=3))
    state = state_of(histories)
    pairs = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=9))
    asked_pairs = {
        "customer_id": texts(*(f"c{who}" for who, _ in pairs)),
        "article_id": texts(*(IDS[a] if a < 6 else "9999999999" for _, a in pairs)),
    }

    def led(who: int, article: int) -> str | None:
        best, found = 0.0, None
        for own, ago, times in sorted(histories[who]) if who < len(histories) else ():
            if own < 6 and article < 6:
                share = np.log1p(times) * np.exp(-(ago + 1) / 30) * dense[own, article]
                if share > best * (1 + 1e-12):
                    best, found = share, IDS[own]
        return found

    expected = [led(*pair) for pair in pairs]
    for table in (Columns, pd.DataFrame):
        asked = Asked(table(state), MOMENT)
        assert retriever.because(asked, table(asked_pairs)) == expected
