"""Sizes that are foretold, held against networks, indexes, versions and stores that are there."""

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError
from pipelines import sizing
from pipelines.cli import main
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS, make_ranker, make_retriever
from pipelines.model_registry import release
from pipelines.model_registry.composing import load_recommender
from pipelines.nearest import Index
from pipelines.neural.encoding import FeatureEncoder
from pipelines.online import state
from pipelines.retrievers.two_tower import Towers, size_for
from pipelines.sizing import Fields, RankerRows, Shop
from pipelines.warehouse import reading

NEURAL_RANKERS = [name for name in RANKERS if name not in ("gradient_boosting", "blend")]
SMALL = Shop.of(10_000, 5_000)


def parameters(network: Any) -> int:
    return sum(weights.numel() for weights in network.parameters())


# --- parameters -----------------------------------------------------------------------------------------


def encoded(numbers: int, texts: int, vectors: int) -> tuple[Any, Fields]:
    """The spec of an encoder for so many columns, and the same in numbers."""
    rng = np.random.default_rng(numbers)
    columns: dict[str, Any] = {f"a__n{n}": rng.integers(0, 3 + n, 60) for n in range(numbers)}
    columns |= {f"a__t{n}": [f"{v}" for v in rng.integers(0, 4 + n, 60)] for n in range(texts)}
    columns |= {f"a__{n}_embedding": list(rng.random((60, 8 + n))) for n in range(vectors)}
    spec = FeatureEncoder().fit(pd.DataFrame(columns)).spec
    return spec, Fields(sum(spec.codes), len(spec.codes), spec.numbers, spec.vectors)


@pytest.mark.parametrize("top", ["dot", "mlp"])
@pytest.mark.parametrize(("purchases", "articles"), [(900, 300), (2_000_000, 40_000)])
def test_two_towers_have_as_many_parameters_as_foretold(
    purchases: int, articles: int, top: Any
) -> None:
    (customer, c), (content, t), (sales, s) = encoded(5, 3, 0), encoded(0, 4, 2), encoded(6, 0, 0)
    size = size_for(purchases, articles)
    made = Towers(customer, content, sales, size, top)
    assert parameters(made) == sizing.tower_parameters((c, t, s), size, top)


@pytest.mark.parametrize(("articles", "width"), [(50, 16), (3_000, 128)])
def test_networks_of_next_weeks_have_as_many_parameters_as_foretold(
    articles: int, width: int
) -> None:
    for name, formula, widest in (
        ("variational_autoencoder", sizing.autoencoder_parameters, 128),
        ("neu_mf", sizing.neu_mf_parameters, 32),
    ):
        retriever: Any = make_retriever(name)
        retriever.known, retriever.width = np.arange(articles), width
        assert parameters(retriever.make()) == formula(articles, min(width, widest)), name


@pytest.mark.parametrize("name", NEURAL_RANKERS)
@pytest.mark.parametrize(
    "rows",
    [RankerRows(3, 25, 2, articles=30), RankerRows(60, 300, 9, 5_000, objectives=3)],
)
def test_neural_rankers_have_as_many_parameters_as_foretold(name: str, rows: RankerRows) -> None:
    from pipelines.rankers.neural import Sizes

    ranker: Any = make_ranker(name)
    codes = [2] * (rows.texts - 1)
    texts = (*codes, rows.text_codes - sum(codes))
    sizes = Sizes(rows.numbers, texts, rows.articles, rows.objectives)
    foretold = sizing.ranking_parameters(name, rows, RANKERS[name].settings_in_full())
    assert parameters(ranker.make(sizes)) == foretold


def test_every_model_of_the_catalogue_can_be_planned() -> None:
    planned = sizing.plan(SMALL).models
    assert [one.name for one in planned] == [*RETRIEVERS, *RANKERS]
    for one in planned:
        # A shop without pictures has nothing to keep of them.
        assert (one.parameters > 0) == (one.name != "similar_by_image")
        assert one.disk_bytes > 0
        assert one.cpu_seconds > 0


# --- bytes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize(("vectors", "dimension"), [(600, 16), (3_000, 48)])
def test_an_index_is_as_large_as_foretold(
    kind: Any, vectors: int, dimension: int, tmp_path: Path
) -> None:
    made = np.random.default_rng(3).standard_normal((vectors, dimension)).astype("float32")
    index = Index.build(made, made_for="a test", kind=kind, least_recall=0.0, most_effort=1)
    index.save(tmp_path)
    saved = (tmp_path / "nearest.faiss").stat().st_size
    assert sizing.index_bytes(kind, vectors, dimension) == pytest.approx(saved, rel=0.02)


