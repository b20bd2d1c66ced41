"""A shop in the smallest form that figures need: whole numbers instead of long ids, and few columns.

Ids of 64 letters cost more than everything else in 30 million purchases. `compact` numbers customers
and articles once; what follows groups and joins whole numbers, and spills to disk beyond `MEMORY`.
The tables are temporary and go with the connection:

- `customers`: the raw columns and `customer`, a number in the order of customer_id
- `articles`: the raw columns and `article`, `product` (null without a product_code)
- `purchases`: one row for each day, customer, article, price and channel, with its `pieces`
- `baskets`: one row for each customer and day: what a customer bought that day
- `buyers`: one row for each customer with purchases
- `article_days`: one row for each article and day with a sale; `week` counts back from the last
  seven days, which are week 0
- `sold`: one row for each article with sales

and, as views of them:

- `gaps`: the days from one day with purchases of a customer to the next
- `markdowns`: the purchases with how far they are below the article's highest price of the week
  (`weekly`) and of all time (`ever`); 0 if by no more than 0.1%

What else both reports speak of is a query that is made below.

A piece is what a row is in H&M's files: an exact duplicate row, or a quantity of two, is two pieces.
Prices are decimals, so that sums do not depend on the order in which threads add them up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from feature_repo.errors import InputError
from pipelines.reports.words import many
from pipelines.warehouse import WarehouseError, has_table, reading

MEMORY = 4_000_000_000
"""Bytes that DuckDB may hold, where the connection does not allow less anyway."""

MENDED_BY_LOADING = (
    "load the files with `lookbook data load`, which sets such rows right, then use the warehouse"
)


@contextmanager
def loaded() -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse for reading.

    Raises:
        WarehouseError: no shop is loaded.
    """
    with reading() as con:
        if not has_table(con, "raw", "transactions"):
            raise WarehouseError(
                "The warehouse holds no purchases: load a shop first, for example "
                "`lookbook data load DIR`."
            )
        yield con


def compact(
    con: duckdb.DuckDBPyConnection, articles: str, customers: str, transactions: str
) -> None:
    """Make the tables above.

    Args:
        con: where to make them; it may be open for reading only.
        articles, customers, transactions: SQL relations with the columns of the raw tables;
            `quantity` may be missing or null and is then 1.

    Raises:
        InputError: there are no purchases, a customer or an article is there twice, or a purchase
            names one that is not there.
    """
    (allowed,) = con.execute(
        "SELECT CAST(parse_formatted_bytes(current_setting('memory_limit')) AS BIGINT)"
    ).fetchone() or (MEMORY,)
    con.execute("SET memory_limit = ?", [f"{min(MEMORY, allowed)}B"])
    # Groups and joins need no order; keeping one costs memory.
    con.execute("SET preserve_insertion_order = false")
    columns = {str(row[0]) for row in con.execute(f"DESCRIBE FROM {transactions}").fetchall()}
    pieces = "coalesce(quantity, 1)" if "quantity" in columns else "1"
    for table, key, relation in (
        ("customers", "customer", customers),
        ("articles", "article", articles),
    ):
        con.execute(
            f"""CREATE TEMP TABLE {table} AS
            SELECT CAST(row_number() OVER (ORDER BY {key}_id) AS INTEGER) AS {key}, *
            FROM {relation}"""
        )
        twice = con.execute(
            f"""SELECT {key}_id FROM {table} GROUP BY {key}_id HAVING count(*) > 1
            ORDER BY {key}_id LIMIT 1"""
        ).fetchone()
        if twice:
            raise InputError(f"The {key} {twice[0]} is there twice: {MENDED_BY_LOADING}.")
    con.execute(
        """ALTER TABLE articles ADD COLUMN product INTEGER;
        UPDATE articles SET product = codes.product FROM (
            SELECT product_code, row_number() OVER (ORDER BY product_code) AS product
            FROM articles WHERE product_code IS NOT NULL GROUP BY product_code) AS codes
        WHERE articles.product_code = codes.product_code"""
    )
    con.execute(
        f"""CREATE TEMP TABLE purchases AS
        SELECT t_dat AS day, customer, article, CAST(price AS DECIMAL(18, 9)) AS price,
            sales_channel_id AS channel, CAST(sum({pieces}) AS BIGINT) AS pieces
        FROM {transactions}
        LEFT JOIN (SELECT customer, customer_id FROM customers) USING (customer_id)
        LEFT JOIN (SELECT article, article_id FROM articles) USING (article_id)
        GROUP BY ALL"""
    )
    for key in ("customer", "article"):
        lost = con.execute(f"SELECT sum(pieces) FROM purchases WHERE {key} IS NULL").fetchone()
        if lost and lost[0]:
            raise InputError(
                f"The {key} of {many(lost[0], 'piece')} is not among the {key}s: "
                f"{MENDED_BY_LOADING}."
            )
    last = con.execute("SELECT max(day) FROM purchases").fetchone()
    if last is None or last[0] is None:
        raise InputError("There are no purchases, so there is nothing to show: load a shop first.")
    con.execute(
        """CREATE TEMP TABLE baskets AS
        SELECT customer, day, CAST(sum(pieces) AS BIGINT) AS pieces,
            CAST(count(DISTINCT article) AS INTEGER) AS articles,
            CAST(sum(price * pieces) AS DECIMAL(38, 9)) AS value
        FROM purchases GROUP BY customer, day"""
    )
    con.execute(
        f"""CREATE TEMP TABLE buyers AS
        SELECT customer, CAST(sum(pieces) AS BIGINT) AS pieces, count(*) AS days,
            min(day) AS first, max(day) AS last, max(pieces) AS largest,
            CAST(sum(value) AS DECIMAL(38, 9)) AS value,
            count(DISTINCT (DATE '{last[0]}' - day) // 7) AS weeks
        FROM baskets GROUP BY customer"""
    )
    con.execute(
        f"""CREATE TEMP TABLE article_days AS
        SELECT article, day, CAST((DATE '{last[0]}' - day) // 7 AS INTEGER) AS week,
            CAST(sum(pieces) AS BIGINT) AS pieces, max(price) AS highest,
            CAST(sum(price * pieces) AS DECIMAL(38, 9)) AS value
        FROM purchases GROUP BY article, day"""
    )
    con.execute(
        """CREATE TEMP TABLE sold AS
        SELECT article, CAST(sum(pieces) AS BIGINT) AS pieces, count(*) AS days,
            min(day) AS first, max(day) AS last, max(highest) AS highest,
            CAST(sum(value) AS DECIMAL(38, 9)) AS value
        FROM article_days GROUP BY article"""
    )
    con.execute(
        f"""CREATE TEMP VIEW gaps AS
        SELECT day - lag(day) OVER (PARTITION BY customer ORDER BY day) AS gap
        FROM baskets QUALIFY gap IS NOT NULL;
        CREATE TEMP VIEW markdowns AS
        WITH tops AS (
            SELECT article, week, max(highest) AS top FROM article_days GROUP BY article, week),
        depths AS (
            SELECT p.channel, p.price, p.pieces, tops.week,
                1 - CAST(p.price AS DOUBLE) / CAST(tops.top AS DOUBLE) AS weekly,
                1 - CAST(p.price AS DOUBLE) / CAST(sold.highest AS DOUBLE) AS ever
            FROM purchases AS p JOIN sold USING (article)
            JOIN tops ON tops.article = p.article AND tops.week = (DATE '{last[0]}' - p.day) // 7)
        SELECT * REPLACE (
            CASE WHEN weekly > 0.001 THEN weekly ELSE 0 END AS weekly,
            CASE WHEN ever > 0.001 THEN ever ELSE 0 END AS ever)
        FROM depths"""
    )


