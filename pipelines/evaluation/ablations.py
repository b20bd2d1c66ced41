"""What each part of the recommender is worth: the release without it, on the same customers.

Everything is trained anew without the part, and judged on the same candidates beside the whole, in the same
bootstrap samples, so that differences are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import duckdb
import pandas as pd

from feature_repo.errors import InputError
from pipelines.data.split import Week, weeks_before
from pipelines.evaluation.evaluation import RELEASE_NAME, Evaluation, Fold
from pipelines.evaluation.resampling import Interval
from pipelines.evaluation.weekly import judge_whole, require_history
from pipelines.features import require_service, service_fields
from pipelines.model_catalog import RELEASE, ReleaseSettings
from pipelines.negatives import FOR_NEUMF, FOR_RANKER, NEGATIVES, NegativesError
from pipelines.recommender import without_source
from pipelines.training import (
    CANDIDATES,
    TrainingSet,
    fit_ranker,
    fit_unranked,
    training_set,
    training_weeks,
)
from pipelines.warehouse import reading

VIEWS, RETRIEVERS, NEGATIVE_SAMPLING = "views", "retrievers", "negatives"
KINDS = (VIEWS, RETRIEVERS, NEGATIVE_SAMPLING)
ALL_SOURCES = "all scores and ranks"
"""Left out as if it were a view: what the retrievers say."""


@dataclass(frozen=True)
class Ablation:
    """The release with something changed.

    Attributes:
        part: what was left out, or how negatives were drawn.
        metrics: {metric: interval}.
        changes: {metric: interval} of the difference to the release, paired; an interval below 0 says that
            the part is worth something.
    """

    part: str
    metrics: Mapping[str, Interval]
    changes: Mapping[str, Interval]


@dataclass(frozen=True)
class Ablations:
    """One kind of ablation.

    Attributes:
        kind: of `KINDS`.
        whole: metrics of the release as it is.
        rows: the most costly first.
        skipped: {part: why it could not be judged}.
    """

    kind: str
    weeks: tuple[date, ...]
    customers: int
    whole: Mapping[str, Interval]
    rows: tuple[Ablation, ...]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "weeks": [week.isoformat() for week in self.weeks],
            "customers": self.customers,
            "whole": self.whole,
            "rows": [vars(row) for row in self.rows],
            "skipped": self.skipped,
        }


def ablate(
    kind: str,
    last_day: date,
    *,
    weeks: int = 1,
    settings: ReleaseSettings = RELEASE,
    customers: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Ablations:
    """Leave out one part after the other.

    Args:
        kind: `views`: each feature view that the ranker reads, and all that retrievers say;
            `retrievers`: each with its candidates, score and rank; `negatives`: the ranker learns from
            other samples of what was not bought.
        last_day: the last day of the last test week.
        customers: at most so many buyers of each week.

    Raises:
        LookbookError: there is no such kind, or there are too few weeks of purchases.
    """
    if kind not in KINDS:
        raise InputError(f"There is no ablation {kind!r}; there are: {', '.join(KINDS)}.")
    settings = replace(settings, rerankers={})
    tests = weeks_before(last_day + timedelta(days=1), weeks)
    folds: list[Fold] = []
    skipped: dict[str, str] = {}
    with reading() as con:
        first = training_weeks(con, tests[0].start, settings)
        require_history(con, first[0].start)
        for week in tests:
            fold = Fold.of(con, week, customers)
            plain = fit_unranked(con, week.start, settings)
            ways = _ways(con, kind, week, settings, skipped, progress)
            made, changes = {}, {}
            for name, (rows, change) in ways.items():
                made[name] = replace(plain, ranker=fit_ranker(rows, settings))
                changes[name] = change
                progress(f"week from {week.start}: trained {name}")
            judge_whole(fold, made, progress, changes)
            folds.append(fold)
    found = Evaluation.of(folds, RELEASE_NAME)
    lines = [
        Ablation(name, metrics, found.differences[name])
        for name, metrics in found.models.items()
        if name != RELEASE_NAME
    ]
    lines.sort(key=lambda row: row.changes["MAP@12"]["mean"])
    return Ablations(
        kind,
        found.weeks,
        found.customers,
        found.models[RELEASE_NAME],
        tuple(lines),
        skipped,
    )


Change = Callable[[pd.DataFrame], pd.DataFrame]


def _ways(
    con: duckdb.DuckDBPyConnection,
    kind: str,
    week: Week,
    settings: ReleaseSettings,
    skipped: dict[str, str],
    progress: Callable[[str], None],
) -> dict[str, tuple[Sequence[pd.DataFrame], Change]]:
    """Name -> the rows to learn from, and what is done to candidates; the release itself first."""
    before = training_weeks(con, week.start, settings)
    whole = training_set(con, before, settings, progress)
    found: dict[str, tuple[Sequence[pd.DataFrame], Change]] = {RELEASE_NAME: (whole, _as_it_is)}
    if kind == VIEWS:
        service = settings.feature_service
        require_service(service)
        for view in dict.fromkeys(name.split("__")[0] for name in service_fields(service)):
            found[view] = (replace(whole, without=(f"{view}__",)), _as_it_is)
        said = tuple(f"{name}__" for name in (*settings.retrievers, "best", "fused"))
        found[ALL_SOURCES] = (replace(whole, without=said), _as_it_is)
    elif kind == RETRIEVERS:
        for name in settings.retrievers:
            change = partial(without_source, source=name, weights=settings.weights)
            found[name] = (_Changed(whole.folders, change=change), change)
    else:
        for name, negatives in _samples().items():
            if negatives == dict(settings.negatives):
                continue
            chosen = replace(settings, negatives=negatives)
            try:
                found[name] = (training_set(con, before, chosen, progress), _as_it_is)
            except NegativesError as error:
                skipped[name] = str(error)
    return found


def _samples() -> dict[str, dict[str, int]]:
    """Ways to draw negatives: of candidates, of each strategy alone, and of both."""
    ways = {
        "all candidates": {},
        f"{FOR_RANKER} candidates": {CANDIDATES: FOR_RANKER},
        f"{2 * FOR_RANKER} candidates": {CANDIDATES: 2 * FOR_RANKER},
    }
    for name in NEGATIVES:
        ways[f"{name} alone"] = {CANDIDATES: 0, name: FOR_NEUMF}
    for name in NEGATIVES:
        ways[f"{FOR_RANKER} candidates and {name}"] = {CANDIDATES: FOR_RANKER, name: FOR_NEUMF}
    return ways


def _as_it_is(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


@dataclass(frozen=True)
class _Changed(TrainingSet):
    """A training set, something done to each of its parts."""

    change: Change = _as_it_is

    def __getitem__(self, place: Any) -> Any:
        return self.change(super().__getitem__(place))