@pytest.fixture
def small_shop(shop: Path) -> Shop:
    """The size of the shop that tests share, with its articles on sale as a model of it knows them."""
    recommender, _ = load_recommender(release.get("production"))
    on_sale = int(recommender.retrievers["repurchase"].assortment.on_sale.sum())
    with reading() as con:
        counted = con.execute(
            "SELECT (SELECT count(*) FROM staging.customers), (SELECT count(*) FROM staging.articles), "
            "(SELECT sum(line_count) FROM staging.purchases), "
            "(SELECT max(day) - min(day) + 1 FROM staging.purchases)"
        ).fetchone()
    assert counted is not None
    customers, articles, lines, days = map(int, counted)
    return Shop(customers, articles, lines, days, on_sale)


@pytest.mark.parametrize("name", [*RELEASE.retrievers, RELEASE.ranker])
def test_a_saved_model_is_as_large_as_foretold(name: str, small_shop: Shop) -> None:
    """Within a fifth; of what keeps likenesses it is the most, for in so small a shop few articles have any."""
    version = release.get("production").open_parts()[name]
    saved = sum(file.stat().st_size for file in version.path.rglob("*") if file.is_file())
    foretold = sizing.model(name, small_shop).disk_bytes
    if name in ("ease", "co_purchase"):
        assert saved < foretold
    else:
        assert foretold == pytest.approx(saved, rel=0.2)


def test_trees_have_as_many_numbers_as_foretold(shop: Path) -> None:
    ranker: Any = load_recommender(release.get("production"))[0].ranker
    settings = RANKERS[ranker.name].settings_in_full()
    foretold = sizing.tree_parameters(settings["trees"], settings["leaves"])
    # Of a shop as small as this some trees stop early.
    assert 0.5 * foretold < len(ranker.booster.trees_to_dataframe()) <= foretold
    draw = np.random.default_rng(0)
    rows = lightgbm.Dataset(draw.random((5_000, 10)), draw.random(5_000))
    grown = lightgbm.train(
        {"num_leaves": settings["leaves"], "verbose": -1}, rows, settings["trees"]
    )
    assert len(grown.trees_to_dataframe()) == foretold


def test_views_online_are_as_large_as_foretold(shop: Path) -> None:
    there = state()
    for name, keys, features in (
        ("customer_activity", ["customer"], 35),
        ("customer_price", ["customer"], 4),
        ("customer_article", ["customer", "article"], 5),
        ("customer_product", ["customer", "product"], 4),
        ("article_activity", ["article"], 21),
        ("postal_code_activity", ["postal_code"], 6),
    ):
        key = sum(sizing.ID_BYTES[one] for one in keys)
        row = sizing.WORD * sizing.row_words(features)
        assert sizing.lmdb_bytes(there[name].rows, key, row) == there[name].bytes, name


def test_the_online_store_is_as_large_as_foretold(small_shop: Shop) -> None:
    """Each view within a third, but for that of products, of which this shop has few; all together within a quarter."""
    there = state()
    foretold = {view.name: view for view in sizing.online(small_shop)}
    assert foretold.keys() == there.keys() - {"customer_session"}
    for name, view in foretold.items():
        if name not in ("customer_product", "product_group_activity"):
            assert view.bytes == pytest.approx(there[name].bytes, rel=0.33), name
    whole = sum(there[name].bytes for name in foretold)
    assert sum(view.bytes for view in foretold.values()) == pytest.approx(whole, rel=0.25)


def test_rows_that_are_long_stand_on_pages_of_their_own() -> None:
    assert sizing.lmdb_bytes(0, 12, 100) == 0
    assert sizing.lmdb_bytes(1, 12, 100) == sizing.PAGE
    # One row of three pages, and the page that says where it is.
    assert sizing.lmdb_bytes(1, 12, 10_000) == 4 * sizing.PAGE


# --- plans ----------------------------------------------------------------------------------------------

SIZES = st.integers(1, 3_000_000)


