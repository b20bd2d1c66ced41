"""The truth behind a made-up shop: written beside its data, and opened as `Shop`.

`truth/` holds what the customers like (`customers.parquet`), how taste factors turn into tastes
(`leanings.parquet`), what the articles are like (`articles.parquet`) and how the shop was made
(`shop.json`). What a customer has bought is read from the shop's own transactions.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.raw_tables import INTERACTIONS, TRANSACTIONS
from pipelines.data.synthetic.behaviour import REMEMBERED, Memory, remember, wardrobe_factor
from pipelines.data.synthetic.catalogue import Catalogue
from pipelines.data.synthetic.customers import Customers, Leanings, Tastes
from pipelines.data.synthetic.designs import Floats, Ints
from pipelines.data.synthetic.dirt import MANIFEST
from pipelines.data.synthetic.expectation import expected_purchases
from pipelines.data.synthetic.files import ShopError
from pipelines.data.synthetic.response import Response, respond, steps
from pipelines.data.synthetic.shelves import Day

FOLDER = "truth"
_FORMAT = 1
_CATALOGUE = [f.name for f in fields(Catalogue) if f.name not in ("table", "first_date", "seed")]
_TASTES = [f.name for f in fields(Tastes)]
SLATE = "slate"
"""The surface of what `Shop.respond` was shown."""


def write_truth(
    folder: Path, catalogue: Catalogue, customers: Customers, *, days: int, seed: int
) -> None:
    """Write `truth/` into the shop's folder."""
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
        "seed": seed,
        "first_day": catalogue.first_date.isoformat(),
        "days": days,
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


