"""The file for every customer: seconds for a million pairs of customer and article, and what a kill costs.

    LOOKBOOK_HOME=HOME python benchmarks/whole_file.py                   # 5,000 customers of a shop with a release
    LOOKBOOK_HOME=HOME python benchmarks/whole_file.py --customers 0     # every customer
    LOOKBOOK_HOME=HOME python benchmarks/whole_file.py --batches 500,1000,2000

Customers are drawn evenly from the shop's. For each size of batch the file is written by a process of its own, for
its peak of memory. Then it is written again by processes that are killed, at a moment of their own each
time, until one comes to its end; its bytes must be those of the run that nobody killed.
"""

import argparse
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import steps

SCORED = ("candidates", "features", "rank", "rerank", "writing")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--customers", type=int, default=5_000, help="how many; 0 is all")
    words.add_argument("--batches", default="2000", help="customers answered at a time, by commas")
    words.add_argument("--kills", type=int, default=3, help="how often a run is killed")
    asked = words.parse_args()
    sizes = [int(size) for size in asked.batches.split(",")]
    with tempfile.TemporaryDirectory(prefix="lookbook-file-") as folder:
        customers = Path(folder) / "customers.csv"
        counted = steps.run(__file__, "draw", customers, asked.customers)
        print(f"{counted['drawn']:,.0f} of {counted['customers']:,.0f} customers\n")
        print(
            "| batch | pairs | wall | CPU | CPU for a million pairs | peak memory | "
            f"{' | '.join(SCORED)} |"
        )
        print(f"|{'---|' * (6 + len(SCORED))}")
        for size in sizes:
            out = Path(folder) / f"whole-{size}.csv"
            found = steps.run(__file__, "write", out, customers, size)
            pairs = found["pairs"] / 1e6
            cells = [
                f"{size:,}",
                f"{pairs:.2f}M",
                f"{found['seconds']:.0f} s",
                f"{found['cpu']:.0f} s",
                f"{found['cpu'] / pairs:.1f} s",
                f"{found['gigabytes']:.1f} GB",
                *(f"{found.get(stage, 0) / found['staged']:.0%}" for stage in SCORED),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
        killed = _killed(Path(folder), customers, sizes[-1], asked.kills, found["seconds"])
        same = killed.read_bytes() == (Path(folder) / f"whole-{sizes[-1]}.csv").read_bytes()
        assert same, "a run that was killed wrote other bytes"
        print(
            f"\nKilled {asked.kills} times and run again: the same {killed.stat().st_size:,} bytes."
        )
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _killed(folder: Path, customers: Path, size: int, kills: int, seconds: float) -> Path:
    """The file of runs of which all but the last were killed."""
    out = folder / "killed.csv"
    moments = random.Random(7)
    for number in range(kills + 1):
        process = subprocess.Popen(
            [sys.executable, __file__, "write", str(out), str(customers), str(size)],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[1],
        )
        if number < kills:
            time.sleep(seconds * moments.uniform(0.3, 0.9))
            process.kill()
        process.wait()
        if out.exists():
            break
    return out


def draw(out: str, most: str) -> None:
    """Customers, evenly."""
    from pipelines.warehouse import reading

    with reading() as con:
        ids = [row[0] for row in con.sql("FROM staging.customers ORDER BY 1").fetchall()]
    drawn = ids[:: max(1, len(ids) // int(most))][: int(most)] if int(most) else ids
    Path(out).write_text("\n".join(["customer_id", *drawn]) + "\n")
    steps.answer(customers=len(ids), drawn=len(drawn))


def write(out: str, customers: str, size: str) -> None:
    """The file, and where its time went."""
    from pipelines.recommender import Recommender
    from pipelines.recommending import to_file

    counted = 0
    candidates = Recommender.candidates

    def counting(self, *given, **more):
        nonlocal counted
        found = candidates(self, *given, **more)
        counted += len(found)
        return found

    Recommender.candidates = counting
    stages: dict[str, float] = {}
    started, cpu = time.perf_counter(), time.process_time()
    to_file(
        Path(out),
        k=12,
        customers=Path(customers),
        batch=int(size),
        stages=stages,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    steps.answer(
        seconds=time.perf_counter() - started,
        cpu=time.process_time() - cpu,
        pairs=counted,
        staged=sum(stages.values()),
        **stages,
    )


if __name__ == "__main__":
    verbs = {"draw": draw, "write": write}
    verbs[sys.argv[1]](*sys.argv[2:]) if sys.argv[1:2] and sys.argv[1] in verbs else main()
