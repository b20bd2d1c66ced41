"""What an evaluation has found: metrics of every model with intervals, over weeks, for whom, of what.

    fold = Fold(week.start, bought, described(con, week, customers), facts)
    fold.add("popular", recommended)
    with fold.scoring("release") as scored:
        scored.add(candidates)
    found = Evaluation.of([fold], base="popular")

All models are judged on the same customers in the same bootstrap samples, so that every comparison is paired.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from scipy import sparse

from pipelines.article_facts import ArticleFacts
from pipelines.data.split import Week, buyers
from pipelines.evaluation.chances import (
    AUC,
    MEASURES,
    POOLED,
    SUMS,
    Scored,
    Sums,
    measures,
    reliability,
)
from pipelines.evaluation.metrics import (
    DEPTH,
    METRICS,
    NEW_DAYS,
    Shown,
    bootstrap,
    coverage,
    gini,
    measured,
)
from pipelines.evaluation.resampling import (
    AT_ONCE,
    SAMPLES,
    Interval,
    Means,
    draws,
    interval,
    over_weeks,
)
from pipelines.evaluation.segments import ORDER, UNKNOWN, described
from pipelines.features import moment_of
from pipelines.rerankers.base import by_rank
from pipelines.retrievers.base import Past
from pipelines.training import sampled

RELEASE_NAME = "release"
RANKED = "release_before_reranking"
MERGED = "merged"
ORACLE = "oracle"
"""Who knows the truth of a made-up shop, and only what it was before the week."""
MAIN = "MAP@12"
PURPOSE = "test "
"""Of a sample of customers to judge on."""
PAGE = 12
"""Places of a list that are seen."""
COVERAGE, EXPOSURE = "coverage@12", "exposure_gini@12"
OF_ALL_LISTS = (COVERAGE, EXPOSURE)
"""Metrics of all lists of a week together."""
LIST_SAMPLES = 200
"""Bootstrap samples of these, each of which counts all articles anew."""
SMALLEST_GROUP = 30
"""Of fewer customers a mean says too little to be the highest or the lowest of all groups."""
LATENCY = "milliseconds"
"""Of one answer: candidates, order and page, without reading features."""
POPULARITY = "popularity"
NEW, HEAD, MIDDLE, TAIL = "new", "head", "middle", "tail"
HEAD_SHARE, MIDDLE_SHARE = 0.5, 0.9
PRODUCT_GROUP = "product_group"
MOST_GROUPS = 10
OTHER = "other"

Figures = dict[str, Interval]
"""{metric: {"mean", "low", "high"}}."""


class Fold:
    """A test week: what was bought in it, and what each model made of its buyers.

    Args:
        week: its first day.
        truth: customer_id, article_id of what was bought; perhaps `price`, what was paid for it.
        groups: customer_id, and for each kind of groups of customers a column with the customer's
            (`segments.described`).
        facts: of the articles before the week; without them nothing is said of what lists are like.
    """

    def __init__(
        self,
        week: date,
        truth: pd.DataFrame,
        groups: pd.DataFrame | None = None,
        facts: ArticleFacts | None = None,
    ) -> None:
        self.week = week
        self.truth = truth
        self.facts = facts
        self.moment = moment_of(week)
        self.customers = np.asarray(pd.factorize(truth["customer_id"], sort=True)[1], dtype=object)
        self.groups: dict[str, np.ndarray] = {}
        if groups is not None:
            rows = groups.set_index("customer_id").reindex(self.customers).fillna(UNKNOWN)
            self.groups = {str(kind): rows[kind].to_numpy(dtype=object) for kind in rows}
        self.values: dict[str, pd.DataFrame] = {}
        self.lists: dict[str, np.ndarray] = {}
        self.scores: dict[str, Sums] = {}
        self.took: dict[str, pd.DataFrame] = {}

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, week: Week, customers: int | None = None) -> "Fold":
        """The week's buyers and what they bought, nothing judged yet.

        Args:
            customers: at most so many, the same ones each time, and not those from whom a ranker learns.
        """
        bought = buyers(con, week)
        if customers is not None:
            chosen = sampled(bought["customer_id"].unique(), customers, PURPOSE)
            bought = bought[bought["customer_id"].isin(chosen)].reset_index(drop=True)
        groups = described(con, week, bought["customer_id"].unique())
        return cls(week.start, bought, groups, ArticleFacts.at(Past.at(con, week.start)))

    def __len__(self) -> int:
        return len(self.customers)

    def add(self, model: str, recommended: pd.DataFrame) -> None:
        """Judge a model's lists.

        Args:
            recommended: customer_id, article_id, rank (from 1), `metrics.DEPTH` for each customer if the
                model has so many.

        Raises:
            InputError: a rank is missing or below 1.
        """
        moment = None if self.facts is None else self.moment
        shown = Shown.of(recommended, self.truth, DEPTH, self.facts, moment)
        self.values[model] = measured(shown)
        if self.facts is not None:
            self.lists[model] = shown.articles(PAGE).astype("int32")

    @contextmanager
    def scoring(self, model: str) -> Iterator[Scored]:
        """Takes in what a ranker says of its candidates, for AUC, NE and calibration."""
        scored = Scored(self.customers)
        yield scored
        self.scores[model] = scored.summed()


@dataclass(frozen=True)
class Evaluation:
    """Metrics by model, over weeks.

    A metric that a model has no value of is left out everywhere.

    Attributes:
        weeks: first days of the test weeks, oldest first.
        customers: distinct customers who were asked about.
        models: {name: {metric: {"mean", "low", "high"}}}, the whole recommender under "release".
        per_customer: one row per model, week and customer with every metric.
        base: the model that all others are compared with.
        differences: {name: {metric: interval}}, of each other model less the base, paired.
        folds: of each week {"week", "customers", "models": as above}.
        segments: {kind: {group: {"customers": in all weeks, "models": as above, "differences": {name: {metric:
            interval}} of each other model less the base, of metrics that every customer has}}}.
        gaps: {kind: {name: {metric: {"highest", "lowest": groups, "mean", "low", "high"}}}}: by how much
            the mean of the one is above that of the other; small groups are left out.
        exposure: {kind: {group of articles: {"bought": its share of what was bought, "models": {name:
            {"shown": its share of attention, "gap": interval of the difference}}}}}.
        rankers: {name: {of `chances.MEASURES`: interval, "reliability": [bins], "segments": {kind: {group:
            {measure: interval}}}}}.
        latency: {name: interval} of the milliseconds that one answer takes on this machine (`LATENCY`).
        release_ranker: the ranker that the model "release" has.
        declared: how it is declared (`ReleaseSettings.to_dict`), and all that go by a ranker's name but for the ranker.
        data_hash: of the data that were loaded.
        releases: {name: tag} of the models that are releases of the registry, or like one.
    """

    weeks: tuple[date, ...]
    customers: int
    models: dict[str, Figures]
    per_customer: pd.DataFrame
    base: str | None = None
    differences: dict[str, Figures] = field(default_factory=dict)
    folds: list[dict[str, Any]] = field(default_factory=list)
    segments: dict[str, dict[str, Any]] = field(default_factory=dict)
    gaps: dict[str, dict[str, Any]] = field(default_factory=dict)
    exposure: dict[str, dict[str, Any]] = field(default_factory=dict)
    rankers: dict[str, dict[str, Any]] = field(default_factory=dict)
    latency: dict[str, Interval] = field(default_factory=dict)
    release_ranker: str | None = None
    declared: Mapping[str, Any] | None = None
    data_hash: str | None = None
    releases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folds: Sequence[Fold],
        base: str | Sequence[str] | None = None,
        *,
        samples: int = SAMPLES,
        seed: int = 0,
    ) -> "Evaluation":
        """All that is said of the folds; weeks without buyers count in none of it.

        Args:
            base: the model to compare with, or several, of which the one with the highest MAP@12 is taken;
                those that were not judged do not matter.
        """
        names = list(dict.fromkeys(name for fold in folds for name in fold.values))
        parts = [
            fold.values[name].reset_index().assign(model=name, week=fold.week.isoformat())
            for fold in folds
            for name in fold.values
        ]
        columns = ["customer_id", *METRICS, "model", "week"]
        per_customer = (
            pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        )
        whole = [fold for fold in folds if len(fold)]
        weeks = tuple(fold.week for fold in folds)
        if not whole:
            return cls(weeks, 0, {name: {} for name in names}, per_customer)
        chosen = _base([base] if isinstance(base, str) else base or (), names, whole)
        drawn = _Drawn(whole, names, chosen, samples, seed)
        return cls(
            weeks,
            len(np.unique(np.concatenate([fold.customers for fold in whole]).astype(str))),
            {name: drawn.figures(name) for name in names},
            per_customer,
            chosen,
            {name: drawn.differences(name) for name in names if chosen not in (None, name)},
            [_fold(fold, whole, drawn, names) for fold in folds],
            drawn.segments(names),
            drawn.gaps(names),
            drawn.exposure(names),
            drawn.rankers(),
            _latency(whole, names),
        )

    def difference(self, model: str, other: str) -> dict[str, Interval]:
        """By how much a model is better than another on the same customers and weeks, paired.

        Returns:
            {metric: {"mean", "low", "high"}}; an interval above 0 says that it is.
        """
        keys = ["customer_id", "week"]
        both = [
            self.per_customer[self.per_customer["model"] == name].set_index(keys)[[*METRICS]]
            for name in (model, other)
        ]
        return bootstrap((both[0] - both[1]).reset_index())

    def to_dict(self) -> dict[str, Any]:
        said = {name: value for name, value in vars(self).items() if name != "per_customer"}
        return said | {"weeks": [week.isoformat() for week in self.weeks]}


def judged_as(evaluation: Mapping[str, Any], model: str) -> str:
    """The name under which an evaluation (`to_dict`) judges a model; a ranker's name is the release with it."""
    return RELEASE_NAME if evaluation.get("release_ranker") == model else model


