"""The recommender: candidates, features, order. Evaluation and serving both run this.

One table flows through it, a row for each customer and candidate, and gains columns on the way:
customer_id, article_id, source, score, rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

import numpy as np
import pandas as pd

from pipelines.features import Features
from pipelines.rankers.base import Ranker
from pipelines.retrievers.base import FUSION, STATE_SERVICE, Asked, Proposals, Retriever, top

COLUMNS = ["customer_id", "article_id", "source", "score", "rank"]
SPONSORED = "sponsored"
"""The source of articles that somebody pays for, or wants seen."""
POSTAL_CODE = "customer_profile__postal_code"
BATCH_CUSTOMERS = 2_000
NO_IDS = np.array([], dtype=object)
NO_PAIRS = np.array([], dtype="int64")


@dataclass
class Recommender:
    """Retrievers, how many candidates each may name, and a ranker (None: the sources' own order).

    Attributes:
        weights: how much each source counts in that order; 1 where it is not named.
    """

    retrievers: Mapping[str, Retriever]
    per_source: Mapping[str, int]
    ranker: Ranker | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Retrievers that were trained at different times know different articles.
        assortments = {r.assortment.digest: r.assortment for r in self.retrievers.values()}
        parts = [found.ids for found in assortments.values()]
        ids = parts[0] if len(parts) == 1 else np.unique(np.concatenate([NO_IDS, *parts]))
        self._ids = ids
        self._places = {
            digest: None if len(parts) == 1 else np.searchsorted(ids, found.ids)
            for digest, found in assortments.items()
        }

    def recommend(
        self,
        customers: Sequence[str],
        features: Features,
        moment: datetime,
        k: int,
        *,
        state: pd.DataFrame | None = None,
        sponsored: Sequence[str] = (),
        with_features: bool = False,
        stages: dict[str, float] | None = None,
    ) -> pd.DataFrame:
        """The k best articles for each customer.

        Args:
            customers: customer ids; an unknown one is answered like one without history.
            features: as of `moment`, from the warehouse or online.
            moment: when the question is asked (UTC).
            k: at most so many for each.
            state: `customer_state` of exactly these customers, if it has been read already.
            sponsored: articles that are candidates for everybody, the first before all.
            with_features: keep the columns that the ranker saw, for an explanation.
            stages: if given, gains the seconds spent on candidates, features and rank.

        Returns:
            one row for each recommendation: customer_id, article_id, source (the retriever that
            ranked it best), score and rank (from 1).
        """
        stages = {} if stages is None else stages
        unique = list(dict.fromkeys(customers))
        batches = []
        for start in range(0, len(unique), BATCH_CUSTOMERS):
            with _timed(stages, "candidates"):
                if state is None:
                    batch = customer_state(unique[start : start + BATCH_CUSTOMERS], features)
                else:
                    batch = state.iloc[start : start + BATCH_CUSTOMERS]
                rows = self.candidates(batch, moment, sponsored)
            if rows.empty:
                continue
            if self.ranker is None:
                rows = rows.assign(score=rows["fused__score"])
            else:
                with _timed(stages, "features"):
                    rows = features.read(rows, self.ranker.feature_service)
                with _timed(stages, "rank"):
                    rows = rows.assign(score=self.ranker.score(rows))
            best = top(rows, k)
            batches.append(best if with_features else best[COLUMNS])
        if not batches:
            return pd.DataFrame(columns=COLUMNS)
        return pd.concat(batches, ignore_index=True)

    def candidates(
        self, state: pd.DataFrame, moment: datetime, sponsored: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The union of what the retrievers name.

        Args:
            state: a row of `customer_state` for each customer.
            moment: when the question is asked (UTC).
            sponsored: articles that are named to everybody, as if by a retriever `sponsored`; those that
                are not on sale are left out.

        Returns:
            one row for each customer and article: customer_id, article_id, postal_code, source and
            rank of the retriever that ranked it best, and for each retriever `NAME__score` and
            `NAME__rank` (missing where it did not name the article), `best__rank`, and `fused__score`:
            the order of all sources together. In order of customer_id and article_id.
        """
        asked = Asked(state, moment)
        named = {
            name: retriever.propose(asked, self.per_source[name])
            for name, retriever in self.retrievers.items()
        }
        if sponsored:
            named[SPONSORED] = self._sponsored(len(asked), sponsored)
        return self._merge(asked, named)

    def on_sale(self, articles: Sequence[str]) -> np.ndarray:
        """Whether each article may be recommended (R,), as any of the retrievers knows it."""
        found = np.zeros(len(articles), dtype=bool)
        for assortment in {r.assortment for r in self.retrievers.values()}:
            place = assortment.places(list(articles))
            known = place >= 0
            found[known] |= assortment.on_sale[place[known]]
        return found

    def _sponsored(self, customers: int, articles: Sequence[str]) -> Proposals:
        unique = list(dict.fromkeys(articles))
        ids = np.array(unique, dtype=object)[self.on_sale(unique)]
        place, rank = np.searchsorted(self._ids, ids), np.arange(1, len(ids) + 1)
        return Proposals(
            np.repeat(np.arange(customers), len(ids)),
            np.tile(place, customers),
            np.tile(1.0 / rank, customers),
            np.tile(rank, customers),
        )

    def _merge(self, asked: Asked, named: Mapping[str, Proposals]) -> pd.DataFrame:
        """One row for each customer and article, with every source's score and rank beside each other."""
        # In order of customer_id, so that a customer's rows stand alike in every batch.
        order = np.argsort(asked.customers.astype(str), kind="stable")
        turn = np.argsort(order)
        keys = []
        for name, found in named.items():
            place = None
            if name != SPONSORED:
                place = self._places[self.retrievers[name].assortment.digest]
            article = found.article if place is None else place[found.article]
            keys.append(turn[found.customer] * len(self._ids) + article)
        pairs, row = np.unique(np.concatenate([NO_PAIRS, *keys]), return_inverse=True)
        rows = np.split(row, np.cumsum([len(key) for key in keys])[:-1])
        numbers = np.full((2 * len(named) + 1, len(pairs)), np.nan)
        scores, ranks, fused = numbers[:-1:2], numbers[1:-1:2], numbers[-1]
        fused[:] = 0
        for number, ((name, found), where) in enumerate(zip(named.items(), rows, strict=True)):
            scores[number, where] = found.score
            ranks[number, where] = found.rank
            fused[where] += self.weights.get(name, 1.0) / (FUSION + found.rank)
        best = np.where(np.isnan(ranks), np.inf, ranks).argmin(axis=0)
        rank = ranks[best, np.arange(len(pairs))].astype("int64")
        customer = order[pairs // max(len(self._ids), 1)]
        texts = {
            "customer_id": asked.customers[customer],
            "article_id": self._ids[pairs % max(len(self._ids), 1)],
            "source": np.array(list(named), dtype=object)[best],
            "postal_code": asked.state[POSTAL_CODE].to_numpy(dtype=object)[customer],
        }
        names = [f"{name}__{what}" for name in named for what in ("score", "rank")]
        # A block of each type: pandas takes its time over every column of its own.
        blocks = [
            pd.DataFrame(np.stack(list(texts.values())).T, columns=list(texts), dtype=object),
            pd.DataFrame(np.stack([rank, rank]).T, columns=["rank", "best__rank"]),
            pd.DataFrame(numbers.T, columns=[*names, "fused__score"]),
        ]
        return pd.concat(blocks, axis=1, copy=False)


def customer_state(customers: Sequence[str], features: Features) -> pd.DataFrame:
    """What retrieval needs to know of each customer: a row of the service `customer_state`."""
    return features.read(
        pd.DataFrame({"customer_id": list(customers)}, dtype=object), STATE_SERVICE
    )


def is_known(state: pd.DataFrame) -> bool:
    """Whether anything is known of a single customer."""
    return bool(state.drop(columns="customer_id").notna().any(axis=None))


@contextmanager
def _timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    started = perf_counter()
    yield
    stages[stage] = stages.get(stage, 0.0) + perf_counter() - started
