"""The truth behind a made-up shop: written beside its data, and opened as `Shop`.

`truth/` holds what the customers like (`customers.parquet`), how taste factors turn into tastes
(`leanings_*.parquet`), what the articles are like (`articles.parquet`) and how the shop was made
(`shop.json`). What a customer has bought is read from the shop's own transactions.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from numbers import Integral
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.raw_tables import INTERACTIONS, TRANSACTIONS
from feature_repo.stores.connection import scratch
from pipelines.data.synthetic.behaviour import Memory, Remembered, remember, wardrobe_factor
from pipelines.data.synthetic.catalogue import AFTERWARDS, Catalogue
from pipelines.data.synthetic.customers import Customers, Leanings, Tastes
from pipelines.data.synthetic.designs import Floats, Ints
from pipelines.data.synthetic.dirt import MANIFEST
from pipelines.data.synthetic.expectation import expected_purchases
from pipelines.data.synthetic.files import ShopError
from pipelines.data.synthetic.response import Response, respond, steps
from pipelines.data.synthetic.shelves import Day
from pipelines.reports.words import many

FOLDER = "truth"
_FORMAT = 1
_WHOLE = ("table", "first_date", "days", "seed")
"""The fields of Catalogue that are not one value per article."""
_CATALOGUE = [f.name for f in fields(Catalogue) if f.name not in _WHOLE]
_TASTES = [f.name for f in fields(Tastes)]
SLATE = "slate"
"""The surface of what `Shop.respond` was shown."""


def write_truth(
    folder: Path, catalogue: Catalogue, customers: Customers, transactions: int
) -> None:
    """Write `truth/` into the shop's folder, beside so many rows of transactions."""
    truth = folder / FOLDER
    truth.mkdir()
    ids = {"article_id": catalogue.table["article_id"]}
    _write(truth / "articles.parquet", ids, {n: getattr(catalogue, n) for n in _CATALOGUE})
    ids = {"customer_id": customers.table["customer_id"]}
    drawn = {name: getattr(customers.tastes, name) for name in _TASTES}
    own = {"visits": customers.visits, "gap_days": customers.gap_days}
    _write(truth / "customers.parquet", ids, drawn | own)
    for name in [f.name for f in fields(Leanings)]:
        leaning = getattr(customers.leanings, name).T
        _write(
            truth / f"leanings_{name}.parquet", {}, {"per_factor": np.ascontiguousarray(leaning)}
        )
    about = {
        "format": _FORMAT,
        "seed": catalogue.seed,
        "first_day": catalogue.first_date.isoformat(),
        "days": catalogue.days,
        "transactions": transactions,
    }
    (truth / "shop.json").write_text(json.dumps(about, indent=1) + "\n")


def _write(file: Path, ids: dict[str, pa.Array], values: dict[str, np.ndarray]) -> None:
    """One column per value, a list where there are several values per row."""
    columns = dict(ids)
    for name, array in values.items():
        flat = pa.array(array.ravel())
        columns[name] = (
            flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        )
    pq.write_table(pa.table(columns), file, compression="zstd")


