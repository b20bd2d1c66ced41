"""What the registry costs: opening a release cold, moving aliases, and asking which one serves.

    python benchmarks/registry.py                     # the release in production of LOOKBOOK_HOME, as `make demo` makes it
    python benchmarks/registry.py --turns 9 --peers PYTHON

Cold is a new process whose files are out of the disk's cache: `imports` until the code is there, `load` until the
recommender could answer, every file checked against its SHA-256, and its first answer. Moving is done in a copy of the
home's registry, so nothing of the home changes.

--peers names the Python of an environment with mlflow: the same aliases moved in its registry on SQLite, in
the same run.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from feature_repo import places

COLD = """
import json, time
started = time.perf_counter()
from pipelines.model_registry import release
from pipelines.model_registry.composing import load_recommender
from pipelines.online import online_moment
from pipelines.features import OnlineFeatures
imported = time.perf_counter()
recommender, sample = load_recommender(release.get("production"))
loaded = time.perf_counter()
moment = online_moment()
recommender.recommend([sample[0]["customer_id"]], OnlineFeatures(moment), moment, 12)
answered = time.perf_counter()
print(json.dumps([imported - started, loaded - imported, answered - loaded]))
"""
PEER = """
import json, sys, tempfile, time
from mlflow import MlflowClient
with tempfile.TemporaryDirectory() as room:
    client = MlflowClient(f"sqlite:///{room}/mlflow.db")
    run = client.create_run(client.create_experiment("x")).info.run_id
    client.create_registered_model("x")
    versions = [client.create_model_version("x", f"runs:/{run}/m", run).version for _ in range(2)]
    took = {"move": [], "ask": []}
    for turn in range(int(sys.argv[1])):
        started = time.perf_counter()
        client.set_registered_model_alias("x", "production", versions[turn % 2])
        took["move"].append(time.perf_counter() - started)
        started = time.perf_counter()
        client.get_model_version_by_alias("x", "production")
        took["ask"].append(time.perf_counter() - started)
    print(json.dumps(took))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="cold starts (5)")
    parser.add_argument("--moves", type=int, default=50, help="promotions (50)")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with mlflow")
    chosen = parser.parse_args()
    from pipelines.model_registry import release

    now = release.get("production")
    size = sum(part.size for part in now.open_parts().values())
    print(
        f"{now.tag}: {len(now.parts)} parts, {size / 1e6:.1f} MB; {os.cpu_count()} cores, {platform.machine()}"
    )
    print("\n| step | median | slowest |\n|---|---|---|")
    steps = list(zip(*(cold() for _ in range(chosen.turns)), strict=True))
    for name, took in zip(("imports", "load, cold", "first answer"), steps, strict=True):
        said(name, took)
    with tempfile.TemporaryDirectory() as room:
        shutil.copytree(places.models_folder(), Path(room) / "models", symlinks=True)
        os.environ["LOOKBOOK_HOME"] = room
        moved(chosen.moves)
    if chosen.peers:
        command = [chosen.peers, "-c", PEER, str(chosen.moves)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        took = json.loads(done.stdout.splitlines()[-1])
        said("mlflow on SQLite: move an alias (no files checked, no history)", took["move"])
        said("mlflow on SQLite: ask for one", took["ask"])


def cold() -> list[float]:
    """Seconds of imports, load and first answer in a new process, the home's files out of the cache."""
    for folder in (places.models_folder(), places.home() / "online"):
        for file in folder.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COLD], capture_output=True, text=True, check=True
    )
    return list(map(float, json.loads(done.stdout.splitlines()[-1])))


def moved(moves: int) -> None:
    """Promote, roll back and ask, in a registry of its own."""
    from pipelines.model_registry import release

    first = release.get("production")
    other = release.create(first.parts, first.settings, first.lineage, {}).tag
    took: dict[str, list[float]] = {"promote": [], "roll back": [], "ask which one serves": []}

    def timed(name: str, what: Callable[[], object]) -> None:
        started = time.perf_counter()
        what()
        took[name].append(time.perf_counter() - started)

    for _ in range(moves):
        timed("promote", lambda: release.promote(other))
        timed("ask which one serves", lambda: release.resolve("production"))
        timed("roll back", release.rollback)
    for name, seconds in took.items():
        said(name, seconds)


def said(name: str, seconds: "list[float] | tuple[float, ...]") -> None:
    print(f"| {name} | {1e3 * statistics.median(seconds):,.1f} ms | {1e3 * max(seconds):,.1f} ms |")


if __name__ == "__main__":
    main()
