"""Evaluation by weekly folds: every model trained strictly on what came before the week it is judged on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines.data.split import Week, buyers, first_day, weeks_before
from pipelines.data.synthetic import Shop
from pipelines.evaluation.baselines import BASELINES
from pipelines.evaluation.evaluation import Evaluation
from pipelines.evaluation.metrics import METRICS, bootstrap, measure
from pipelines.features import Features, OfflineFeatures, require_service
from pipelines.model_catalog import RELEASE, RETRIEVERS, ReleaseSettings
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state
from pipelines.retrievers.base import COLUMNS, STATE_SERVICE, Retriever
from pipelines.training import fit_ranker, fit_retrievers, training_rows, training_weeks
from pipelines.warehouse import reading

DEPTH = max(metric.k for metric in METRICS.values())
RELEASE_NAME = "release"
MERGED = "merged"
ORACLE = "oracle"
"""Who knows the truth of a made-up shop, and only what it was before the week."""


def model_names(truth: Path | None = None) -> list[str]:
    """Everything `evaluate` can judge."""
    return [*([ORACLE] if truth else []), RELEASE_NAME, MERGED, *BASELINES, *RETRIEVERS]


def usual_names(settings: ReleaseSettings = RELEASE, truth: Path | None = None) -> list[str]:
    """What `evaluate` judges unless told otherwise: what is in a release, and what is simpler."""
    unused = RETRIEVERS.keys() - set(settings.retrievers)
    return [name for name in model_names(truth) if name not in unused]


def evaluate(
    last_day: date,
    *,
    weeks: int = 4,
    models: Sequence[str] | None = None,
    settings: ReleaseSettings = RELEASE,
    truth: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Judge the recommender, its retrievers and baselines on the last weeks.

    Every customer who buys in a week counts, those without history included; articles bought
    before may be recommended again.

    Args:
        last_day: the last day of the last test week.
        weeks: how many test weeks.
        models: names from `model_names`; `usual_names` if None.
        truth: the folder of the made-up shop that is loaded: its oracle is then judged too.

    Raises:
        LookbookError: a model is unknown, there are too few weeks of purchases, or the folder has
            no truth, or that of another shop than the loaded one.
    """
    names = list(dict.fromkeys(models or usual_names(settings, truth)))
    for name in names:
        if name not in model_names(truth):
            raise LookbookError(
                f"No model is called {name!r}; there are: {', '.join(model_names(truth))}."
            )
    shop = Shop.open(truth) if truth else None
    tests = weeks_before(last_day + timedelta(days=1), weeks)
    trained: dict[Week, pd.DataFrame] = {}
    measured = []
    with reading() as con:
        if shop is not None:
            _require_loaded(con, shop)
        ranked = RELEASE_NAME in names
        require_history(
            con, (training_weeks(tests[0].start, settings) if ranked else tests)[0].start
        )
        for number, week in enumerate(tests, start=1):
            bought = buyers(con, week)
            if RELEASE_NAME in names:
                before = training_weeks(week.start, settings)
                for past in before:
                    if past not in trained:
                        trained[past] = training_rows(con, past, settings)
                # Weeks that no later fold needs are let go.
                trained = {past: rows for past, rows in trained.items() if past >= before[0]}
            if shop is not None and ORACLE in names:
                best = shop.best(list(bought["customer_id"].unique()), week.start, DEPTH)
                measured.append(_measured(ORACLE, week, best, bought))
            for name, found in _recommendations(con, week, bought, names, settings, trained):
                measured.append(_measured(name, week, found, bought))
            shoppers = bought["customer_id"].nunique()
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


def _measured(name: str, week: Week, found: pd.DataFrame, bought: pd.DataFrame) -> pd.DataFrame:
    return measure(found, bought).reset_index().assign(model=name, week=week.start.isoformat())


def _recommendations(
    con: duckdb.DuckDBPyConnection,
    week: Week,
    bought: pd.DataFrame,
    names: Sequence[str],
    settings: ReleaseSettings,
    trained: dict[Week, pd.DataFrame],
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(model, its recommendations) for the week's buyers, `DEPTH` for each."""
    customers = list(bought["customer_id"].unique())
    features = OfflineFeatures(week.moment)
    whole = [name for name in names if name in (RELEASE_NAME, MERGED)]
    alone = [name for name in names if name not in (*whole, ORACLE)]
    needed = {
        part for name in alone for part in (BASELINES[name].parts if name in BASELINES else (name,))
    }
    if whole:
        needed |= set(settings.retrievers)
    retrievers = fit_retrievers(con, week.start, [name for name in RETRIEVERS if name in needed])
    for name in whole:
        ranker = None
        if name == RELEASE_NAME:
            before = training_weeks(week.start, settings)
            ranker = fit_ranker([trained[past] for past in before], settings)
        chosen = {name: retrievers[name] for name in settings.retrievers}
        recommender = Recommender(chosen, settings.per_source, ranker, settings.weights)
        yield name, recommender.recommend(customers, features, week.moment, DEPTH)
    yield from _alone(alone, retrievers, customers, features, week.moment)


def _alone(
    names: Sequence[str],
    retrievers: Mapping[str, Retriever],
    customers: list[str],
    features: Features,
    moment: datetime,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(model, its recommendations) of retrievers by themselves and of baselines."""
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    for start in range(0, len(customers) if names else 0, BATCH_CUSTOMERS):
        state = customer_state(customers[start : start + BATCH_CUSTOMERS], features)
        for name, found in parts.items():
            found.append(
                BASELINES[name].recommend(retrievers, state, moment, DEPTH)
                if name in BASELINES
                else retrievers[name].candidates(state, moment, DEPTH)
            )
    for name, found in parts.items():
        yield name, pd.concat(found) if found else pd.DataFrame(columns=COLUMNS)


def _require_loaded(con: duckdb.DuckDBPyConnection, shop: Shop) -> None:
    """Another shop's truth would be judged as if it were this one's."""
    digest = "count(*), bit_xor(hash(CAST(t_dat AS DATE), customer_id, article_id))"
    loaded = con.execute(f"SELECT {digest} FROM raw.transactions").fetchone()
    made = con.execute(f"SELECT {digest} FROM {shop.rows('$file')}", {"file": str(shop.file)})
    if loaded != made.fetchone():
        raise LookbookError(
            f"{shop.folder} is not the shop that is loaded: give the folder that `lookbook data load` "
            "was given, or load this one into a LOOKBOOK_HOME of its own."
        )


def require_history(con: duckdb.DuckDBPyConnection, start: date) -> None:
    """There must be purchases before everything that is trained, and features to ask for.

    Raises:
        LookbookError: there is none before `start`, or no feature service is registered.
    """
    require_service(STATE_SERVICE)
    first = first_day(con)
    if first is None or first >= start:
        raise LookbookError(
            f"Purchases start on {first}, and this evaluation trains on weeks from "
            f"{start}: ask for fewer weeks, or load a longer history."
        )
