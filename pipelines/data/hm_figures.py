"""What is known of H&M's shop, and the SQL that computes the same on any shop.

`FIGURES` are the published ones (collected from analyses of the Kaggle files and measured on their
last week), `QUERIES` computes them on the tables of `pipelines.data.compact`: a query gives one row,
and its columns are the keys of figures. A row of H&M's files is one piece.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pipelines.data.compact import VARIANT_BASKETS, WHOLE_CENTS, marked_down, repeats, unequal

FIRST, LAST = date(2018, 9, 20), date(2020, 9, 22)
DAYS = (LAST - FIRST).days + 1
ARTICLES = 105_542
SIZES = {"article": ARTICLES, "customer": 1_371_980, "row": 31_788_324, "day": 31_788_324 / DAYS}
"""What a figure is relative to, and how many of it H&M has; a day is the rows of a mean day."""

Unit = Literal["count", "share", "number", "days", "weeks", "years", "price"]


@dataclass(frozen=True)
class Figure:
    """A figure of H&M's shop and how another shop's is held against it.

    `theirs` may be a range. `per` makes both relative to a size. `grows`: it depends on the number
    of days; `during`: it needs these days; `extreme`: it depends on the number of customers or
    articles in a way that no ratio takes out. `sized`: so does this, but less, so it is compared and
    marked: a small catalogue has fewer kinds, flatter best sellers, and more is bought again.
    """

    key: str
    section: str
    name: str
    theirs: float | tuple[float, float]
    unit: Unit
    definition: str
    about: bool = False
    per: str = ""
    grows: bool = False
    during: tuple[date, date] | None = None
    extreme: bool = False
    sized: bool = False
    absent: str = "this shop does not tell"
    """Why a shop may have no such figure."""


def _figures(
    section: str,
    unit: Unit,
    definition: str,
    figures: dict[str, tuple[str, float | tuple[float, float]]],
    **more: Any,
) -> list[Figure]:
    """Figures that share all but their key, name and value."""
    return [
        Figure(key, section, name, theirs, unit, definition, **more)
        for key, (name, theirs) in figures.items()
    ]


_S, _A, _C, _T = "Size", "Articles", "Customers", "Transactions"
_L, _P, _K, _W = "Articles over time", "Prices", "Calendar", "The week to predict"

GROUPS = ("Ladieswear", "Baby/Children", "Divided", "Menswear", "Sport")
CODES = {
    "product_type_no": 132,
    "product_group_name": 19,
    "graphical_appearance_no": 30,
    "colour_group_code": 50,
    "perceived_colour_value_id": 8,
    "perceived_colour_master_id": 20,
    "department_no": 299,
    "index_code": 10,
    "index_group_no": 5,
    "section_no": 57,
    "garment_group_no": 21,
}
NAMES = ("product_code", "prod_name", "detail_desc", *CODES)
NULLS = {
    "FN": 0.652,
    "Active": 0.662,
    "club_member_status": 0.0044,
    "fashion_news_frequency": 0.0117,
    "age": 0.0116,
}
STATUSES: dict[str, float | tuple[float, float]] = {
    "ACTIVE": 0.93,
    "PRE-CREATE": 0.07,
    "LEFT CLUB": (0.0, 0.001),
}
TOPS = (12, 100, 500, 1000, 2000)
FEWEST = 5
"""Best sellers in proportion to the catalogue, so that one of them does not decide the figure."""
PRICES = {1999: 0.176, 1499: 0.117, 999: 0.104, 2499: 0.091, 2999: 0.088}
MONTHS = {
    date(2018, 10, 1): 1397,
    date(2018, 12, 1): 1149,
    date(2019, 3, 1): 1287,
    date(2019, 6, 1): 1906,
    date(2019, 8, 1): 1254,
    date(2019, 12, 1): 1118,
    date(2020, 3, 1): 1048,
    date(2020, 6, 1): 1765,
    date(2020, 8, 1): 1237,
}
"""Thousands of rows."""

FIGURES: tuple[Figure, ...] = (
    Figure("rows", _S, "transaction rows", 31_788_324, "count", "pieces sold", extreme=True),
    Figure("days", _S, "days", DAYS, "count", "first to last with a purchase", extreme=True),
    Figure("articles", _S, "articles", ARTICLES, "count", "rows of the catalogue", extreme=True),
    Figure("customers", _S, "customers", 1_371_980, "count", "rows of the file", extreme=True),
    *_figures(
        _S,
        "share",
        "share of the customers, of the articles, that are in a purchase",
        {
            "buyers": ("customers with purchases", 1_362_281 / 1_371_980),
            "articles_sold": ("articles sold", 104_547 / ARTICLES),
        },
        grows=True,
    ),
    *_figures(
        _A,
        "count",
        "distinct in the catalogue",
        {
            "n_product_code": ("product codes", 47_224),
            "n_prod_name": ("product names", 45_875),
            "n_detail_desc": ("descriptions", 43_404),
        },
        per="article",
    ),
    *_figures(
        _A,
        "count",
        "articles with a null",
        {"null_detail_desc": ("articles without a description", 416)},
        per="article",
    ),
    *_figures(
        _A,
        "count",
        "distinct in the catalogue",
        {f"n_{code}": (code, n) for code, n in CODES.items()},
        sized=True,
    ),
    *_figures(
        _A,
        "number",
        "articles of a product_code",
        {
            "variants_mean": ("variants of a code: mean", 2.23),
            "variants_p50": ("variants of a code: median", 1),
            "variants_p90": ("variants of a code: p90", 4),
        },
    ),
    Figure("variants_max", _A, "variants of a code: most", 75, "count", "articles", extreme=True),
    *_figures(
        _A,
        "share",
        "share of the articles by index_group_name",
        {
            f"catalogue_{n}": (f"catalogue: {name}", count / ARTICLES)
            for n, (name, count) in enumerate(
                zip(GROUPS, (39_737, 34_711, 15_149, 12_553, 3_392), strict=True)
            )
        },
    ),
    *_figures(
        _A,
        "share",
        "share of the rows by index_group_name",
        {
            f"sales_{n}": (f"sales: {name}", share)
            for n, (name, share) in enumerate(
                zip(GROUPS, (0.626, 0.020, 0.243, 0.057, 0.055), strict=True)
            )
        },
    ),
    *_figures(
        _A,
        "share",
        "share of the articles, of the rows",
        {
            "black_articles": ("black in the catalogue", 0.215),
            "black_rows": ("black in sales", 0.375),
            "solid_articles": ("solid in the catalogue", 0.471),
        },
    ),
    *_figures(
        _C,
        "share",
        "share of the customers with a null",
        {f"null_{column}": (f"{column} unknown", share) for column, share in NULLS.items()},
    ),
    *_figures(
        _C,
        "share",
        "share of the customers by club_member_status",
        {
            f"club_{n}": (f"club: {status}", share)
            for n, (status, share) in enumerate(STATUSES.items())
        },
    ),
    *_figures(
        _C,
        "years",
        "of customers with a known age",
        {"age_min": ("age: youngest", 16), "age_max": ("age: oldest", 99)},
    ),
    *_figures(
        _C,
        "years",
        "the most common age below 38, and from 38 on, in a running mean of five years",
        {"age_peak_young": ("age: peak of the young", 25), "age_peak_old": ("age: next peak", 50)},
        about=True,
    ),
    *_figures(
        _C,
        "years",
        "of customers with a known age",
        {
            "age_mean": ("age: mean", 35),
            "age_p25": ("age: lower quartile", 24),
            "age_p50": ("age: median", 30),
            "age_p75": ("age: upper quartile", 48),
        },
        about=True,
    ),
    Figure("postal_codes", _C, "postal codes", 352_899, "count", "distinct", per="customer"),
    *_figures(
        _C,
        "share",
        "share of the customers",
        {"postal_top_customers": ("most common postal code: customers", 0.09)},
        about=True,
    ),
    *_figures(
        _C,
        "count",
        "rows of the customers with the most common postal code",
        {"postal_top_rows": ("most common postal code: rows", 626_000)},
        about=True,
        per="row",
    ),
    *_figures(
        _C,
        "count",
        "the most rows of any other postal code",
        {"postal_next_rows": ("next postal code: rows", 5_800)},
        about=True,
        extreme=True,
    ),
    *_figures(
        _T,
        "number",
        "of customers with purchases",
        {
            "customer_mean": ("rows per customer: mean", 23.3),
            "customer_p25": ("rows per customer: lower quartile", 3),
            "customer_p50": ("rows per customer: median", 9),
            "customer_p75": ("rows per customer: upper quartile", 27),
            "customer_p95": ("rows per customer: p95", 91),
            "customer_p99": ("rows per customer: p99", 187),
        },
        grows=True,
    ),
    Figure("customer_max", _T, "rows per customer: most", 1_895, "count", "of any", extreme=True),
    *_figures(
        _T,
        "number",
        "of articles with sales",
        {
            "article_mean": ("rows per article: mean", 304),
            "article_p25": ("rows per article: lower quartile", 14),
            "article_p50": ("rows per article: median", 65),
            "article_p75": ("rows per article: upper quartile", 286),
            "article_p95": ("rows per article: p95", 1_318),
        },
        grows=True,
    ),
    Figure("article_max", _T, "rows per article: most", 50_287, "count", "of any", extreme=True),
    *_figures(
        _T,
        "number",
        "over articles with sales: 0 if all sold alike, 1 if one sold everything",
        {"article_gini": ("rows per article: Gini", 0.76)},
        grows=True,
        sized=True,
    ),
    *_figures(
        _T,
        "share",
        "share of the rows; of the articles with sales, rounded up to whole ones",
        {
            "article_top_1": ("top 1% of articles", 0.186),
            "article_top_10": ("top 10% of articles", 0.608),
        },
        grows=True,
        sized=True,
    ),
    *_figures(
        _T,
        "share",
        "share of the rows that are not alone with their day, customer, article, price and channel; "
        "all of a group count: the published figure exceeds the next one, so it counts so too",
        {"duplicates": ("exact duplicate rows", 0.174)},
    ),
    *_figures(
        _T,
        "share",
        "1 - distinct (customer, article) / rows",
        {"pair_duplicates": ("duplicate (customer, article) rows", 0.141)},
        grows=True,
        sized=True,
    ),
    *_figures(
        _T,
        "share",
        "share of the distinct (customer, article, day) whose customer had bought the same on an "
        "earlier day",
        {
            "repeat_article": ("repurchase later: same article", 0.047),
            "repeat_product": ("repurchase later: same product_code", 0.085),
            "repeat_type": ("repurchase later: same product type", 0.506),
        },
        grows=True,
        sized=True,
    ),
    *_figures(
        _T,
        "days",
        "from one day with purchases of a customer to the next",
        {
            "gap_p25": ("gap between purchase days: lower quartile", 4),
            "gap_p50": ("gap between purchase days: median", 10),
            "gap_p75": ("gap between purchase days: upper quartile", 24),
        },
        grows=True,
    ),
    *_figures(
        _T,
        "number",
        "pieces a customer bought on a day with purchases",
        {
            "basket_mean": ("rows per customer-day: mean", 3.1),
            "basket_p50": ("rows per customer-day: median", 2),
            "basket_p90": ("rows per customer-day: p90", 6),
            "basket_p95": ("rows per customer-day: p95", 9),
            "basket_p99": ("rows per customer-day: p99", 15),
        },
    ),
    *_figures(
        _T,
        "share",
        "of customers with purchases; weeks are blocks of seven days that end at the last day",
        {"one_week": ("customers active in one week only", 0.34)},
        grows=True,
    ),
    *_figures(
        _T,
        "share",
        "share of the customer-days with two or more articles of one product_code",
        {"variant_baskets": ("baskets with variants of one code", 0.074)},
        sized=True,
    ),
    Figure("channel_1", _T, "channel 1 (store)", 0.296, "share", "share of the rows"),
    Figure("channel_2", _T, "channel 2 (online)", 0.704, "share", "share of the rows"),
    *_figures(
        _L,
        "days",
        "days from an article's first sale to its last",
        {
            "lifespan_p25": ("lifespan: lower quartile", 86),
            "lifespan_p50": ("lifespan: median", 206),
            "lifespan_p75": ("lifespan: upper quartile", 370),
        },
        grows=True,
    ),
    Figure("active_days", _L, "days with a sale", 39, "days", "median of articles", grows=True),
    *_figures(
        _L,
        "days",
        "median over articles of the days from the first sale until that share is sold",
        {
            "half_life": ("half of the sales within", 65),
            "most_life": ("80% of the sales within", 112),
        },
        grows=True,
    ),
    *_figures(
        _L,
        "number",
        "mean Jaccard index of the best sellers of a week and of the next; as many of them as are "
        "in proportion to the catalogue, five or more",
        {
            "jaccard_12": ("weekly top 12: Jaccard", 0.20),
            "jaccard_100": ("weekly top 100: Jaccard", 0.37),
        },
        absent="too few articles",
        sized=True,
    ),
    *_figures(
        _L,
        "share",
        "share of the week's rows in its best sellers, mean over whole weeks; as many of them as "
        "are in proportion to the catalogue, five or more",
        {
            f"week_top_{k}": (f"the week's top {k}", share)
            for k, share in zip(TOPS, (0.028, 0.134, 0.355, 0.502, 0.666), strict=True)
        },
        absent="too few articles",
        sized=True,
    ),
    *_figures(
        _P,
        "share",
        "share of the rows whose price x 590 is whole cents (to 0.0004)",
        {"cents": ("prices that are whole cents / 590", 1.0)},
    ),
    *_figures(
        _P,
        "share",
        "share of the rows with this price x 590",
        {f"price_{p}": (f"price {p / 100:.2f}", share) for p, share in PRICES.items()},
    ),
    Figure("price_mean", _P, "mean price", (0.027, 0.035), "price", "over the rows", about=True),
    Figure("price_online", _P, "mean price online", 0.038, "price", "rows of channel 2"),
    Figure("price_store", _P, "mean price in the store", 0.027, "price", "rows of channel 1"),
    *_figures(
        _P,
        "share",
        "share of the rows over 0.1% below the article's highest price of the week, and the mean of "
        "how far below these are; weeks are blocks of seven days that end at the last day",
        {
            "marked_down": ("below the weekly maximum", 0.20),
            "markdown_depth": ("how far below", 0.15),
        },
        about=True,
    ),
    *_figures(
        _K,
        "share",
        "rows of a mean Saturday / rows of a mean day from Monday to Friday - 1",
        {"saturday": ("Saturday above a weekday", 0.11)},
    ),
    *_figures(
        _K,
        "count",
        "compared as a share of all rows",
        {
            f"month_{month:%Y_%m}": (f"rows in {month:%B %Y}", thousands * 1000)
            for month, thousands in MONTHS.items()
        },
        per="row",
        during=(FIRST, LAST),
    ),
    *_figures(
        _K,
        "count",
        "compared with the rows of a mean day",
        {"peak": ("rows on the busiest day", 198_622)},
        per="day",
    ),
    *_figures(
        _K,
        "share",
        "change of the rows from 4-10 March 2020 to 11-17 March",
        {"lockdown": ("week of 11 March 2020", -0.31)},
        during=(date(2020, 3, 4), date(2020, 3, 17)),
    ),
    *_figures(
        _K,
        "share",
        "share of channel 2 in the rows of 18 March to 7 April 2020",
        {"lockdown_online": ("online in the three weeks after", (0.97, 1.0))},
        about=True,
        during=(date(2020, 3, 18), date(2020, 4, 7)),
    ),
    *_figures(
        _W,
        "share",
        "share of those who bought in the last seven days",
        {"new_buyers": ("buyers without an earlier purchase", 0.081)},
        grows=True,
    ),
    *_figures(
        _W,
        "share",
        "share of all who bought in the last seven days: they had also bought in the weeks before",
        {
            "since_1": ("last purchase 1 week before", 0.196),
            "since_2": ("within 2 weeks before", 0.306),
            "since_3": ("within 3 weeks before", 0.397),
            "since_4": ("within 4 weeks before", 0.475),
        },
    ),
    *_figures(
        _W,
        "share",
        "share of all who bought in the last seven days: they had also bought in the weeks before",
        {"since_8": ("within 8 weeks before", 0.67)},
        about=True,
    ),
    *_figures(
        _W,
        "share",
        "share of the articles sold in the last seven days",
        {"new_articles": ("articles never sold before", 0.037)},
        grows=True,
    ),
    *_figures(
        _W,
        "share",
        "share of the catalogue; share of the last seven days' rows in these articles",
        {
            "recent_articles": ("articles sold in the 30 days before", 0.20),
            "recent_rows": ("rows of these articles", 0.90),
        },
        about=True,
    ),
    *_figures(
        _W,
        "share",
        "share of the last seven days' rows; as many articles as are in proportion to the "
        "catalogue, five or more",
        {"last_top": ("rows of the previous week's top 12", 0.024)},
        absent="too few articles",
        sized=True,
    ),
)


def _each(template: str, values: Iterable[Any]) -> str:
    """The template as one column for each value ({0}); {n} is its number."""
    return ",\n    ".join(template.format(value, n=n) for n, value in enumerate(values))


_SHARE_OF_GROUP = (
    "{0} FILTER (index_group_name = '{{0}}') "
    "/ nullif({0} FILTER (index_group_name IS NOT NULL), 0) AS {1}_{{n}}"
)
_SHARE_OF_STATUS = (
    "CASE WHEN count(club_member_status) > 0 "
    "THEN count(*) FILTER (club_member_status = '{0}') / count(*) END AS club_{n}"
)
_PRICE = "coalesce(sum(pieces) FILTER (round(price * 59000e0) = {0}), 0) / sum(pieces) AS price_{0}"
_MONTHS = [f"{month:%Y_%m}" for month in MONTHS]

QUERIES: dict[str, str] = {
    "size": """
