"""A shop beside H&M's: every published figure of the real files, computed on this one.

What depends on the size of the shop is compared relative to it (product codes per article, a
month's share of all rows), or as it stands and marked with a star (kinds of articles), or not at all
(the most that any of N customers bought). What depends on the length of the history is compared
only where there are as many days as in H&M's files, and what needs certain days only where these
are covered.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.raw_tables import RAW_TABLES, RawTable
from feature_repo.stores.connection import connect
from pipelines.data.adapters import literal
from pipelines.data.compact import compact, loaded
from pipelines.data.hm_figures import (
    ARTICLES,
    DAYS,
    FIGURES,
    FIRST,
    GROUPS,
    LAST,
    MONTHS,
    PRICES,
    QUERIES,
    SIZES,
    SPAN,
    TOPS,
    Figure,
    Unit,
)
from pipelines.reports import Cell, Page, Section, plots
from pipelines.reports.words import many
from pipelines.warehouse import identifier

__all__ = ["FIGURES", "Compared", "Comparison", "Figure", "compare"]

TOLERANCE = 0.15
DAYS_OF_GRACE = 7
"""A shop may lack a sale on the first or the last days."""
DESCRIPTIONS = ("Size", "Articles", "Customers")
"""The sections that mostly follow from how a shop is made, and not from what customers do."""
TABLES = ("articles", "customers", "transactions")

_PER = {"article": "article", "customer": "customer", "row": "row", "day": "mean day"}


@dataclass(frozen=True)
class Compared:
    """One figure of both shops.

    `theirs` and `ours` are as published, before they are made relative to a size; `difference` is
    (ours - theirs) / |theirs| after it, from the nearer end of a range; a share above one half is
    compared by what is left to the whole, as 98% is not near 90%. Where it is None, `why_not` says
    why.
    """

    figure: Figure
    ours: float | None
    difference: float | None
    why_not: str = ""

    @property
    def within15(self) -> bool | None:
        return None if self.difference is None else abs(self.difference) <= TOLERANCE + 1e-9

    @property
    def says(self) -> str:
        """The difference and what it is relative to, or why there is none, as a table says it."""
        if self.difference is None:
            return self.why_not
        digits = 1
        # A difference that is rounded to 15% still shows on which side it is.
        while (round(abs(self.difference), digits + 2) <= TOLERANCE + 1e-9) != self.within15:
            digits += 1
        said = f"{100 * self.difference:+.{digits}f}%" if abs(self.difference) >= 0.0005 else "0%"
        said += f" per {_PER[self.figure.per]}" if self.figure.per else ""
        return said + " *" * self.figure.sized

    @property
    def theirs_text(self) -> str:
        theirs, unit = self.figure.theirs, self.figure.unit
        about = "~" if self.figure.about else ""
        if isinstance(theirs, tuple):
            low, high = theirs
            if low == 0:
                return f"{about}below {_said(high, unit)}"
            return f"{about}{_said(low, unit)} to {_said(high, unit)}"
        return about + _said(theirs, unit)

    @property
    def ours_text(self) -> str:
        return "-" if self.ours is None else _said(self.ours, self.figure.unit)

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.figure.key,
            "name": self.figure.name,
            "section": self.figure.section,
            "definition": self.figure.definition,
            "unit": self.figure.unit,
            "theirs": self.figure.theirs,
            "approximate": self.figure.about,
            "ours": self.ours,
            "relative_to": self.figure.per or None,
            "relative_difference": self.difference,
            "within15": self.within15,
            "why_not": self.why_not or None,
        }


@dataclass(frozen=True)
class Comparison:
    """All figures of a shop beside H&M's, in the order of `FIGURES`."""

    source: str
    first: date
    last: date
    compared: tuple[Compared, ...]
    curves: dict[str, list[tuple[Any, float]]] = field(default_factory=dict)
    """The whole of what the figures are points of: rows by month, customers by age; as shares."""

    @property
    def counted(self) -> int:
        return _score(self.compared)[1]

    @property
    def within(self) -> int:
        return _score(self.compared)[0]

    @property
    def summary(self) -> str:
        within, counted = _score(self.compared)
        own, of = _score(row for row in self.compared if row.figure.section in DESCRIPTIONS)
        return (
            f"{within} of {counted} compared figures within 15% ({own} of {of} of the files of "
            f"articles and customers, {within - own} of {counted - of} of behaviour)"
        )

    @property
    def star(self) -> str:
        """What the star at a figure says, and how the shop does without the figures that have one."""
        within, counted = _score(row for row in self.compared if not row.figure.sized)
        return (
            "* depends on the size, and is compared all the same: a small catalogue has fewer kinds "
            "of articles and flatter best sellers, and more is bought again. Of the "
            f"{counted} compared figures without a star {within} are within 15%."
        )

    def not_compared(self) -> dict[str, list[Compared]]:
        """The figures without a difference, by the reason."""
        found: dict[str, list[Compared]] = {}
        for row in sorted(self.compared, key=lambda row: row.why_not):
            if row.why_not:
                found.setdefault(row.why_not, []).append(row)
        return found

    def sections(self) -> dict[str, list[Compared]]:
        found: dict[str, list[Compared]] = {}
        for row in self.compared:
            found.setdefault(row.figure.section, []).append(row)
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "first_day": self.first.isoformat(),
            "last_day": self.last.isoformat(),
            "summary": self.summary,
            "within15": self.within,
            "compared": self.counted,
            "figures": [row.to_dict() for row in self.compared],
        }

    def page(self) -> Page:
        """The same as a page with plots."""
        return _page(self)


