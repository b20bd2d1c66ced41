"""The designs of the made-up shop: H&M's breadth, and attributes that make sense together."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.raw_tables import ARTICLES
from pipelines.data import hm_figures
from pipelines.data.synthetic import taxonomy
from pipelines.data.synthetic.designs import Designs, draw_designs, fitted, label

HM_ARTICLES = hm_figures.ARTICLES
ARROW_TYPES = {"VARCHAR": pa.string(), "INTEGER": pa.int32()}


def catalogue(articles: int, seed: int = 7) -> tuple[Designs, pa.Table, np.ndarray]:
    rng = np.random.default_rng(seed)
    designs = draw_designs(articles, rng)
    launch = rng.integers(-400, 700, len(designs.index))
    return designs, *label(designs, launch, rng)


@pytest.fixture(scope="module")
def like_hm() -> tuple[Designs, pa.Table, np.ndarray]:
    return catalogue(HM_ARTICLES)


@pytest.fixture(scope="module")
def articles(like_hm) -> pd.DataFrame:
    return like_hm[1].to_pandas()


# --- as broad as H&M's ---


@pytest.mark.parametrize(
    ("column", "distinct", "tolerance"),
    [
        ("product_code", 47_224, 0.03),
        ("prod_name", 45_875, 0.03),
        ("detail_desc", 43_404, 0.03),
        ("product_type_no", 132, 0),
        ("product_group_name", 19, 0),
        ("graphical_appearance_no", 30, 0),
        ("colour_group_code", 50, 0),
        ("perceived_colour_value_id", 8, 0),
        ("perceived_colour_master_id", 20, 0),
        ("department_no", 299, 0.05),
        ("index_code", 10, 0),
        ("index_group_no", 5, 0),
        ("section_no", 57, 0),
        ("garment_group_no", 21, 0),
    ],
)
def test_as_many_distinct_values_as_in_hms_catalogue(
    articles, column: str, distinct: int, tolerance: float
) -> None:
    assert articles[column].nunique() == pytest.approx(distinct, rel=tolerance)


def test_variants_nulls_and_shares_are_hms(articles) -> None:
    variants = articles.groupby("product_code").size()
    assert variants.mean() == pytest.approx(2.23, rel=0.03)
    assert variants.median() == 1
    assert variants.quantile(0.9) == 4
    assert 68 <= variants.max() <= 75
    assert articles["detail_desc"].isna().sum() == 416
    groups = articles["index_group_name"].value_counts()
    for group, count in {
        "Ladieswear": 39_737,
        "Baby/Children": 34_711,
        "Divided": 15_149,
        "Menswear": 12_553,
        "Sport": 3_392,
    }.items():
        assert groups[group] == pytest.approx(count, rel=0.05), group
    assert (articles["colour_group_name"] == "Black").mean() == pytest.approx(0.215, rel=0.04)
    assert (articles["graphical_appearance_name"] == "Solid").mean() == pytest.approx(
        0.471, rel=0.04
    )
    kinds = articles["product_type_name"].value_counts()
    for kind in taxonomy.PRODUCT_TYPES:
        slack = 0.1 * kind.supply + 3 * kind.supply**0.5 + 3
        assert abs(kinds[kind.name] - kind.supply) < slack, kind.name


@pytest.mark.parametrize("seed", [1, 2])
def test_a_tenth_is_a_tenth(seed: int) -> None:
    rows = catalogue(10_554, seed)[1].to_pandas()
    assert rows["product_code"].nunique() == pytest.approx(4_722, rel=0.03)
    assert rows["prod_name"].nunique() == pytest.approx(4_588, rel=0.03)
    assert rows["detail_desc"].nunique() == pytest.approx(4_340, rel=0.03)
    assert rows["detail_desc"].isna().sum() == 42
    assert rows["product_type_name"].nunique() > 80
    assert (rows["index_group_name"] == "Ladieswear").mean() == pytest.approx(0.377, rel=0.05)
    assert (rows["colour_group_name"] == "Black").mean() == pytest.approx(0.215, rel=0.1)
    assert (rows["graphical_appearance_name"] == "Solid").mean() == pytest.approx(0.471, rel=0.1)


# --- attributes that belong together ---


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("product_type_no", "product_type_name"),
        ("graphical_appearance_no", "graphical_appearance_name"),
        ("colour_group_code", "colour_group_name"),
        ("perceived_colour_value_id", "perceived_colour_value_name"),
        ("perceived_colour_master_id", "perceived_colour_master_name"),
        ("department_no", "department_name"),
        ("index_code", "index_name"),
        ("index_group_no", "index_group_name"),
        ("section_no", "section_name"),
        ("garment_group_no", "garment_group_name"),
    ],
)
def test_code_and_name_are_one_to_one(articles, code: str, name: str) -> None:
    pairs = articles[[code, name]].drop_duplicates()
    assert pairs[code].is_unique
    assert pairs[name].is_unique


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("article_id", "product_code"),
        ("department_no", "section_no"),
        ("department_no", "garment_group_no"),
        ("section_no", "index_code"),
        ("index_code", "index_group_no"),
        ("product_type_no", "product_group_name"),
        ("colour_group_code", "perceived_colour_value_id"),
        ("colour_group_code", "perceived_colour_master_id"),
        ("product_code", "prod_name"),
        ("product_code", "product_type_no"),
        ("product_code", "department_no"),
        ("product_code", "detail_desc"),
    ],
)
def test_each_part_lies_in_one_whole(articles, part: str, whole: str) -> None:
    wholes = articles[[part, whole]].drop_duplicates()
    assert wholes[part].is_unique


def test_a_product_has_no_colour_and_pattern_twice(articles) -> None:
    looks = ["product_code", "colour_group_code", "graphical_appearance_no"]
    assert not articles.duplicated(looks).any()


def test_things_are_sold_where_one_looks_for_them(articles) -> None:
    def kinds(**wanted: str) -> set[str]:
        chosen = np.logical_and.reduce([articles[c] == value for c, value in wanted.items()])
        return set(articles["product_type_name"][chosen])

    assert not kinds(index_name="Menswear") & {"Bra", "Dress", "Skirt", "Blouse", "Bikini top"}
    assert "Dress" not in kinds(section_name="Kids Boy")
    assert kinds(garment_group_name="Shoes", index_name="Menswear") >= {"Sneakers", "Boots"}
    assert kinds(section_name="Womens Lingerie") >= {"Bra", "Underwear bottom"}
    assert kinds(section_name="Ladies Denim") == {"Trousers"}
    assert kinds(garment_group_name="Dresses/Skirts girls") == {"Dress", "Skirt"}
    denim = articles[articles["graphical_appearance_name"] == "Denim"]
    blue = ["Blue", "Black", "Grey"]
    assert denim["perceived_colour_master_name"].isin(blue).mean() > 0.9
    earrings = articles[articles["product_type_name"] == "Earring"]
    assert earrings["perceived_colour_master_name"].isin(["Metal"]).mean() > 0.5
    sold = articles.groupby("product_type_name")["index_code"].agg(set)
    for kind in taxonomy.PRODUCT_TYPES:
        assert sold[kind.name] <= set(kind.indexes), kind.name


def test_children_are_not_described_as_women(articles) -> None:
    children = articles["index_group_name"] == "Baby/Children"
    text = articles["detail_desc"][children].dropna()
    words = r"\b(?:push-up|thong|string|bodycon|stiletto|fishnet|low-cut|high-leg|balconette)\b"
    assert not text.str.contains(words, case=False).any()
    denim = articles["section_name"].isin(["Ladies Denim", "Denim Men"])
    assert articles["detail_desc"][denim].dropna().str.contains("denim|jeans").all()


def test_words_are_readable(articles) -> None:
    described = articles["detail_desc"].dropna()
    assert described.str.fullmatch(r"[A-Z0-9].*\.").all()
    sentences = described.str.replace(r"\d\.\d", "0", regex=True).str.count(r"\.(?: |$)")
    assert (sentences.min(), sentences.max()) == (1, 4)
    assert described.str.contains(",").mean() > 0.4
    assert described.str.len().between(30, 330).all()
    assert not described.str.contains(r"  |\.\.|\{|None| ,", regex=True).any()
    assert articles["prod_name"].str.fullmatch(r"[A-Z]\S+ .*\S").all()
    assert articles["prod_name"].str.len().max() <= 45


def test_sisters_share_words_within_their_type(articles) -> None:
    """Few products are described alike, and nearly all of these are of one type and index."""
    products = articles.drop_duplicates("product_code").dropna(subset=["detail_desc"])
    alike = products[products.duplicated("detail_desc", keep=False)]
    assert 0.05 < len(alike) / len(products) < 0.2
    one = alike.groupby("detail_desc")[["product_type_no", "index_code"]].nunique().max(axis=1)
    assert (one == 1).mean() > 0.95


# --- the table ---


def check_table(designs: Designs, table: pa.Table, order: np.ndarray, count: int) -> None:
    assert table.column_names == ARTICLES.column_names
    assert len(table) == len(order) == count
    for column in ARTICLES.columns:
        values = table[column.name]
        assert values.type == ARROW_TYPES[column.type], column.name
        known = values.to_pandas().dropna()
        assert column.name == "detail_desc" or len(known) == count, column.name
        if column.pattern:
            assert known.str.fullmatch(column.pattern).all(), column.name
        if column.minimum is not None:
            assert known.min() >= column.minimum, column.name
    rows = table.to_pandas()
    assert rows["article_id"].is_monotonic_increasing
    assert rows["article_id"].is_unique
    assert (rows["article_id"].str[:7] == rows["product_code"]).all()
    assert sorted(order) == list(range(count))
    colours = [taxonomy.COLOURS[c].name for c in designs.colour[order]]
    assert rows["colour_group_name"].tolist() == colours
    kinds = [taxonomy.PRODUCT_TYPES[k].name for k in designs.kind[designs.product[order]]]
    assert rows["product_type_name"].tolist() == kinds


@given(st.integers(1, 50), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_any_small_catalogue_is_valid(count: int, seed: int) -> None:
    designs, table, order = catalogue(count, seed)
    check_table(designs, table, order, count)
    products = len(designs.index)
    assert products == len(designs.kind) == len(designs.look) == designs.product[-1] + 1
    assert (np.diff(designs.product) >= 0).all()
    starts = np.flatnonzero(np.diff(designs.product, prepend=-1))
    assert (designs.variant == np.arange(count) - starts[designs.product]).all()
    np.testing.assert_allclose(np.linalg.norm(designs.style, axis=1), 1.0)
    assert (designs.look == designs.style.argmax(axis=1)).all()


def test_a_catalogue_of_hms_size_is_valid(like_hm) -> None:
    check_table(*like_hm, HM_ARTICLES)


def test_a_small_shop_sells_mostly_what_sells_most() -> None:
    usual = sorted(taxonomy.PRODUCT_TYPES, key=lambda kind: -kind.supply)[:25]
    drawn = [draw_designs(40, np.random.default_rng(seed)) for seed in range(30)]
    kinds = [taxonomy.PRODUCT_TYPES[k] for designs in drawn for k in designs.kind]
    assert np.mean([kind in usual for kind in kinds]) > 0.75
    assert all(np.bincount(designs.product).max() <= 6 for designs in drawn)


def test_product_codes_grow_with_the_launch_roughly() -> None:
    rng = np.random.default_rng(0)
    designs = draw_designs(5000, rng)
    launch = rng.integers(-400, 700, len(designs.index))
    _, order = label(designs, launch, rng)
    by_code = launch[designs.product[order]]
    assert np.corrcoef(np.arange(len(by_code)), by_code)[0, 1] > 0.9
    assert (np.diff(by_code) < 0).any()


def test_the_seed_decides_everything() -> None:
    one, two, other = catalogue(500, 3), catalogue(500, 3), catalogue(500, 4)
    for field in fields(Designs):
        assert np.array_equal(getattr(one[0], field.name), getattr(two[0], field.name))
    assert one[1].equals(two[1])
    assert np.array_equal(one[2], two[2])
    assert not one[1].equals(other[1])


# --- the taxonomy ---


def test_the_taxonomy_is_consistent() -> None:
    groups = len(taxonomy.PRODUCT_GROUPS)
    assert np.shape(taxonomy.GOES_WITH) == (groups, groups)
    assert np.min(taxonomy.GOES_WITH) > 0
    for table, key in [
        (taxonomy.PRODUCT_TYPES, "number"),
        (taxonomy.PRODUCT_TYPES, "name"),
        (taxonomy.SECTIONS, "number"),
        (taxonomy.SECTIONS, "name"),
        (taxonomy.COLOURS, "code"),
        (taxonomy.COLOURS, "rgb"),
        (taxonomy.PATTERNS, "number"),
    ]:
        values = [getattr(row, key) for row in table]
        assert len(set(values)) == len(values), key
    for colour in taxonomy.COLOURS:
        assert all(0 <= part <= 255 for part in colour.rgb), colour.name
    lines = {line for section in taxonomy.SECTIONS for line in section.lines}
    lines |= {kind.line for kind in taxonomy.PRODUCT_TYPES} | {
        line for _, line in taxonomy.DEPARTMENTS
    }
    assert lines <= set(taxonomy.LINES)
    assert set(taxonomy.LINES.values()) <= set(taxonomy.GARMENT_GROUPS)
    for kind in taxonomy.PRODUCT_TYPES:
        assert kind.cents > 0
        assert kind.supply > 0
        assert kind.again > 0
        assert 0 <= kind.peak <= 365


def test_fitting_meets_both_totals() -> None:
    """Two shops with 3 and 1 articles; the first sells no hats, so the second sells only hats."""
    share = fitted(
        np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), np.array([3.0, 1]), np.array([2.0, 1, 1])
    )
    np.testing.assert_allclose(share, [[0.5, 0.25, 0], [0, 0, 0.25]], atol=1e-2)
    assert share.sum(axis=1).tolist() == pytest.approx([0.75, 0.25])