_MATTERS = (
    "per_source",
    "weights",
    "ranker_settings",
    "feature_service",
    "training_weeks",
    "training_customers",
    "negatives",
    "rerankers",
)
"""What of a declaration decides on how good a release is."""


def why_not_of(
    evaluation: Mapping[str, Any], data_hash: str, declared: Mapping[str, Any] | None
) -> str:
    """Why an evaluation (`to_dict`) cannot speak of a model; nothing if it can.

    Args:
        data_hash: of what the model has learned from.
        declared: how a release is declared; None for a model that is no release.
    """
    data = evaluation.get("data_hash")
    if data is not None and data != data_hash:
        return f"it is of other data (hash {data}, and the model has learned from {data_hash})"
    judged = evaluation.get("declared")
    if declared is None or judged is None:
        return ""
    for name in _MATTERS:
        # It can judge other rankers beside that of its declaration, which then have their usual settings.
        if name == "ranker_settings" and judged["ranker"] != declared["ranker"]:
            continue
        one, two = judged.get(name), declared.get(name)
        if one != two:
            return f"its {name} is {one}, and that of the release {two}"
    return ""


def _latency(folds: Sequence[Fold], names: Sequence[str]) -> dict[str, Interval]:
    found = {}
    for name in names:
        took = [fold.took[name].assign(week=fold.week) for fold in folds if name in fold.took]
        if took:
            found[name] = bootstrap(pd.concat(took, ignore_index=True))[LATENCY]
    return found


