"""What the loaded shop's data say, as one page that a merchandiser can read.

Each section is a function of the shop: it computes small aggregates in SQL on the tables of
`pipelines.data.compact`, says in a sentence or two what they show, draws them, and returns the
numbers it speaks of. Where the shop lacks a column, the section says so. A piece is one article
sold; a basket is what one customer bought on one day.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from feature_repo import places
from pipelines.data.compact import compact, loaded
from pipelines.data.explore.articles import lifetimes, prices, sellers
from pipelines.data.explore.customers import baskets, bulk_buyers, coming_back, small_buyers, who
from pipelines.data.explore.gaps import quality
from pipelines.data.explore.interactions import shown
from pipelines.data.explore.sales import channels, seasons, the_shop
from pipelines.data.explore.shop import LoadedShop
from pipelines.reports import Page, Section
from pipelines.reports.words import many, said_day

__all__ = ["Exploration", "explore"]

SECTIONS: dict[str, Callable[[LoadedShop, Section], dict[str, Any]]] = {
    "The shop": the_shop,
    "Bulk buyers": bulk_buyers,
    "Customers who buy little": small_buyers,
    "Best and worst sellers": sellers,
    "Prices and markdowns": prices,
    "Seasons and week days": seasons,
    "Coming back": coming_back,
    "Baskets": baskets,
    "How long articles sell": lifetimes,
    "Store and online": channels,
    "From shown to bought": shown,
    "Who the customers are": who,
    "Gaps and quarantine": quality,
}


@dataclass(frozen=True)
class Exploration:
    """The page that was written, and the numbers in its sentences, by section."""

    out: Path
    first: date
    last: date
    numbers: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "first_day": self.first.isoformat(),
            "last_day": self.last.isoformat(),
            "numbers": self.numbers,
        }


def explore(out: Path, *, progress: Callable[[str], None] = lambda text: None) -> Exploration:
    """Write the page about the loaded shop.

    Args:
        out: the HTML file; folders on the way are made.
        progress: called with one line of text at each step.

    Raises:
        WarehouseError: nothing is loaded.
        InputError: `out` cannot be written.
    """
    places.check_place(out)
    with loaded() as con:
        progress("reading the purchases")
        compact(con, "raw.articles", "raw.customers", "raw.transactions")
        shop = LoadedShop(con)
        page = Page("What the data say", footer="Made by: lookbook explore")
        numbers: dict[str, dict[str, Any]] = {}
        for heading, write in SECTIONS.items():
            if write is shown and not shop.log:
                continue
            progress(heading)
            section = page.section(heading)
            numbers[heading] = {k: _plain(v) for k, v in write(shop, section).items()}
    page.summary = (
        f"{many(shop.pieces, 'piece')} of {many(shop.sold, 'article')}, sold to "
        f"{many(shop.buyers, 'customer')} from {said_day(shop.first)} to {said_day(shop.last)}."
    )
    page.write(out)
    return Exploration(out, shop.first, shop.last, numbers)


def _plain(value: Any) -> Any:
    """For JSON: decimals and the last digits of floats, which depend on the order of adding, go."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, date):
        return value.isoformat()
    return float(f"{float(value):.10g}")
