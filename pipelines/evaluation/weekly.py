"""Evaluation by weekly folds: every model trained strictly on what came before the week it is judged on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from time import perf_counter

import duckdb
import pandas as pd

from feature_repo.errors import LookbookError
from pipelines import feature_tables
from pipelines.article_facts import ArticleFacts
from pipelines.data.split import DAYS_IN_WEEK, Week, first_day, weeks_before
from pipelines.data.synthetic import Shop
from pipelines.evaluation.baselines import BASELINES
from pipelines.evaluation.chances import Scored
from pipelines.evaluation.evaluation import (
    LATENCY,
    MERGED,
    ORACLE,
    PAGE,
    RANKED,
    RELEASE_NAME,
    Evaluation,
    Fold,
)
from pipelines.evaluation.metrics import DEPTH
from pipelines.evaluation.price_curves import PriceCurves, measure_prices
from pipelines.features import OfflineFeatures, require_service
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS, ReleaseSettings
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import declared_as, load_recommender
from pipelines.rankers.base import Ranker
from pipelines.recommender import BATCH_CUSTOMERS, Recommender, customer_state
from pipelines.reports.words import many
from pipelines.rerankers import make_chain
from pipelines.retrievers.base import STATE_SERVICE, Retriever
from pipelines.steady_features import SteadyFeatures
from pipelines.training import (
    fit_ranker,
    fit_retrievers,
    fit_unranked,
    training_set,
    training_weeks,
)
from pipelines.warehouse import reading

SIMPLE = ("popular", "repurchase", *BASELINES)
"""What the others are compared with: the best of these."""
LIKE = "like:"
"""Before a release's tag or alias: a release that is declared as it is, trained anew before each week."""
TIMED = 40
"""Customers of each week whose answers are timed."""


def model_names(truth: Path | None = None) -> list[str]:
    """Everything `evaluate` can judge, beside releases of the registry."""
    own = [RELEASE_NAME, RANKED, MERGED]
    return [*([ORACLE] if truth else []), *own, *RANKERS, *BASELINES, *RETRIEVERS]


def usual_names(settings: ReleaseSettings = RELEASE, truth: Path | None = None) -> list[str]:
    """What `evaluate` judges unless told otherwise: what is in a release, and what is simpler."""
    unused = {*RETRIEVERS, *RANKERS} - set(settings.retrievers)
    unused |= set() if settings.rerankers else {RANKED}
    return [name for name in model_names(truth) if name not in unused]


