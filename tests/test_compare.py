"""Comparing with H&M: ten purchases of which every figure can be counted by hand, and a twin."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError, LookbookError
from feature_repo.raw_tables import RAW_TABLES
from pipelines.cli import main
from pipelines.data.compact import compact
from pipelines.data.compare import Compared, Comparison, compare
from pipelines.data.hm_figures import ARTICLES, FIGURES, QUERIES, SIZES, SPAN
from pipelines.data.load import load

BLACK, RED, SOCK, HAT = "0000001001", "0000001002", "0000002001", "0000003001"
ANN, BOB, CID, DAN = (letter * 64 for letter in "abcd")

CATALOGUE = [
    (BLACK, "0000001", "Shirt", 1, "Black", "Ladieswear"),
    (RED, "0000001", "Shirt", 1, "Red", "Ladieswear"),
    (SOCK, "0000002", "Sock", 2, "White", "Sport"),
    (HAT, "0000003", "Hat", 3, "Black", "Sport"),
]
PEOPLE = [
    (ANN, 1.0, "ACTIVE", 24, "p1"),
    (BOB, None, "ACTIVE", 50, "p1"),
    (CID, None, "PRE-CREATE", None, "p2"),
    (DAN, None, None, 30, "p3"),
]
# Two weeks: the last seven days are 8 to 14 September 2020.
BOUGHT = [
    (1, ANN, BLACK, 19.99, 2),
    (1, ANN, BLACK, 19.99, 2),
    (1, ANN, RED, 19.99, 2),
    (3, ANN, BLACK, 19.99, 2),
    (3, BOB, SOCK, 9.99, 1),
    (8, BOB, RED, 19.99, 1),
    (13, ANN, RED, 15.99, 2),
    (13, BOB, BLACK, 19.99, 2),
    (14, CID, SOCK, 9.99, 1),
    (14, CID, SOCK, 7.99, 1),
]

EXPECTED = {
    "rows": 10,
    "days": 14,
    "customers": 4,
    "buyers": 0.75,
    "articles": 4,
    "articles_sold": 0.75,
    "n_product_code": 3,
    "n_colour_group_code": None,
    "variants_mean": 4 / 3,
    "variants_max": 2,
    "catalogue_0": 1 / 2,
    "sales_0": 7 / 10,
    "sales_4": 3 / 10,
    "black_articles": 1 / 2,
    "black_rows": 4 / 10,
    "solid_articles": None,
    "null_FN": 3 / 4,
    "null_Active": None,
    "null_age": 1 / 4,
    "club_0": 2 / 4,
    "club_2": 0,
    "age_min": 24,
    "age_p50": 30,
    "age_peak_young": 24,
    "age_peak_old": 50,
    "postal_codes": 3,
    "postal_top_customers": 2 / 4,
    "postal_top_rows": 8,
    "postal_next_rows": 2,
    "customer_mean": 10 / 3,
    "customer_p50": 3,
    "customer_max": 5,
    "article_p50": 3,
    "article_gini": 2 * (1 * 3 + 2 * 3 + 3 * 4) / (3 * 10) - 4 / 3,
    "article_top_1": 4 / 10,
    "duplicates": 2 / 10,
    "pair_duplicates": 1 - 6 / 10,
    # Of eight (customer, article, day): Ann's shirts on the 3rd and 13th; and Bob's black one
    # after his red one.
    "repeat_article": 2 / 8,
    "repeat_product": 3 / 8,
    "repeat_type": 3 / 8,
    # 2 and 10 days (Ann), 5 and 5 (Bob).
    "gap_p25": 4.25,
    "gap_p50": 5,
    "gap_p75": 6.25,
    "basket_mean": 10 / 7,
    "basket_p50": 1,
    "one_week": 1 / 3,
    "variant_baskets": 1 / 7,
    "channel_1": 4 / 10,
    "lifespan_p50": 12,
    "active_days": 3,
    # Black: half on the first day. Red: on the 8th. Sock: on the 14th.
    "half_life": 7,
    "most_life": 12,
    "jaccard_12": None,
    # So small a catalogue has a part of one best seller.
    "week_top_2000": None,
    "cents": 1,
    "price_1999": 6 / 10,
    "price_999": 2 / 10,
    "price_mean": (6 * 19.99 + 15.99 + 2 * 9.99 + 7.99) / 10 / 590,
    "price_store": (2 * 9.99 + 19.99 + 7.99) / 4 / 590,
    "marked_down": 2 / 10,
    "markdown_depth": (4 / 19.99 + 2 / 9.99) / 2,
    "saturday": -1,
    "peak": 3,
    "month_2020_08": None,
    "lockdown": None,
    "new_buyers": 1 / 3,
    "since_1": 2 / 3,
    "since_8": 2 / 3,
    "new_articles": 0,
    "recent_articles": 3 / 4,
    "recent_rows": 1,
    "last_top": None,
}


def frames(bought: Sequence[tuple[Any, ...]] = BOUGHT) -> dict[str, pd.DataFrame]:
    """The three raw tables of the small world."""
    kinds = ("article_id", "product_code", "product_type_name", "product_type_no")
    articles = pd.DataFrame(
        CATALOGUE, columns=[*kinds, "colour_group_name", "index_group_name"], dtype=object
    )
    customers = pd.DataFrame(
        PEOPLE, columns=["customer_id", "FN", "club_member_status", "age", "postal_code"]
    ).astype(object)
    transactions = pd.DataFrame(
        bought, columns=["t_dat", "customer_id", "article_id", "price", "sales_channel_id"]
    )
    transactions["t_dat"] = [f"2020-09-{day:02d}" for day in transactions["t_dat"]]
    transactions["price"] = (transactions["price"] / 590).round(6)
    made = {"articles": articles, "customers": customers, "transactions": transactions}
    return {
        name: frame.reindex(columns=RAW_TABLES[name].column_names) for name, frame in made.items()
    }


def write(folder: Path, kind: str = "csv", **changed: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (frames() | changed).items():
        file = folder / RAW_TABLES[name].file
        if kind == "parquet":
            frame.to_parquet(file.with_suffix(".parquet"), index=False)
        else:
            frame.to_csv(file.with_name(f"{file.name}{kind.removeprefix('csv')}"), index=False)
    return folder


def ours(found: Comparison) -> dict[str, float | None]:
    return {row.figure.key: row.ours for row in found.compared}


def near(value: float | None, expected: float | None) -> bool:
    """Prices in the files have six decimals."""
    if value is None or expected is None:
        return value is expected
    return value == pytest.approx(expected, rel=1e-4, abs=1e-9)


def row(found: Comparison, key: str) -> Any:
    (one,) = (row for row in found.compared if row.figure.key == key)
    return one


def test_every_figure_of_a_small_world(tmp_path: Path) -> None:
    found = ours(compare(write(tmp_path / "shop")))
    for key, value in EXPECTED.items():
        assert near(found[key], value), key


def test_every_query_gives_what_figures_ask_for(tmp_path: Path) -> None:
    keys = [figure.key for figure in FIGURES]
    assert len(keys) == len(set(keys))
    assert len(keys) > 90
    assert list(ours(compare(write(tmp_path / "shop")))) == keys


@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_other_files_give_the_same(tmp_path: Path, kind: str) -> None:
    found, expected = compare(write(tmp_path / "a", kind)), compare(write(tmp_path / "b"))
    assert found.compared == expected.compared


def test_ids_that_went_through_a_number_get_their_zeros_back(tmp_path: Path) -> None:
    bought = frames()["transactions"]
    bought["article_id"] = bought["article_id"].astype(int)
    found = compare(write(tmp_path / "shop", transactions=bought))
    assert found.compared == compare(write(tmp_path / "other")).compared


def test_the_warehouse_gives_the_same(home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    load(str(folder))
    assert compare().compared == compare(folder).compared


def test_a_quantity_is_as_many_rows() -> None:
    with small(BOUGHT) as twice, small([*BOUGHT[:1], *BOUGHT[2:]], [2, *[1] * 8]) as quantity:
        assert values(twice) == values(quantity)


def test_what_depends_on_the_size_is_compared_relative_to_it(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    codes, peak, rows = (row(found, key) for key in ("n_product_code", "peak", "rows"))
    assert codes.difference == pytest.approx((3 / 4) / (47_224 / 105_542) - 1)
    assert codes.says.endswith("per article")
    assert peak.difference == pytest.approx((3 / (10 / 14)) / (198_622 / SIZES["day"]) - 1)
    assert (rows.difference, rows.within15, rows.why_not) == (None, None, "depends on the size")


def test_what_the_size_bends_has_a_star_and_is_told_apart(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    assert row(found, "variant_baskets").says == "+93.1% *"
    assert row(found, "repeat_article").says == "needs 734 days"
    plain = [r for r in found.compared if r.within15 is not None and not r.figure.sized]
    assert len(plain) < found.counted
    assert found.star.endswith(
        f"Of the {len(plain)} compared figures without a star {sum(r.within15 for r in plain)} are "
        "within 15%."
    )
    assert sum(map(len, found.not_compared().values())) == len(found.compared) - found.counted


def test_a_difference_shows_on_which_side_of_15_percent_it_is() -> None:
    (figure,) = (figure for figure in FIGURES if figure.key == "channel_1")
    said = [
        Compared(figure, 0.3, difference).says
        for difference in (0.15, 0.1496, -0.15004, 0.15049, 0.1506, 0.0)
    ]
    assert said == ["+15.0%", "+15.0%", "-15.004%", "+15.05%", "+15.1%", "0%"]


def test_ranges_are_met_inside_and_missed_from_their_end(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    # 0.0284 lies in 0.027 to 0.035; no LEFT CLUB is below 0.1%.
    assert (row(found, "price_mean").difference, row(found, "club_2").difference) == (0, 0)
    dear = frames([(day, who, what, 2 * price, c) for day, who, what, price, c in BOUGHT])
    found = compare(write(tmp_path / "dear", transactions=dear["transactions"]))
    value = row(found, "price_mean").ours
    assert row(found, "price_mean").difference == pytest.approx(value / 0.035 - 1)
    assert row(found, "price_mean").within15 is False


def test_what_these_days_cannot_tell_is_not_counted(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    why = {key: row(found, key).why_not for key in EXPECTED}
    assert why["month_2020_08"] == why["lockdown"] == "not in these days"
    assert why["repeat_article"] == why["lifespan_p50"] == "needs 734 days"
    assert why["solid_articles"] == "this shop does not tell"
    assert why["jaccard_12"] == why["week_top_2000"] == why["last_top"] == "too few articles"
    assert found.counted == sum(1 for r in found.compared if r.within15 is not None)
    assert found.summary.startswith(
        f"{found.within} of {found.counted} compared figures within 15% ("
    )


def test_prices_in_another_unit_are_not_compared(tmp_path: Path) -> None:
    bought = frames()["transactions"]
    bought["price"] *= 590
    found = compare(write(tmp_path / "shop", transactions=bought))
    assert row(found, "price_1999").why_not == "prices are in another unit"
    assert row(found, "marked_down").difference == pytest.approx(0)


def test_the_whole_period_has_months_and_histories(tmp_path: Path) -> None:
    bought = frames()["transactions"]
    first = bought.iloc[:3].assign(t_dat=["2018-09-20", "2018-10-05", "2018-10-06"])
    last = bought.iloc[3:4].assign(t_dat="2020-09-22")
    found = compare(
        write(tmp_path / "shop", transactions=pd.concat([bought, first, last], ignore_index=True))
    )
    october = row(found, "month_2018_10")
    assert october.ours == 2
    assert october.difference == pytest.approx((2 / 14) / (1_397_000 / SIZES["row"]) - 1)
    assert row(found, "repeat_article").difference is not None


@contextmanager
def small(
    bought: Sequence[tuple[Any, ...]], pieces: Sequence[int] | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables of `compact`, without files."""
    made = frames(bought)
    if pieces is not None:
        made["transactions"]["quantity"] = list(pieces)
    con = duckdb.connect(config={"threads": 1})
    con.execute("CREATE SCHEMA raw")
    for name, frame in made.items():
        types = {column.name: column.type for column in RAW_TABLES[name].columns}
        con.register("frame", frame)
        wanted = ", ".join(f'CAST("{c}" AS {types.get(c, "INTEGER")}) AS "{c}"' for c in frame)
        con.execute(f"CREATE TABLE raw.{name} AS SELECT {wanted} FROM frame")
    compact(con, "raw.articles", "raw.customers", "raw.transactions")
    con.execute(SPAN)
    yield con
    con.close()


