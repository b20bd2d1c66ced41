"""How well each method does on a made-up shop with H&M's catalogue, from the simplest to the oracle.

    python benchmarks/order_of_methods.py            # 30% of H&M's customers: prints the table of docs/benchmarks.md
    python benchmarks/order_of_methods.py 0.1        # another share; fewer customers, wider intervals

The catalogue has H&M's 105,542 articles whatever the share, for what makes the task hard is how many
there are to choose from. The last week is the test. Works in a temporary folder, which is removed;
takes about an hour on 2 cores.
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

SHARE = 0.3
ORDER = (
    "popular",
    "last_basket_then_popular",
    "repurchase_then_popular",
    "co_purchase_then_popular",
    "release",
    "oracle",
)
METRIC = "MAP@12"


def main() -> None:
    share = float(sys.argv[1]) if len(sys.argv) > 1 else SHARE
    with tempfile.TemporaryDirectory(prefix="lookbook-order-") as folder:
        os.environ["LOOKBOOK_HOME"] = f"{folder}/home"
        _run(Path(folder) / "shop", share)


def _run(shop: Path, share: float) -> None:
    from pipelines import feature_tables, features
    from pipelines.data.load import load
    from pipelines.data.synthetic import like_hm, synthesize
    from pipelines.evaluation.weekly import evaluate

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    made = synthesize(shop, **{**like_hm(), "customers": like_hm(share)["customers"]})
    say(f"{made.transactions:,} transactions")
    load(str(shop), progress=say)
    built = feature_tables.build(progress=say)
    features.apply()
    found = evaluate(built.through, weeks=1, models=ORDER, truth=shop, progress=say)

    print(
        f"{made.customers:,} customers, {made.articles:,} articles, {made.transactions:,} transactions; "
        f"the week from {found.weeks[0]}, {found.customers:,} buyers; 95% intervals.\n"
    )
    print(f"| model | {METRIC} | better than the one above by (paired) |\n|---|---|---|")
    for name, before in zip(ORDER, (None, *ORDER), strict=False):
        value = found.models[name][METRIC]
        gain = found.difference(name, before)[METRIC] if before else None
        print(f"| {name} | {_interval(value)} | {_interval(gain) if gain else ''} |")
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _interval(value: dict[str, float]) -> str:
    return f"{value['mean']:.4f} ({value['low']:.4f} to {value['high']:.4f})"


if __name__ == "__main__":
    main()