def _base(wanted: Sequence[str], names: Sequence[str], folds: Sequence[Fold]) -> str | None:
    there = [name for name in wanted if name in names]
    means = {
        name: float(np.mean([f.values[name][MAIN].mean() for f in folds if name in f.values]))
        for name in there
    }
    return max(there, key=lambda name: means[name]) if there else None


def _fold(
    fold: Fold, whole: Sequence[Fold], drawn: "_Drawn", names: Sequence[str]
) -> dict[str, Any]:
    place = next((n for n, other in enumerate(whole) if other is fold), None)
    models = {} if place is None else {name: drawn.figures(name, week=place) for name in names}
    return {"week": fold.week.isoformat(), "customers": len(fold), "models": models}


# --- articles in groups -------------------------------------------------------------------------


def popularity(facts: ArticleFacts, days_on_sale: np.ndarray) -> np.ndarray:
    """The group of each article (A,): new on its first `NEW_DAYS` days and before; of the others, in order of
    what they sold lately, head are those that make up the first half, middle up to nine tenths, tail the
    rest."""
    new = days_on_sale <= NEW_DAYS
    share = np.where(new, 0.0, facts.share)
    order = np.argsort(-share, kind="stable")
    before = np.empty(len(share))
    total = max(share.sum(), 1e-300)
    before[order] = (np.cumsum(share[order]) - share[order]) / total
    found = np.select(
        [new, share == 0, before < HEAD_SHARE, before < MIDDLE_SHARE],
        [NEW, TAIL, HEAD, MIDDLE],
        TAIL,
    )
    return found.astype(object)