def values(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for sql in QUERIES.values():
        answer = con.execute(sql)
        columns = [column[0] for column in answer.description]
        found |= dict(zip(columns, answer.fetchone(), strict=True))
    return found


PURCHASES = st.lists(
    st.tuples(
        st.integers(1, 28),
        st.sampled_from([ANN, BOB, CID, DAN]),
        st.sampled_from([BLACK, RED, SOCK, HAT]),
        st.sampled_from([19.99, 9.99, 4.99]),
        st.sampled_from([1, 2]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=20, deadline=None)
@given(PURCHASES)
def test_the_tricky_figures_have_a_twin(bought: list[tuple[int, str, str, float, int]]) -> None:
    with small(bought) as con:
        found = values(con)
    code = {article: product for article, product, *_ in CATALOGUE}
    last = max(day for day, *_ in bought)
    triples = {(who, what, day) for day, who, what, *_ in bought}

    def again(kind: dict[str, str]) -> float:
        earlier = [
            any(w == who and kind[a] == kind[what] and d < day for w, a, d in triples)
            for who, what, day in triples
        ]
        return sum(earlier) / len(earlier)

    days = defaultdict(set)
    for day, who, *_ in bought:
        days[who].add(day)
    gaps = [b - a for seen in days.values() for a, b in pairwise(sorted(seen))]
    sold = sorted(Counter(what for _, _, what, *_ in bought).values())
    differences = sum(abs(a - b) for a in sold for b in sold)
    top = defaultdict(float)
    for day, _, what, price, _ in bought:
        top[what, (last - day) // 7] = max(top[what, (last - day) // 7], price)
    below = [1 - p / top[what, (last - d) // 7] for d, _, what, p, _ in bought]
    below = [depth for depth in below if depth > 0.001]
    halves = []
    for article in code:
        sales = sorted(day for day, _, what, *_ in bought if what == article)
        if sales:
            halves.append(sales[-(-len(sales) // 2) - 1] - sales[0])
    recent = {who for who in days if max(days[who]) > last - 7}
    new = [who for who in recent if min(days[who]) > last - 7]

    def quantile(sample: list[int], q: float) -> float | None:
        return float(np.quantile(sample, q)) if sample else None

    expected = {
        "repeat_article": again({a: a for a in code}),
        "repeat_product": again(code),
        "gap_p25": quantile(gaps, 0.25),
        "gap_p50": quantile(gaps, 0.5),
        "article_gini": differences / (2 * len(sold) * sum(sold)),
        "article_top_10": sold[-1] / sum(sold),
        "marked_down": len(below) / len(bought),
        "markdown_depth": sum(below) / len(below) if below else None,
        "half_life": quantile(halves, 0.5),
        "one_week": sum(len({(last - d) // 7 for d in seen}) == 1 for seen in days.values())
        / len(days),
        "duplicates": sum(n for n in Counter(bought).values() if n > 1) / len(bought),
        "pair_duplicates": 1 - len({(who, what) for who, what, _ in triples}) / len(bought),
        "new_buyers": len(new) / len(recent),
    }
    for key, value in expected.items():
        assert near(found[key], value), key


@settings(max_examples=15, deadline=None)
@given(st.integers(60, 90), st.integers(0, 2**32 - 1), st.sampled_from([2, 10]))
def test_best_sellers_of_weeks_have_a_twin(articles: int, seed: int, part: int) -> None:
    """Half of H&M's catalogue, where a top 12 is a top six, or a tenth, where it is too few."""
    rng = np.random.default_rng(seed)
    con = duckdb.connect(config={"threads": 1})
    sales = pd.DataFrame(
        {
            "article": np.minimum(rng.geometric(0.06, 400), articles),
            "day": rng.integers(0, 21, 400),
        }
    )
    con.register("sales", sales)
    con.execute(
        f"""CREATE TEMP TABLE article_days AS
        SELECT article, DATE '2020-01-01' + CAST(day AS INTEGER) AS day, (20 - day) // 7 AS week,
            count(*) AS pieces FROM sales GROUP BY ALL;
        CREATE TEMP TABLE articles AS SELECT unnest(range({ARTICLES // part})) AS article;
        CREATE TEMP TABLE sold AS SELECT article, DATE '2020-01-01' AS first,
            DATE '2020-01-21' AS last, sum(pieces) AS pieces FROM article_days GROUP BY article"""
    )
    con.execute(SPAN)
    overlap = con.execute(QUERIES["best sellers"]).fetchone()
    shares = con.execute(QUERIES["shares of best sellers"]).fetchone()
    *_, last_top = con.execute(QUERIES["articles of the last week"]).fetchone()
    sold = [Counter(sales["article"][(20 - sales["day"]) // 7 == week]) for week in range(3)]
    best = [sorted(n, key=lambda article: (-n[article], article)) for n in sold]
    heads = {}
    for k, jaccard, share in zip((12, 100), overlap, shares, strict=False):
        size = round(k / part)
        if size < 5:
            assert (jaccard, share) == (None, None)
            continue
        tops = [set(ranked[:size]) for ranked in best]
        overlaps = [len(a & b) / len(a | b) for a, b in pairwise(tops)]
        assert jaccard == pytest.approx(np.mean(overlaps))
        shared = [sum(n[a] for a in top) / n.total() for n, top in zip(sold, tops, strict=True)]
        # Parts of an article count too, and neither catalogue has more than a trace of one.
        assert share == pytest.approx(np.mean(shared), rel=1e-3)
        heads[k] = sum(sold[0][a] for a in tops[1]) / sold[0].total()
    assert last_top == (pytest.approx(heads[12]) if 12 in heads else None)


def test_the_page_says_what_the_table_says(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    page = found.page().html()
    assert found.summary in page
    assert found.star in page
    for one in found.compared:
        assert one.figure.name in page
    assert page == compare(tmp_path / "shop").page().html()


def test_the_command_prints_writes_and_answers_in_json(tmp_path: Path) -> None:
    folder, page = write(tmp_path / "shop"), tmp_path / "out" / "compare.html"
    text = CliRunner().invoke(main, ["data", "compare", str(folder)])
    assert text.exit_code == 0, text.output
    assert "variants of one code │  7.4% │     14.3% │ +93.1% *" in text.stdout
    assert "Not compared, depends on the size: transaction rows (10), days (14)," in text.stdout
    assert text.stdout.rstrip().endswith(compare(folder).summary)
    done = CliRunner().invoke(main, ["data", "compare", str(folder), "--page", str(page), "--json"])
    result = json.loads(done.stdout.splitlines()[-1])
    (found,) = (figure for figure in result["figures"] if figure["key"] == "channel_1")
    assert found["ours"] == 0.4
    assert found["relative_difference"] == pytest.approx(0.4 / 0.296 - 1)
    assert found["within15"] is False
    assert result["summary"] in page.read_text()


def test_progress_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    compare(write(tmp_path / "shop"), progress=said.append)
    assert said == ["reading the purchases", *QUERIES]


def broken(kind: str, folder: Path) -> None:
    file = folder / RAW_TABLES["transactions"].file
    if kind == "missing":
        file.unlink()
    elif kind == "twice":
        (folder / f"{file.name}.gz").touch()
    elif kind == "column":
        frames()["transactions"].drop(columns="price").to_csv(file, index=False)
    elif kind == "price":
        frames()["transactions"].astype(object).assign(price="cheap").to_csv(file, index=False)
    elif kind == "article":
        frames()["transactions"].assign(article_id="0999999999").to_csv(file, index=False)
    elif kind == "customer":
        people = frames()["customers"]
        pd.concat([people, people[:1]]).to_csv(folder / "customers.csv", index=False)
    elif kind == "empty":
        frames()["transactions"].iloc[:0].to_csv(file, index=False)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "lacks transactions_train.csv"),
        ("twice", "holds transactions_train.csv and transactions_train.csv.gz"),
        ("column", "lacks the column price"),
        ("price", "lookbook data load"),
        ("article", "The article of 10 pieces is not among the articles"),
        ("customer", f"The customer {ANN} is there twice"),
        ("empty", "There are no purchases"),
    ],
)
def test_files_that_cannot_be_compared_get_one_sentence(
    tmp_path: Path, kind: str, says: str
) -> None:
    folder = write(tmp_path / "shop")
    broken(kind, folder)
    with pytest.raises(InputError, match=says) as error:
        compare(folder)
    assert "\n" not in str(error.value)


def test_nothing_to_compare(home: Path, tmp_path: Path) -> None:
    with pytest.raises(LookbookError, match="load a shop first"):
        compare()
    with pytest.raises(InputError, match="not a folder"):
        compare(tmp_path / "nowhere")


def test_a_page_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    said: list[str] = []
    for page, says in (
        (folder, f"{folder} is a folder: name a file."),
        (
            folder / "articles.csv" / "new" / "page.html",
            f"{folder / 'articles.csv'} is a file, not a folder.",
        ),
    ):
        with pytest.raises(InputError, match=f"{re.escape(says)}$"):
            compare(folder, page=page, progress=said.append)
    assert said == []


def test_the_page_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"), page=tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text() == found.page().html()


def test_days_are_those_of_the_files(tmp_path: Path) -> None:
    found = compare(write(tmp_path / "shop"))
    assert (found.first, found.last) == (date(2020, 9, 1), date(2020, 9, 14))
    assert found.last - found.first == timedelta(days=13)