@settings(max_examples=60, deadline=None)
@given(customers=SIZES, articles=st.integers(1, 300_000), more=st.integers(0, 1_000_000))
def test_a_larger_shop_needs_no_less(customers: int, articles: int, more: int) -> None:
    one = sizing.plan(Shop.of(customers, articles), qps=5)
    for larger in (
        sizing.plan(Shop.of(customers + more, articles), qps=5),
        sizing.plan(Shop.of(customers, articles + more), qps=5),
        sizing.plan(Shop.of(customers, articles), qps=5 + more),
        sizing.plan(Shop.of(customers, articles, images=True), qps=5),
    ):
        assert larger.warehouse_bytes >= one.warehouse_bytes
        assert larger.online_bytes >= one.online_bytes
        assert larger.replicas >= one.replicas
        assert larger.process_bytes >= one.process_bytes
        for before, after in zip(one.models, larger.models, strict=True):
            assert after.parameters >= before.parameters, after.name
            assert after.disk_bytes >= before.disk_bytes, after.name
            if before.gpu_seconds is None:
                assert after.cpu_seconds >= before.cpu_seconds, after.name
        for step in ("build", "materialize", "file for all customers"):
            assert larger.night[step] >= one.night[step]


@given(qps=st.floats(0.01, 1e6))
def test_processes_have_room_for_the_slowest_answers(qps: float) -> None:
    count = sizing.replicas(qps)
    assert count * sizing.BUSY >= qps * sizing.ANSWER
    # The one more may be down.
    alone = sizing.p99_seconds(qps, max(1, count - 1))
    assert alone <= sizing.p99_seconds(2, 1, sizing.BUSY / 2) / (sizing.BUSY / 2) * sizing.ANSWER
    assert sizing.p99_seconds(qps, count) <= alone


def test_more_requests_than_a_process_can_answer_wait_for_ever() -> None:
    assert sizing.p99_seconds(2 / sizing.ANSWER, 1) == float("inf")


def test_gpus_are_wanted_for_memory_or_for_time() -> None:
    assert sizing.gpus(1e9, 60) == 1
    assert sizing.gpus(100e9, 60) == 4
    assert sizing.gpus(1e9, 3 * 3600) == 2
    assert sizing.plan(SMALL).gpus == 0
    assert sizing.plan(SMALL, models=["popular"]).gpus == 0


def test_a_plan_says_what_is_only_estimated() -> None:
    said = " ".join(sizing.plan(SMALL).estimates)
    assert "GPU times are estimates" in said
    assert "extrapolated" not in said
    assert "extrapolated" in " ".join(sizing.plan(Shop.of(10**7, 10**6)).estimates)
    assert "GPU" not in " ".join(sizing.plan(SMALL, models=["popular"]).estimates)


def test_the_command_plans_in_tables_and_in_json() -> None:
    words = ["plan", "--customers", "137198", "--articles", "10554", "--purchases", "3173589"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    for text in ("two_tower", "online store, all views", "each night: materialize", "p99"):
        assert text in done.output
    done = CliRunner().invoke(main, [*words, "--models", "ease, gradient_boosting", "--json"])
    found = json.loads(done.output.splitlines()[-1])
    assert [one["name"] for one in found["models"]] == ["ease", "gradient_boosting"]
    assert found["shop"]["purchases"] == 3_173_589
    assert found["online_bytes"] == sum(view["bytes"] for view in found["views"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--customers", "0", "--articles", "5"], "with 0 customers cannot be planned"),
        (["--customers", "5", "--articles", "-3"], "with -3 articles cannot be planned"),
        (["--customers", "5", "--articles", "5", "--history-days", "0"], "with 0 days"),
        (["--customers", "5", "--articles", "5", "--purchases", "0"], "with 0 purchases"),
        (["--customers", "5", "--articles", str(10**12)], "give 1 to 100,000,000"),
        (["--customers", "5", "--articles", "5", "--qps", "0"], "0.0 requests a second"),
        (["--customers", "5", "--articles", "5", "--qps", "nan"], "nan requests a second"),
        (["--customers", "5", "--articles", "5", "--models", "no_model"], "No model is called"),
        (["--customers", "5", "--articles", "5", "--models", "ease,"], "has an empty name"),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_sentence(words: list[str], says: str) -> None:
    done = CliRunner().invoke(main, ["plan", *words])
    assert done.exit_code in (1, 2)
    assert says in done.output
    assert "Traceback" not in done.output


def test_no_model_cannot_be_planned() -> None:
    with pytest.raises(InputError, match="No model is named"):
        sizing.plan(SMALL, models=[])