WHOLE_CENTS = "abs(price * 59000e0 - round(price * 59000e0)) < 0.04"
"""Whether a price is one of H&M's: times 590 a price tag."""


def marked_down(depth: str) -> str:
    """Two columns of a query on `markdowns`: the share of the pieces that are below the highest price
    of the week or of all time, with the name of `depth`, and how far these are (`{depth}_depth`)."""
    return f"""coalesce(sum(pieces) FILTER ({depth} > 0), 0) / sum(pieces) AS {depth},
    sum(pieces * {depth}) / sum(pieces) FILTER ({depth} > 0) AS {depth}_depth"""


def _by_day(column: str) -> str:
    """How many different articles of the same `column` a customer bought on a day."""
    return f"""
SELECT customer, {column} AS thing, day, count(DISTINCT article) AS n
FROM purchases JOIN articles USING (article) WHERE {column} IS NOT NULL
GROUP BY customer, thing, day"""


def repeats(column: str) -> str:
    """A query: `again` is the share of the distinct (customer, article, day) whose customer had bought
    an article with the same `column` on an earlier day; `pairs` are the distinct (customer, column)."""
    return f"""
SELECT sum(n - at_first) / sum(n) AS again, count(*) AS pairs
FROM (SELECT sum(n) AS n, arg_min(n, day) AS at_first FROM ({_by_day(column)})
      GROUP BY customer, thing)"""


VARIANT_BASKETS = f"""
SELECT count(*) FILTER (most > 1) / nullif(count(*), 0) AS variant_baskets
FROM (SELECT max(n) AS most FROM ({_by_day("product")}) GROUP BY customer, day)"""
"""A query: the share of the baskets in which there are two or more articles of one product."""


def in_order(table: str) -> str:
    """A query: the pieces of each of the `n` rows of `buyers` or `sold`, `nth` from the fewest."""
    return f"""
SELECT pieces, row_number() OVER (ORDER BY pieces) AS nth, count(*) OVER () AS n FROM {table}"""


def unequal(table: str) -> str:
    """A query: the `gini` index of the pieces (0 if all are alike, 1 if one row has everything), and
    the shares of the `top_1`, `top_5`, `top_10` and `top_50` percent of the rows, rounded up."""
    tops = ", ".join(
        f"sum(pieces) FILTER (nth > n - ceil(n * {top} / 100)) / sum(pieces) AS top_{top}"
        for top in (1, 5, 10, 50)
    )
    return f"""
SELECT 2 * sum(nth * pieces) / (max(n) * sum(pieces)) - (max(n) + 1) / max(n) AS gini, {tops}
FROM ({in_order(table)})"""
