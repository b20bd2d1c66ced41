"""The recommender: candidates, features, order, page. Evaluation and serving both run this.

One table flows through it, a row for each customer and candidate, and gains columns on the way:
customer_id, article_id, source, score, rank.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any, overload

import numpy as np
import pandas as pd

from pipelines.article_facts import ArticleFacts
from pipelines.columns import Coded, Columns, SameTable, Table, as_frame, objects, taken, texts
from pipelines.features import Features
from pipelines.rankers.base import BEST, HISTORY, Objective, Ranker
from pipelines.rerankers.base import (
    CHANCE,
    NOTHING,
    ON_SLOT,
    Reranker,
    Slate,
    bought_by,
    rerank,
)
from pipelines.retrievers.base import (
    DISMISS,
    FUSION,
    STATE_SERVICE,
    Asked,
    Proposals,
    Retriever,
    session_lists,
    top,
)

COLUMNS = ["customer_id", "article_id", "source", "score", "rank"]
SPONSORED, PINNED, MATCHING, BEST_SELLERS = "sponsored", "pinned", "matching", "best_sellers"
"""The sources of articles that somebody pays for, that the shop wants seen, that are what a request asks for, or that
stand in for retrievers that did not answer."""
POSTAL_CODE = "customer_profile__postal_code"
AGE_BUCKET = "customer_profile__age_bucket"
AGES = ((20, "under 20"), (25, "20-24"), (30, "25-29"), (40, "30-39"), (50, "40-49"), (60, "50-59"))
"""(the age below which, the bucket), as `sql/staging/customers.sql` has them."""
BATCH_CUSTOMERS = 2_000
RERANKED = 200
"""Of each customer so many of the first candidates that may be shown may come to the page by re-ranking."""
Ask = Callable[[str, Callable[[], Proposals]], Proposals]
"""Gets a retriever's name and how it is asked."""
NO_IDS = np.array([], dtype=object)
NO_PAIRS = np.array([], dtype="int64")


