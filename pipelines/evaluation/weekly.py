"""Evaluation by weekly folds: every model trained strictly on what came before the week it is judged on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.data.split import Week, buyers, weeks_before
from pipelines.evaluation.metrics import METRICS, bootstrap, measure
from pipelines.features import Features, OfflineFeatures
from pipelines.model_catalog import RELEASE, RETRIEVERS, ReleaseSettings
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state
from pipelines.retrievers.base import COLUMNS, Retriever, top
from pipelines.training import fit_ranker, fit_retrievers, training_rows, training_weeks
from pipelines.warehouse import reading

DEPTH = max(metric.k for metric in METRICS.values())
RELEASE_NAME = "release"
MERGED = "merged"
BASELINE = "repurchase_then_popular"
BASELINE_PARTS = ("repurchase", "popular")


@dataclass(frozen=True)
class Evaluation:
    """Metrics by model, over weeks.

    Attributes:
        weeks: first days of the test weeks, oldest first.
        models: {name: {metric: {"mean", "low", "high"}}}, the whole recommender under "release".
        per_customer: one row per model, week and customer with every metric.
    """

    weeks: tuple[date, ...]
    customers: int
    models: dict[str, dict[str, dict[str, float]]]
    per_customer: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        return {
            "weeks": [week.isoformat() for week in self.weeks],
            "customers": self.customers,
            "models": self.models,
        }


def model_names() -> list[str]:
    """Everything `evaluate` can judge."""
    return [RELEASE_NAME, MERGED, BASELINE, *RETRIEVERS]


def evaluate(
    last_day: date,
    *,
    weeks: int = 4,
    models: Sequence[str] | None = None,
    settings: ReleaseSettings = RELEASE,
    progress: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Judge the recommender, its retrievers and baselines on the last weeks.

    Every customer who buys in a week counts, those without history included; articles bought
    before may be recommended again.

    Args:
        last_day: the last day of the last test week.
        weeks: how many test weeks.
        models: names from `model_names`; all if None.

    Raises:
        LookbookError: a model is unknown, or there are too few weeks of purchases.
    """
    names = list(dict.fromkeys(models or model_names()))
    for name in names:
        if name not in model_names():
            raise LookbookError(
                f"No model is called {name!r}; there are: {', '.join(model_names())}."
            )
    tests = weeks_before(last_day + timedelta(days=1), weeks)
    trained: dict[Week, pd.DataFrame] = {}
    measured = []
    with reading() as con:
        _require_history(con, tests[0], settings, RELEASE_NAME in names)
        for number, week in enumerate(tests, start=1):
            truth = buyers(con, week)
            if RELEASE_NAME in names:
                before = training_weeks(week.start, settings)
                for past in before:
                    if past not in trained:
                        trained[past] = training_rows(con, past, settings)
                # Weeks that no later fold needs are let go.
                trained = {past: rows for past, rows in trained.items() if past >= before[0]}
            for name, found in _recommendations(con, week, truth, names, settings, trained):
                measured.append(
                    measure(found, truth)
                    .reset_index()
                    .assign(model=name, week=week.start.isoformat())
                )
            shoppers = truth["customer_id"].nunique()
            progress(f"week {number}/{len(tests)} from {week.start}: {shoppers:,} customers")
    per_customer = pd.concat(measured, ignore_index=True)
    return Evaluation(
        tuple(week.start for week in tests),
        int(per_customer["customer_id"].nunique()),
        {
            name: bootstrap(
                per_customer.loc[per_customer["model"] == name, ["customer_id", "week", *METRICS]]
            )
            for name in names
        },
        per_customer,
    )


def _recommendations(
    con: duckdb.DuckDBPyConnection,
    week: Week,
    truth: pd.DataFrame,
    names: Sequence[str],
    settings: ReleaseSettings,
    trained: dict[Week, pd.DataFrame],
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(model, its recommendations) for the week's buyers, `DEPTH` for each."""
    customers = list(truth["customer_id"].unique())
    features = OfflineFeatures(week.moment)
    alone = [name for name in names if name not in (RELEASE_NAME, MERGED)]
    needed = {part for name in alone for part in (BASELINE_PARTS if name == BASELINE else (name,))}
    if len(alone) < len(names):
        needed |= set(settings.retrievers)
    retrievers = fit_retrievers(con, week.start, [name for name in RETRIEVERS if name in needed])
    for name in names:
        if name not in alone:
            ranker = None
            if name == RELEASE_NAME:
                before = training_weeks(week.start, settings)
                ranker = fit_ranker([trained[past] for past in before], settings)
            chosen = {name: retrievers[name] for name in settings.retrievers}
            recommender = Recommender(chosen, settings.per_source, ranker)
            yield name, recommender.recommend(customers, features, week.moment, DEPTH)
    yield from _alone(alone, retrievers, customers, features, week.moment)


def _alone(
    names: Sequence[str],
    retrievers: Mapping[str, Retriever],
    customers: list[str],
    features: Features,
    moment: datetime,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(model, its recommendations) of retrievers by themselves and of the baseline."""
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    for start in range(0, len(customers) if names else 0, BATCH_CUSTOMERS):
        state = customer_state(customers[start : start + BATCH_CUSTOMERS], features)
        for name, found in parts.items():
            found.append(
                _then_popular(retrievers, state, moment)
                if name == BASELINE
                else retrievers[name].candidates(state, moment, DEPTH)
            )
    for name, found in parts.items():
        yield name, pd.concat(found) if found else pd.DataFrame(columns=COLUMNS)


def _then_popular(
    retrievers: Mapping[str, Retriever], state: pd.DataFrame, moment: datetime
) -> pd.DataFrame:
    """What the customer bought before, then what is popular: the best simple model."""
    own = retrievers["repurchase"].candidates(state, moment, DEPTH)
    rest = retrievers["popular"].candidates(state, moment, DEPTH)
    both = pd.concat([own, rest.assign(rank=rest["rank"] + DEPTH)])
    both = both.sort_values("rank").drop_duplicates(["customer_id", "article_id"])
    return top(both.assign(score=-both["rank"]), DEPTH)


def _require_history(
    con: duckdb.DuckDBPyConnection, first: Week, settings: ReleaseSettings, with_ranker: bool
) -> None:
    """There must be purchases before everything that is trained."""
    earliest = training_weeks(first.start, settings)[0] if with_ranker else first
    row = con.execute("SELECT min(day) FROM staging.purchases").fetchone()
    if row is None or row[0] is None or row[0] >= earliest.start:
        raise LookbookError(
            f"Purchases start on {row[0] if row else None}, and this evaluation trains on weeks from "
            f"{earliest.start}: ask for fewer weeks, or load a longer history."
        )
