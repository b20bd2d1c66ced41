"""What ranking costs: rows to learn from, training, one request, and very many rows.

    LOOKBOOK_HOME=... python benchmarks/ranking.py [--rankers a,b] [--weeks 2] [--customers 2000]

The shop at LOOKBOOK_HOME must be loaded, its features built and applied. Everything runs on one thread, and
scoring is the median of single calls for 500 candidates of one customer, features already read. Beside our
LightGBM ranker stands `lightgbm.LGBMRanker.predict` of the same trees on the same frame, with equal scores.
"""

import argparse
import os

# Before any library starts its threads.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from pipelines.data.split import Week, buyers, weeks_before
from pipelines.feature_tables import latest_build
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RANKERS, RELEASE, make_ranker
from pipelines.rankers.gradient_boosting import GradientBoosting
from pipelines.recommender import Recommender, customer_state, with_history
from pipelines.training import fit_retrievers, sampled, training_set
from pipelines.warehouse import reading

CANDIDATES = 500
REQUESTS = 60


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rankers", default=",".join(RANKERS))
    asked.add_argument("--weeks", type=int, default=2, help="weeks to learn from")
    asked.add_argument("--customers", type=int, default=2_000, help="of each week, at most")
    asked.add_argument("--negatives", type=int, help="of each customer's candidates, at most")
    asked.add_argument(
        "--times", type=int, default=1, help="learn from the rows so many times over"
    )
    given = asked.parse_args()
    end = latest_build().end
    test = weeks_before(end, 1)[0]
    negatives = {} if given.negatives is None else {"candidates": given.negatives}
    settings = replace(
        RELEASE, training_customers=given.customers, negatives=negatives, rerankers={}
    )
    with reading() as con:
        weeks = weeks_before(test.start, given.weeks)
        for folder in training_set(con, weeks, settings).folders:
            shutil.rmtree(folder)
        rows, took, worked = _timed(lambda: training_set(con, weeks, settings))
        count = rows.rows
        print(
            f"training rows: {count:,} in {took:.1f} s ({worked:.1f} s of processor), "
            f"{count / worked:,.0f} a second of processor, {_peak():.1f} GB at most",
            flush=True,
        )
        rows = replace(rows, folders=rows.folders * given.times)
        print(f"learning from {rows.rows:,} rows", flush=True)
        requests = _requests(con, test)
    print(
        f"| ranker | training s | rows/s | {CANDIDATES} candidates p50 ms | p99 ms | s per million | GB |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.rankers.split(","):
        ranker = make_ranker(name)
        _, took, worked = _timed(lambda ranker=ranker: ranker.fit(rows.of(ranker)))
        seen = [with_history(*pair) if ranker.reads_history else pair[0] for pair in requests]
        spent = _spent(ranker.score, seen)
        many = pd.concat(seen * 4, ignore_index=True)
        _, _, at_once = _timed(lambda ranker=ranker, many=many: ranker.score(many))
        print(
            f"| {name} | {worked:.0f} | {rows.rows / worked:,.0f} | {np.percentile(spent, 50):.2f} | "
            f"{np.percentile(spent, 99):.2f} | {at_once / len(many) * 1e6:.1f} | {_peak():.1f} |",
            flush=True,
        )
        if isinstance(ranker, GradientBoosting):
            print(_peer(ranker, seen), flush=True)


def _requests(con: Any, week: Week) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Candidates of single customers with their features, and what is known of the customer."""
    deep = {name: 6 * k for name, k in RELEASE.per_source.items()}
    recommender = Recommender(fit_retrievers(con, week.start, list(deep)), deep)
    customers = sampled(buyers(con, week)["customer_id"].unique(), REQUESTS)
    features = OfflineFeatures(week.moment)
    found = []
    for customer in customers:
        state = customer_state([customer], features)
        rows = recommender.candidates(state, week.moment)
        rows = pd.concat([rows] * -(-CANDIDATES // len(rows)), ignore_index=True).head(CANDIDATES)
        found.append((features.read(rows, "ranking"), state))
    return found


def _spent(score: Callable[[pd.DataFrame], np.ndarray], rows: list[pd.DataFrame]) -> list[float]:
    """Milliseconds of each of several calls for every request."""
    for one in rows[:10]:
        score(one)
    spent = []
    for _ in range(5):
        for one in rows:
            started = time.perf_counter()
            score(one)
            spent.append(1000 * (time.perf_counter() - started))
    return spent


def _peer(ranker: GradientBoosting, rows: list[pd.DataFrame]) -> str:
    """The same trees through LightGBM's own interface for frames."""
    frames = []
    for one in rows:
        frame = one[ranker.columns].copy()
        for name, values in ranker.categories.items():
            frame[name] = pd.Categorical(frame[name], categories=values)
        numbers = frame.columns.difference(list(ranker.categories))
        frame[numbers] = frame[numbers].apply(pd.to_numeric).astype("float32")
        frames.append(frame)
    booster = ranker._fitted()
    booster.pandas_categorical = list(ranker.categories.values())
    same = all(
        np.array_equal(booster.predict(frame), ranker.score(one))
        for frame, one in zip(frames, rows, strict=True)
    )
    spent = _spent(booster.predict, frames)
    return (
        f"| lightgbm {lightgbm.__version__} on a prepared frame, equal scores: {same} | | | "
        f"{np.percentile(spent, 50):.2f} | {np.percentile(spent, 99):.2f} | | |"
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    started, worked = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - started, time.process_time() - worked


def _peak() -> float:
    """GB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