SELECT rows, days, articles,
    (SELECT count(*) FROM customers) AS customers,
    (SELECT count(*) FROM buyers) / nullif((SELECT count(*) FROM customers), 0) AS buyers,
    (SELECT count(*) FROM sold) / nullif(articles, 0) AS articles_sold
FROM span""",
    "catalogue": f"""
SELECT {_each("nullif(count(DISTINCT {0}), 0) AS n_{0}", NAMES)},
    CASE WHEN count(detail_desc) > 0 THEN count(*) - count(detail_desc) END AS null_detail_desc,
    {_each(_SHARE_OF_GROUP.format("count(*)", "catalogue"), GROUPS)},
    count(*) FILTER (colour_group_name = 'Black') / nullif(count(colour_group_name), 0)
        AS black_articles,
    count(*) FILTER (graphical_appearance_name = 'Solid')
        / nullif(count(graphical_appearance_name), 0) AS solid_articles
FROM articles""",
    "variants": """
SELECT avg(n) AS variants_mean, quantile_cont(n, 0.5) AS variants_p50,
    quantile_cont(n, 0.9) AS variants_p90, max(n) AS variants_max
FROM (SELECT count(*) AS n FROM articles WHERE product IS NOT NULL GROUP BY product)""",
    "sales by attribute": f"""
