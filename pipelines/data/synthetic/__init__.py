"""A made-up shop in the exact layout of Kaggle's H&M files.

`synthesize` draws the truth (catalogue.py, customers.py), lets the customers shop (behaviour.py)
and writes what a shop would know of it. The same arguments give the same bytes, on any number of
threads.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from feature_repo.errors import LookbookError
from feature_repo.raw_tables import ARTICLES, CUSTOMERS, TRANSACTIONS
from pipelines.data.synthetic.behaviour import shop_days
from pipelines.data.synthetic.catalogue import MAX_ARTICLES, Catalogue, draw_catalogue
from pipelines.data.synthetic.customers import Customers, draw_customers

__all__ = ["LAST_DAY", "ShopError", "ShopSummary", "synthesize"]

LAST_DAY = date(2020, 9, 22)
MAX_DAYS = 3660

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1."""


class ShopError(LookbookError, ValueError):
    """A shop that cannot be made: a bad size, or a folder that cannot be written."""


@dataclass(frozen=True)
class ShopSummary:
    """What was written. `transactions` counts rows, that is pieces."""

    folder: Path
    customers: int
    articles: int
    transactions: int
    first_day: date
    last_day: date


def _silent(step: str, done: float) -> None:
    pass


def synthesize(
    out: Path,
    *,
    customers: int = 2000,
    articles: int = 800,
    days: int = 240,
    seed: int = 7,
    progress: Progress = _silent,
) -> ShopSummary:
    """Write a made-up shop into the folder `out`, which must be new or empty.

    The folder appears whole or not at all: it is written under a hidden name beside `out` and
    renamed at the end.

    Raises:
        ShopError: a size out of range, `out` not empty or not writable, or the disk full.
            Nothing is left behind.
    """
    _check("customers", customers, 1, 100_000_000)
    _check("articles", articles, 1, MAX_ARTICLES)
    _check("days", days, 1, MAX_DAYS)
    _check("seed", seed, 0, 2**63 - 1)
    first_date = LAST_DAY - timedelta(days=days - 1)
    with _whole_folder(Path(out)) as folder:
        progress("articles", 0.0)
        catalogue = draw_catalogue(articles, days, first_date, np.random.default_rng([seed, 1]))
        catalogue.frame.to_csv(folder / ARTICLES.file, index=False, lineterminator="\n")
        progress("articles", 1.0)
        progress("customers", 0.0)
        people = draw_customers(customers, days, np.random.default_rng([seed, 2]))
        people.frame.to_csv(folder / CUSTOMERS.file, index=False, lineterminator="\n")
        progress("customers", 1.0)
        rows = _write_transactions(
            folder / TRANSACTIONS.file, catalogue, people, days, seed, progress
        )
    return ShopSummary(Path(out), customers, articles, rows, first_date, LAST_DAY)


def _check(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ShopError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")


def _write_transactions(
    file: Path,
    catalogue: Catalogue,
    customers: Customers,
    days: int,
    seed: int,
    progress: Progress,
) -> int:
    """Stream the purchases to CSV by day, then customer, as Kaggle orders them; returns rows.

    No field needs quotes, so the lines are joined directly.
    """
    customer_ids = customers.frame["customer_id"].to_numpy()
    article_ids = catalogue.frame["article_id"].to_numpy()
    prices: dict[int, str] = {}
    rows = 0
    with file.open("w", encoding="ascii", newline="") as lines:
        lines.write(",".join(TRANSACTIONS.column_names) + "\n")
        for bought in shop_days(catalogue, customers, days, seed):
            day = (catalogue.first_date + timedelta(days=bought.day)).isoformat()
            for cents in np.unique(bought.cents).tolist():
                # The shortest text that reads back as the same number.
                prices.setdefault(cents, repr(cents / 100 / 590))
            lines.writelines(
                f"{day},{customer},{article},{prices[cents]},{channel}\n"
                for customer, article, cents, channel in zip(
                    customer_ids[bought.customer].tolist(),
                    article_ids[bought.article].tolist(),
                    bought.cents.tolist(),
                    bought.channel.tolist(),
                    strict=True,
                )
            )
            rows += len(bought.cents)
            progress("transactions", (bought.day + 1) / days)
    return rows


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place at the end, or disappears.

    Raises:
        ShopError: `out` is not empty, or the place cannot be written.
    """
    out = out.absolute()
    made: list[Path] = []
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ShopError(f"{out} already exists and is not an empty folder.")
        out = out.resolve()
        for parent in [p for p in reversed(out.parents) if not p.exists()]:
            parent.mkdir()
            made.append(parent)
        partial = out.parent / f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}.partial"
        partial.mkdir()
        made.append(partial)
        yield partial
        partial.rename(out)
    except BaseException as error:
        for folder in reversed(made):
            # Only what is ours: a parent in which somebody else has written by now stays.
            if folder.name.endswith(".partial"):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise ShopError(f"The shop cannot be written to {out}: {reason}.") from error
        raise
