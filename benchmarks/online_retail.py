"""How good the recommender is on Online Retail: four weekly folds, beside its retrievers and baselines;
then the retrievers alone and together.

    python benchmarks/online_retail.py            # prints tables of docs/benchmarks.md and docs/retrieval.md

Works in a temporary home, or in LOOKBOOK_HOME if it is set. Takes an hour on 2 cores.
"""

import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from retrieval import NEURAL

from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS

DATA = Path(__file__).parents[1] / "data" / "online_retail.parquet"

REFERENCE = {
    "popular last week": (0.056, 0.067),
    "item-kNN cosine (implicit)": (0.087, 0.103),
    "EASE (RecTools)": (0.116, 0.134),
    "item-kNN BM25 (implicit)": (0.144, 0.168),
    "PureSVD 64 (RecTools)": (0.145, 0.151),
    "repurchase, exponential decay of 30 days": (0.160, 0.189),
}
"""MAP@12 and recall@12 of others on the same folds, measured once elsewhere."""
THREE = ("repurchase", "ease", "popular_by_postal_code")
"""What a union of few needs on these data (docs/retrieval.md)."""


def main() -> None:
    if "LOOKBOOK_HOME" not in os.environ:
        os.environ["LOOKBOOK_HOME"] = tempfile.mkdtemp(prefix="lookbook-online-retail-")
    from pipelines import feature_tables, features
    from pipelines.content.embedding import embed
    from pipelines.data.load import load

    load(f"online-retail:{DATA}", progress=_say)
    embed(progress=_say)
    last_day = feature_tables.build(progress=_say).through
    features.apply()
    sys.stdout.reconfigure(line_buffering=True)
    _models(last_day)
    _retrievers(last_day)
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _models(last_day: date) -> None:
    from pipelines.evaluation.weekly import evaluate, usual_names

    started = time.perf_counter()
    # The release's ranker is the release; the same table has every other.
    rankers = [name for name in RANKERS if name != RELEASE.ranker]
    found = evaluate(last_day, weeks=4, models=[*usual_names(), *rankers], progress=_say)
    seconds = time.perf_counter() - started
    metrics = ["MAP@12", "recall@12", "recall@100", "NDCG@12", "hit_rate@12"]
    print(
        f"Weeks from {', '.join(map(str, found.weeks))}; {found.customers:,} customers; 95% intervals; "
        f"{seconds:.0f} s for all models and weeks.\n"
    )
    print(f"| model | {' | '.join(metrics)} |")
    print(f"|---|{'---|' * len(metrics)}")
    for name, values in found.models.items():
        known = [values[metric] for metric in metrics]
        cells = [f"{v['mean']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in known]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, (precision, recall) in REFERENCE.items():
        print(f"| *{name}* | {precision:.3f} | {recall:.3f} |" + " |" * (len(metrics) - 2))


def _retrievers(last_day: date) -> None:
    """Each of the classical ones; the release's mix; and a wider one of three."""
    from pipelines.evaluation.retrieval import PRECISION, RECALLS, UNION, judge_retrievers

    classical = [name for name in RETRIEVERS if name not in NEURAL]
    found = judge_retrievers(last_day, 4, classical, progress=_say)
    few = judge_retrievers(last_day, 4, list(THREE), per_source=200, progress=_say)
    together = ", ".join(THREE)
    rows = {name: found.judged[name] for name in (*found.together, *found.retrievers)} | {
        f"union of {together}, 200 each": few.judged[UNION]
    }
    headings = (PRECISION, *RECALLS)
    print(f"\n| retriever | {' | '.join(headings)} | candidates |")
    print(f"|---|{'---|' * len(headings)}---|")
    for name, judged in rows.items():
        cells = [f"{judged.metrics[at]['mean']:.3f}" for at in headings]
        print(f"| {name} | {' | '.join(cells)} | {judged.candidates:.0f} |")


if __name__ == "__main__":
    main()
