"""What each retriever finds of what customers buy, what only it finds, and what it costs.

Weekly folds as in `weekly`. Of all candidates only the ranks of what was bought are kept: recall at
any depth, the share that one retriever alone finds, and the union without it follow from them.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.assortment import Assortment
from pipelines.data.split import Week, buyers, weeks_before
from pipelines.evaluation.evaluation import MERGED
from pipelines.evaluation.metrics import average_precision, bootstrap
from pipelines.evaluation.resampling import Interval
from pipelines.evaluation.segments import HISTORY, SEGMENTS, described
from pipelines.evaluation.weekly import require_history
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RELEASE, RETRIEVERS, ReleaseSettings, make_retriever
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state, dismissed
from pipelines.retrievers.base import FUSION, Asked, Past, Proposals, Retriever
from pipelines.training import sampled
from pipelines.warehouse import reading

DEPTHS = (50, 100, 200, 300, 500)
RECALLS = tuple(f"recall@{k}" for k in DEPTHS)
MAIN = "recall@100"
PRECISION = "MAP@12"
PER_SOURCE = 100
"""How many candidates each retriever names for the union."""
REQUESTS = 200
"""Customers who are asked about one by one, for the time of a request."""
UNION = "union"
NEW_ARTICLES = "new articles"
"""Purchases of articles that had never been sold before the week. The file of articles has no dates: what it
names, it names at every cutoff."""


@dataclass(frozen=True)
class Judged:
    """A retriever, or several together.

    Attributes:
        metrics: {recall@k and MAP@12: interval}, as `metrics` defines them.
        segments: {segment: {recall@k: interval}}; without segments nobody was in.
        candidates: per customer, of the `per_source` that each may name.
        named: of the purchases among the union's candidates, the share that it names; None for several.
        alone: of these, the share that no other names.
        without: {recall@k: of the union without it}.
        cost: by how much the union's recall@100 falls without it: interval, paired by customer.
        fit_seconds: mean over the folds.
        seconds_per_1000: to name the deepest candidates for 1,000 customers in batches, from what is
            known of them (`customer_state`), the unpacking of which is not counted.
        megabytes_saved: what `save` writes, the assortment included.
        megabytes_held: arrays and containers of the fitted model in memory, without the assortment,
            which all share.
        milliseconds: p50 and p99 of one request from memory, `per_source` candidates; of several
            together all of `Recommender.candidates`.
    """

    metrics: Mapping[str, Interval]
    segments: Mapping[str, Mapping[str, Interval]]
    candidates: float
    named: float | None = None
    alone: float | None = None
    without: Mapping[str, float] | None = None
    cost: Interval | None = None
    fit_seconds: float | None = None
    seconds_per_1000: float | None = None
    megabytes_saved: float | None = None
    megabytes_held: float | None = None
    milliseconds: Mapping[str, float] | None = None


@dataclass(frozen=True)
class RetrievalReport:
    """Retrievers, their union, and `merged`: the release's, with its own limits and weights.

    Attributes:
        weeks: first days of the test weeks, oldest first.
        customers: distinct customers who were asked about.
        per_source: how many candidates each retriever names for the union.
        judged: {name: figures}, the union first, `merged` where all of a release were judged.
        segments: {segment: {"customers", "purchases"}} summed over weeks.
        shared_milliseconds: p50 and p99 of unpacking what is known of one customer, once for all.
        ranks: a row for each week, customer and article bought: customer_id, article_id, week, segment,
            is_new, and for everything that was judged the rank it gave, missing if none; `without NAME`
            is the rank in the union without it.
    """

    weeks: tuple[date, ...]
    customers: int
    per_source: int
    judged: Mapping[str, Judged]
    segments: Mapping[str, Mapping[str, int]]
    shared_milliseconds: Mapping[str, float]
    ranks: pd.DataFrame

    @property
    def together(self) -> list[str]:
        """The union and, where it was judged, the release's mix."""
        return [name for name in (UNION, MERGED) if name in self.judged]

    @property
    def retrievers(self) -> list[str]:
        """The single ones, those with the best recall@100 first."""
        names = [name for name in self.judged if name not in self.together]
        return sorted(names, key=lambda name: -self.judged[name].metrics[MAIN]["mean"])

    def reached(self, name: str) -> list[tuple[int, float]]:
        """Depths, and recall there; of candidates together only as deep as there are any."""
        judged = self.judged[name]
        depths = [k for k in DEPTHS if name not in self.together or k <= judged.candidates]
        return [(k, judged.metrics[f"recall@{k}"]["mean"]) for k in depths or DEPTHS[:1]]

    def to_dict(self) -> dict[str, Any]:
        return {
            "weeks": [week.isoformat() for week in self.weeks],
            "customers": self.customers,
            "per_source": self.per_source,
            "judged": {name: vars(found) for name, found in self.judged.items()},
            "segments": self.segments,
            "shared_milliseconds": self.shared_milliseconds,
        }


