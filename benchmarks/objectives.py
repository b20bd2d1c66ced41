"""Several objectives beside purchases alone, in a made-up shop whose truth is known.

    LOOKBOOK_HOME=... python benchmarks/objectives.py SHOP [--weeks 6] [--customers 1500] [--rankers multi_task]

SHOP is the folder of the made-up shop that is loaded at LOOKBOOK_HOME, made with --interactions. Rankers learn on
the weeks before the last; for the buyers of the last each puts the same candidates in order, by purchases alone and
by weighted goals. A page of 12 is judged twice: by what was bought without being shown anything (MAP@12), and by
what the shop's truth says would come of showing it: the expected views, carts and purchases of a customer, each
position looked at as the shop's customers do, and the goal, their sum by weight, with an interval of the
paired difference to the ranker that knows purchases alone.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.split import weeks_before
from pipelines.data.synthetic import Shop
from pipelines.evaluation.evaluation import Fold
from pipelines.evaluation.metrics import bootstrap, measure
from pipelines.feature_tables import latest_build
from pipelines.model_catalog import RELEASE
from pipelines.recommender import customer_state
from pipelines.retrievers.base import top
from pipelines.steady_features import SteadyFeatures
from pipelines.training import fit_ranker, fit_unranked, training_set
from pipelines.warehouse import reading

GOALS: dict[str, dict[str, float]] = {
    "purchase": {"purchase": 1.0},
    "weighted": {"purchase": 1.0, "cart": 0.3, "view": 0.1},
    "views": {"view": 1.0},
}
GOAL = GOALS["weighted"]
BASE = "gradient_boosting, purchase"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("shop", type=Path)
    asked.add_argument("--weeks", type=int, default=6, help="weeks to learn from")
    asked.add_argument("--customers", type=int, default=1_500)
    asked.add_argument("--learners", type=int, default=2_000, help="customers of each week")
    given = asked.parse_args()
    shop = Shop.open(given.shop)
    end = latest_build().end
    (week,) = weeks_before(end, 1)
    settings = replace(
        RELEASE,
        training_weeks=given.weeks,
        training_customers=given.learners,
        negatives={"candidates": 100},
        rerankers={},
    )
    with reading() as con:
        rows = training_set(con, weeks_before(week.start, given.weeks), settings, print)
        fold = Fold.of(con, week, given.customers)
        plain = fit_unranked(con, week.start, settings)
    rankers = {
        "gradient_boosting": fit_ranker(rows, settings),
        "multi_task, taught purchases alone": fit_ranker(
            replace(rows, without=("label_cart", "label_view")),
            replace(settings, ranker="multi_task"),
        ),
        "multi_task": fit_ranker(rows, replace(settings, ranker="multi_task")),
    }
    pages: dict[str, list[pd.DataFrame]] = {}
    features = SteadyFeatures(week.moment)
    for start in range(0, len(fold), 500):
        state = customer_state(list(fold.customers[start : start + 500]), features)
        found = features.read(plain.candidates(state, week.moment), "ranking")
        for name, ranker in rankers.items():
            for goal, weights in GOALS.items():
                if set(weights) <= set(ranker.objectives):
                    whole = replace(plain, ranker=ranker).ranked(found, state, weights)
                    pages.setdefault(f"{name}, {goal}", []).append(top(whole, 12))
    judged = {name: _judged(pd.concat(parts), fold, shop) for name, parts in pages.items()}
    print(f"\n{len(fold):,} buyers of the week from {week.start}; goal = {_said(GOAL)}\n")
    print(
        "| ranker, put in order by | MAP@12 | views | carts | purchases | goal | less the first |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, values in judged.items():
        means = bootstrap(values.assign(week=""))
        change = values.set_index("customer_id") - judged[BASE].set_index("customer_id")
        more = bootstrap(change.reset_index().assign(week=""))["goal"]
        cells = " | ".join(
            f"{means[m]['mean']:.4f}" for m in ("map", "view", "cart", "purchase", "goal")
        )
        print(
            f"| {name} | {cells} | {more['mean']:+.4f} ({more['low']:+.4f} to {more['high']:+.4f}) |"
        )


def _judged(pages: pd.DataFrame, fold: Any, shop: Shop) -> pd.DataFrame:
    """customer_id, map, view, cart, purchase and goal of each customer."""
    values = measure(pages, fold.truth)["MAP@12"].rename("map")
    answer = shop.response(
        list(pages["customer_id"]),
        list(pages["article_id"]),
        fold.week,
        pages["rank"].to_numpy("int64"),
    )
    expected = pd.DataFrame(
        {
            kind: np.asarray(getattr(answer, kind), "float64")
            for kind in ("view", "cart", "purchase")
        }
    ).assign(customer_id=pages["customer_id"].to_numpy())
    sums = expected.groupby("customer_id").sum().reindex(values.index, fill_value=0.0)
    goal = sum(weight * sums[kind] for kind, weight in GOAL.items())
    return pd.concat([values, sums], axis=1).assign(goal=goal).reset_index()


def _said(weights: Mapping[str, float]) -> str:
    return " + ".join(f"{weight:g} x {name}" for name, weight in weights.items())


if __name__ == "__main__":
    main()
