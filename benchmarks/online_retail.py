"""How good the recommender is on Online Retail: four weekly folds, beside its retrievers and baselines.

    python benchmarks/online_retail.py            # prints the table of docs/benchmarks.md

Works in a temporary home, or in LOOKBOOK_HOME if it is set. Takes some minutes on 2 cores.
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    if "LOOKBOOK_HOME" not in os.environ:
        os.environ["LOOKBOOK_HOME"] = tempfile.mkdtemp(prefix="lookbook-online-retail-")
    from pipelines import feature_tables, features
    from pipelines.data.load import load
    from pipelines.evaluation.weekly import evaluate

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    load(f"online-retail:{DATA}", progress=say)
    built = feature_tables.build(progress=say)
    features.apply()
    started = time.perf_counter()
    found = evaluate(built.through, weeks=4, progress=say)
    seconds = time.perf_counter() - started

    metrics = list(next(iter(found.models.values())))
    print(
        f"Weeks from {', '.join(map(str, found.weeks))}; {found.customers:,} customers; 95% intervals.\n"
    )
    print(f"| model | {' | '.join(metrics)} |")
    print(f"|---|{'---|' * len(metrics)}")
    for name, values in found.models.items():
        cells = [f"{v['mean']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for v in values.values()]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, (precision, recall) in REFERENCE.items():
        print(f"| *{name}* | {precision:.3f} | {recall:.3f} |" + " |" * (len(metrics) - 2))
    print(
        f"\n{seconds:.0f} s for all models and folds; {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    main()