@dataclass
class _Costs:
    """What is measured while judging, by name."""

    candidates: dict[str, int] = field(default_factory=dict)
    fit: dict[str, float] = field(default_factory=dict)
    propose: dict[str, float] = field(default_factory=dict)
    saved: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    requests: dict[str, Mapping[str, float]] = field(default_factory=dict)
    shared: Mapping[str, float] = field(default_factory=dict)
    asked: int = 0


def judge_retrievers(
    last_day: date,
    weeks: int = 4,
    names: Sequence[str] | None = None,
    *,
    customers: int | None = None,
    per_source: int = PER_SOURCE,
    settings: ReleaseSettings = RELEASE,
    progress: Callable[[str], None] = lambda text: None,
) -> RetrievalReport:
    """Judge retrievers one by one and together on the last weeks.

    Every customer who buys in a week counts, those without history included.

    Args:
        last_day: the last day of the last test week.
        weeks: how many test weeks.
        names: retrievers; all of the catalogue if None.
        customers: at most so many of each week's buyers, the same ones each time; all if None.
        per_source: how many candidates each names for the union.
        settings: of the release whose mix is judged as `merged`.

    Raises:
        LookbookError: a retriever is unknown, or there are too few weeks of purchases.
    """
    chosen = list(dict.fromkeys(names or RETRIEVERS))
    for name in chosen:
        if name not in RETRIEVERS:
            raise LookbookError(
                f"No retriever is called {name!r}; there are: {', '.join(RETRIEVERS)}."
            )
    limits = {UNION: dict.fromkeys(chosen, per_source)}
    if set(settings.retrievers) <= set(chosen):
        limits[MERGED] = dict(settings.per_source)
    tests = weeks_before(last_day + timedelta(days=1), weeks)
    costs = _Costs()
    found = []
    with reading() as con:
        require_history(con, tests[0].start)
        for number, week in enumerate(tests, start=1):
            bought = buyers(con, week)[["customer_id", "article_id"]]
            if customers is not None:
                kept = sampled(bought["customer_id"].unique(), customers)
                bought = bought[bought["customer_id"].isin(kept)].reset_index(drop=True)
            told = f"week {number}/{len(tests)} from {week.start}"
            past = Past.at(con, week.start, progress)
            retrievers = {}
            for name in chosen:
                started = perf_counter()
                retrievers[name] = make_retriever(name).fit(past)
                seconds = perf_counter() - started
                costs.fit[name] = costs.fit.get(name, 0.0) + seconds / len(tests)
                progress(f"{told}: {name} fitted in {seconds:.1f} s")
            fold = _fold(retrievers, bought, week, limits, settings.weights, costs)
            found.append(_described(con, fold, week, past.assortment))
            if week == tests[-1]:
                _weigh(retrievers, costs)
                _time(retrievers, bought, week, limits, settings.weights, costs)
            progress(f"{told}: {bought['customer_id'].nunique():,} customers asked about")
    ranks = pd.concat(found, ignore_index=True)
    return RetrievalReport(
        tuple(week.start for week in tests),
        int(ranks["customer_id"].nunique()),
        per_source,
        {name: _judged(name, ranks, chosen, per_source, costs) for name in (*limits, *chosen)},
        {
            name: {
                "customers": len(rows[["customer_id", "week"]].drop_duplicates()),
                "purchases": len(rows),
            }
            for name, rows in _segments(ranks)
        },
        costs.shared,
        ranks,
    )


# --- candidates, of which only the ranks of what was bought are kept -----------------------------


def _fold(
    retrievers: Mapping[str, Retriever],
    bought: pd.DataFrame,
    week: Week,
    limits: Mapping[str, Mapping[str, int]],
    weights: Mapping[str, float],
    costs: _Costs,
) -> pd.DataFrame:
    """The week's purchases with the rank that each gave them."""
    customers = bought["customer_id"].unique()
    features = OfflineFeatures(week.moment)
    parts = [bought.iloc[:0]]
    for start in range(0, len(customers), BATCH_CUSTOMERS):
        batch = customers[start : start + BATCH_CUSTOMERS]
        asked = Asked(customer_state(list(batch), features), week.moment)
        truth = bought[bought["customer_id"].isin(batch)]
        ranks = _ranks(retrievers, asked, truth, limits, weights, costs)
        parts.append(truth.assign(**ranks))
        costs.asked += len(batch)
    return pd.concat(parts, ignore_index=True)