@dataclass
class Recommender:
    """Retrievers, how many candidates each may name, a ranker (None: the sources' own order), and a
    re-ranker (None: the ranker's order).

    Attributes:
        weights: how much each source counts in the sources' own order; 1 where it is not named.
        facts: what re-ranking must know of articles.
    """

    retrievers: Mapping[str, Retriever]
    per_source: Mapping[str, int]
    ranker: Ranker | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    reranker: Reranker | None = None
    facts: ArticleFacts | None = None

    def __post_init__(self) -> None:
        if self.reranker is not None and self.facts is None:
            raise ValueError("Re-ranking needs the facts of articles.")
        # Retrievers that were trained at different times know different articles.
        assortments = {r.assortment.digest: r.assortment for r in self.retrievers.values()}
        parts = [found.ids for found in assortments.values()]
        ids = parts[0] if len(parts) == 1 else np.unique(np.concatenate([NO_IDS, *parts]))
        self._ids = ids
        self._names = (
            next(iter(assortments.values())).names if len(parts) == 1 else texts(*ids, None)
        )
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
        out_of_stock: Collection[str] = (),
        objective: Objective | None = None,
        with_features: bool = False,
        with_rest: bool = False,
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
            out_of_stock: articles that no re-ranker may show; rules must be among them (`business_rules`).
            objective: what counts for how much, for a ranker that has learnt more than purchases.
            with_features: keep the columns that the ranker saw, for an explanation, and `chance`.
            with_rest: also what stands behind the first k.
            stages: if given, gains the seconds spent on candidates, features, rank and rerank.

        Returns:
            one row for each recommendation: customer_id, article_id, source (the retriever that
            ranked it best), score and rank (from 1).

        Raises:
            ObjectiveError: the ranker has not learnt what is asked for.
        """
        stages = {} if stages is None else stages
        unique = list(dict.fromkeys(customers))
        batches = []
        for start in range(0, len(unique), BATCH_CUSTOMERS):
            with timed(stages, "candidates"):
                if state is None:
                    batch = customer_state(unique[start : start + BATCH_CUSTOMERS], features)
                else:
                    batch = state.iloc[start : start + BATCH_CUSTOMERS]
                rows = self.candidates(batch, moment, sponsored)
            if rows.empty:
                continue
            if self.ranker is not None:
                with timed(stages, "features"):
                    rows = features.read(rows, self.ranker.feature_service)
            with timed(stages, "rank"):
                rows = self.ranked(rows, batch, objective)
            with timed(stages, "rerank"):
                best = self.page(
                    rows,
                    batch,
                    moment,
                    k,
                    sponsored=sponsored,
                    out_of_stock=out_of_stock,
                    with_rest=with_rest,
                )
            batches.append(as_frame(best) if with_features else as_frame(best)[COLUMNS])
        if not batches:
            return pd.DataFrame(columns=COLUMNS)
        return pd.concat(batches, ignore_index=True)

    @overload
    def candidates(
        self,
        state: pd.DataFrame,
        moment: datetime,
        sponsored: Sequence[str] = (),
        *,
        matching: Sequence[str] = (),
        best_sellers: Sequence[str] = (),
        ask: Ask | None = None,
        reranker: Reranker | None = None,
    ) -> pd.DataFrame: ...

    @overload
    def candidates(
        self,
        state: Columns,
        moment: datetime,
        sponsored: Sequence[str] = (),
        *,
        matching: Sequence[str] = (),
        best_sellers: Sequence[str] = (),
        ask: Ask | None = None,
        reranker: Reranker | None = None,
    ) -> Columns: ...

    def candidates(
        self,
        state: Table,
        moment: datetime,
        sponsored: Sequence[str] = (),
        *,
        matching: Sequence[str] = (),
        best_sellers: Sequence[str] = (),
        ask: Ask | None = None,
        reranker: Reranker | None = None,
    ) -> Table:
        """The union of what the retrievers name.

        Args:
            state: a row of `customer_state` for each customer; what comes back is of the same kind.
            moment: when the question is asked (UTC).
            sponsored: articles that are named to everybody, as if by a retriever `sponsored`, beside what the
                re-ranker brings; those that are not on sale are left out.
            matching: the same of what a request asks for, as if by a retriever `matching`.
            best_sellers: the same of what stands in for retrievers that did not answer.
            ask: asks each retriever in its stead, and says what it proposes: nothing, perhaps, if that fails.
            reranker: another than the recommender's own, for an experiment.

        Returns:
            one row for each customer and article: customer_id, article_id, postal_code, source and
            rank of the retriever that ranked it best, and for each retriever `NAME__score` and
            `NAME__rank` (missing where it did not name the article), `best__rank` of the retrievers, and
            `fused__score`: the order of all of them together. In order of customer_id and article_id.
        """
        asked = Asked.of(state, moment)
        named = {}
        for name, retriever in self.retrievers.items():
            propose = partial(retriever.propose, asked, self.per_source[name])
            named[name] = propose() if ask is None else ask(name, propose)
        brought = {
            SPONSORED: [*sponsored],
            PINNED: [],
            MATCHING: [*matching],
            BEST_SELLERS: [*best_sellers],
        }
        chosen = reranker or self.reranker
        if chosen is not None:
            brought[SPONSORED] += chosen.brings("sponsored")
            brought[PINNED] += chosen.brings("pinned")
        for source, articles in brought.items():
            if articles:
                named[source] = self._brought(len(asked), articles)
        return _without_dismissed(self._merge(asked, named), asked)

    def ranked(
        self, rows: SameTable, state: Table, objective: Objective | None = None
    ) -> SameTable:
        """Candidates with their score and, from a ranker, their chance.

        Args:
            rows: of `candidates`, with the features of the ranker's service.
            state: `customer_state` of their customers.
            objective: as in `recommend`.
        """
        if self.ranker is None:
            return self.fused(rows)
        rows = self.ranker.prepared(rows)
        seen = with_history(rows, state) if self.ranker.reads_history else rows
        judged = self.ranker.judge(seen, objective)
        return rows.assign(score=judged.score, **{CHANCE: judged.chance})

    def fused(self, rows: SameTable) -> SameTable:
        """Candidates scored by all sources together, without a ranker."""
        return rows.assign(score=np.asarray(rows["fused__score"]))

    def page(
        self,
        rows: SameTable,
        state: Table,
        moment: datetime,
        k: int,
        *,
        sponsored: Sequence[str] = (),
        out_of_stock: Collection[str] = (),
        with_rest: bool = False,
        reranker: Reranker | None = None,
    ) -> SameTable:
        """The k best of each customer, in the order in which they are shown.

        Args:
            rows: of `ranked`.
            with_rest: also what stands behind them.
            reranker: another than the recommender's own, for an experiment.
        """
        chosen = reranker or self.reranker
        if chosen is None or self.facts is None:
            return top(rows, len(rows) if with_rest else k)
        page = rerank(
            top(rows, len(rows)),
            chosen,
            self.facts,
            moment,
            k,
            state=state,
            out_of_stock=out_of_stock,
            sponsored=sponsored,
            most=RERANKED,
            with_rest=with_rest,
        )
        # Whoever sees a place that is paid for must be told.
        paid = np.asarray(page[ON_SLOT], dtype=bool)
        source = np.where(paid, SPONSORED, objects(page, "source"))
        return page.assign(source=source).drop(columns=[ON_SLOT])

    def may_be_shown(
        self,
        articles: Sequence[str],
        state: Table,
        moment: datetime,
        reranker: Reranker | None = None,
    ) -> np.ndarray:
        """Whether the re-ranker leaves the articles (A,) on the page of one customer.

        Args:
            state: their row of `customer_state`.
            reranker: another than the recommender's own, for an experiment.
        """
        chosen = reranker or self.reranker
        if chosen is None or self.facts is None:
            return np.ones(len(articles), dtype=bool)
        bought = next(iter(bought_by(state, moment).values()), NOTHING)
        slate = Slate.of(articles, self.facts, moment, bought=bought)
        return ~chosen.left_out(slate)

    @property
    def article_names(self) -> np.ndarray:
        """All articles that any of the retrievers knows, ascending, and None: `Coded.names` of its candidates."""
        return self._names

    def on_sale(self, articles: Sequence[str]) -> np.ndarray:
        """Whether each article may be recommended (R,), as any of the retrievers knows it."""
        found = np.zeros(len(articles), dtype=bool)
        for assortment in {r.assortment for r in self.retrievers.values()}:
            place = assortment.places(list(articles))
            known = place >= 0
            found[known] |= assortment.on_sale[place[known]]
        return found

    def _brought(self, customers: int, articles: Sequence[str]) -> Proposals:
        unique = list(dict.fromkeys(articles))
        ids = np.array(unique, dtype=object)[self.on_sale(unique)]
        place, rank = np.searchsorted(self._ids, ids), np.arange(1, len(ids) + 1)
        return Proposals(
            np.repeat(np.arange(customers), len(ids)),
            np.tile(place, customers),
            np.tile(1.0 / rank, customers),
            np.tile(rank, customers),
        )

    def _merge(self, asked: Asked, named: Mapping[str, Proposals]) -> Any:
        """One row for each customer and article, with every source's score and rank beside each other."""
        # In order of customer_id, so that a customer's rows stand alike in every batch.
        order = np.argsort(asked.customers.astype(str), kind="stable")
        turn = np.argsort(order)
        keys = []
        for name, found in named.items():
            place = None
            if name in self.retrievers:
                place = self._places[self.retrievers[name].assortment.digest]
            article = found.article if place is None else place[found.article]
            keys.append(turn[found.customer] * len(self._ids) + article)
        pairs, row = np.unique(np.concatenate([NO_PAIRS, *keys]), return_inverse=True)
        rows = np.split(row, np.cumsum([len(key) for key in keys])[:-1])
        numbers = np.full((2 * len(named) + 2, len(pairs)), np.nan)
        scores, ranks = numbers[:-2:2], numbers[1:-2:2]
        for number, (found, where) in enumerate(zip(named.values(), rows, strict=True)):
            scores[number, where] = found.score
            ranks[number, where] = found.rank
        best = np.where(np.isnan(ranks), np.inf, ranks).argmin(axis=0)
        rank = ranks[best, np.arange(len(pairs))].astype("int64")
        # Not of what is sponsored or pinned, which comes last: that says nothing of how good an article is.
        numbers[-2:] = _best_and_fused(ranks[: len(self.retrievers)], self.retrievers, self.weights)
        customer = order[pairs // max(len(self._ids), 1)]
        if isinstance(asked.state, Columns):
            return Columns(
                {
                    "customer_id": Coded.of(asked.customers, customer),
                    "article_id": Coded(self._names, pairs % max(len(self._ids), 1)),
                    "source": Coded.of(list(named), best),
                    "postal_code": Coded.of(objects(asked.state, POSTAL_CODE), customer),
                    "rank": rank,
                    **dict(zip([*_ranked_by(named), BEST, "fused__score"], numbers, strict=True)),
                }
            )
        texts_of = {
            "customer_id": asked.customers[customer],
            "article_id": self._ids[pairs % max(len(self._ids), 1)],
            "source": np.array(list(named), dtype=object)[best],
            "postal_code": objects(asked.state, POSTAL_CODE)[customer],
        }
        names = _ranked_by(named)
        # A block of each type: pandas takes its time over every column of its own.
        blocks = [
            pd.DataFrame(np.stack(list(texts_of.values())).T, columns=list(texts_of), dtype=object),
            pd.DataFrame({"rank": rank}),
            pd.DataFrame(numbers.T, columns=[*names, BEST, "fused__score"]),
        ]
        return pd.concat(blocks, axis=1, copy=False)


def _ranked_by(named: Iterable[str]) -> list[str]:
    """The columns of each source."""
    return [f"{name}__{what}" for name in named for what in ("score", "rank")]


def customer_state(customers: Sequence[str], features: Features) -> pd.DataFrame:
    """What retrieval needs to know of each customer: a row of the service `customer_state`."""
    return features.read(
        pd.DataFrame({"customer_id": list(customers)}, dtype=object), STATE_SERVICE
    )


def one_customer(customer_id: str, features: Features) -> Columns:
    """The same of one customer, for one request: everything that is made of it is quick to make."""
    asked = Columns({"customer_id": Coded.one(customer_id, 1)})
    found: Columns = features.read(asked, STATE_SERVICE)
    return found


def _without_dismissed(rows: SameTable, asked: Asked) -> SameTable:
    """The candidates that their customer has not waved away in the session."""
    pairs = dismissed(asked.state)
    if not pairs:
        return rows
    given = zip(objects(rows, "customer_id"), objects(rows, "article_id"), strict=True)
    return taken(rows, np.flatnonzero([pair not in pairs for pair in given]))


def age_bucket(age: float) -> str:
    """The bucket of an age in years."""
    return next((bucket for below, bucket in AGES if age < below), "60 and over")


def dismissed(state: Table) -> set[tuple[str, str]]:
    """(customer, article) of what was waved away, and nothing was done with since."""
    lists = session_lists(state)
    if not (lists["kind"] == DISMISS).any():
        return set()
    named = objects(state, "customer_id")[lists["customer"]]
    # The newest event of each pair stands first, so it is the last that is put in.
    turned = [column[::-1] for column in (named, lists["article_id"], lists["kind"])]
    last = {(customer, article): kind for customer, article, kind in zip(*turned, strict=True)}
    return {pair for pair, kind in last.items() if kind == DISMISS}


def without_source(rows: pd.DataFrame, source: str, weights: Mapping[str, float]) -> pd.DataFrame:
    """The candidates as they would be without one of the retrievers.

    Args:
        rows: of `candidates`; a column of features stays as it is.
        weights: of the recommender.
    """
    ranks = {n.removesuffix("__rank"): n for n in map(str, rows.columns) if n.endswith("__rank")}
    ranks = {name: column for name, column in ranks.items() if name not in (source, "best")}
    given = rows[[*ranks.values()]].to_numpy("float64", na_value=np.nan)
    best, fused = _best_and_fused(given.T, ranks, weights)
    # Drawn negatives have no source at all.
    named = ~np.isnan(best) | rows[BEST].isna().to_numpy()
    rest = rows.drop(columns=[f"{source}__score", f"{source}__rank"])
    return rest.assign(fused__score=fused, **{BEST: best})[named]


def _best_and_fused(
    ranks: np.ndarray, sources: Collection[str], weights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The best rank of each candidate (M,), missing where it has none, and the order of all sources together
    (M,), higher is better (reciprocal rank fusion).

    Args:
        ranks: of each source (S x M), missing where it did not name the candidate.
    """
    weight = np.array([weights.get(name, 1.0) for name in sources]).reshape(-1, 1)
    parts = np.where(np.isnan(ranks), 0.0, weight / (FUSION + ranks))
    return np.fmin.reduce(ranks, axis=0, initial=np.nan), np.add.reduce(parts, axis=0)


def with_history(rows: SameTable, state: Table) -> SameTable:
    """With the lists of `HISTORY` of each row's customer, one list for all rows of a customer."""
    place = pd.Index(state["customer_id"]).get_indexer(pd.Index(rows["customer_id"]))
    return rows.assign(**{name: objects(state, name)[place] for name in HISTORY})


def is_known(state: Table) -> bool:
    """Whether anything is known of a single customer."""
    others = (np.asarray(state[name])[0] for name in state.columns if name != "customer_id")
    return any(np.ndim(value) > 0 or bool(pd.notna(value)) for value in others)


@contextmanager
def timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the seconds that the block takes to those of its stage."""
    started = perf_counter()
    yield
    stages[stage] = stages.get(stage, 0.0) + perf_counter() - started
