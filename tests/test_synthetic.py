"""The made-up shop: its layout, and that its customers behave."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_repo.raw_tables import RAW_TABLES
from pipelines.data import hm_figures, synthetic
from pipelines.data.synthetic import ShopError, ShopSummary, synthesize
from pipelines.data.synthetic.behaviour import draw_visits
from pipelines.data.synthetic.catalogue import draw_catalogue
from pipelines.data.synthetic.customers import draw_customers
from pipelines.data.synthetic.files import TableFile

TABLES = [RAW_TABLES[name] for name in ("articles", "customers", "transactions")]
TRUTH = {
    "truth/articles.parquet",
    "truth/customers.parquet",
    "truth/leanings_colour.parquet",
    "truth/leanings_product_group.parquet",
    "truth/leanings_product_type.parquet",
    "truth/shop.json",
}
FILES = sorted({f"{Path(table.file).stem}.parquet" for table in TABLES} | TRUTH)
SMALL = {"customers": 60, "articles": 40, "days": 30}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ShopSummary:
    return synthesize(tmp_path_factory.mktemp("shop") / "demo", csv=True)


def read(folder: Path, table: str) -> pd.DataFrame:
    return pd.read_csv(folder / RAW_TABLES[table].file, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def articles(shop: ShopSummary) -> pd.DataFrame:
    return read(shop.folder, "articles")


@pytest.fixture(scope="module")
def customers(shop: ShopSummary) -> pd.DataFrame:
    return read(shop.folder, "customers")


@pytest.fixture(scope="module")
def purchases(shop: ShopSummary) -> pd.DataFrame:
    """Transactions with a day number; the last day is 0 and earlier days are negative."""
    rows = read(shop.folder, "transactions")
    dates = pd.to_datetime(rows["t_dat"], format="%Y-%m-%d")
    return rows.assign(day=(dates - dates.max()).dt.days, month=dates.dt.month)


# --- the files ---


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_columns_are_kaggles_and_values_are_in_range(shop: ShopSummary, table) -> None:
    rows = read(shop.folder, table.name)
    assert rows.columns.tolist() == table.column_names
    for column in table.columns:
        values = rows[column.name]
        if column.required:
            assert (values != "").all(), column.name
        if column.pattern:
            assert values.str.fullmatch(column.pattern).all(), column.name
        if column.minimum is not None:
            assert pd.to_numeric(values[values != ""]).min() >= column.minimum, column.name
        if column.maximum is not None:
            assert pd.to_numeric(values[values != ""]).max() <= column.maximum, column.name
    if table.key:
        assert not rows.duplicated(list(table.key)).any()


def test_the_summary_counts_what_was_written(shop, articles, customers, purchases) -> None:
    assert (shop.articles, shop.customers) == (len(articles), len(customers)) == (800, 2000)
    assert shop.transactions == len(purchases)
    assert str(shop.first_day) <= purchases["t_dat"].min()
    assert str(shop.last_day) == purchases["t_dat"].max() == "2020-09-22"
    assert (shop.last_day - shop.first_day).days == 239


def test_ids_have_kaggles_form_and_refer_to_each_other(articles, customers, purchases) -> None:
    assert articles["article_id"].str.fullmatch(r"0\d{9}").all()
    assert (articles["article_id"].str[:7] == articles["product_code"]).all()
    for column in ("customer_id", "postal_code"):
        assert customers[column].str.fullmatch(r"[0-9a-f]{64}").all()
    assert set(purchases["article_id"]) <= set(articles["article_id"])
    assert set(purchases["customer_id"]) <= set(customers["customer_id"])


def test_prices_are_exact_cents_over_590(purchases) -> None:
    text = purchases["price"].drop_duplicates()
    cents = text.astype(float) * 59_000
    assert (cents.round() >= 1).all()
    assert text.tolist() == [repr(c / 100 / 590) for c in cents.round().astype(int)]
    all_cents = (purchases["price"].astype(float) * 59_000).round()
    assert 0.6 < (all_cents % 100 == 99).mean() < 1


def test_transactions_are_sorted_by_day_then_customer(purchases) -> None:
    key = purchases["t_dat"] + purchases["customer_id"]
    assert key.is_monotonic_increasing


def test_descriptions_need_quotes_and_are_sometimes_empty(shop, articles) -> None:
    assert articles["detail_desc"].str.contains(",").any()
    assert 0 < (articles["detail_desc"] == "").mean() < 0.03
    with (shop.folder / "articles.csv").open(newline="") as lines:
        assert {len(row) for row in csv.reader(lines)} == {25}


def test_codes_and_names_agree(articles) -> None:
    pairs = {
        "product_type_no": "product_type_name",
        "graphical_appearance_no": "graphical_appearance_name",
        "colour_group_code": "colour_group_name",
        "perceived_colour_value_id": "perceived_colour_value_name",
        "perceived_colour_master_id": "perceived_colour_master_name",
        "department_no": "department_name",
        "index_code": "index_name",
        "index_group_no": "index_group_name",
        "section_no": "section_name",
        "garment_group_no": "garment_group_name",
        "product_code": "prod_name",
        "index_name": "index_group_name",
        "product_type_name": "product_group_name",
        "colour_group_name": "perceived_colour_master_name",
    }
    for code, name in pairs.items():
        assert (articles.groupby(code)[name].nunique() == 1).all(), code


def test_customers_are_as_published(customers) -> None:
    empty = (customers == "").mean()
    for column, share in hm_figures.NULLS.items():
        assert empty[column] == pytest.approx(share, abs=0.04), column
    assert set(customers["FN"]) == set(customers["Active"]) == {"", "1.0"}
    age = pd.to_numeric(customers["age"])
    assert age.min() >= 16
    assert age.max() <= 99
    assert 28 <= age.median() <= 35
    shares = customers["postal_code"].value_counts(normalize=True)
    assert 0.07 < shares.iloc[0] < 0.12
    assert shares.iloc[1] < 0.01


# --- the behaviour ---


def test_only_articles_on_sale_are_bought(purchases) -> None:
    first_date = synthetic.LAST_DAY - pd.Timedelta(days=239).to_pytimedelta()
    catalogue = draw_catalogue(800, 240, first_date, 7)
    position = pd.Series(range(800), index=catalogue.table["article_id"].to_pylist())
    article = position[purchases["article_id"]].to_numpy()
    day = purchases["day"].to_numpy() + 239
    assert (catalogue.launch[article] <= day).all()
    assert (day <= catalogue.last[article]).all()
    # Something is launched and something ends within these days, so the check can fail.
    assert ((catalogue.launch > 0) & (catalogue.launch < 240)).mean() > 0.2
    assert ((catalogue.last > 0) & (catalogue.last < 240)).mean() > 0.2


def test_activity_and_popularity_have_a_long_tail(purchases) -> None:
    per_customer = purchases.groupby("customer_id").size()
    assert per_customer.median() < 0.7 * per_customer.mean()
    assert per_customer.quantile(0.99) > 5 * per_customer.mean()
    per_article = purchases["article_id"].value_counts()
    assert 0.35 < per_article.head(80).sum() / len(purchases) < 0.75
    basket = purchases.groupby(["customer_id", "t_dat"]).size()
    assert 2.3 < basket.mean() < 3.8
    assert basket.median() == 2


def test_black_sells_more_than_it_is_listed(articles, purchases) -> None:
    listed = articles["colour_group_name"] == "Black"
    black = set(articles["article_id"][listed])
    sold = purchases["article_id"].isin(black).mean()
    assert 0.15 < listed.mean() < 0.28
    assert sold > listed.mean() + 0.05


def test_repeats_quantities_and_channels(purchases) -> None:
    keys = ["customer_id", "article_id"]
    choices = purchases.drop_duplicates([*keys, "day"])
    first = choices.groupby(keys)["day"].transform("min")
    assert 0.03 < (choices["day"] > first).mean() < 0.25
    assert 0.07 < purchases.duplicated().mean() < 0.14
    assert 0.6 < (purchases["sales_channel_id"] == "2").mean() < 0.8
    # A customer leans to one channel: less mixed than chance would have it.
    per_customer = purchases.assign(online=purchases["sales_channel_id"] == "2")
    share = per_customer.groupby("customer_id")["online"].agg(["mean", "size"])
    share = share[share["size"] >= 20]["mean"]
    assert share.std() > 0.15


def test_socks_are_bought_again_more_than_dresses(articles, purchases) -> None:
    kind = articles.set_index("article_id")["product_type_name"]
    choices = purchases.drop_duplicates(["customer_id", "article_id", "day"])
    choices = choices.assign(kind=choices["article_id"].map(kind))
    again = choices.duplicated(["customer_id", "article_id"])
    basics = choices["kind"].isin(["Socks", "Underwear Tights"])
    fashion = choices["kind"].isin(["Dress", "Skirt", "Jacket", "Coat", "Blazer"])
    assert again[basics].mean() > 1.5 * again[fashion].mean()


def test_baskets_hold_variants_and_things_that_go_together(articles, purchases) -> None:
    attributes = articles.set_index("article_id")
    choices = purchases.drop_duplicates(["customer_id", "article_id", "day"])
    choices = choices.assign(
        product=choices["article_id"].map(attributes["product_code"]),
        group=choices["article_id"].map(attributes["product_group_name"]),
    )
    basket = ["customer_id", "day"]
    most = choices.groupby([*basket, "product"]).size().groupby(level=[0, 1]).max()
    assert 0.03 < (most >= 2).mean() < 0.25
    swim = choices[choices["group"] == "Swimwear"].groupby(basket).size()
    others = swim.sum() - len(swim)
    usual = (choices["group"] == "Swimwear").mean() * choices.groupby(basket).size()
    assert others / len(swim) > 3 * usual.loc[swim.index].mean() / swim.mean()


def test_seasons_are_visible(articles, purchases) -> None:
    attributes = articles.set_index("article_id")
    group = purchases["article_id"].map(attributes["product_group_name"])
    kind = purchases["article_id"].map(attributes["product_type_name"])
    winter, summer = purchases["month"] <= 2, purchases["month"].isin([6, 7])
    swim = group == "Swimwear"
    assert swim[summer].mean() > 4 * swim[winter].mean()
    knit = kind.isin(["Sweater", "Cardigan", "Coat"])
    assert knit[winter].mean() > 2 * knit[summer].mean()


def test_history_beats_popularity_beats_random(tmp_path: Path, purchases) -> None:
    """On the mean of three shops: some 200 customers buy in the last week of each."""
    scores = [last_week_map_at_12(purchases)]
    for seed in (8, 9):
        synthesize(tmp_path / str(seed), seed=seed, csv=True)
        rows = read(tmp_path / str(seed), "transactions")
        dates = pd.to_datetime(rows["t_dat"])
        scores.append(last_week_map_at_12(rows.assign(day=(dates - dates.max()).dt.days)))
    random, popular, history = np.mean(scores, axis=0)
    assert 2 * random < popular
    assert popular < history < 0.15


def last_week_map_at_12(purchases: pd.DataFrame) -> tuple[float, float, float]:
    """MAP@12 of random, popular and decayed history, cold customers counted."""
    past, week = purchases[purchases["day"] <= -7], purchases[purchases["day"] > -7]
    bought = week.groupby("customer_id")["article_id"].agg(set)
    cold = ~bought.index.isin(past["customer_id"])
    assert 0.01 < cold.mean() < 0.2
    recent = past[past["day"] > -37]["article_id"].unique()
    shares = past[past["day"] > -14]["article_id"].value_counts(normalize=True)
    popular = shares.index[:12].tolist()
    weights = np.exp((past["day"] + 7) / 30)
    pairs = weights.groupby([past["customer_id"], past["article_id"]]).sum()
    history: dict[str, dict[str, float]] = defaultdict(dict)
    for (customer, article), weight in pairs.items():
        history[customer][article] = weight
    rng = np.random.default_rng(0)

    def by_history(customer: str) -> list[str]:
        score = dict(3 * shares)
        for article, weight in history[customer].items():
            if article in score:
                score[article] += weight
        return sorted(score, key=lambda article: -score[article])[:12]

    def score(recommend: Callable[[str], list[str]]) -> float:
        precisions = []
        for customer, wanted in bought.items():
            hits = np.array([article in wanted for article in recommend(customer)])
            precision = hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)
            precisions.append(precision.sum() / min(12, len(wanted)))
        return float(np.mean(precisions))

    return (
        score(lambda customer: rng.choice(recent, 12, replace=False).tolist()),
        score(lambda customer: popular),
        score(by_history),
    )


# --- the same again, and nothing by halves ---


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        synthesize(tmp_path / name, seed=seed, **SMALL)
    one, two, other = (content(tmp_path / name) for name in ("one", "two", "other"))
    assert sorted(one) == FILES
    assert one == two
    assert all(one[name] != other[name] for name in FILES)


@pytest.mark.parametrize(("customers", "articles", "days"), [(1, 1, 1), (1, 500, 3), (300, 1, 40)])
def test_the_smallest_shops_are_shops(tmp_path: Path, customers, articles, days) -> None:
    sizes = {"customers": customers, "articles": articles, "days": days}
    summary = synthesize(tmp_path / "s", **sizes, interactions=1, csv=True)
    assert summary.transactions > 0
    assert read(tmp_path / "s", "transactions")["t_dat"].max() <= "2020-09-22"
    assert len(read(tmp_path / "s", "articles")) == articles


def test_the_last_customer_need_not_buy() -> None:
    people = draw_customers(1000, 30, np.random.default_rng([0, 2]))
    assert people.visits[-1] == 0
    _, visitor = draw_visits(people, np.ones(30), np.random.default_rng(1))
    assert visitor.max() < 999


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    synthesize(tmp_path / "s", **SMALL, progress=lambda step, done: told.append((step, done)))
    assert {step for step, _ in told} == {"articles", "customers", "transactions"}
    assert told[-1] == ("transactions", 1.0)
    assert all(0 <= done <= 1 for _, done in told)


@pytest.mark.parametrize("name", ["customers", "articles", "days"])
def test_nothing_cannot_be_made(tmp_path: Path, name) -> None:
    with pytest.raises(ShopError, match=rf"^{name} must be a whole number from 1"):
        synthesize(tmp_path / "shop", **{**SMALL, name: 0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["customers", "articles", "days", "seed"])
@pytest.mark.parametrize("value", [-1, 10**20, 1.5, True, "many"])
def test_bad_sizes_get_one_sentence_and_leave_nothing(tmp_path: Path, name, value) -> None:
    with pytest.raises(ShopError, match=rf"^{name} must be a whole number.*\.$"):
        synthesize(tmp_path / "deep" / "shop", **{**SMALL, name: value})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ShopError, match="not an empty folder"):
        synthesize(tmp_path, **SMALL)
    with pytest.raises(ShopError, match="not an empty folder"):
        synthesize(tmp_path / "mine.txt", **SMALL)
    assert content(tmp_path) == {"mine.txt": b"mine"}


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    synthesize(tmp_path / "empty", **SMALL)
    synthesize(tmp_path / "a" / "b", **SMALL)
    assert sorted(content(tmp_path / "empty")) == sorted(content(tmp_path / "a" / "b")) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShopError, match=r"cannot be written to .*: Not a directory\.$"):
        synthesize(tmp_path / "file" / "shop", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("existing", [True, False])
def test_stopped_half_way_nothing_is_left(tmp_path: Path, error, existing) -> None:
    out = tmp_path / "new" / "shop"
    if existing:
        out.mkdir(parents=True)

    def stop(step: str, done: float) -> None:
        assert not list(out.glob("*")), "nothing may be seen before the end"
        if step == "transactions" and done > 0.5:
            raise error

    expected = ShopError if isinstance(error, OSError) else Killed
    with pytest.raises(expected) as raised:
        synthesize(out, **SMALL, progress=stop)
    if expected is ShopError:
        assert re.search(r"No space left on device\.$", str(raised.value))
    left = [path for path in tmp_path.rglob("*") if path.is_file() or "partial" in path.name]
    assert left == []
    assert out.exists() == existing


def test_a_full_disk_is_told_in_one_sentence_and_nothing_is_said_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float]] = []

    def full(file: TableFile, rows: pa.Table) -> None:
        if "t_dat" in rows.column_names:
            # As pyarrow puts it.
            raise OSError(28, "Error writing bytes to file. Detail: [errno 28] No space left")

    monkeypatch.setattr(TableFile, "_put", full)
    with pytest.raises(
        ShopError, match=rf"^The shop cannot be written to {tmp_path}/s: No space left on device\.$"
    ):
        synthesize(tmp_path / "s", **SMALL, progress=lambda *step: told.append(step))
    assert ("customers", 1.0) in told
    assert ("transactions", 1.0) not in told