def _ranks(
    retrievers: Mapping[str, Retriever],
    asked: Asked,
    truth: pd.DataFrame,
    limits: Mapping[str, Mapping[str, int]],
    weights: Mapping[str, float],
    costs: _Costs,
) -> dict[str, np.ndarray]:
    """{name: rank of each purchase (T,), missing where it is no candidate}."""
    # All were fitted at once, so they share their assortment, and a pair has one number for all.
    (assortment,) = {retriever.assortment for retriever in retrievers.values()}
    size = max(len(assortment), 1)
    customer = pd.Index(asked.customers).get_indexer(pd.Index(truth["customer_id"]))
    place = assortment.places(truth["article_id"].tolist())
    wanted = np.where(place >= 0, customer * size + place, -1)
    asked.history(assortment)
    asked.session(assortment)
    gone = dismissed(asked.state)
    whose = pd.Index(asked.customers).get_indexer(pd.Index([one for one, _ in gone], dtype=object))
    waved = whose * size + assortment.places([article for _, article in gone])
    deepest = max(*DEPTHS, *(k for limit in limits.values() for k in limit.values()))
    ranks, first = {}, {}
    widest = max(k for limit in limits.values() for k in limit.values())
    for name, retriever in retrievers.items():
        started = perf_counter()
        found = retriever.propose(asked, deepest)
        costs.propose[name] = costs.propose.get(name, 0.0) + perf_counter() - started
        ranks[name] = _looked_up(wanted, _numbers(found, size), found.rank)
        # Of what was waved away the recommender lets none become a candidate.
        kept = (found.rank <= widest) & ~np.isin(_numbers(found, size), waved)
        first[name] = Proposals(*(column[kept] for column in found))
    for name, limit in limits.items():
        together = _Together.of(first, limit, weights, size)
        ranks[name] = together.ranks(wanted)
        costs.candidates[name] = costs.candidates.get(name, 0) + len(together.pairs)
        if name == UNION:
            for place_of, part in enumerate(limit):
                ranks[f"without {part}"] = together.ranks(wanted, without=place_of)
                named = int(np.isfinite(together.given[place_of]).sum())
                costs.candidates[part] = costs.candidates.get(part, 0) + named
    return ranks


def _numbers(found: Proposals, size: int) -> np.ndarray:
    """One number for each pair of customer and article."""
    numbers: np.ndarray = found.customer.astype("int64") * size + found.article
    return numbers


