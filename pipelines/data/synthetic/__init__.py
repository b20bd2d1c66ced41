"""A made-up shop in the exact layout of Kaggle's H&M files, with the truth behind it.

`synthesize` draws the truth (catalogue.py, customers.py), lets the customers shop (behaviour.py,
response.py) and writes what a shop would know of it (files.py, interactions.py, pictures), and the
truth beside it (truth.py). The same arguments give the same bytes, on any number of threads.
"""

import os
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_repo.raw_tables import ARTICLES, CUSTOMERS, INTERACTIONS, TRANSACTIONS
from pipelines.data import hm_figures
from pipelines.data.synthetic import dirt as planted
from pipelines.data.synthetic import taxonomy
from pipelines.data.synthetic.behaviour import Picks, ShopDays
from pipelines.data.synthetic.catalogue import MAX_ARTICLES, Catalogue, draw_catalogue
from pipelines.data.synthetic.customers import Customers, draw_customers
from pipelines.data.synthetic.files import (
    Progress,
    ShopError,
    TableFile,
    whole_folder,
    write_table,
)
from pipelines.data.synthetic.interactions import day_of_log, others
from pipelines.data.synthetic.shelves import Day
from pipelines.data.synthetic.truth import Shop, write_truth

__all__ = ["LAST_DAY", "Shop", "ShopError", "ShopSummary", "like_hm", "synthesize"]

LAST_DAY = hm_figures.LAST
MAX_DAYS = 3660


@dataclass(frozen=True)
class ShopSummary:
    """What was written. `transactions` counts rows, that is pieces."""

    folder: Path
    customers: int
    articles: int
    transactions: int
    interactions: int
    images: int
    defects: int
    first_day: date
    last_day: date


def _silent(step: str, done: float) -> None:
    pass