class Shop:
    """The truth of a made-up shop, to judge recommenders by and to run them against.

    Days are dates of the shop; what a customer has bought is what the transactions say of the days
    before the day that is asked for, and what `respond` sold since the shop was opened.
    """

    def __init__(
        self, folder: Path, catalogue: Catalogue, customers: Customers, days: int, seed: int
    ) -> None:
        self.folder, self._days = folder, days
        self._catalogue, self._customers = catalogue, customers
        self.customers = pd.Index(customers.table["customer_id"].to_pylist(), dtype=object)
        self.articles = pd.Index(catalogue.table["article_id"].to_pylist(), dtype=object)
        self.first_day = catalogue.first_date
        self.last_day = catalogue.first_date + timedelta(days=days - 1)
        self._rng = np.random.default_rng([seed, 6])
        self._sold: list[tuple[date, int, int]] = []
        self._requests = 0
        self._day = lru_cache(8)(lambda number: Day(catalogue, number))

    @classmethod
    def open(cls, folder: Path, *, seed: int | None = None) -> Self:
        """Open the folder that `synthesize` wrote.

        Args:
            seed: of what `respond` draws; the shop's own if None.

        Raises:
            ShopError: the folder holds no truth, one of another version, or planted defects.
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
        about: dict[str, Any] = json.loads((truth / "shop.json").read_text())
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
            seed=about["seed"],
            **_arrays(articles, _CATALOGUE),
        )
        customers = Customers(
            table=people.select(["customer_id"]),
            tastes=Tastes(**_arrays(people, _TASTES)),
            leanings=Leanings(**{n: v["per_factor"].T.copy() for n, v in leanings.items()}),
            **_arrays(people, ["visits", "gap_days"]),
        )
        chosen = about["seed"] if seed is None else seed
        return cls(Path(folder), catalogue, customers, about["days"], chosen)

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
            raise ShopError(f"{len(who)} customers and {len(what)} articles are not pairs.")
        at = np.broadcast_to(np.asarray(position, dtype=np.int64), who.shape)
        if (at < 1).any():
            raise ShopError(f"A position is {at.min()}; positions count from 1.")
        present = self._open(day)
        memory, row = self._memory(who, day)
        known = remember(self._customers, memory, present, who, row)
        article = what[:, None]
        owned = wardrobe_factor(present.catalogue, article, known.article) < 1
        same = known.article == article
        pull = np.where(same, known.pull, 0).max(axis=1)[:, None].astype(np.float32)
        colours = self._customers.likes(who, "colour")
        taken = steps(self._customers, present, who, article, colours)
        found = respond(taken, at[:, None], owned, pull)
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
        return np.vstack([*self._expected(customers, day)] or [np.empty((0, len(self.articles)))])

    def best(self, customers: Sequence[str], day: date, k: int = 12) -> pd.DataFrame:
        """The oracle: the k articles that each customer is most likely to pick on that day.

        Returns:
            customer_id, article_id, score (probability per visit), rank.
        """
        found = []
        for customer, expected in zip(customers, self._expected(customers, day), strict=True):
            best = np.argsort(-expected[0], kind="stable")[:k]
            best = best[expected[0][best] > 0]
            found.append(
                pd.DataFrame(
                    {
                        "customer_id": customer,
                        "article_id": self.articles[best],
                        "score": expected[0][best],
                        "rank": np.arange(1, len(best) + 1),
                    }
                )
            )
        columns = ["customer_id", "article_id", "score", "rank"]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)

    def regret(self, recommendations: pd.DataFrame, day: date, k: int = 12) -> pd.Series:
        """The share of the oracle's expected purchases that each customer's first k articles miss.

        Args:
            recommendations: customer_id, article_id, rank.

        Returns:
            0 (as good as the oracle) to 1, indexed by customer_id.
        """
        shown = recommendations[recommendations["rank"] <= k]
        customers = list(dict.fromkeys(shown["customer_id"]))
        groups = dict(list(shown.groupby("customer_id", sort=False)["article_id"]))
        regret = {}
        for customer, expected in zip(customers, self._expected(customers, day), strict=True):
            _, what = self._positions([], groups[customer].tolist())
            best = np.sort(expected[0])[-k:].sum()
            reached = expected[0][np.unique(what)].sum()
            regret[customer] = 1 - reached / best if best > 0 else 0.0
        return pd.Series(regret, name="regret", dtype="float64").rename_axis("customer_id")

    def respond(
        self, customer: str, slate: Sequence[str], day: date, at: datetime | None = None
    ) -> pd.DataFrame:
        """Show a customer a slate of articles, and play what happens.

        What is bought is remembered for the questions about later days. The same calls in the same
        order draw the same answers.

        Args:
            slate: article ids, the first position first.
            at: when (UTC, on that day); noon if None.

        Returns:
            The events in the columns of interactions, in order of time: an impression of each
            article, and the views, carts, purchases and dismissals that follow.

        Raises:
            ShopError: as for `response`, or an article is on the slate twice.
        """
        if len(set(slate)) < len(slate):
            raise ShopError("An article is on the slate twice.")
        position = np.arange(1, len(slate) + 1)
        answer = self.response([customer] * len(slate), slate, day, position)
        chance = self._rng.random(len(slate))
        self._requests += 1
        start = pd.Timestamp(at or datetime(day.year, day.month, day.day, 12))
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
                events.append((start + after, article, kind, place + 1))
            if reached[-1] == "purchase":
                who, what = self._positions([customer], [article])
                self._sold.append((day, int(who[0]), int(what[0])))
        rows = pd.DataFrame(events, columns=["event_time", "article_id", "kind", "position"])
        rows = rows.assign(
            customer_id=customer,
            request_id=f"{SLATE}-{self._requests}",
            surface=SLATE,
            variant=None,
            propensity=None,
        )
        return rows.sort_values("event_time", kind="stable", ignore_index=True)[
            INTERACTIONS.column_names
        ]

    def _expected(self, customers: Sequence[str], day: date) -> Iterator[Floats]:
        """1 x articles for each customer, one after the other."""
        who, _ = self._positions(customers, [])
        present = self._open(day)
        memory, row = self._memory(who, day)
        for number, customer in enumerate(who.tolist()):
            one = slice(number, number + 1)
            known = remember(self._customers, memory, present, who[one], row[one])
            yield expected_purchases(self._customers, present, customer, known)[None, :]

    def _open(self, day: date) -> Day:
        number = (day - self.first_day).days
        if not 0 <= number < self._days + 28:
            raise ShopError(
                f"{day} is not a day of this shop: it is open from {self.first_day} to "
                f"{self.last_day}, and its truth goes on for 28 days."
            )
        return self._day(number)

    def _positions(self, customers: Sequence[str], articles: Sequence[str]) -> tuple[Ints, Ints]:
        found = []
        for name, index, ids in (
            ("customer", self.customers, customers),
            ("article", self.articles, articles),
        ):
            place = index.get_indexer(pd.Index(ids, dtype=object))
            if (place < 0).any():
                raise ShopError(f"The shop has no {name} {list(ids)[int(np.argmin(place))]}.")
            found.append(place.astype(np.int64))
        return found[0], found[1]

    def _memory(self, who: Ints, day: date) -> tuple[Memory, Ints]:
        """What these customers bought before that day, and each one's row in the memory."""
        present, row = np.unique(who, return_inverse=True)
        wanted = pa.table({"customer_id": self.customers[present].tolist(), "row": present})
        file = self._transactions()
        reader = (
            "read_parquet($file)"
            if file.suffix == ".parquet"
            else "read_csv($file, types={'article_id': 'VARCHAR', 'customer_id': 'VARCHAR'})"
        )
        config = {"autoinstall_known_extensions": False}
        with closing(duckdb.connect(config=config)) as con:
            con.register("wanted", wanted)
            bought = con.execute(
                f"""SELECT DISTINCT t_dat, row, article_id
                FROM {reader} INNER JOIN wanted USING (customer_id)
                WHERE t_dat < $day
                QUALIFY dense_rank() OVER (PARTITION BY row ORDER BY t_dat DESC) <= $most
                ORDER BY t_dat, row, article_id""",
                {"file": str(file), "day": day, "most": REMEMBERED},
            ).fetchnumpy()
        memory = Memory(len(present))
        days = (bought["t_dat"].astype("datetime64[D]") - np.datetime64(self.first_day)).astype(int)
        article = self.articles.get_indexer(pd.Index(bought["article_id"], dtype=object))
        customer = np.searchsorted(present, bought["row"])
        for number in np.unique(days):
            those = days == number
            memory.add(int(number), customer[those], article[those])
        for sold_on, customer_sold, article_sold in self._sold:
            place = np.searchsorted(present, customer_sold)
            if sold_on < day and place < len(present) and present[place] == customer_sold:
                number = (sold_on - self.first_day).days
                memory.add(number, np.array([place]), np.array([article_sold]))
        return memory, row

    def _transactions(self) -> Path:
        stem = Path(TRANSACTIONS.file).stem
        for file in (self.folder / f"{stem}.parquet", self.folder / f"{stem}.csv"):
            if file.is_file():
                return file
        raise ShopError(f"{self.folder} has lost its transactions: make the shop again.")
