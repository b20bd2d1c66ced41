"""Every ranker beside the oracle of a made-up shop: the share of what can be known that each reaches.

    LOOKBOOK_HOME=... python benchmarks/rankers_and_oracle.py SHOP [--weeks 6] [--learners 2000] [--customers 3000]

SHOP is the folder of the made-up shop that is loaded at LOOKBOOK_HOME. The last week is judged; rankers learn from
--weeks weeks before it of --learners customers each, 100 candidates of each that were not bought.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pipelines.evaluation.evaluation import MERGED, ORACLE, RELEASE_NAME
from pipelines.evaluation.weekly import evaluate
from pipelines.feature_tables import latest_build
from pipelines.model_catalog import RANKERS, RELEASE


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("shop", type=Path)
    asked.add_argument("--weeks", type=int, default=6)
    asked.add_argument("--learners", type=int, default=2_000)
    asked.add_argument("--customers", type=int, default=3_000)
    given = asked.parse_args()
    settings = replace(
        RELEASE,
        training_weeks=given.weeks,
        training_customers=given.learners,
        negatives={"candidates": 100},
        rerankers={},
    )
    others = [name for name in RANKERS if name != settings.ranker]
    found = evaluate(
        latest_build().through,
        weeks=1,
        models=[ORACLE, RELEASE_NAME, *others, MERGED, "repurchase_then_popular", "popular"],
        settings=settings,
        truth=given.shop,
        customers=given.customers,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    best = found.models[ORACLE]["MAP@12"]["mean"]
    groups = found.segments["history"]
    print(f"{found.customers:,} buyers of the week from {found.weeks[0]}; 95% intervals\n")
    heads = [f"MAP@12 of {name} ({of['customers']:,})" for name, of in groups.items()]
    print(
        "| | MAP@12 | of the oracle's | recall@12 | NE | calibration | " + " | ".join(heads) + " |"
    )
    print("|---|" + "---|" * (5 + len(heads)))
    for name, values in found.models.items():
        ranker = found.rankers.get(name, {})
        said = [f"{ranker[m]['mean']:.3f}" if m in ranker else "" for m in ("NE", "calibration")]
        of_groups = [f"{of['models'][name]['MAP@12']['mean']:.4f}" for of in groups.values()]
        precision, recall = values["MAP@12"], values["recall@12"]
        cells = [
            f"{precision['mean']:.4f} ({precision['low']:.4f} to {precision['high']:.4f})",
            f"{precision['mean'] / best:.0%}",
            f"{recall['mean']:.4f}",
            *said,
            *of_groups,
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