def _arrays(table: pa.Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    found = {}
    for name in names:
        column = table[name].combine_chunks()
        found[name] = (
            column.flatten().to_numpy().reshape(len(column), -1)
            if pa.types.is_fixed_size_list(column.type)
            else column.to_numpy()
        )
    return found


def _read(truth: Path) -> tuple[Catalogue, Customers, int]:
    """What `write_truth` was given."""
    about = json.loads((truth / "shop.json").read_text())
    if about["format"] != _FORMAT:
        raise ShopError(
            f"{truth} has format {about['format']}, and this version reads {_FORMAT}: "
            "make the shop again."
        )
    articles = pq.read_table(truth / "articles.parquet")
    people = pq.read_table(truth / "customers.parquet")
    leanings = {
        f.name: _arrays(pq.read_table(truth / f"leanings_{f.name}.parquet"), ["per_factor"])
        for f in fields(Leanings)
    }
    catalogue = Catalogue(
        table=articles.select(["article_id"]),
        first_date=date.fromisoformat(about["first_day"]),
        days=about["days"],
        seed=about["seed"],
        **_arrays(articles, _CATALOGUE),
    )
    customers = Customers(
        table=people.select(["customer_id"]),
        tastes=Tastes(**_arrays(people, _TASTES)),
        leanings=Leanings(**{n: v["per_factor"].T.copy() for n, v in leanings.items()}),
        **_arrays(people, ["visits", "gap_days"]),
    )
    return catalogue, customers, int(about["transactions"])


class Shop:
    """The truth of a made-up shop, to judge recommenders by and to run them against.

    Days are dates of the shop; what a customer has bought is what the transactions say of the days
    before the day that is asked for, and what `respond` sold since the shop was opened.
    """

    def __init__(
        self, folder: Path, catalogue: Catalogue, customers: Customers, transactions: int, seed: int
    ) -> None:
        self.folder = folder
        self._catalogue, self._customers = catalogue, customers
        self._transactions, self._seed = transactions, seed
        self.customers = pd.Index(customers.table["customer_id"].to_pylist(), dtype=object)
        self.articles = pd.Index(catalogue.table["article_id"].to_pylist(), dtype=object)
        self.first_day = catalogue.first_date
        self.last_day = catalogue.first_date + timedelta(days=catalogue.days - 1)
        self._sold: list[tuple[int, int, int]] = []
        """Day, customer and article of what `respond` sold."""
        self._asked: Counter[tuple[int, int]] = Counter()
        self._day = lru_cache(8)(lambda number: Day(catalogue, number))

    def __repr__(self) -> str:
        return (
            f"<Shop {self.folder}: {many(len(self.customers), 'customer')}, "
            f"{many(len(self.articles), 'article')}, {self.first_day} to {self.last_day}>"
        )

    @property
    def file(self) -> Path:
        """The shop's transactions, as Parquet or CSV."""
        stem = Path(TRANSACTIONS.file).stem
        for file in (self.folder / f"{stem}.parquet", self.folder / f"{stem}.csv"):
            if file.is_file():
                return file
        raise ShopError(f"{self.folder} has lost its transactions: make the shop again.")

    def rows(self, file: str) -> str:
        """What to write after FROM to read `self.file`, given as the bound value `file`."""
        if self.file.suffix == ".parquet":
            return f"read_parquet({file})"
        return f"read_csv({file}, types={{'article_id': 'VARCHAR', 'customer_id': 'VARCHAR'}})"

    @classmethod
    def open(cls, folder: Path, *, seed: int | None = None) -> Self:
        """Open the folder that `synthesize` wrote.

        Args:
            seed: of what `respond` draws; the shop's own if None.

        Raises:
            ShopError: the folder holds no truth, one of another version or a damaged one, or
                planted defects.
        """
        truth = Path(folder) / FOLDER
        if not (truth / "shop.json").is_file():
            raise ShopError(
                f"{folder} holds no {FOLDER}/: give a folder written by `lookbook data synthesize`."
            )
        if (Path(folder) / MANIFEST).exists():
            raise ShopError(
                f"{folder} holds planted defects, and the truth reads its transactions: make the "
                "same shop without dirt."
            )
        try:
            catalogue, customers, transactions = _read(truth)
        except ShopError:
            raise
        # Bad JSON and a file that is no Parquet are ValueErrors.
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ShopError(f"{truth} is damaged: make the shop again.") from error
        chosen = catalogue.seed if seed is None else seed
        return cls(Path(folder), catalogue, customers, transactions, chosen)

    def response(
        self,
        customers: Sequence[str],
        articles: Sequence[str],
        day: date,
        position: int | Sequence[int] | Ints = 1,
    ) -> Response:
        """What happens when each customer is shown the article beside it.

        Args:
            customers, articles: ids, one pair per row.
            position: from 1; one for all, or one per row.

        Returns:
            p(view), p(cart), p(purchase) and p(dismiss), one value per row; all 0 for an article
            that is not on sale on that day.

        Raises:
            ShopError: an id that the shop does not have, a day outside the shop or its next 28
                days, or a position below 1.
        """
        who, what = self._positions(customers, articles)
        if len(who) != len(what):
            raise ShopError(
                f"{many(len(who), 'customer')} and {many(len(what), 'article')} are not pairs."
            )
        at = np.asarray(position)
        if not np.issubdtype(at.dtype, np.integer) or (at.ndim and at.shape != who.shape):
            raise ShopError("Give one whole number as position, or one for each pair.")
        if (at < 1).any():
            raise ShopError(f"A position is {at.min()}; positions count from 1.")
        at = np.broadcast_to(at, who.shape)
        present = self._open(day)
        memory, row = self._memory(who, day)
        known = remember(self._customers, memory, present, who, row)
        found = self._answer(present, who, what[:, None], at[:, None], known)
        on_sale = present.on_sale[what]
        return Response(
            *(
                np.where(on_sale, getattr(found, f.name)[:, 0], np.float32(0))
                for f in fields(Response)
            )
        )

    def expected_purchases(self, customers: Sequence[str], day: date) -> Floats:
        """The probability that a visit of each customer on that day buys each article.

        It is what the customer would do without any recommendation; the transactions are drawn
        from it.

        Returns:
            customers x articles (in the order of `self.articles`).

        Raises:
            ShopError: as for `response`.
        """
        return np.array([*self._expected(customers, day)]).reshape(-1, len(self.articles))

    def best(self, customers: Sequence[str], day: date, k: int = 12) -> pd.DataFrame:
        """The oracle: the k articles that each customer is most likely to pick on that day.

        Returns:
            customer_id, article_id, score (probability per visit), rank.

        Raises:
            ShopError: as for `response`, or k is not a whole number from 1.
        """
        _check_k(k)
        found = []
        for customer, expected in zip(customers, self._expected(customers, day), strict=True):
            found.append(_ranked(customer, self.articles.to_numpy(), expected, k))
        return _together(found)

    def best_slate(self, customers: Sequence[str], day: date, k: int = 12) -> pd.DataFrame:
        """The k articles that each customer is most likely to buy when shown them at the top.

        That is another question than `best`: what a recommendation can sell, not what the customer
        would find without one.

        Returns:
            customer_id, article_id, score (probability of a purchase at position 1), rank.

        Raises:
            ShopError: as for `best`.
        """
        _check_k(k)
        present = self._open(day)
        what = np.sort(present.article)[None, :]
        names = self.articles.to_numpy()[what[0]]
        found = []
        for customer, (who, known) in zip(customers, self._known(customers, day), strict=True):
            sells = self._answer(present, who, what, np.ones_like(what), known).purchase
            found.append(_ranked(customer, names, sells[0], k))
        return _together(found)

    def regret(
        self,
        recommendations: pd.DataFrame,
        day: date,
        k: int = 12,
        customers: Sequence[str] | None = None,
    ) -> pd.Series:
        """The share of the oracle's expected purchases that each customer's first k articles miss.

        Args:
            recommendations: customer_id, article_id, rank; the order within the first k does not
                matter.
            customers: who counts; who is not recommended anything misses all. Those in
                `recommendations` if None.

        Returns:
            0 (as good as the oracle) to 1, indexed by customer_id.

        Raises:
            ShopError: as for `best`, a column is missing, or ranks are not whole numbers from 1,
                each once for a customer.
        """
        _check_k(k)
        for column in ("customer_id", "article_id", "rank"):
            if column not in recommendations:
                raise ShopError(f"The recommendations have no column {column}.")
        rank = pd.to_numeric(recommendations["rank"], errors="coerce")
        if not ((rank >= 1) & (rank % 1 == 0)).all():
            raise ShopError("The ranks of the recommendations must be whole numbers from 1.")
        # Else more than k articles would count as the first k.
        if recommendations.duplicated(["customer_id", "rank"]).any():
            raise ShopError("The recommendations have two articles of one rank for a customer.")
        shown = recommendations[rank <= k]
        groups: dict[str, list[str]] = {
            str(customer): rows.tolist()
            for customer, rows in shown.groupby("customer_id", sort=False)["article_id"]
        }
        wanted = list(dict.fromkeys(groups if customers is None else customers))
        regret = {}
        for customer, expected in zip(wanted, self._expected(wanted, day), strict=True):
            _, what = self._positions([], groups.get(customer, []))
            best = np.sort(expected)[-k:].sum()
            reached = expected[np.unique(what)].sum()
            regret[customer] = max(0.0, 1 - reached / best) if best > 0 else 0.0
        return pd.Series(regret, name="regret", dtype="float64").rename_axis("customer_id")

    def respond(
        self, customer: str, slate: Sequence[str], day: date, at: datetime | None = None
    ) -> pd.DataFrame:
        """Show a customer a slate of articles, and play what happens.

        What is bought is remembered for the questions about later days. A customer's first slate of
        a day is drawn alike whatever was asked before, and so is the second: policies can be
        compared on the same chances.

        Args:
            slate: article ids, the first position first.
            at: when (UTC), a moment of that day; noon if None.

        Returns:
            The events in the columns of interactions, in order of time: an impression of each
            article, and the views, carts, purchases and dismissals that follow, on the same day.

        Raises:
            ShopError: as for `response`, an article is on the slate twice, or `at` is on another
                day.
        """
        if len(set(slate)) < len(slate):
            raise ShopError("An article is on the slate twice.")
        start = pd.Timestamp(at or datetime(day.year, day.month, day.day, 12))
        start = start.tz_convert("UTC").tz_localize(None) if start.tz else start
        if start.date() != date(day.year, day.month, day.day):
            raise ShopError(f"The moment {at} is not on {day}.")
        midnight = start.normalize() + pd.Timedelta(days=1, microseconds=-1)
        position = np.arange(1, len(slate) + 1)
        answer = self.response([customer] * len(slate), slate, day, position)
        number = self._number(day)
        (who,), what = (places.tolist() for places in self._positions([customer], slate))
        nth = self._asked[number, who]
        self._asked[number, who] += 1
        chance = np.random.default_rng([self._seed, 6, number, who, nth]).random(len(slate))
        events = []
        for place, article in enumerate(slate):
            reached = ["impression"]
            if chance[place] < answer.view[place]:
                reached += ["view"]
                reached += ["cart"] if chance[place] < answer.cart[place] else []
                reached += ["purchase"] if chance[place] < answer.purchase[place] else []
            elif chance[place] < answer.view[place] + answer.dismiss[place]:
                reached += ["dismiss"]
            for step, kind in enumerate(reached):
                after = pd.Timedelta(seconds=place + (0, 2, 9, 60)[step])
                events.append((min(start + after, midnight), article, kind, place + 1))
            if reached[-1] == "purchase":
                self._sold.append((number, who, what[place]))
        rows = pd.DataFrame(events, columns=["event_time", "article_id", "kind", "position"])
        rows = rows.assign(
            customer_id=customer,
            request_id=f"{SLATE}-{day:%Y%m%d}-{who}-{nth + 1}",
            surface=SLATE,
            variant=None,
            propensity=None,
        )
        return rows.sort_values("event_time", kind="stable", ignore_index=True)[
            INTERACTIONS.column_names
        ]

    def _answer(
        self, day: Day, who: Ints, article: Ints, position: Ints, known: Remembered
    ) -> Response:
        """The response of n customers, who remember `known`, to n x k articles on sale."""
        owned = wardrobe_factor(day.catalogue, article, known.article) < 1
        same = known.article[:, None, :] == article[:, :, None]
        pull = np.where(same, known.pull[:, None, :], 0).max(axis=2).astype(np.float32)
        colours = self._customers.likes(who, "colour")
        taken = steps(self._customers, day, who, article, colours)
        return respond(taken, position, owned, pull)

    def _expected(self, customers: Sequence[str], day: date) -> Iterator[Floats]:
        """One value per article for each customer, one after the other."""
        present = self._open(day)
        for (customer,), known in self._known(customers, day):
            yield expected_purchases(self._customers, present, int(customer), known)

    def _known(self, customers: Sequence[str], day: date) -> Iterator[tuple[Ints, Remembered]]:
        """Each customer's position and what they remember on that day, one after the other."""
        who, _ = self._positions(customers, [])
        memory, row = self._memory(who, day)
        for number in range(len(who)):
            one = slice(number, number + 1)
            yield who[one], remember(self._customers, memory, self._open(day), who[one], row[one])

    def _number(self, day: date) -> int:
        if isinstance(day, datetime):
            day = day.date()
        if not isinstance(day, date):
            raise ShopError(f"{day!r} is not a day: give a date.")
        number = (day - self.first_day).days
        if not 0 <= number < self._catalogue.days + AFTERWARDS:
            raise ShopError(
                f"{day} is not a day of this shop: it is open from {self.first_day} to "
                f"{self.last_day}, and its truth goes on for {AFTERWARDS} days."
            )
        return number

    def _open(self, day: date) -> Day:
        return self._day(self._number(day))

    def _positions(self, customers: Sequence[str], articles: Sequence[str]) -> tuple[Ints, Ints]:
        found = []
        for name, index, ids in (
            ("customer", self.customers, customers),
            ("article", self.articles, articles),
        ):
            if isinstance(ids, str):
                raise ShopError(f"Give a list of {name}s, not one text.")
            place = index.get_indexer(pd.Index(ids, dtype=object))
            if (place < 0).any():
                raise ShopError(f"The shop has no {name} {list(ids)[int(np.argmin(place))]}.")
            found.append(place.astype(np.int64))
        return found[0], found[1]

    def _memory(self, who: Ints, day: date) -> tuple[Memory, Ints]:
        """What these customers bought before that day, and each one's row in the memory."""
        number = self._number(day)
        present, row = np.unique(who, return_inverse=True)
        starts, days, articles = self._history
        places = [np.arange(*starts[one : one + 2]) for one in present]
        place = np.concatenate(places) if places else np.arange(0)
        customer = np.repeat(np.arange(len(present)), [len(own) for own in places])
        bought = np.column_stack([days[place], customer, articles[place]])
        sold = np.array(self._sold, dtype=np.int64).reshape(-1, 3)
        sold = sold[np.isin(sold[:, 1], present)]
        sold[:, 1] = np.searchsorted(present, sold[:, 1])
        bought = np.unique(np.vstack([bought, sold]), axis=0)
        memory = Memory(len(present))
        for before in np.unique(bought[bought[:, 0] < number, 0]):
            those = bought[bought[:, 0] == before]
            memory.add(int(before), those[:, 1], those[:, 2])
        return memory, row

    @cached_property
    def _history(self) -> tuple[Ints, Ints, Ints]:
        """All purchases by customer: where each one's begin, then the days and the articles."""
        reader = self.rows("$file")
        ids = {
            "people": pa.table({"customer_id": self._customers.table["customer_id"]}),
            "goods": pa.table({"article_id": self._catalogue.table["article_id"]}),
        }
        with scratch() as con:
            for name, table in ids.items():
                con.register(name, table.append_column("place", pa.array(np.arange(len(table)))))
            found = con.execute(
                f"""SELECT DISTINCT CAST(people.place AS INTEGER) AS customer,
                    CAST(t_dat - $first AS SMALLINT) AS day, CAST(goods.place AS INTEGER) AS article
                FROM {reader} AS bought
                INNER JOIN people USING (customer_id) INNER JOIN goods USING (article_id)
                ORDER BY customer, day, article""",
                {"file": str(self.file), "first": self.first_day},
            ).fetchnumpy()
            (rows,) = con.execute(
                f"SELECT count(*) FROM {reader}", {"file": str(self.file)}
            ).fetchone() or (0,)
        if rows != self._transactions:
            raise ShopError(
                f"{self.file} has {many(rows, 'row')}, and the shop was made with {self._transactions:,}: make "
                "it again."
            )
        starts = np.searchsorted(found["customer"], np.arange(len(self.customers) + 1))
        return starts, np.asarray(found["day"]), np.asarray(found["article"])


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ShopError(f"k must be a whole number from 1, not {k!r}.")


def _ranked(customer: str, articles: np.ndarray, score: Floats, k: int) -> pd.DataFrame:
    best = np.argsort(-score, kind="stable")[:k]
    best = best[score[best] > 0]
    return pd.DataFrame(
        {
            "customer_id": customer,
            "article_id": articles[best],
            "score": score[best],
            "rank": np.arange(1, len(best) + 1),
        }
    )


def _together(found: list[pd.DataFrame]) -> pd.DataFrame:
    columns = ["customer_id", "article_id", "score", "rank"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