def _looked_up(wanted: np.ndarray, pairs: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The rank of each wanted pair (T,), missing where it is not among the pairs."""
    found = np.full(len(wanted), np.nan)
    if not len(wanted):
        return found
    order = np.argsort(wanted)
    place = np.searchsorted(wanted, pairs, sorter=order)
    place = order[np.minimum(place, len(order) - 1)]
    hit = wanted[place] == pairs
    found[place[hit]] = ranks[hit]
    return found


@dataclass(frozen=True)
class _Together:
    """Candidates of several retrievers in the order of the recommender's `fused__score`.

    Attributes:
        pairs: numbers of the pairs (M,), ascending.
        given: the rank that each retriever gave (R x M), infinite where none.
        weight: of each retriever (R,).
    """

    pairs: np.ndarray
    given: np.ndarray
    weight: np.ndarray
    size: int

    @classmethod
    def of(
        cls,
        named: Mapping[str, Proposals],
        limit: Mapping[str, int],
        weights: Mapping[str, float],
        size: int,
    ) -> "_Together":
        kept = []
        for name, k in limit.items():
            found = named[name]
            best = found.rank <= k
            kept.append((_numbers(found, size)[best], found.rank[best]))
        pairs = np.unique(np.concatenate([numbers for numbers, _ in kept]))
        given = np.full((len(kept), len(pairs)), np.inf)
        for row, (numbers, rank) in enumerate(kept):
            given[row, np.searchsorted(pairs, numbers)] = rank
        weight = np.array([weights.get(name, 1.0) for name in limit])
        return cls(pairs, given, weight, size)

    def ranks(self, wanted: np.ndarray, without: int | None = None) -> np.ndarray:
        """The rank of each wanted pair (T,), missing where nobody names it; equal scores in order of
        article.

        Args:
            without: a retriever (its row) whose candidates and ranks do not count.
        """
        found = np.full(len(wanted), np.nan)
        place = np.searchsorted(self.pairs, wanted)
        place[place == len(self.pairs)] = 0
        if not len(self.pairs):
            return found
        asked = np.flatnonzero(self.pairs[place] == wanted)
        mine = place[asked]
        customer = self.pairs[mine] // self.size
        starts, ends = np.searchsorted(
            self.pairs, [customer * self.size, (customer + 1) * self.size]
        )
        # Only rows of customers with a hit are compared: each hit with all of its customer's pairs.
        counts = ends - starts
        first = np.cumsum(counts) - counts
        others = np.repeat(starts - first, counts) + np.arange(counts.sum())
        of_hits, turn = np.unique(others, return_inverse=True)
        score = np.zeros(len(of_hits))
        named = np.zeros(len(of_hits), dtype=bool)
        for row, weight in enumerate(self.weight):
            if row != without:
                rank = self.given[row, of_hits]
                score += weight / (FUSION + rank)
                named |= np.isfinite(rank)
        score[~named] = -np.inf
        own = np.searchsorted(of_hits, mine)
        theirs, ours = score[turn], np.repeat(score[own], counts)
        before = (theirs > ours) | ((theirs == ours) & (others < np.repeat(mine, counts)))
        if len(asked):
            better = np.add.reduceat(before.astype("int64"), first)
            found[asked] = np.where(named[own], 1 + better, np.nan)
        return found


def _described(
    con: duckdb.DuckDBPyConnection, fold: pd.DataFrame, week: Week, assortment: Assortment
) -> pd.DataFrame:
    """With the week, the customer's segment, and whether the article had never been sold."""
    groups = described(con, week, fold["customer_id"].unique()).set_index("customer_id")[HISTORY]
    place = assortment.places(fold["article_id"].tolist())
    unsold = np.append(assortment.is_new, True)  # place -1: not even known
    return fold.assign(
        week=week.start.isoformat(),
        segment=fold["customer_id"].map(groups),
        is_new=unsold[place],
    )


# --- what it costs ------------------------------------------------------------------------------


def _weigh(retrievers: Mapping[str, Retriever], costs: _Costs) -> None:
    for name, retriever in retrievers.items():
        with tempfile.TemporaryDirectory() as folder:
            retriever.save(Path(folder))
            files = [file for file in Path(folder).rglob("*") if file.is_file()]
            costs.saved[name] = sum(file.stat().st_size for file in files)
        costs.held[name] = bytes_held(retriever)


def bytes_held(model: object) -> int:
    """Bytes of a model's arrays, tensors and FAISS indexes, and of texts and containers roughly.

    The assortment is left out: all models share it. Counting is steadier than the growth of the
    process, which depends on what the allocator gave back.
    """
    seen: set[int] = set()

    def once(address: int, size: int) -> int:
        # Arrays and tensors may be one memory.
        key = -address
        if key in seen:
            return 0
        seen.add(key)
        return size

    def size(value: Any) -> int:
        if id(value) in seen or isinstance(value, Assortment | type):
            return 0
        seen.add(id(value))
        module = type(value).__module__
        if isinstance(value, np.ndarray):
            if value.base is not None and isinstance(value.base, np.ndarray):
                return size(value.base)
            texts = sum(map(size, value.ravel().tolist())) if value.dtype == object else 0
            return once(value.ctypes.data, value.nbytes) + texts
        if module.startswith("torch") and hasattr(value, "element_size"):
            return once(value.data_ptr(), int(value.element_size() * value.nelement()))
        if module.startswith("faiss") and hasattr(value, "ntotal"):
            import faiss

            return len(faiss.serialize_index(value))
        if isinstance(value, Mapping):
            inside = sum(size(key) + size(of) for key, of in value.items())
            return sys.getsizeof(value) + inside
        if isinstance(value, list | tuple | set | frozenset):
            return sys.getsizeof(value) + sum(map(size, value))
        if hasattr(value, "__dict__"):
            return size(vars(value))
        return sys.getsizeof(value)

    return size(model)


def _time(
    retrievers: Mapping[str, Retriever],
    bought: pd.DataFrame,
    week: Week,
    limits: Mapping[str, Mapping[str, int]],
    weights: Mapping[str, float],
    costs: _Costs,
) -> None:
    """Single requests, from memory."""
    customers = sampled(bought["customer_id"].unique(), REQUESTS)
    if not customers:
        return
    state = customer_state(customers, OfflineFeatures(week.moment))
    whole = {
        name: Recommender({part: retrievers[part] for part in limit}, limit, weights=weights)
        for name, limit in limits.items()
    }
    timed = time_requests(retrievers, limits[UNION], whole, state, week.moment)
    costs.shared = timed.pop("")
    costs.requests = timed


def time_requests(
    retrievers: Mapping[str, Retriever],
    per_source: Mapping[str, int],
    whole: Mapping[str, Recommender],
    state: pd.DataFrame,
    moment: datetime,
) -> dict[str, Mapping[str, float]]:
    """Milliseconds (p50, p99) of requests for one customer each, from memory.

    Args:
        per_source: how many candidates each retriever names.
        whole: recommenders of which all of `candidates` is timed.
        state: rows of `customer_state`, each a request.

    Returns:
        {name of a retriever or recommender: {"p50", "p99"}}; "" is what is done once for all
        retrievers: the unpacking of what the customer bought and did.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ("", *retrievers, *whole)}
    rows = [state.iloc[[place]].reset_index(drop=True) for place in range(len(state))]
    # The first ones pay for what is made when first used, and are not counted.
    for number, row in enumerate([*rows[:10], *rows]):
        took = {}
        started = perf_counter()
        asked = Asked(row, moment)
        for assortment in {retriever.assortment for retriever in retrievers.values()}:
            asked.history(assortment)
            asked.session(assortment)
        took[""] = perf_counter() - started
        for name, retriever in retrievers.items():
            started = perf_counter()
            retriever.propose(asked, per_source[name])
            took[name] = perf_counter() - started
        for name, recommender in whole.items():
            started = perf_counter()
            recommender.candidates(row, moment)
            took[name] = perf_counter() - started
        if number >= min(10, len(rows)):
            for name, spent in took.items():
                seconds[name].append(spent)
    return {
        name: {f"p{q}": 1000 * float(np.percentile(spent, q)) for q in (50, 99)}
        for name, spent in seconds.items()
    }


# --- figures ------------------------------------------------------------------------------------


def _judged(
    name: str, ranks: pd.DataFrame, chosen: Sequence[str], per_source: int, costs: _Costs
) -> Judged:
    own = recalls(ranks, name)
    precision = [
        average_precision(rows.dropna(subset=name).rename(columns={name: "rank"}), rows, 12)
        for _, rows in ranks.groupby("week")
    ]
    own[PRECISION] = pd.concat(precision).to_numpy()
    segments = {segment: bootstrap(recalls(rows, name)) for segment, rows in _segments(ranks)}
    asked = max(costs.asked, 1)
    candidates = costs.candidates[name] / asked
    milliseconds = costs.requests.get(name)
    if name not in chosen:
        return Judged(bootstrap(own), segments, candidates, milliseconds=milliseconds)
    hits = ranks[ranks[UNION].notna()]
    names_it = hits[chosen] <= per_source
    others = names_it.drop(columns=name).any(axis=1)
    alone = (names_it[name] & ~others).sum()
    less, union = recalls(ranks, f"without {name}"), recalls(ranks, UNION)
    lost = union.assign(cost=union[MAIN] - less[MAIN])[["customer_id", "week", "cost"]]
    means = less.groupby("week")[list(RECALLS)].mean().mean()
    return Judged(
        bootstrap(own),
        segments,
        candidates,
        float(names_it[name].sum() / max(len(hits), 1)),
        float(alone / max(len(hits), 1)),
        {recall: float(means[recall]) for recall in RECALLS},
        bootstrap(lost)["cost"],
        costs.fit[name],
        1000 * costs.propose[name] / asked,
        costs.saved[name] / 1e6,
        costs.held[name] / 1e6,
        milliseconds,
    )


def recalls(ranks: pd.DataFrame, name: str) -> pd.DataFrame:
    """`metrics.recall` at every depth, from the ranks of what was bought.

    Args:
        ranks: customer_id, week, and the ranks in the column `name`; a row for each purchase.

    Returns:
        one row for each week and customer, in order: customer_id, week, recall@k.
    """
    found = pd.DataFrame({k: ranks[name] <= int(k.split("@")[1]) for k in RECALLS})
    return found.groupby([ranks["week"], ranks["customer_id"]]).mean().reset_index()


def _segments(ranks: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The segments with any purchases, and those of new articles."""
    parts = [(segment, ranks[ranks["segment"] == segment]) for segment in SEGMENTS]
    parts.append((NEW_ARTICLES, ranks[ranks["is_new"]]))
    return [(name, rows) for name, rows in parts if len(rows)]
