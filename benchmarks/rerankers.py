"""What re-ranking a customer's 200 candidates to 12 costs, and that the quick ways give the right answers.

    python benchmarks/rerankers.py                    # vectors of 64 and 96 dimensions
    python benchmarks/rerankers.py --candidates 500 --page 24
    python benchmarks/rerankers.py --prices 2020-09-16        # what each costs and gives, in a loaded shop


On one core. An assortment of 50,000 made-up articles, vectors that lie in 200 clumps, customers who bought 50
articles. Beside the DPP stands a greedy choice that computes every determinant anew, and beside
MMR the loop of its paper; both must choose the same.

--prices trains retrievers and a ranker on what came before a week (--weeks weeks of --learners customers
each), re-ranks the 200 best candidates of a sample of its buyers in every way, and prints the price curves; with
--figures FOLDER it draws them there.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from pipelines.article_facts import GROUPS, ArticleFacts
from pipelines.assortment import Assortment
from pipelines.rerankers import make_chain, make_reranker
from pipelines.rerankers.base import Bought, Reranker, Slate
from pipelines.retrievers.base import days_since_epoch

if TYPE_CHECKING:
    from pipelines.evaluation.price_curves import PriceCurves

ARTICLES = 50_000
CLUMPS = 200
BOUGHT = 50
SLATES = 300
COMPARED = 30
MOMENT = datetime(2020, 9, 16, tzinfo=UTC)
RULES = {
    "bought": "push_down",
    "bought_days": 30,
    "caps": [["product", 1], ["product_group", 4], ["colour", 5]],
    "slots": [3, 9],
}
STEPS = {
    "dpp": {},
    "mmr": {},
    "freshness": {},
    "calibrated": {},
    "exposure": {},
    "business_rules": RULES,
}

CHAIN = ("freshness", "exposure", "calibrated", "dpp", "business_rules")

COLUMNS = {
    "MAP@12": ("MAP@12", "{:.4f}"),
    "recall@12": ("recall@12", "{:.4f}"),
    "revenue@12": ("revenue@12", "{:.5f}"),
    "diversity@12": ("distance", "{:.3f}"),
    "log_det@12": ("log det", "{:.3f}"),
    "coverage@12": ("coverage", "{:.1%}"),
    "exposure_gini@12": ("Gini", "{:.3f}"),
    "freshness@12": ("new", "{:.1%}"),
    "days_on_sale@12": ("days on sale", "{:.0f}"),
    "novelty@12": ("novelty, bits", "{:.2f}"),
    "miscalibration@12": ("KL to taste", "{:.3f}"),
    "gap of MAP@12 by age": ("gap of ages", "{:.4f}"),
}
"""Metric -> heading and how it is written."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--candidates", type=int, default=200)
    words.add_argument("--page", type=int, default=12)
    words.add_argument("--dimensions", default="64,96", help="of the articles' vectors, by commas")
    words.add_argument("--prices", type=date.fromisoformat, help="first day of a week")
    words.add_argument("--weeks", type=int, default=3, help="that the ranker learns from")
    words.add_argument("--learners", type=int, default=1_500, help="customers of each of them")
    words.add_argument("--customers", type=int, default=3_000, help="buyers who are asked about")
    words.add_argument("--figures", type=Path, help="a folder")
    asked = words.parse_args()
    if asked.prices:
        _prices(asked)
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.reranking_twins import greedy_by_determinants, mmr_by_the_book

    dimensions = [int(d) for d in asked.dimensions.split(",")]
    times: dict[str, list[float]] = {}
    same: dict[str, list[str]] = {}
    for width in dimensions:
        slates = _slates(width, asked.candidates)
        rerankers: dict[str, Reranker] = {
            name: make_reranker(name, settings) for name, settings in STEPS.items()
        }
        rerankers["five of them in a chain"] = make_chain([(name, STEPS[name]) for name in CHAIN])
        for name, reranker in rerankers.items():
            times.setdefault(name, []).append(_milliseconds(reranker, slates, asked.page))
        for name, twin in (("dpp", greedy_by_determinants), ("mmr", mmr_by_the_book)):
            same.setdefault(name, []).append(_compared(rerankers[name], twin, slates, asked.page))
    heads = " | ".join(f"{width} dimensions" for width in dimensions)
    print(
        f"Median ms of processor time of {asked.candidates} candidates to {asked.page}, on one core.\n"
    )
    print(f"| re-ranker | {heads} | the slow way chooses |")
    print(f"|---|{'---|' * (len(dimensions) + 1)}")
    for name, found in times.items():
        cells = " | ".join(f"{ms:.2f}" for ms in found)
        print(f"| `{name}` | {cells} | {'; '.join(dict.fromkeys(same.get(name, [])))} |")
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _prices(asked: argparse.Namespace) -> None:
    from pipelines.data.split import Week
    from pipelines.evaluation.price_curves import measure_prices
    from pipelines.model_catalog import RELEASE
    from pipelines.recommender import Recommender
    from pipelines.training import fit_ranker, fit_retrievers, training_set, training_weeks
    from pipelines.warehouse import reading

    settings = replace(RELEASE, training_weeks=asked.weeks, training_customers=asked.learners)
    with reading() as con:
        rows = training_set(con, training_weeks(asked.prices, settings), settings, _say)
        recommender = Recommender(
            fit_retrievers(con, asked.prices, settings.retrievers),
            settings.per_source,
            fit_ranker(rows, settings),
            settings.weights,
        )
        found = measure_prices(
            con, recommender, Week(asked.prices), customers=asked.customers, progress=_say
        )
    print_prices(found)
    if asked.figures:
        asked.figures.mkdir(parents=True, exist_ok=True)
        for metric, figure in found.figures().items():
            figure.savefig(asked.figures / f"{metric.replace('@', '_')}.svg")
        (asked.figures / "prices.json").write_text(json.dumps(found.to_dict(), indent=1))