def evaluate(
    last_day: date,
    *,
    weeks: int = 4,
    models: Sequence[str] | None = None,
    settings: ReleaseSettings = RELEASE,
    truth: Path | None = None,
    customers: int | None = None,
    base: str | None = None,
    may_have_seen: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Judge the recommender, its parts, other rankers, releases of the registry and baselines.

    Every customer who buys in a week counts, those without history included; articles bought
    before may be recommended again.

    Args:
        last_day: the last day of the last test week.
        weeks: how many test weeks.
        models: names from `model_names`, or tags or aliases of releases, which are judged as they are, or
            trained anew before each week with `LIKE` before them; `usual_names` if None. A ranker's name is
            the release with that ranker.
        truth: the folder of the made-up shop that is loaded: its oracle is then judged too.
        customers: at most so many buyers of each week, the same ones each time.
        base: the model that the others are compared with; the best of `SIMPLE` if None.
        may_have_seen: judge releases as they are also on weeks that they have learned from: a bound from above.

    Raises:
        LookbookError: a model is unknown, there are too few weeks of purchases, the folder has
            no truth, or that of another shop than the loaded one, or a release has learned from a week.
    """
    names = list(dict.fromkeys(models or usual_names(settings, truth)))
    if base is not None and base not in names:
        names.append(base)
    tags = [name for name in names if name not in model_names(truth) and _is_release(name)]
    for name in names:
        if name not in (*model_names(truth), *tags):
            raise LookbookError(
                f"No model is called {name!r}; there are: {', '.join(model_names(truth))}, and the tags and "
                "aliases of releases."
            )
    likes = {name: releases.get(name.removeprefix(LIKE)) for name in tags if name.startswith(LIKE)}
    asked = _asked(names, settings) | {n: declared_as(found) for n, found in likes.items()}
    as_they_are = {name: releases.get(name) for name in tags if name not in likes}
    shop = Shop.open(truth) if truth else None
    tests = weeks_before(last_day + timedelta(days=1), weeks)
    registered = _registered(as_they_are, None if may_have_seen else tests[0])
    folds = []
    with reading() as con:
        if shop is not None:
            _require_loaded(con, shop)
        learned = [training_weeks(con, tests[0].start, one)[0].start for one in asked.values()]
        require_history(con, min([*learned, tests[0].start]))
        for number, week in enumerate(tests, start=1):
            fold = Fold.of(con, week, customers)
            if shop is not None and ORACLE in names:
                fold.add(ORACLE, shop.best(list(fold.customers), week.start, DEPTH))
            whole = _recommenders(con, week, names, settings, asked, fold.facts, progress)
            judge_whole(fold, {**whole, **registered}, progress)
            own = {name: found for name, found in whole.items() if name not in likes}
            _judge_alone(con, fold, week, names, settings, own)
            # In the order in which they were asked for.
            fold.values = {name: fold.values[name] for name in names if name in fold.values}
            progress(f"week {number}/{len(tests)} from {week.start}: {len(fold):,} customers")
            folds.append(fold)
        data = feature_tables.data_hash(con)
    return replace(
        Evaluation.of(folds, base or SIMPLE),
        release_ranker=settings.ranker if RELEASE_NAME in names else None,
        declared=settings.to_dict(),
        data_hash=data,
        releases={name: found.tag for name, found in (likes | as_they_are).items()},
        at_most=customers,
    )


def price_reranking(
    last_day: date,
    *,
    settings: ReleaseSettings = RELEASE,
    customers: int = 3_000,
    progress: Callable[[str], None] = lambda text: None,
) -> PriceCurves:
    """What every re-ranker costs and gives on the last week, on top of the release's ranker.

    Args:
        last_day: the last day of the week.
        customers: at most so many of its buyers.

    Raises:
        LookbookError: there are too few weeks of purchases.
    """
    (week,) = weeks_before(last_day + timedelta(days=1), 1)
    with reading() as con:
        before = training_weeks(con, week.start, settings)
        require_history(con, before[0].start)
        plain = replace(settings, rerankers={})
        made = _recommenders(con, week, [RANKED], plain, {RANKED: plain}, None, progress)
        return measure_prices(con, made[RANKED], week, customers=customers, progress=progress)


def judge_whole(
    fold: Fold,
    recommenders: Mapping[str, Recommender],
    progress: Callable[[str], None] = lambda text: None,
    changes: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] | None = None,
) -> None:
    """Judge recommenders on the fold's buyers; those with the same candidates share them.

    Args:
        changes: by name, what is done to the candidates, with their features, before they are ranked.
    """
    features = SteadyFeatures(fold.moment)
    shown: dict[str, list[pd.DataFrame]] = {name: [] for name in recommenders}
    bought = fold.truth[["customer_id", "article_id"]].drop_duplicates().assign(label=1)
    with ExitStack() as stack:
        scored: dict[str, Scored] = {
            name: stack.enter_context(fold.scoring(name))
            for name, found in recommenders.items()
            if found.ranker is not None
        }
        for start in range(0, len(fold) if recommenders else 0, BATCH_CUSTOMERS):
            batch = list(fold.customers[start : start + BATCH_CUSTOMERS])
            state = customer_state(batch, features)
            seen: dict[object, pd.DataFrame] = {}
            for name, recommender in recommenders.items():
                rows = _rows(recommender, state, features, fold.moment, seen)
                if rows.empty:
                    continue
                if changes and name in changes:
                    rows = changes[name](rows)
                rows = recommender.ranked(rows, state)
                if name in scored:
                    there = rows[["customer_id", "article_id", "score", "chance"]]
                    there = there.merge(bought, on=["customer_id", "article_id"], how="left")
                    scored[name].add(there.fillna({"label": 0}))
                page = recommender.page(rows, state, fold.moment, DEPTH)
                shown[name].append(page[["customer_id", "article_id", "rank"]])
                if start == 0:
                    fold.took[name] = _answer_times(recommender, rows, state, fold.moment)
            if len(fold) > BATCH_CUSTOMERS:
                progress(f"{min(start + BATCH_CUSTOMERS, len(fold)):,} of {len(fold):,} customers")
    for name, pages in shown.items():
        fold.add(name, _together(pages))


def _answer_times(
    recommender: Recommender, rows: pd.DataFrame, state: pd.DataFrame, moment: datetime
) -> pd.DataFrame:
    """customer_id and `LATENCY` of single answers, each the quicker of two, features of `rows` being at hand."""
    found = []
    for place, customer in enumerate(state["customer_id"].iloc[:TIMED]):
        asked, own = state.iloc[[place]], rows[rows["customer_id"] == customer]
        took = []
        for _ in range(2):
            started = perf_counter()
            recommender.candidates(asked, moment)
            recommender.page(recommender.ranked(own, asked), asked, moment, PAGE)
            took.append(1e3 * (perf_counter() - started))
        found.append((customer, min(took)))
    return pd.DataFrame(found, columns=["customer_id", LATENCY])


def _rows(
    recommender: Recommender,
    state: pd.DataFrame,
    features: SteadyFeatures,
    moment: datetime,
    seen: dict[object, pd.DataFrame],
) -> pd.DataFrame:
    """Candidates with the ranker's features, which recommenders with the same parts share."""
    parts = tuple((name, id(found)) for name, found in recommender.retrievers.items())
    key = (parts, tuple(recommender.per_source.items()), tuple(recommender.weights.items()))
    if key not in seen:
        seen[key] = recommender.candidates(state, moment)
    ranker = recommender.ranker
    if ranker is None or seen[key].empty:
        return seen[key]
    if (key, ranker.feature_service) not in seen:
        seen[key, ranker.feature_service] = features.read(seen[key], ranker.feature_service)
    return seen[key, ranker.feature_service]


def _together(pages: Collection[pd.DataFrame]) -> pd.DataFrame:
    columns = ["customer_id", "article_id", "rank"]
    return pd.concat(pages, ignore_index=True) if pages else pd.DataFrame(columns=columns)


def _asked(names: Sequence[str], settings: ReleaseSettings) -> dict[str, ReleaseSettings]:
    """By name, how those among the names that have a ranker are declared."""
    return {
        name: settings
        if name in (RELEASE_NAME, RANKED, settings.ranker)
        else replace(settings, ranker=name, ranker_settings=None)
        for name in names
        if name in (RELEASE_NAME, RANKED) or name in RANKERS
    }


def _recommenders(
    con: duckdb.DuckDBPyConnection,
    week: Week,
    names: Sequence[str],
    settings: ReleaseSettings,
    asked: Mapping[str, ReleaseSettings],
    facts: ArticleFacts | None,
    progress: Callable[[str], None],
) -> dict[str, Recommender]:
    """The whole recommenders among the names, trained on what came before the week.

    Args:
        settings: of what has no ranker (`MERGED`).
        asked: by name, how the others are declared.
    """
    plain: dict[str, Recommender] = {}
    rankers: dict[str, Ranker] = {}
    made: dict[str, Recommender] = {}
    for name in names:
        if name != MERGED and name not in asked:
            continue
        declared = asked.get(name, settings)
        # What several have in common is trained once.
        models = {part: declared.settings_of(part) for part in declared.retrievers}
        parts = repr((declared.per_source, declared.weights, models))
        if parts not in plain:
            plain[parts] = fit_unranked(con, week.start, declared)
        made[name] = plain[parts]
        if name == MERGED:
            continue
        model = declared.settings_of(declared.ranker)
        learning = repr(
            replace(
                declared, ranker_settings=model, retriever_settings=models, rerankers={}, gates={}
            )
        )
        if learning not in rankers:
            rows = training_set(con, training_weeks(con, week.start, declared), declared, progress)
            rankers[learning] = fit_ranker(rows, declared, progress=progress)
        steps = {} if name == RANKED else declared.rerankers
        made[name] = replace(
            plain[parts],
            ranker=rankers[learning],
            reranker=make_chain(list(steps.items())) if steps else None,
            facts=facts if steps else None,
        )
    return made


def _is_release(name: str) -> bool:
    return ":" in name or name in releases.aliases()


def _registered(
    chosen: Mapping[str, releases.Release], first: Week | None
) -> dict[str, Recommender]:
    """Releases of the registry as they are.

    Args:
        first: of the weeks that they may not have seen; None if they may.

    Raises:
        LookbookError: one is unknown or damaged, or has learned from the weeks it is to be judged on.
    """
    found = {}
    for name, release in chosen.items():
        if first is not None and release.lineage.data_cutoff > first.start:
            raise LookbookError(
                f"{name} has learned from days up to {release.lineage.data_cutoff}, and would be judged on the week "
                f"from {first.start}: ask for fewer weeks, for {LIKE}{name}, or train one with `lookbook train "
                f"--cutoff {first.start}`."
            )
        found[name], _ = load_recommender(release)
    return found


def _judge_alone(
    con: duckdb.DuckDBPyConnection,
    fold: Fold,
    week: Week,
    names: Sequence[str],
    settings: ReleaseSettings,
    whole: Mapping[str, Recommender],
) -> None:
    """Judge retrievers by themselves, and baselines."""
    alone = [name for name in names if name in BASELINES or name in RETRIEVERS]
    needed = {
        part for name in alone for part in (BASELINES[name].parts if name in BASELINES else (name,))
    }
    retrievers: dict[str, Retriever] = {}
    for recommender in whole.values():
        retrievers |= {n: found for n, found in recommender.retrievers.items() if n in needed}
    rest = [name for name in RETRIEVERS if name in needed - set(retrievers)]
    retrievers |= fit_retrievers(con, week.start, rest, settings)
    features = OfflineFeatures(fold.moment)
    shown: dict[str, list[pd.DataFrame]] = {name: [] for name in alone}
    for start in range(0, len(fold) if alone else 0, BATCH_CUSTOMERS):
        state = customer_state(list(fold.customers[start : start + BATCH_CUSTOMERS]), features)
        for name, found in shown.items():
            found.append(
                BASELINES[name].recommend(retrievers, state, fold.moment, DEPTH)
                if name in BASELINES
                else retrievers[name].candidates(state, fold.moment, DEPTH)
            )
    for name, found in shown.items():
        fold.add(name, _together(found))


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
        fewer = 1 if first is None else (first - start).days // DAYS_IN_WEEK + 1
        raise LookbookError(
            f"Purchases start on {first}, and this evaluation learns from weeks from {start} on: ask for at "
            f"least {many(fewer, 'week')} less, or load a longer history."
        )