def _article_groups(folds: Sequence[Fold]) -> dict[str, tuple[list[str], list[np.ndarray]]]:
    """Kind -> names of groups, and for each fold the number of each article's, the last for none (A + 1,)."""
    found: dict[str, tuple[list[str], list[np.ndarray]]] = {}
    of_articles: dict[str, list[np.ndarray]] = {POPULARITY: [], PRODUCT_GROUP: []}
    for fold in folds:
        assert fold.facts is not None
        days = fold.facts.days_on_sale(fold.moment)
        of_articles[POPULARITY].append(popularity(fold.facts, days))
        names = np.array([*fold.facts.names.get(PRODUCT_GROUP, []), UNKNOWN], dtype=object)
        none = np.full(len(fold.facts.assortment), -1)
        of_articles[PRODUCT_GROUP].append(names[fold.facts.groups.get(PRODUCT_GROUP, none)])
    for kind, groups in of_articles.items():
        counted: dict[str, float] = {}
        for fold, group in zip(folds, groups, strict=True):
            assert fold.facts is not None
            sold = pd.Series(fold.facts.share).groupby(group).sum()
            for name, share in sold.items():
                counted[str(name)] = counted.get(str(name), 0.0) + float(share)
        if kind == POPULARITY:
            kept = [NEW, HEAD, MIDDLE, TAIL]
        else:
            known = [name for name in counted if name != UNKNOWN]
            if len(known) < 2:
                continue
            kept = sorted(known, key=lambda name: (-counted[name], name))[:MOST_GROUPS]
            kept.append(OTHER)
        number = {name: place for place, name in enumerate(kept)}
        numbers = [
            np.array([*(number.get(name, len(kept) - 1) for name in group), -1]) for group in groups
        ]
        found[kind] = (kept, numbers)
    return found


# --- samples ------------------------------------------------------------------------------------


Key = tuple[str, ...]