def print_prices(found: "PriceCurves") -> None:
    """Markdown: a row for each strength, with the change of MAP and its interval."""
    print(
        f"{found.customers:,} customers, {found.candidates:.0f} candidates of each; in brackets the 95% "
        "interval of the difference to the ranker's order, paired.\n"
    )
    columns = [name for name in COLUMNS if name in found.start.metrics]
    print(f"| re-ranker | strength | {' | '.join(COLUMNS[name][0] for name in columns)} |")
    print(f"|---|---|{'---|' * len(columns)}")
    for row in found.rows:
        cells = [COLUMNS[name][1].format(row.metrics[name]["mean"]) for name in columns]
        if row.reranker != found.start.reranker:
            change = row.changes["MAP@12"]
            cells[0] += f" ({change['low']:+.4f} to {change['high']:+.4f})"
        print(f"| {row.reranker} | {row.strength:.3g} | {' | '.join(cells)} |")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _milliseconds(reranker: Reranker, slates: list[Slate], k: int) -> float:
    found = []
    for slate in slates:
        started = time.thread_time()
        # A new slate each time, for it costs too, and remembers its vectors.
        again = Slate.of(
            slate.ids,
            slate.facts,
            slate.moment,
            chance=slate.relevance,
            bought=slate.bought,
            sponsored=slate.sponsored,
        )
        reranker.order(again, k)
        found.append(time.thread_time() - started)
    return 1000 * float(np.median(found))


def _compared(
    reranker: Reranker,
    twin: Callable[[Slate, float, int], list[int]],
    slates: list[Slate],
    k: int,
) -> str:
    strength = float(reranker.settings()["strength"])
    some = slates[:COMPARED]
    alike = sum(reranker.order(slate, k)[:k].tolist() == twin(slate, strength, k) for slate in some)
    return f"the same on {alike} of {len(some)} pages"


def _slates(width: int, candidates: int) -> list[Slate]:
    rng = np.random.default_rng(7)
    facts = _facts(width, rng)
    ids = facts.assortment.ids
    slates = []
    for _ in range(SLATES):
        bought = rng.choice(ARTICLES, BOUGHT, replace=False)
        listed = rng.choice(ARTICLES, candidates, replace=False)
        slates.append(
            Slate.of(
                ids[listed],
                facts,
                MOMENT,
                chance=rng.exponential(0.01, candidates).clip(max=1),
                bought=Bought(ids[bought], rng.uniform(1, 300, BOUGHT), np.ones(BOUGHT)),
                sponsored=list(ids[listed[-3:]]),
            )
        )
    return slates


def _facts(width: int, rng: np.random.Generator) -> ArticleFacts:
    centres = rng.normal(size=(CLUMPS, width))
    vectors = centres[rng.integers(CLUMPS, size=ARTICLES)] + rng.normal(size=(ARTICLES, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sizes = {"product": ARTICLES // 2, "product_type": 130, "product_group": 19, "colour": 50}
    sizes |= {"department": 300, "index_group": 5}
    sold = rng.pareto(1.0, ARTICLES)
    on_sale = np.ones(ARTICLES, dtype=bool)
    return ArticleFacts(
        Assortment(
            np.array([f"{n:010}" for n in range(ARTICLES)], dtype=object), on_sale, ~on_sale
        ),
        vectors.astype("float32"),
        {kind: rng.integers(sizes[kind], size=ARTICLES).astype("int32") for kind in GROUPS},
        {kind: [str(n) for n in range(sizes[kind])] for kind in GROUPS},
        days_since_epoch(MOMENT) - rng.exponential(200, ARTICLES),
        rng.gamma(2, 0.01, ARTICLES),
        sold / sold.sum(),
    )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