def compare(
    source: Path | None = None,
    *,
    page: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """Compute every figure on a shop and hold it against H&M's.

    Args:
        source: a folder in the Kaggle layout, each file as CSV, CSV.gz or Parquet; the loaded
            warehouse if None.
        page: a file for `Comparison.page`, if wanted.
        progress: called with one line of text at each step.

    Raises:
        InputError: a file is missing, lacks a column or cannot be read as it stands, or `page`
            cannot be written.
        WarehouseError: nothing is loaded.
    """
    if page is not None:
        places.check_place(page)
    with _opened(source) as con:
        progress("reading the purchases")
        try:
            relations = _relations(con, source)
            compact(con, relations["articles"], relations["customers"], relations["transactions"])
        except duckdb.Error as error:
            if source is None:
                raise
            raise InputError(
                f"{source} cannot be read as it stands ({str(error).splitlines()[0]}): load it with "
                "`lookbook data load`, which sets wrong rows aside, then compare the warehouse."
            ) from error
        con.execute(SPAN)
        values: dict[str, float | None] = {}
        for name, sql in QUERIES.items():
            progress(name)
            answer = con.execute(sql)
            columns = [str(column[0]) for column in answer.description or []]
            row = answer.fetchone() or (None,) * len(columns)
            values |= dict(zip(columns, map(_number, row), strict=True))
        first, last = con.execute("SELECT first, last FROM span").fetchone() or (FIRST, LAST)
        curves = {
            name: [(place, float(share)) for place, share in con.execute(sql).fetchall()]
            for name, sql in _CURVES.items()
        }
    other_unit = (values["price_mean"] or 0) >= 1
    compared = tuple(_held(f, values, first, last, other_unit) for f in FIGURES)
    found = Comparison(
        "the warehouse" if source is None else str(source), first, last, compared, curves
    )
    if page is not None:
        found.page().write(page)
    return found


def _score(rows: Iterable[Compared]) -> tuple[int, int]:
    """How many are within 15%, of how many that are compared."""
    near = [row.within15 for row in rows if row.within15 is not None]
    return sum(near), len(near)


_CURVES = {
    "months": """
SELECT CAST(date_trunc('month', day) AS DATE) AS month, sum(pieces) / (SELECT rows FROM span)
FROM article_days, span WHERE date_trunc('month', day) >= first
    AND date_trunc('month', day) + INTERVAL 1 MONTH <= last + 1
GROUP BY month ORDER BY month""",
    "ages": """
SELECT age, count(*) / sum(count(*)) OVER () FROM customers WHERE age IS NOT NULL
GROUP BY age ORDER BY age""",
}


def _number(value: Any) -> float | None:
    """Sums of parts come in any order, so the last digits of a float are nobody's."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.12g}")


def _held(
    figure: Figure, values: dict[str, float | None], first: date, last: date, other_unit: bool
) -> Compared:
    ours = values[figure.key]
    if (
        figure.section == "Prices"
        and other_unit
        and figure.key not in ("marked_down", "markdown_depth")
    ):
        return Compared(figure, ours, None, "prices are in another unit")
    if figure.extreme:
        return Compared(figure, ours, None, "depends on the size")
    if figure.during and (
        (first - figure.during[0]).days > DAYS_OF_GRACE
        or (figure.during[1] - last).days > DAYS_OF_GRACE
    ):
        return Compared(figure, ours, None, "not in these days")
    if ours is None:
        return Compared(figure, ours, None, figure.absent)
    if figure.grows and (last - first).days + 1 < DAYS - DAYS_OF_GRACE:
        return Compared(figure, ours, None, f"needs {DAYS} days")
    low, high = figure.theirs if isinstance(figure.theirs, tuple) else (figure.theirs,) * 2
    own = 1.0
    if figure.per:
        scale = {
            "article": values["articles"],
            "customer": values["customers"],
            "row": values["rows"],
            "day": (values["rows"] or 0) / (values["days"] or 1),
        }[figure.per]
        own = SIZES[figure.per] / (scale or math.nan)
    value = ours * own
    near = min(max(value, low), high)
    # The end of a range may be zero, and is then met where it is the nearest.
    size = 1 - near if figure.unit == "share" and low == high and 0.5 < near < 1 else abs(near)
    return Compared(figure, ours, _number((value - near) / size) if value != near else 0.0)


@contextmanager
def _opened(source: Path | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, or an empty database whose folder is gone afterwards."""
    if source is None:
        with loaded() as con:
            yield con
        return
    if not source.is_dir():
        raise InputError(
            f"{source} is not a folder: name one with articles, customers and purchases."
        )
    with (
        tempfile.TemporaryDirectory(prefix="lookbook-compare-") as folder,
        closing(connect(Path(folder) / "compare.duckdb", read_only=False)) as con,
    ):
        yield con


def _relations(con: duckdb.DuckDBPyConnection, source: Path | None) -> dict[str, str]:
    """What to use after FROM, for each raw table."""
    if source is None:
        return {name: f"raw.{name}" for name in TABLES}
    return {
        name: _typed(con, source, table) for name, table in RAW_TABLES.items() if name in TABLES
    }


def _typed(con: duckdb.DuckDBPyConnection, folder: Path, table: RawTable) -> str:
    """A file of the folder with the types of the raw table; ids stay text."""
    names = [table.file, f"{table.file}.gz", f"{Path(table.file).stem}.parquet"]
    found = [folder / name for name in names if (folder / name).is_file()]
    if len(found) != 1:
        what = f"holds {' and '.join(f.name for f in found)}" if found else f"lacks {names[0]}"
        raise InputError(f"{folder} {what}: it needs one of {', '.join(names[:2])} or {names[2]}.")
    (file,) = found
    rows = (
        f"read_parquet({literal(str(file))})"
        if file.suffix == ".parquet"
        else f"read_csv({literal(str(file))}, header = true, all_varchar = true)"
    )
    there = {str(row[0]) for row in con.execute(f"DESCRIBE FROM {rows}").fetchall()}
    if missing := [name for name in table.column_names if name not in there]:
        raise InputError(f"{file} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}.")
    values = []
    for column in table.columns:
        name = identifier(column.name)
        value = f"nullif(CAST({name} AS VARCHAR), '')"
        if column.name == "article_id":
            value = f"lpad({value}, 10, '0')"
        elif column.type in ("INTEGER", "TINYINT", "DOUBLE"):
            # A data frame writes an unknown number as NaN.
            value = f"CAST(nullif(CAST({value} AS DOUBLE), 'nan') AS {column.type})"
        elif column.type == "DATE":
            value = f"CAST({name} AS DATE)"
        values.append(f"{value} AS {name}")
    return f"(SELECT {', '.join(values)} FROM {rows})"


def _said(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:.3g}%"
    if unit == "price":
        return f"{value:.4f}"
    if unit == "count":
        return f"{value:,.0f}"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


# The page

HOW_TO_READ = (
    "The difference is (this shop - H&M) / H&M. Where it says per article, per customer, per row or "
    "per mean day, both figures were divided by that number first, so that shops of any size can be "
    "compared; the best sellers of a week are as many as are in proportion to the catalogue. A share "
    "above one half is compared by what is left to the whole. A range counts as met inside it. A ~ "
    "marks a figure of H&M that is from memory or a small sample."
)


def _page(found: Comparison) -> Page:
    days = (found.last - found.first).days + 1
    page = Page(
        "This shop beside H&M's",
        f"{found.summary}. The shop covers {many(days, 'day')} from {found.first} to {found.last}; H&M's "
        f"files cover {DAYS} days from {FIRST} to {LAST}.",
        footer="Made by: lookbook data compare",
    )
    sections = found.sections()
    start = page.section("At a glance", _furthest(found.compared, most=5))
    start.numbers(
        [
            ("figures within 15%", f"{found.within} of {found.counted}"),
            ("not compared", f"{len(found.compared) - found.counted}"),
            *(
                (row.figure.name, row.ours_text)
                for row in sections["Size"]
                if row.figure.key in ("rows", "customers", "articles", "days")
            ),
        ]
    )
    start.table(
        ["section", "within 15%", "compared", "share"],
        [[name, *_score(rows), _share(*_score(rows))] for name, rows in sections.items()],
        align="lrrl",
        half=True,
    )
    start.table(
        ["why a figure is not compared", "figures"],
        [[reason, len(rows)] for reason, rows in found.not_compared().items()],
        align="lr",
        half=True,
    )
    start.text(HOW_TO_READ, note=True)
    start.text(found.star, note=True)
    for name, rows in sections.items():
        within, counted = _score(rows)
        section = page.section(
            name,
            f"{within} of {counted} compared figures are within 15%. {_furthest(rows)}".strip()
            if counted
            else "No figure can be compared.",
        )
        shown = [row for row in rows if row.difference is not None]
        if shown:
            section.figure(
                plots.differences(
                    [row.figure.name for row in shown], [row.difference or 0.0 for row in shown]
                ),
                "Relative difference from H&M; the band is 15% to both sides",
                f"{name}: {within} of {counted} dots lie in the band of 15%.",
            )
        _overlays(section, name, found)
        section.table(
            ["figure", "H&M", "this shop", "difference", "within 15%", "what it is"],
            [
                [
                    row.figure.name,
                    row.theirs_text,
                    row.ours_text,
                    Cell(row.says, tone="quiet" if row.difference is None else ""),
                    _verdict(row),
                    Cell(row.figure.definition, tone="quiet"),
                ]
                for row in rows
            ],
            align="nrrnll",
        )
    return page


def _verdict(row: Compared) -> Cell:
    if row.within15 is None:
        return Cell("-", tone="quiet")
    return Cell("yes", tone="good") if row.within15 else Cell("no", tone="bad")


def _share(within: int, counted: int) -> Cell:
    return Cell(f"{within / counted:.0%}", bar=within / counted) if counted else Cell("-")


def _furthest(rows: Iterable[Compared], most: int = 3) -> str:
    far = sorted(
        (row for row in rows if row.within15 is False), key=lambda row: -abs(row.difference or 0)
    )
    said = [
        f"{row.figure.name} ({row.ours_text} against {row.theirs_text})"
        if not row.figure.per
        else f"{row.figure.name} ({row.says})"
        for row in far[:most]
    ]
    return f"Furthest from H&M: {'; '.join(said)}." if said else ""


@dataclass(frozen=True)
class _Overlay:
    """Published figures that are points of one curve, or bars of one plot: key to label."""

    section: str
    caption: str
    points: dict[str, str]
    x: str = ""
    shares: bool = False
    bars: bool = False
    log: bool = False


_QUARTILES = {
    25: "lower quartile",
    50: "median",
    75: "upper quartile",
    90: "p90",
    95: "p95",
    99: "p99",
}

_OVERLAYS = (
    *(
        _Overlay(
            "Articles",
            caption,
            {f"{key}_{n}": name for n, name in enumerate(GROUPS)},
            shares=True,
            bars=True,
        )
        for key, caption in (
            ("catalogue", "The catalogue by index group"),
            ("sales", "Sales by index group"),
        )
    ),
    _Overlay(
        "Customers",
        "Customers' ages",
        {
            "age_min": "youngest",
            **{f"age_p{n}": _QUARTILES[n] for n in (25, 50, 75)},
            "age_max": "oldest",
        },
    ),
    _Overlay(
        "Transactions",
        "Rows per customer",
        {f"customer_p{n}": _QUARTILES[n] for n in (25, 50, 75, 95, 99)},
        log=True,
    ),
    _Overlay(
        "Transactions",
        "Rows per article",
        {f"article_p{n}": _QUARTILES[n] for n in (25, 50, 75, 95)},
        log=True,
    ),
    _Overlay(
        "Transactions",
        "Rows per customer-day",
        {f"basket_p{n}": _QUARTILES[n] for n in (50, 90, 95, 99)},
    ),
    _Overlay(
        "Transactions",
        "Rows by channel",
        {"channel_1": "store", "channel_2": "online"},
        shares=True,
        bars=True,
    ),
    _Overlay(
        "Articles over time",
        "Lifespan of articles, days",
        {f"lifespan_p{n}": _QUARTILES[n] for n in (25, 50, 75)},
    ),
    _Overlay(
        "Articles over time",
        "Share of the week's rows in its best sellers",
        {f"week_top_{k}": f"{k:,}" for k in TOPS},
        x=f"best sellers, of {ARTICLES:,} articles",
        shares=True,
    ),
    _Overlay(
        "Prices",
        "Rows at the most common prices",
        {f"price_{p}": f"{p / 100:.2f}" for p in sorted(PRICES)},
        shares=True,
        bars=True,
    ),
    _Overlay(
        "The week to predict",
        "Buyers of the last week who had bought in the weeks before",
        {f"since_{n}": str(n) for n in (1, 2, 3, 4, 8)},
        x="weeks before",
        shares=True,
    ),
)


def _overlays(section: Section, name: str, found: Comparison) -> None:
    """Both shops in one plot, where the published figures are points of a curve."""
    at = {row.figure.key: row for row in found.compared}
    if name == "Customers" and found.curves["ages"]:
        ages, shares = zip(*found.curves["ages"], strict=True)
        section.figure(
            plots.lines({"this shop": (ages, shares)}, x="age", said=plots.percent, filled=True),
            "Customers of this shop by age",
            f"The share of customers of each age from {ages[0]} to {ages[-1]}.",
        )
    if name == "Calendar" and at["month_2018_10"].difference is not None:
        own = found.curves["months"]
        theirs = [1000 * rows / SIZES["row"] for rows in MONTHS.values()]
        drawn = plots.lines(
            {
                "this shop": ([month for month, _ in own], [share for _, share in own]),
                "H&M": (list(MONTHS), theirs),
            },
            y="share of all rows",
            said=plots.percent,
            wide=True,
            points=("H&M",),
        )
        labels = [f"{month:%b %Y}" for month in MONTHS]
        both = {"H&M": theirs, "this shop": [dict(own).get(month, 0.0) for month in MONTHS]}
        section.figure(
            drawn,
            "Rows by month; of H&M nine months are published",
            _read_out(labels, both, plots.percent),
        )
    for overlay in _OVERLAYS:
        # Of a curve some points are enough: a small shop has no top 12.
        rows = [at[key] for key in overlay.points if at[key].ours is not None]
        if overlay.section != name or len(rows) < 2:
            continue
        if overlay.section == "Prices" and any(row.difference is None for row in rows):
            continue
        labels = [overlay.points[row.figure.key] for row in rows]
        values = {
            "H&M": [
                row.figure.theirs for row in rows if isinstance(row.figure.theirs, int | float)
            ],
            "this shop": [row.ours for row in rows if row.ours is not None],
        }
        said = plots.percent if overlay.shares else plots.count
        if overlay.bars:
            drawn = plots.bars(labels, values, said=said, flat=True, values=True)
        else:
            drawn = plots.lines(
                {shop: (range(len(labels)), v) for shop, v in values.items()},
                x=overlay.x,
                said=said,
                labels=labels,
                dots=True,
                log_y=overlay.log,
            )
        section.figure(drawn, overlay.caption, _read_out(labels, values, said))


def _read_out(
    labels: list[str], values: dict[str, list[float]], said: Callable[[float], str]
) -> str:
    """A small plot as a sentence, for who cannot see it."""
    return " ".join(
        f"{shop}: {', '.join(f'{a} {said(b)}' for a, b in zip(labels, row, strict=True))}."
        for shop, row in values.items()
    )