SELECT
    {_each(_SHARE_OF_GROUP.format("sum(pieces)", "sales"), GROUPS)},
    sum(pieces) FILTER (colour_group_name = 'Black')
        / nullif(sum(pieces) FILTER (colour_group_name IS NOT NULL), 0) AS black_rows
FROM sold JOIN articles USING (article)""",
    "customers": f"""
SELECT {_each("CASE WHEN count({0}) > 0 THEN 1 - count({0}) / count(*) END AS null_{0}", NULLS)},
    {_each(_SHARE_OF_STATUS, STATUSES)},
    min(age) AS age_min, max(age) AS age_max, avg(age) AS age_mean,
    quantile_cont(age, 0.25) AS age_p25, quantile_cont(age, 0.5) AS age_p50,
    quantile_cont(age, 0.75) AS age_p75, nullif(count(DISTINCT postal_code), 0) AS postal_codes
FROM customers""",
    "ages": """
WITH ages AS (SELECT age, count(*) AS n FROM customers WHERE age IS NOT NULL GROUP BY age),
smooth AS (
    SELECT age, sum(n) OVER (ORDER BY age RANGE BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS near
    FROM ages)
SELECT
    (SELECT age FROM smooth WHERE age < 38 ORDER BY near DESC, age LIMIT 1) AS age_peak_young,
    (SELECT age FROM smooth WHERE age >= 38 ORDER BY near DESC, age LIMIT 1) AS age_peak_old""",
    "postal codes": """
WITH codes AS (
    SELECT postal_code, count(*) AS n, coalesce(sum(pieces), 0) AS pieces
    FROM customers LEFT JOIN buyers USING (customer) WHERE postal_code IS NOT NULL
    GROUP BY postal_code),
numbered AS (SELECT *, row_number() OVER (ORDER BY n DESC, postal_code) AS nth FROM codes)
SELECT max(n) FILTER (nth = 1) / (SELECT count(*) FROM customers) AS postal_top_customers,
    max(pieces) FILTER (nth = 1) AS postal_top_rows,
    max(pieces) FILTER (nth > 1) AS postal_next_rows
FROM numbered""",
    "rows per customer": """
SELECT avg(pieces) AS customer_mean, quantile_cont(pieces, 0.25) AS customer_p25,
    quantile_cont(pieces, 0.5) AS customer_p50, quantile_cont(pieces, 0.75) AS customer_p75,
    quantile_cont(pieces, 0.95) AS customer_p95, quantile_cont(pieces, 0.99) AS customer_p99,
    max(pieces) AS customer_max, count(*) FILTER (weeks = 1) / count(*) AS one_week
FROM buyers""",
    "rows per article": """
SELECT avg(pieces) AS article_mean, quantile_cont(pieces, 0.25) AS article_p25,
    quantile_cont(pieces, 0.5) AS article_p50, quantile_cont(pieces, 0.75) AS article_p75,
    quantile_cont(pieces, 0.95) AS article_p95, max(pieces) AS article_max
FROM sold""",
    "how unequal articles are": f"""
SELECT gini AS article_gini, top_1 AS article_top_1, top_10 AS article_top_10
FROM ({unequal("sold")})""",
    "rows": f"""
SELECT coalesce(sum(pieces) FILTER (pieces > 1), 0) / sum(pieces) AS duplicates,
    sum(pieces) FILTER (channel = 1) / sum(pieces) AS channel_1,
    sum(pieces) FILTER (channel = 2) / sum(pieces) AS channel_2,
    sum(pieces) FILTER ({WHOLE_CENTS}) / sum(pieces) AS cents,
    sum(price * pieces) / sum(pieces) AS price_mean,
    sum(price * pieces) FILTER (channel = 2) / sum(pieces) FILTER (channel = 2) AS price_online,
    sum(price * pieces) FILTER (channel = 1) / sum(pieces) FILTER (channel = 1) AS price_store,
    {_each(_PRICE, PRICES)}
FROM purchases""",
    "repurchase of articles": f"""
SELECT 1 - pairs / rows AS pair_duplicates, again AS repeat_article
FROM ({repeats("article")}), span""",
    "repurchase of products": f"SELECT again AS repeat_product FROM ({repeats('product')})",
    "repurchase of product types": f"""
SELECT again AS repeat_type FROM ({repeats("product_type_no")})""",
    "baskets with variants": VARIANT_BASKETS,
    "gaps": """
SELECT quantile_cont(gap, 0.25) AS gap_p25, quantile_cont(gap, 0.5) AS gap_p50,
    quantile_cont(gap, 0.75) AS gap_p75
FROM gaps""",
    "baskets": """
SELECT avg(pieces) AS basket_mean, quantile_cont(pieces, 0.5) AS basket_p50,
    quantile_cont(pieces, 0.9) AS basket_p90, quantile_cont(pieces, 0.95) AS basket_p95,
    quantile_cont(pieces, 0.99) AS basket_p99
FROM baskets""",
    "lifespans": """
SELECT quantile_cont(last - first, 0.25) AS lifespan_p25,
    quantile_cont(last - first, 0.5) AS lifespan_p50,
    quantile_cont(last - first, 0.75) AS lifespan_p75, quantile_cont(days, 0.5) AS active_days
FROM sold""",
    "sales since launch": """
WITH running AS (
    SELECT d.article, d.day - s.first AS age, s.pieces AS total,
        sum(d.pieces) OVER (PARTITION BY d.article ORDER BY d.day) AS so_far
    FROM article_days AS d JOIN sold AS s USING (article)),
reached AS (
    SELECT min(age) FILTER (so_far >= 0.5 * total) AS half,
        min(age) FILTER (so_far >= 0.8 * total) AS most
    FROM running GROUP BY article)
SELECT quantile_cont(half, 0.5) AS half_life, quantile_cont(most, 0.5) AS most_life FROM reached""",
    "best sellers": f"""
WITH tops AS (
    SELECT k, round(k * articles / {ARTICLES}) AS size
    FROM span, (SELECT unnest([12, 100]) AS k) WHERE size >= {FEWEST}),
best AS (
    SELECT k, week, article FROM ranked JOIN tops ON nth <= size),
met AS (
    SELECT k, week, count(*) AS n,
        count(*) FILTER (EXISTS (
            FROM best AS later WHERE later.k = best.k AND later.week = best.week - 1
            AND later.article = best.article)) AS both_weeks
    FROM best GROUP BY k, week),
pairs AS (
    SELECT met.k, met.both_weeks / (met.n + later.n - met.both_weeks) AS overlap
    FROM met JOIN met AS later ON later.k = met.k AND later.week = met.week - 1)
SELECT avg(overlap) FILTER (k = 12) AS jaccard_12, avg(overlap) FILTER (k = 100) AS jaccard_100
FROM pairs""",
    "shares of best sellers": f"""
WITH tops AS (
    SELECT k, k * articles / {ARTICLES} AS size
    FROM span, (SELECT unnest({list(TOPS)}) AS k)
    WHERE round(k * articles / {ARTICLES}) >= {FEWEST}),
shares AS (
    SELECT k, week, sum(pieces * least(1.0, size - nth + 1)) / max(total) AS share
    FROM ranked JOIN tops ON nth < size + 1 GROUP BY k, week)
SELECT {_each("avg(share) FILTER (k = {0}) AS week_top_{0}", TOPS)}
FROM shares""",
    "markdowns": f"""
SELECT weekly AS marked_down, weekly_depth AS markdown_depth
FROM (SELECT {marked_down("weekly")} FROM markdowns)""",
    "calendar": f"""
WITH days AS (
    SELECT d.day, coalesce(p.pieces, 0) AS pieces, coalesce(p.online, 0) AS online
    FROM (SELECT CAST(unnest(generate_series(first, last, INTERVAL 1 DAY)) AS DATE) AS day
          FROM span) AS d
    LEFT JOIN (SELECT day, sum(pieces) AS pieces, sum(pieces) FILTER (channel = 2) AS online
          FROM purchases GROUP BY day) AS p USING (day))
SELECT avg(pieces) FILTER (isodow(day) = 6) / nullif(avg(pieces) FILTER (isodow(day) < 6), 0)
        - 1 AS saturday,
    max(pieces) AS peak,
    sum(pieces) FILTER (day BETWEEN DATE '2020-03-11' AND DATE '2020-03-17')
        / nullif(sum(pieces) FILTER (day BETWEEN DATE '2020-03-04' AND DATE '2020-03-10'), 0) - 1
        AS lockdown,
    sum(online) FILTER (day BETWEEN DATE '2020-03-18' AND DATE '2020-04-07')
        / nullif(sum(pieces) FILTER (day BETWEEN DATE '2020-03-18' AND DATE '2020-04-07'), 0)
        AS lockdown_online,
    {_each("sum(pieces) FILTER (strftime(day, '%Y_%m') = '{0}') AS month_{0}", _MONTHS)}
FROM days""",
    "buyers of the last week": f"""
WITH seen AS (
    SELECT customer, min((last - day) // 7) FILTER ((last - day) // 7 > 0) AS before
    FROM baskets, span GROUP BY customer HAVING min((last - day) // 7) = 0)
SELECT count(*) FILTER (before IS NULL) / count(*) AS new_buyers,
    {_each("count(*) FILTER (before <= {0}) / count(*) AS since_{0}", (1, 2, 3, 4, 8))}
FROM seen""",
    "articles of the last week": f"""
WITH seen AS (
    SELECT article, sum(pieces) FILTER (week = 0) AS pieces,
        bool_or(week > 0) AS before,
        bool_or(day BETWEEN start - 30 AND start - 1) AS recent
    FROM article_days, span GROUP BY article),
best AS (
    SELECT article, least(1.0, 12 * articles / {ARTICLES} - nth + 1) AS weight
    FROM ranked, span WHERE week = 1 AND nth < 12 * articles / {ARTICLES} + 1)
SELECT count(*) FILTER (pieces > 0 AND NOT before) / count(*) FILTER (pieces > 0) AS new_articles,
    count(*) FILTER (recent) / (SELECT articles FROM span) AS recent_articles,
    coalesce(sum(pieces) FILTER (recent), 0) / sum(pieces) AS recent_rows,
    CASE WHEN round(12 * (SELECT articles FROM span) / {ARTICLES}) >= {FEWEST}
        THEN coalesce(sum(pieces * weight), 0) / sum(pieces) END AS last_top
FROM seen LEFT JOIN best USING (article)""",
}

SPAN = f"""
CREATE TEMP TABLE span AS
SELECT min(first) AS first, max(last) AS last, max(last) - 6 AS start,
    max(last) - min(first) + 1 AS days, (max(last) - min(first) + 1) // 7 AS weeks,
    CAST(sum(pieces) AS BIGINT) AS rows, (SELECT count(*) FROM articles) AS articles
FROM sold;
CREATE TEMP TABLE ranked AS
SELECT week, article, pieces, sum(pieces) OVER (PARTITION BY week) AS total,
    row_number() OVER (PARTITION BY week ORDER BY pieces DESC, article) AS nth
FROM (SELECT week, article, CAST(sum(pieces) AS BIGINT) AS pieces
      FROM article_days WHERE week < (SELECT weeks FROM span) GROUP BY week, article)
QUALIFY nth <= 2 + 2000 * (SELECT articles FROM span) / {ARTICLES}
"""
"""The days, and the best sellers of each whole week, best first: as many as any figure needs."""
