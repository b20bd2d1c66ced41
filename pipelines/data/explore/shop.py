"""The loaded shop as the sections of the exploration see it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import duckdb

from feature_repo.raw_tables import RAW_TABLES
from pipelines.data.compact import WHOLE_CENTS, in_order, unequal
from pipelines.reports import Section, plots
from pipelines.reports.words import said_share
from pipelines.warehouse import has_table, identifier

UPPER = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
MOST_BINS = 9


@dataclass
class LoadedShop:
    """The loaded shop: its sizes, which columns say anything, and queries on it."""

    con: duckdb.DuckDBPyConnection
    first: date = date.min
    last: date = date.min
    pieces: int = 0
    revenue: float = 0.0
    baskets: int = 0
    buyers: int = 0
    sold: int = 0
    articles: int = 0
    customers: int = 0
    log: bool = False
    """Whether there are interactions."""
    known: set[str] = field(default_factory=set)
    """The columns of articles and customers with at least one value."""
    tag: float = 1.0
    """What makes the shop's price the one on the tag: 590 in H&M's files."""

    def __post_init__(self) -> None:
        sizes = self.one(
            """SELECT min(first) AS first, max(last) AS last, sum(pieces) AS pieces,
                sum(value) AS revenue, count(*) AS sold,
                (SELECT count(*) FROM baskets) AS baskets, (SELECT count(*) FROM buyers) AS buyers,
                (SELECT count(*) FROM articles) AS articles,
                (SELECT count(*) FROM customers) AS customers
            FROM sold"""
        )
        for name, value in sizes.items():
            setattr(self, name, value)
        self.pieces, self.revenue = int(self.pieces), float(self.revenue)
        # A warehouse from before there were interactions has no such table.
        self.log = has_table(self.con, "raw", "interactions") and bool(
            self.rows("FROM raw.interactions LIMIT 1")
        )
        for table in ("articles", "customers"):
            names = RAW_TABLES[table].column_names
            counts = self.one(
                f"SELECT {', '.join(f'count({identifier(n)}) AS {identifier(n)}' for n in names)} "
                f"FROM {table}"
            )
            self.known |= {name for name, count in counts.items() if count}
        prices = self.one(
            f"""SELECT max(price) AS top, avg(CAST({WHOLE_CENTS} AS INTEGER)) AS tagged
            FROM (SELECT DISTINCT price FROM purchases)"""
        )
        if prices["top"] < 2 and prices["tagged"] > 0.9:
            self.tag = 590.0

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.con.execute(sql, list(values)).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> dict[str, Any]:
        """The only row of a query, by column."""
        answer = self.con.execute(sql, list(values))
        columns = [str(column[0]) for column in answer.description or []]
        return dict(zip(columns, answer.fetchone() or (None,) * len(columns), strict=True))

    def start(self, week: int) -> date:
        """The first day of a week, counted back from the last, which is 0."""
        return self.last - timedelta(days=7 * week + 6)

    def price(self, value: Any) -> str:
        """A price, or a sum of prices, as tags say it."""
        return f"{float(value) * self.tag:,.2f}"

    def spread(self, table: str, what: str) -> "dict[str, tuple[int, int]]":
        """How many rows of a table, and how many pieces, there are by a whole number of theirs.

        The bins are finer where the numbers are small, the last one is open: name to (rows, pieces).
        """
        top = self.one(f"SELECT quantile_disc({what}, 0.99) AS top FROM {table}")["top"]
        enough = next((n for n, upper in enumerate(UPPER) if upper >= top), len(UPPER) - 1)
        uppers = UPPER[max(0, enough + 1 - MOST_BINS) : enough + 1]
        found = {
            n: (rows, int(pieces))
            for n, rows, pieces in self.rows(
                f"""SELECT len(list_filter($1::BIGINT[], lambda upper: upper < {what})) AS bin, count(*),
                    sum(pieces) FROM {table} GROUP BY bin""",
                [list(uppers)],
            )
        }
        lowers = [1, *(upper + 1 for upper in uppers)]
        names = [
            f"{low:,}" if low == high else f"{low:,}-{high:,}"
            for low, high in zip(lowers, uppers, strict=False)
        ]
        return {
            name: found.get(n, (0, 0))
            for n, name in enumerate([*names, f"{lowers[-1]:,}+"])
            if n < len(uppers) or n in found
        }


def channel_name(channel: int) -> str:
    return {1: "store", 2: "online"}.get(channel, str(channel))


def quantile(levels: Sequence[tuple[Any, Any]], q: float) -> Any:
    """The lowest of the values (value, count), in their order, that a share q does not exceed."""
    total, so_far = sum(n for _, n in levels), 0
    for value, n in levels:
        so_far += n
        if so_far >= q * total:
            return value
    return levels[-1][0]


def concentration(shop: LoadedShop, table: str) -> dict[str, Any]:
    """How unequal the pieces of `buyers` or `sold` are: what `unequal` tells, and the Lorenz curve."""
    # A hundred steps make a smooth curve; each ends at a whole customer or article.
    curve = shop.rows(
        f"""SELECT nth / n AS place, sum(pieces) OVER (ORDER BY nth) / sum(pieces) OVER ()
        FROM ({in_order(table)})
        QUALIFY row_number() OVER (PARTITION BY ceil(100 * nth / n) ORDER BY nth DESC) = 1
        ORDER BY place"""
    )
    found = shop.one(unequal(table))
    return {**found, "curve": [(0.0, 0.0), *((float(x), float(y)) for x, y in curve)]}


def draw_lorenz(section: Section, found: dict[str, Any], things: str) -> None:
    """The Lorenz curve of `concentration`."""
    section.figure(
        plots.lines(
            {things: ([x for x, _ in found["curve"]], [y for _, y in found["curve"]])},
            x=f"share of the {things}, smallest first",
            y="share of the pieces",
            said=plots.percent,
            x_said=plots.percent,
            filled=True,
            diagonal=True,
            height=3.0,
        ),
        f"How unequal: Gini {found['gini']:.2f} (dashed: all the same)",
        f"Lorenz curve of the {things}: the top 1% have {said_share(found['top_1'])} of the pieces, the "
        f"top 10% {said_share(found['top_10'])}, the upper half {said_share(found['top_50'])}.",
    )
