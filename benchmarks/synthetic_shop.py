"""How long a made-up shop takes, and how much memory, from a hundredth of H&M's size to all of it.

    python benchmarks/synthetic_shop.py            # prints the table of docs/benchmarks.md
    python benchmarks/synthetic_shop.py 0.01 0.1   # only these shares of H&M's size

Every run is a process of its own, and its folder is removed afterwards: about 2 GB of disk at most.
Each size is made with transactions alone, and with 28 days of interactions.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

import steps

SHARES = (0.01, 0.1, 0.3, 1.0)
LOGGED_DAYS = 28
TIMES = 3
"""Runs of each size up to a tenth; the one of median time counts. Larger ones are made once."""


def main() -> None:
    shares = [float(text) for text in sys.argv[1:]] or list(SHARES)
    print(
        "| share of H&M | customers | articles | transactions | seconds | peak memory |"
        " interactions | seconds with them | peak memory | on disk |"
    )
    print(f"|{'---|' * 10}")
    for share in shares:
        alone = _median(share, 0)
        logged = _median(share, LOGGED_DAYS)
        print(
            f"| {share:.0%} | {alone['customers']:,.0f} | {alone['articles']:,.0f} "
            f"| {alone['transactions']:,.0f} | {alone['seconds']:.0f} | {alone['gigabytes']:.1f} GB "
            f"| {logged['interactions']:,.0f} | {logged['seconds']:.0f} "
            f"| {logged['gigabytes']:.1f} GB | {logged['disk']:.2f} GB |",
            flush=True,
        )
    print(
        f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; "
        f"up to a tenth the run of median time of {TIMES}, one run above."
    )


def _median(share: float, days: int) -> dict[str, float]:
    runs = [steps.run(__file__, "one", share, days) for _ in range(1 if share > 0.1 else TIMES)]
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def _one(share: float, days: int) -> None:
    from pipelines.data.synthetic import like_hm, synthesize

    folder = Path(tempfile.mkdtemp(prefix="lookbook-synthetic-"))
    try:
        started = time.perf_counter()
        made = synthesize(folder / "shop", **like_hm(share), interactions=days)
        seconds = time.perf_counter() - started
        disk = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e9
    finally:
        shutil.rmtree(folder)
    steps.answer(
        customers=made.customers,
        articles=made.articles,
        transactions=made.transactions,
        interactions=made.interactions,
        seconds=seconds,
        disk=disk,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        _one(float(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
