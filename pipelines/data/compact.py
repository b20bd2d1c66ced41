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

A piece is what a row is in H&M's files: an exact duplicate row, or a quantity of two, is two pieces.
Prices are decimals, so that sums do not depend on the order in which threads add them up.
"""

import duckdb

from feature_repo.errors import InputError

MEMORY = 4_000_000_000
"""Bytes that DuckDB may hold, where the connection does not allow less anyway."""

MENDED_BY_LOADING = (
    "load the files with `lookbook data load`, which sets such rows right, then use the warehouse"
)


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
                f"The {key} of {lost[0]:,} pieces is not among the {key}s: {MENDED_BY_LOADING}."
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