class _Drawn:
    """What is measured, in the data and in every bootstrap sample.

    Attributes:
        value, samples: of each kind of figure in `_table`: {key: value}, {key: (S,)}; a key begins with
            the group of customers, the week ("" for all) and the model.
    """

    def __init__(
        self,
        folds: Sequence[Fold],
        names: Sequence[str],
        base: str | None,
        samples: int,
        seed: int,
    ) -> None:
        self.folds, self.base = folds, base
        self.articles = (
            _article_groups(folds) if all(fold.facts is not None for fold in folds) else {}
        )
        self.kinds = _kinds(folds)
        self.columns, tables = _columns(folds, names, base, self.articles)
        self.place = {key: number for number, key in enumerate(self.columns)}
        cells, members = _cells(folds, self.kinds)
        self.group = {key: number for number, key in enumerate(members)}
        self.sizes = {
            key: sum(int(member[cell].sum()) for cell in cells) for key, member in members.items()
        }
        held = np.stack(list(members.values()))
        # Large tables, each let go once its means are made.
        parts = [Means(tables.pop(0), cell, held) for cell in cells]
        self.scored = sorted({name for fold in folds for name in fold.scores})

        exact = self._made([part.exact()[..., None] for part in parts])
        blocks: dict[str, list[np.ndarray]] = {name: [] for name in exact}
        lists = _Lists(folds, names)
        of_lists = [lists.of([np.ones((len(fold), 1)) for fold in folds])]
        _, customers = pd.factorize(np.concatenate([fold.customers for fold in folds]), sort=True)
        numbers = [pd.Index(customers).get_indexer(pd.Index(fold.customers)) for fold in folds]
        for turn, times in enumerate(draws(numbers, samples, seed)):
            made = self._made([part.of(of) for part, of in zip(parts, times, strict=True)])
            for name, block in made.items():
                blocks[name].append(block)
            if turn * AT_ONCE < LIST_SAMPLES:
                of_lists.append(lists.of(times))
        self.exact = {name: value[..., 0] for name, value in exact.items()}
        self.samples = {name: np.concatenate(found, axis=-1) for name, found in blocks.items()}
        self.lists = of_lists[0][..., 0]
        self.list_samples = np.concatenate(of_lists[1:], axis=-1)
        self.names = list(names)

    def _made(self, means: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """From means by week (each K x C x S): over weeks, of each week, of rankers, of exposure.

        Returns:
            "all" (K x C x S), "weeks" (W x C x S), "rankers" (models x measures x K x S), "exposure" (kinds'
            models' and groups' gaps x S).
        """
        made = {"all": over_weeks(means), "weeks": np.stack([mean[0] for mean in means])}
        rankers = []
        for name in self.scored:
            by_week = []
            for mean in means:
                sums = {s: mean[:, self.place["score", name, s]] for s in (*SUMS, AUC)}
                found = measures(sums)
                by_week.append(np.stack([found[measure] for measure in MEASURES]))
            rankers.append(over_weeks(by_week))
        if rankers:
            made["rankers"] = np.stack(rankers)
        for kind, (groups, _) in self.articles.items():
            for model in ("", *self._models):
                shares = []
                for mean in means:
                    rows = [self.place["seen", model, kind, group] for group in groups]
                    seen = mean[0, rows]
                    with np.errstate(invalid="ignore", divide="ignore"):
                        shares.append(seen / seen.sum(axis=0))
                made[f"exposure {kind} {model}"] = over_weeks(shares)
        return made

    @property
    def _models(self) -> list[str]:
        return list(dict.fromkeys(key[1] for key in self.columns if key[0] == "metric"))

    def figures(self, model: str, group: Key = (), week: int | None = None) -> Figures:
        """Of a model for a group of customers, or in one week."""
        found = {}
        for metric in METRICS:
            number = self.place["metric", model, metric]
            if week is None:
                at: tuple[str, Any] = ("all", (self.group[group], number))
            else:
                at = ("weeks", (week, number))
            found[metric] = interval(float(self.exact[at[0]][at[1]]), self.samples[at[0]][at[1]])
        if not group:
            found |= self._of_lists(lambda value: value[self.names.index(model)], week)
        return _known(found)

    def _of_lists(
        self, chosen: Callable[[np.ndarray], np.ndarray], week: int | None = None
    ) -> Figures:
        """Of all lists together: `chosen` takes a model from models x measures x weeks (x S)."""
        found = {}
        for number, metric in enumerate(OF_ALL_LISTS):
            exact, drawn = chosen(self.lists)[number], chosen(self.list_samples)[number]
            if week is None:
                value, samples = over_weeks(list(exact[:, None]))[0], over_weeks(list(drawn))
            else:
                value, samples = exact[week], drawn[week]
            found[metric] = interval(float(value), samples, centred=True)
        return found

    def differences(self, model: str) -> Figures:
        """Of a model less the base, over the customers for whom both have a value."""
        assert self.base is not None
        found = {}
        for metric in METRICS:
            number = self.place.get(("paired", model, metric))
            if number is not None:
                value, drawn = self.exact["all"][0, number], self.samples["all"][0, number]
                found[metric] = interval(float(value), drawn)
            else:
                found[metric] = self._difference(model, metric)
        one, two = self.names.index(model), self.names.index(self.base)
        return _known(found | self._of_lists(lambda value: value[one] - value[two]))

    def _difference(self, model: str, metric: str, group: Key = ()) -> Interval:
        """Of means over a group: a paired one if each of its customers has a value with both."""
        one, two = (self.place["metric", name, metric] for name in (model, str(self.base)))
        row, exact, drawn = self.group[group], self.exact["all"], self.samples["all"]
        return interval(float(exact[row, one] - exact[row, two]), drawn[row, one] - drawn[row, two])

    def _group_differences(self, model: str, group: Key) -> Figures:
        whole = [m for m in METRICS if ("paired", model, m) not in self.place]
        return _known({metric: self._difference(model, metric, group) for metric in whole})

    def segments(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            kind: {
                group: {
                    "customers": self.sizes[kind, group],
                    "models": {name: self.figures(name, (kind, group)) for name in names},
                    "differences": {
                        name: self._group_differences(name, (kind, group))
                        for name in names
                        if self.base not in (None, name)
                    },
                }
                for group in groups
            }
            for kind, groups in self.kinds.items()
        }

    def gaps(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for kind, groups in self.kinds.items():
            large = [
                group
                for group in groups
                if group != UNKNOWN and self.sizes[kind, group] >= SMALLEST_GROUP
            ]
            if len(large) < 2:
                continue
            found[kind] = {
                name: _known({metric: self._gap(kind, large, name, metric) for metric in METRICS})
                for name in names
            }
        return found

    def _gap(self, kind: str, groups: Sequence[str], name: str, metric: str) -> dict[str, Any]:
        number = self.place["metric", name, metric]
        rows = [self.group[kind, group] for group in groups]
        values = self.exact["all"][rows, number]
        if np.isnan(values).all():
            return {"mean": np.nan}
        most, least = int(np.nanargmax(values)), int(np.nanargmin(values))
        drawn = self.samples["all"][[rows[most], rows[least]], number]
        return {
            "highest": groups[most],
            "lowest": groups[least],
            **interval(float(values[most] - values[least]), drawn[0] - drawn[1]),
        }

    def exposure(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for kind, (groups, _) in self.articles.items():
            bought, drawn = (of[f"exposure {kind} "] for of in (self.exact, self.samples))
            found[kind] = {}
            for place, group in enumerate(groups):
                models = {}
                for name in names:
                    key = f"exposure {kind} {name}"
                    shown = float(self.exact[key][place])
                    gap = interval(
                        shown - float(bought[place]), self.samples[key][place] - drawn[place]
                    )
                    if not np.isnan(shown):
                        models[name] = {"shown": shown, "gap": gap}
                found[kind][group] = {
                    "bought": float(np.nan_to_num(bought[place])),
                    "models": models,
                }
        return found

    def rankers(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for place, name in enumerate(self.scored):

            def said(group: Key, place: int = place) -> Figures:
                row = self.group[group]
                return _known(
                    {
                        measure: interval(
                            float(self.exact["rankers"][place, number, row]),
                            self.samples["rankers"][place, number, row],
                        )
                        for number, measure in enumerate(MEASURES)
                        # Of a group it would compare with the candidates of all.
                        if measure != POOLED or not group
                    }
                )

            bins = sum(fold.scores[name].bins for fold in self.folds if name in fold.scores)
            found[name] = {
                **said(()),
                "reliability": reliability(np.asarray(bins)),
                "segments": {
                    kind: {group: said((kind, group)) for group in groups}
                    for kind, groups in self.kinds.items()
                },
            }
        return found


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in figures.items() if not np.isnan(found["mean"])}


def _kinds(folds: Sequence[Fold]) -> dict[str, list[str]]:
    """Kinds of groups of customers -> the groups with anybody in, as they are told; a kind of which all
    are in one group says nothing."""
    kinds = dict.fromkeys(kind for fold in folds for kind in fold.groups)
    found = {}
    for kind in kinds:
        there = {str(name) for fold in folds for name in set(fold.groups.get(kind, ()))}
        order = [name for name in ORDER.get(kind, ()) if name in there]
        if len(there) > 1:
            found[kind] = [*order, *sorted(there - set(order))]
    return found


def _cells(
    folds: Sequence[Fold], kinds: Mapping[str, Sequence[str]]
) -> tuple[list[np.ndarray], dict[Key, np.ndarray]]:
    """For each fold the cell of each customer, which crosses all kinds; and which cells each group holds,
    everybody first under ()."""
    shape = [len(groups) + 1 for groups in kinds.values()]
    numbers = []
    for fold in folds:
        of_kinds = [
            pd.Index(groups).get_indexer(pd.Index(fold.groups[kind]))
            if kind in fold.groups
            else np.full(len(fold), -1)
            for kind, groups in kinds.items()
        ]
        of_kinds = [
            np.where(one < 0, size - 1, one) for one, size in zip(of_kinds, shape, strict=True)
        ]
        none = np.zeros(len(fold), dtype="int64")
        numbers.append(np.ravel_multi_index(tuple(of_kinds), shape) if shape else none)
    used = np.unique(np.concatenate(numbers))
    members: dict[Key, np.ndarray] = {(): np.ones(len(used))}
    coordinates = np.unravel_index(used, shape) if shape else ()
    for (kind, groups), coordinate in zip(kinds.items(), coordinates, strict=True):
        for place, group in enumerate(groups):
            members[kind, group] = (coordinate == place).astype("float64")
    return [np.searchsorted(used, of_fold) for of_fold in numbers], members


def _columns(
    folds: Sequence[Fold],
    names: Sequence[str],
    base: str | None,
    articles: Mapping[str, tuple[list[str], list[np.ndarray]]],
) -> tuple[list[Key], list[np.ndarray]]:
    """Keys of all that is measured of a customer, and for each fold the values (C x n)."""
    lacking = {
        metric
        for metric in METRICS
        if any(fold.values[name][metric].isna().any() for fold in folds for name in fold.values)
    }
    scored = sorted({name for fold in folds for name in fold.scores})
    keys: list[Key] = []
    tables = []
    for number, fold in enumerate(folds):
        missing = np.full(len(fold), np.nan)
        found: dict[Key, np.ndarray] = {}
        for name in names:
            for metric in METRICS:
                values = fold.values[name][metric].to_numpy() if name in fold.values else missing
                found["metric", name, metric] = values
        for name in names if base is not None else ():
            for metric in lacking:
                one, two = (found["metric", n, metric] for n in (name, str(base)))
                found["paired", name, metric] = one - two
        for name in scored:
            sums = fold.scores.get(name)
            for kind in SUMS:
                found["score", name, kind] = missing if sums is None else sums.sums[kind]
            found["score", name, AUC] = missing if sums is None else sums.auc
        for kind, (groups, of_articles) in articles.items():
            for model, seen in _seen(fold, names, of_articles[number], len(groups)):
                for group, column in zip(groups, seen, strict=True):
                    found["seen", model, kind, group] = column
        keys = list(found)
        tables.append(np.stack(list(found.values())))
    return keys, tables


def _seen(
    fold: Fold, names: Sequence[str], group: np.ndarray, groups: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Attention that each customer gives to each group of articles (G x n), by model; "" is what was bought."""
    assert fold.facts is not None
    bought = fold.truth[["customer_id", "article_id"]].drop_duplicates()
    customer = pd.Index(fold.customers).get_indexer(pd.Index(bought["customer_id"]))
    place = fold.facts.assortment.places(bought["article_id"].tolist())
    yield "", _summed(customer, group[place], np.ones(len(customer)), groups, len(fold))
    attention = by_rank(PAGE)
    for name in names:
        if name in fold.lists:
            customer, rank = np.nonzero(fold.lists[name] >= 0)
            place = fold.lists[name][customer, rank]
            yield name, _summed(customer, group[place], attention[rank], groups, len(fold))
        else:
            yield name, np.full((groups, len(fold)), np.nan)


def _summed(
    customer: np.ndarray, group: np.ndarray, weight: np.ndarray, groups: int, count: int
) -> np.ndarray:
    """Sums of weights by group and customer (G x n)."""
    there = group >= 0
    key = group[there].astype("int64") * count + customer[there]
    return np.bincount(key, weight[there], groups * count).reshape(groups, count)


class _Lists:
    """What is said of all lists of a week together: `OF_ALL_LISTS`."""

    def __init__(self, folds: Sequence[Fold], names: Sequence[str]) -> None:
        self.shown: list[list[tuple[sparse.csr_matrix, int] | None]] = []
        for name in names:
            self.shown.append([])
            for fold in folds:
                found = None
                if fold.facts is not None and name in fold.lists:
                    found = self._exposures(fold.lists[name], fold.facts.assortment.on_sale)
                self.shown[-1].append(found)

    @staticmethod
    def _exposures(lists: np.ndarray, on_sale: np.ndarray) -> tuple[sparse.csr_matrix, int]:
        """Attention that each shown article on sale gets of each customer (A' x n), and how many there are."""
        place, number = np.nonzero((lists >= 0) & np.append(on_sale, False)[lists])
        article, row = np.unique(lists[place, number], return_inverse=True)
        seen = sparse.csr_matrix((by_rank(PAGE)[number], (row, place)), (len(article), len(lists)))
        return seen, int(on_sale.sum())

    def of(self, times: Sequence[np.ndarray]) -> np.ndarray:
        """Of customers who count so many times (each n x S): models x measures x W x S."""
        size = times[0].shape[1]
        found = np.full((len(self.shown), len(OF_ALL_LISTS), len(times), size), np.nan)
        for model, of_weeks in enumerate(self.shown):
            for week, shown in enumerate(of_weeks):
                if shown is not None:
                    seen = shown[0] @ times[week]
                    found[model, 0, week] = coverage(seen, shown[1])
                    found[model, 1, week] = gini(seen, shown[1])
        return found
