"""What is said of retrievers: by hand on small shops, against the recommender itself, and against brute
force."""

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import LookbookError
from pipelines import feature_tables
from pipelines.cli import main
from pipelines.data.load import load
from pipelines.data.split import Week, buyers
from pipelines.evaluation import metrics, retrieval
from pipelines.evaluation.evaluation import MERGED
from pipelines.evaluation.retrieval import (
    DEPTHS,
    MAIN,
    NEW_ARTICLES,
    RECALLS,
    UNION,
    RetrievalReport,
    bytes_held,
    judge_retrievers,
    recalls,
)
from pipelines.evaluation.retrieval_page import write_page
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RELEASE
from pipelines.recommender import FUSION, Recommender, customer_state
from pipelines.retrievers.base import Proposals
from pipelines.training import fit_retrievers
from pipelines.warehouse import reading
from tests.retrieval_worlds import (
    BOOTS,
    COAT,
    CUTOFF,
    SHIRT,
    SOCKS,
    STAR,
    Purchase,
    World,
    Worlds,
    world,
)

LAST_DAY = date(2020, 9, 22)
NAMES = ["popular", "repurchase", "co_purchase", "popular_by_age"]
MIX = replace(
    RELEASE,
    per_source={"co_purchase": 30, "popular": 10, "repurchase": 5},
    weights={"popular": 0.1, "co_purchase": 3.0},
)


# --- by hand ------------------------------------------------------------------------------------

NEW = "0000000009"
BY_HAND: list[Purchase] = [
    # Before the week: the star has three customers, the shirt two, the coat is ten days old.
    ("ann", STAR, 1),
    ("bob", STAR, 1),
    ("cat", STAR, 2),
    ("ann", SHIRT, 1),
    ("bob", SHIRT, 1),
    ("ann", COAT, 10),
    # Cat has bought five lines of socks, longer ago than a week.
    *[("cat", SOCKS, 20)] * 5,
    # The week: ann buys her coat and the star, cat her socks and a new article, dan is new and buys
    # the star.
    ("ann", COAT, -1),
    ("ann", STAR, -1),
    *[("cat", SOCKS, -2)] * 2,
    ("cat", NEW, -2),
    ("dan", STAR, -3),
]


@pytest.fixture(scope="module")
def by_hand(worlds: Worlds) -> RetrievalReport:
    with worlds(BY_HAND).inside():
        return judge_retrievers(LAST_DAY, 1, ["popular", "repurchase"])


def means(report: RetrievalReport, name: str) -> list[float]:
    return [report.judged[name].metrics[recall]["mean"] for recall in RECALLS]


def test_recall_by_hand(by_hand: RetrievalReport) -> None:
    assert by_hand.weeks == (CUTOFF,)
    assert by_hand.customers == 3
    # Popular names the star and the shirt: one of ann's two, none of cat's two, all of dan's.
    assert means(by_hand, "popular") == pytest.approx([0.5] * len(RECALLS))
    # Repurchase names both of ann's, and cat's socks but no new article.
    assert means(by_hand, "repurchase") == pytest.approx([0.5] * len(RECALLS))
    # Together all but the new article.
    assert means(by_hand, UNION) == pytest.approx([(1 + 0.5 + 1) / 3] * len(RECALLS))
    # Precision: popular has the star first for ann (1 of 2) and dan (1 of 1).
    assert by_hand.judged["popular"].metrics["MAP@12"]["mean"] == pytest.approx((0.5 + 0 + 1) / 3)