def like_hm(share: float = 1.0) -> dict[str, int]:
    """The size of H&M's own files, or a share of their customers and articles, for `synthesize`.

    Raises:
        ShopError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ShopError(f"The share of H&M's size must be above 0 and at most 1, not {share}.")
    return {
        "customers": max(1, round(hm_figures.SIZES["customer"] * share)),
        "articles": max(1, round(hm_figures.ARTICLES * share)),
        "days": hm_figures.DAYS,
    }


def synthesize(
    out: Path,
    *,
    customers: int = 2000,
    articles: int = 800,
    days: int = 240,
    seed: int = 7,
    interactions: int = 0,
    images: int = 0,
    dirt: bool = False,
    csv: bool = False,
    threads: int | None = None,
    progress: Progress = _silent,
) -> ShopSummary:
    """Write a made-up shop into the folder `out`, which must be new or empty.

    The folder appears whole or not at all: it is written under a hidden name beside `out` and
    renamed at the end.

    Args:
        interactions: for how many of the last days the log of impressions, views, carts, purchases
            and dismissals is written. The transactions are the same with it and without.
        images: pictures of how many articles: first of those that are on sale on the last day. They
            are drawn in processes of their own: a script must call this under
            `if __name__ == "__main__":`.
        dirt: plant the defects that real files have, and list them in `dirt.json`; needs `csv`.
        csv: write CSV as Kaggle does, instead of Parquet.
        threads: as many as there are cores if None.
        progress: called with the step and the share of it that is done.

    Raises:
        ShopError: a size out of range, too small a shop for dirt, `out` not empty or not writable,
            or the disk full. Nothing is left behind.
    """
    _check("customers", customers, 1, 100_000_000)
    _check("articles", articles, 1, MAX_ARTICLES)
    _check("days", days, 1, MAX_DAYS)
    _check("seed", seed, 0, 2**63 - 1)
    _check("interactions", interactions, 0, days)
    _check("images", images, 0, articles)
    if threads is not None:
        _check("threads", threads, 1, 1024)
    if dirt and not csv:
        raise ShopError("Dirt can only be planted in CSV files: ask for csv too.")
    if dirt:
        # How many rows the other files will have is not known yet.
        for table, rows in ((ARTICLES, articles), (CUSTOMERS, customers)):
            planted.defects_of(table, rows)
    first_date = LAST_DAY - timedelta(days=days - 1)
    with whole_folder(Path(out)) as folder:
        progress("articles", 0.0)
        catalogue = draw_catalogue(articles, days, first_date, seed)
        write_table(folder, ARTICLES, catalogue.table, csv=csv)
        progress("articles", 1.0)
        progress("customers", 0.0)
        people = draw_customers(customers, days, np.random.default_rng([seed, 2]))
        write_table(folder, CUSTOMERS, people.table, csv=csv)
        progress("customers", 1.0)
        shop = ShopDays(catalogue, people, threads or os.cpu_count() or 1)
        sold, events = _write_days(folder, shop, interactions, csv, progress)
        write_truth(folder, catalogue, people, sold)
        drawn = _draw_pictures(folder, catalogue, images, progress) if images else 0
        defects = _plant(folder, seed) if dirt else 0
    return ShopSummary(
        Path(out), customers, articles, sold, events, drawn, defects, first_date, LAST_DAY
    )


def _check(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ShopError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")


def _write_days(
    folder: Path, shop: ShopDays, logged: int, csv: bool, progress: Progress
) -> tuple[int, int]:
    """Stream the purchases by day, then customer, as Kaggle orders them, and the log of the last
    `logged` days; returns the rows of both."""
    catalogue, customers = shop.shopping.catalogue, shop.shopping.customers
    days, seed = catalogue.days, catalogue.seed
    rng = np.random.default_rng([seed, 7])
    lookers = others(shop, days - logged, rng) if logged else {}
    step = "transactions and interactions" if logged else "transactions"
    with (
        TableFile(folder, TRANSACTIONS, csv=csv) as bought,
        TableFile(folder, INTERACTIONS, csv=csv) as log,
    ):
        for day, picks in shop:
            bought.write(_rows(catalogue, customers, day, picks))
            if day.day in lookers:
                rng = np.random.default_rng([seed, 8, day.day])
                log.write(day_of_log(shop.shopping, day, picks, lookers[day.day], rng))
            progress(step, day.day / days)
    # Only now are the last rows on the disk.
    progress(step, 1.0)
    return bought.rows, log.rows


def _rows(catalogue: Catalogue, customers: Customers, day: Day, picks: Picks) -> pa.Table:
    """The day's purchases in the columns of TRANSACTIONS: a row for each piece."""
    row = np.repeat(np.arange(len(picks)), picks.pieces)
    price, which = np.unique(picks.cents, return_inverse=True)
    return pa.table(
        {
            "t_dat": pa.repeat(pa.scalar(day.date, pa.date32()), len(row)),
            "customer_id": customers.table["customer_id"].take(pa.array(picks.customer[row])),
            "article_id": catalogue.table["article_id"].take(pa.array(picks.article[row])),
            "price": pa.array((price / 100 / 590)[which[row]]),
            "sales_channel_id": pa.array(picks.channel[row] + 1, pa.int8()),
        }
    )


def _plant(folder: Path, seed: int) -> int:
    try:
        return len(planted.plant(folder, seed)["defects"])
    except planted.DirtError as error:
        # Nobody has seen the folder that it names.
        raise planted.DirtError(str(error).replace(f"{folder}{os.sep}", "")) from error


def _draw_pictures(folder: Path, catalogue: Catalogue, count: int, progress: Progress) -> int:
    """Pictures of articles, those on sale on the last day first."""
    # Only who asks for pictures waits for the library that draws them.
    from pipelines.data.synthetic.pictures import Look, write_pictures

    columns = {
        "article_id": "article_id",
        "product_type": "product_type_name",
        "product_group": "product_group_name",
        "pattern": "graphical_appearance_name",
        "colour": "colour_group_name",
        "index_group": "index_group_name",
    }
    rgb = {colour.name: colour.rgb for colour in taxonomy.COLOURS}
    order = np.argsort(~catalogue.on_sale(catalogue.days - 1), kind="stable")
    table = catalogue.table.take(pa.array(order[:count]))
    rows = zip(*(table[name].to_pylist() for name in columns.values()), strict=True)
    looks = [Look(**dict(zip(columns, row, strict=True)), rgb=rgb[row[4]]) for row in rows]
    try:
        return write_pictures(looks, folder, catalogue.seed, progress)
    except BrokenExecutor as error:
        raise ShopError(
            "A process that draws pictures was stopped: perhaps for lack of memory (try again with "
            "fewer pictures, or without), or because the script that asks for them does not do so "
            'under `if __name__ == "__main__":`.'
        ) from error