def test_what_each_adds_by_hand(by_hand: RetrievalReport) -> None:
    # The union finds ann's coat and star, cat's socks and dan's star.
    popular, repurchase = by_hand.judged["popular"], by_hand.judged["repurchase"]
    assert (popular.named, popular.alone) == (2 / 4, 1 / 4)
    assert (repurchase.named, repurchase.alone) == (3 / 4, 2 / 4)
    assert popular.without == pytest.approx(dict.fromkeys(RECALLS, 0.5))
    assert repurchase.cost
    assert repurchase.cost["mean"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert by_hand.judged[UNION].alone is None


def test_candidates_by_hand(by_hand: RetrievalReport) -> None:
    # Star and shirt for everybody; ann has bought three, cat two, dan none; all but socks and coat
    # are named twice.
    assert by_hand.judged["popular"].candidates == 2
    assert by_hand.judged["repurchase"].candidates == pytest.approx((3 + 2 + 0) / 3)
    assert by_hand.judged[UNION].candidates == pytest.approx((3 + 3 + 2) / 3)


def test_segments_by_hand(by_hand: RetrievalReport) -> None:
    # Ann has 3 lines, cat 6, dan none.
    assert by_hand.segments == {
        "cold": {"customers": 1, "purchases": 1},
        "1-4": {"customers": 1, "purchases": 2},
        "5-19": {"customers": 1, "purchases": 2},
        NEW_ARTICLES: {"customers": 1, "purchases": 1},
    }

    def found(name: str) -> dict[str, float]:
        segments = by_hand.judged[name].segments
        return {segment: of[MAIN]["mean"] for segment, of in segments.items()}

    assert found("popular") == {"cold": 1.0, "1-4": 0.5, "5-19": 0.0, NEW_ARTICLES: 0.0}
    assert found("repurchase") == {"cold": 0.0, "1-4": 1.0, "5-19": 0.5, NEW_ARTICLES: 0.0}
    assert found(UNION) == {"cold": 1.0, "1-4": 1.0, "5-19": 0.5, NEW_ARTICLES: 0.0}


@pytest.mark.parametrize(
    ("lines", "segment"), [(1, "1-4"), (4, "1-4"), (5, "5-19"), (19, "5-19"), (20, "20+")]
)
def test_segments_end_where_they_say(tmp_path: Path, lines: int, segment: str) -> None:
    shop = world(tmp_path, [*[("ann", STAR, 3)] * lines, ("ann", STAR, -1), ("bob", STAR, 3)])
    with shop.inside():
        found = judge_retrievers(LAST_DAY, 1, ["popular"])
    assert list(found.segments) == [segment]


def test_an_article_on_file_that_never_sold_is_new(worlds: Worlds) -> None:
    # The world's file of articles has the boots, which nobody bought before the week.
    shop = worlds([("ann", STAR, 3), ("ann", BOOTS, -1), ("ann", STAR, -1)])
    with shop.inside():
        found = judge_retrievers(LAST_DAY, 1, ["popular"])
    assert found.ranks.set_index("article_id")["is_new"].to_dict() == {BOOTS: True, STAR: False}


# --- against what it is about -------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(built_shop: Path) -> RetrievalReport:
    with World(built_shop).inside():
        return judge_retrievers(LAST_DAY, 1, NAMES, per_source=20, settings=MIX)


def test_recall_is_that_of_the_metrics(report: RetrievalReport, shop: Path) -> None:
    week = Week(date(2020, 9, 16))
    with reading() as con:
        bought = buyers(con, week)
        retrievers = fit_retrievers(con, week.start, NAMES)
    state = customer_state(list(bought["customer_id"].unique()), OfflineFeatures(week.moment))
    for name, retriever in retrievers.items():
        found = retriever.candidates(state, week.moment, max(DEPTHS))
        own = recalls(report.ranks, name).set_index("customer_id")
        for k, column in zip(DEPTHS, RECALLS, strict=True):
            expected = metrics.recall(found, bought, k)
            pd.testing.assert_series_equal(own[column], expected, check_names=False)
        precision = metrics.average_precision(found, bought, 12).mean()
        assert report.judged[name].metrics["MAP@12"]["mean"] == pytest.approx(precision)


def test_the_order_of_the_union_is_the_recommenders(report: RetrievalReport, shop: Path) -> None:
    """Of the union, of the release's mix, and of the union without each retriever."""
    week = Week(date(2020, 9, 16))
    with reading() as con:
        bought = buyers(con, week)
        retrievers = fit_retrievers(con, week.start, NAMES)
    customers = list(bought["customer_id"].unique())
    mixes = {UNION: dict.fromkeys(NAMES, 20), MERGED: dict(MIX.per_source)}
    for name in NAMES:
        mixes[f"without {name}"] = {other: 20 for other in NAMES if other != name}
    for mix, limits in mixes.items():
        chosen = {name: retrievers[name] for name in limits}
        together = Recommender(chosen, limits, weights=MIX.weights)
        found = together.recommend(customers, OfflineFeatures(week.moment), week.moment, 10_000)
        expected = bought.merge(found, on=["customer_id", "article_id"], how="left")["rank"]
        assert report.ranks[mix].tolist() == pytest.approx(expected.tolist(), nan_ok=True)
        assert expected.notna().any()


def test_the_mix_is_judged_where_all_of_it_is(report: RetrievalReport, shop: Path) -> None:
    assert report.together == [UNION, MERGED]
    assert report.judged[MERGED].candidates < report.judged[UNION].candidates
    without = judge_retrievers(LAST_DAY, 1, ["popular", "repurchase"], settings=MIX)
    assert without.together == [UNION]


@st.composite
def proposals(draw: st.DrawFn) -> dict[str, list[tuple[int, int]]]:
    """{retriever: pairs of customer and article, each customer's in order of rank}."""
    made = {}
    for name in "abc":
        pairs = []
        for customer in range(3):
            articles = draw(st.lists(st.integers(0, 6), unique=True, max_size=6))
            pairs += [(customer, article) for article in articles]
        made[name] = pairs
    return made


@given(
    named=proposals(),
    limit=st.integers(1, 6),
    wanted=st.lists(st.integers(-1, 20), unique=True, max_size=12),
)
def test_the_union_and_each_union_without_one_by_brute_force(
    named: dict[str, list[tuple[int, int]]], limit: int, wanted: list[int]
) -> None:
    weights = {"b": 2.0}

    def as_proposals(pairs: list[tuple[int, int]]) -> Proposals:
        customer, article = (np.array([p[n] for p in pairs], dtype="int64") for n in (0, 1))
        rank = np.array([1 + sum(q[0] == p[0] for q in pairs[:n]) for n, p in enumerate(pairs)])
        return Proposals(customer, article, -rank.astype("float64"), rank.astype("int64"))

    def by_brute_force(names: str) -> list[float]:
        score: dict[tuple[int, int], float] = {}
        for name in names:
            for pair, rank in zip(named[name], as_proposals(named[name]).rank, strict=True):
                if rank <= limit:
                    share = weights.get(name, 1.0) / (FUSION + rank)
                    score[pair] = score.get(pair, 0.0) + share
        order = sorted(score, key=lambda pair: (pair[0], -score[pair], pair[1]))
        ranks = {p: 1 + sum(q[0] == p[0] for q in order[:n]) for n, p in enumerate(order)}
        return [ranks.get((number // 7, number % 7), float("nan")) for number in wanted]

    found = {name: as_proposals(pairs) for name, pairs in named.items()}
    together = retrieval._Together.of(found, dict.fromkeys("abc", limit), weights, 7)
    numbers = np.array(wanted, dtype="int64")
    assert together.ranks(numbers).tolist() == pytest.approx(by_brute_force("abc"), nan_ok=True)
    for place, rest in enumerate(("bc", "ac", "ab")):
        without = together.ranks(numbers, without=place)
        assert without.tolist() == pytest.approx(by_brute_force(rest), nan_ok=True)


def test_batches_do_not_show(
    report: RetrievalReport, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "BATCH_CUSTOMERS", 17)
    again = judge_retrievers(LAST_DAY, 1, NAMES, per_source=20, settings=MIX)
    pd.testing.assert_frame_equal(again.ranks, report.ranks)
    for name, judged in report.judged.items():
        assert again.judged[name].candidates == judged.candidates


# --- which customers, which weeks ---------------------------------------------------------------


def test_a_sample_of_customers_is_the_same_each_time(shop: Path) -> None:
    found = judge_retrievers(LAST_DAY, 2, ["popular"], customers=5)
    again = judge_retrievers(LAST_DAY, 2, ["popular"], customers=5)
    assert found.ranks.groupby("week")["customer_id"].nunique().tolist() == [5, 5]
    pd.testing.assert_frame_equal(again.ranks, found.ranks)
    whole = judge_retrievers(LAST_DAY, 2, ["popular"])
    both = found.ranks.merge(whole.ranks, on=["week", "customer_id", "article_id"])
    assert len(both) == len(found.ranks)
    assert both["popular_x"].equals(both["popular_y"])


def test_what_happens_in_the_week_or_later_changes_nothing_before(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = judge_retrievers(LAST_DAY, 1, NAMES)
    home, files = tmp_path / "home", tmp_path / "home" / "files"
    shutil.copytree(shop, home)
    shutil.copytree(shop.parent / "files", files)
    monkeypatch.setenv("LOOKBOOK_HOME", str(home))
    asked = sorted(before.ranks["customer_id"].unique())[:10]
    article = before.ranks["article_id"].min()
    with (files / "transactions_train.csv").open("a") as transactions:
        for day in ("2020-09-16", "2020-09-22", "2020-10-02"):
            for customer in (*asked, "f" * 64):
                transactions.write(f"{day},{customer},{article},0.5,2\n")
                transactions.write(f"{day},{customer},0999999999,0.5,2\n")
    load(str(files))
    feature_tables.build()

    after = judge_retrievers(LAST_DAY, 1, NAMES)

    keys = ["week", "customer_id", "article_id"]
    both = before.ranks.merge(after.ranks, on=keys, suffixes=("", " after"))
    assert len(both) == len(before.ranks) < len(after.ranks)
    for column in before.ranks.columns.difference(keys):
        assert both[column].equals(both[f"{column} after"].rename(column)), column


def test_weeks_without_buyers_are_left_out(shop: Path) -> None:
    one = judge_retrievers(LAST_DAY, 1, ["popular"])
    three = judge_retrievers(LAST_DAY + timedelta(days=14), 3, ["popular"])
    assert len(three.weeks) == 3
    assert three.judged["popular"].metrics == one.judged["popular"].metrics


# --- costs --------------------------------------------------------------------------------------


def test_costs_are_measured(report: RetrievalReport) -> None:
    for name in NAMES:
        judged = report.judged[name]
        assert judged.fit_seconds
        assert judged.fit_seconds > 0
        assert judged.seconds_per_1000
        assert judged.seconds_per_1000 > 0
        assert judged.megabytes_saved
        assert judged.megabytes_saved > 0
        assert judged.milliseconds
        assert 0 < judged.milliseconds["p50"] <= judged.milliseconds["p99"]
    for name in report.together:
        milliseconds = report.judged[name].milliseconds
        assert milliseconds
        assert milliseconds["p50"] > report.shared_milliseconds["p50"] > 0


def test_bytes_held_are_those_of_arrays_counted_once() -> None:
    from scipy import sparse

    class Holder:
        def __init__(self, **parts: object) -> None:
            self.__dict__.update(parts)

    array = np.zeros((1000, 100))
    alone = bytes_held(Holder(array=array))
    assert array.nbytes <= alone < array.nbytes + 1000
    assert bytes_held(Holder(array=array, again=array, seen={"view": array[10:]})) < alone + 1000
    matrix = sparse.csr_matrix(np.eye(500, dtype="float32"))
    parts = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    assert parts <= bytes_held(Holder(matrix=matrix)) < parts + 2000


def test_bytes_held_of_tensors_and_indexes() -> None:
    import faiss
    import torch

    layer = torch.nn.Linear(300, 200)
    shared = {"layer": layer, "weight": layer.weight.detach().numpy()}
    assert bytes_held(shared) == pytest.approx(bytes_held(layer), rel=0.1)
    assert bytes_held(layer) == pytest.approx(4 * (300 * 200 + 200), rel=0.1)
    index = faiss.IndexFlatIP(32)
    index.add(np.zeros((1000, 32), dtype="float32"))
    assert bytes_held([index]) == pytest.approx(4 * 32_000, rel=0.1)


# --- for people ---------------------------------------------------------------------------------


def test_an_unknown_retriever_is_named(shop: Path) -> None:
    with pytest.raises(
        LookbookError, match=r"No retriever is called 'release'; there are: popular"
    ):
        judge_retrievers(LAST_DAY, names=["popular", "release"])


def test_too_short_a_history_is_said(shop: Path) -> None:
    with pytest.raises(LookbookError, match=r"Purchases start on 2020-04-26.*at least 1 week less"):
        judge_retrievers(LAST_DAY, 22, ["popular"])


def test_nothing_finds_anything(worlds: Worlds, tmp_path: Path) -> None:
    with worlds([("ann", STAR, 100), ("bob", NEW, -1)]).inside():
        found = judge_retrievers(LAST_DAY, 1, ["repurchase", "co_purchase"])
        write_page(found, tmp_path / "page.html")
    assert means(found, UNION) == [0.0] * len(RECALLS)
    assert found.judged["repurchase"].alone == 0.0
    assert found.judged[UNION].candidates == 0


def test_the_command(own_shop: Path) -> None:
    names = ["popular", *RELEASE.retrievers]
    words = ["evaluate", "--retrievers", "--weeks", "1", "--models", ",".join(names)]
    answer = CliRunner().invoke(main, [*words, "--customers", "30", "--json"])
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout.splitlines()[-1])
    assert result["customers"] == 30
    assert list(result["judged"]) == [UNION, MERGED, *names]
    for judged in result["judged"].values():
        assert judged["metrics"][MAIN].keys() == {"mean", "low", "high"}
    page = own_shop / "reports" / "retrievers.html"
    assert result["page"] == str(page)
    text = page.read_text()
    assert all(name in text for name in names)
    assert "<svg" in text


def test_the_table(own_shop: Path) -> None:
    words = ["evaluate", "--retrievers", "--weeks", "1", "--models", "popular,repurchase"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.output
    for said in ("union", "popular", "repurchase", "only it names", "cold", "new articles"):
        assert said in answer.stdout
    assert "…" not in answer.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--per-source", "3"], "--per-source goes with --retrievers"),
        (["--retrievers", "--models", ""], "has an empty name"),
        (["--retrievers", "--ablate", "views"], "--ablate is of the recommender"),
        (["--retrievers", "--models", "magic"], "No retriever is called 'magic'"),
        (["--retrievers", "--customers", "0"], "--customers"),
    ],
)
def test_wrong_words_are_explained(shop: Path, words: list[str], says: str) -> None:
    answer = CliRunner().invoke(main, ["evaluate", *words])
    assert answer.exit_code != 0
    assert says in answer.output
