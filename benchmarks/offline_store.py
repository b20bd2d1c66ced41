"""Point-in-time joins: our offline store beside Feast's DuckDB store and what else can do them.

    python benchmarks/offline_store.py                # a fiftieth of the sizes: a minute
    python benchmarks/offline_store.py --scale 1      # all of it: half an hour, 10 GB of disk

Every case is asked of every method three times in processes of their own, one after another; equal
answers are required. Prints Markdown: the median time, how many times ours it is, and the peak
memory of the process. Polars is no dependency; to have it in the tables:

    pip install --target /tmp/polars polars && PYTHONPATH=/tmp/polars python benchmarks/...

Feast's store and the libraries read Parquet, ours and `ASOF JOIN` the same rows in a warehouse;
all give Arrow or their own frame. Memory that DuckDB may use as a cache is limited for ours to
`--memory-limit`, its setting in `feature_store.yaml`; Feast's store has none.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

FEATURES = 8


@dataclass(frozen=True)
class Case:
    title: str
    data: str
    """Cases with the same histories share them."""
    views: int
    rows: int
    depth: int
    """Rows for each key."""
    moments: int


CASES = {
    "wide": Case("many moments, five views", "wide", 5, 6_000_000, 60, 1_000_000),
    "deep": Case("a deep history", "deep", 1, 10_000_000, 200, 500_000),
    "few": Case("few moments, the same five views", "wide", 5, 6_000_000, 60, 10_000),
}
METHODS = {
    "ours": "Lookbook",
    "events": "Lookbook, history without intervals",
    "feast": "Feast's DuckDB store",
    "asof": "DuckDB `ASOF JOIN`",
    "pandas": "pandas `merge_asof`",
    "polars": "polars `join_asof`",
}


def names(view: int) -> list[str]:
    return [f"v{view}_f{number}" for number in range(FEATURES)]


def make(case: Case, folder: Path, scale: float) -> None:
    """The histories in a warehouse and as Parquet, and the moments asked for."""
    import duckdb

    keys = max(1, int(case.rows * scale) // case.depth)
    with duckdb.connect(str(folder / "warehouse.duckdb")) as con:
        con.execute("SELECT setseed(0.5)")
        if not (folder / "view_0.parquet").exists():
            con.execute("CREATE SCHEMA features")
            for view in range(case.views):
                # Counts and money, as features mostly are.
                values = ", ".join(
                    f"round(500 * random(), 2) AS {name}"
                    if n % 2
                    else f"CAST(100 * random() * random() AS BIGINT) AS {name}"
                    for n, name in enumerate(names(view))
                )
                step = 365 * 86_400 / case.depth
                con.execute(
                    f"CREATE TABLE features.view_{view} AS WITH begun AS ("
                    f"SELECT format('customer-{{:08d}}', k) AS customer_id, TIMESTAMP '2020-01-01' + "
                    f"to_seconds(CAST((n + 0.99 * random()) * {step} AS BIGINT)) AS valid_from "
                    f"FROM range({keys}) AS a(k), range({case.depth}) AS b(n)) "
                    "SELECT *, lead(valid_from) OVER (PARTITION BY customer_id ORDER BY valid_from) "
                    f"AS valid_to, valid_from AS created_at, {values} FROM begun ORDER BY ALL"
                )
                con.execute(
                    "COPY (SELECT * EXCLUDE (valid_to) REPLACE (valid_from::TIMESTAMPTZ AS valid_from, "
                    f"created_at::TIMESTAMPTZ AS created_at) FROM features.view_{view}) "
                    f"TO '{folder / f'view_{view}.parquet'}'"
                )
        moments = int(case.moments * scale)
        con.execute(
            f"COPY (SELECT n AS number, format('customer-{{:08d}}', CAST(random() * {keys} AS BIGINT)) "
            "AS customer_id, (TIMESTAMP '2020-01-01' + to_seconds(CAST(random() * 31536000 AS BIGINT)))"
            f"::TIMESTAMPTZ AS event_timestamp FROM range({moments}) AS a(n)) "
            f"TO '{folder / 'asked.parquet'}'"
        )


def feast_store(case: Case, folder: Path, method: str, options: argparse.Namespace) -> Any:
    """A Feast store over the histories: ours, or Feast's own."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    from feature_repo.stores.duckdb_source import DuckDBSource

    offline: dict[str, Any] = {"type": "duckdb"}
    if method != "feast":
        offline = {
            "type": "feature_repo.stores.duckdb_offline_store.DuckDBOfflineStore",
            "path": str(folder / "warehouse.duckdb"),
            "memory_limit": options.memory_limit,
            "threads": options.threads,
        }
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    views = []
    for view in range(case.views):
        times = {"timestamp_field": "valid_from", "created_timestamp_column": "created_at"}
        name = f"view_{view}"
        views.append(
            FeatureView(
                name=name,
                entities=[customer],
                ttl=timedelta(0),
                schema=[
                    Field(name="customer_id", dtype=String),
                    *(
                        Field(name=f, dtype=Float64 if n % 2 else Int64)
                        for n, f in enumerate(names(view))
                    ),
                ],
                source=FileSource(name=name, path=str(folder / f"{name}.parquet"), **times)
                if method == "feast"
                else DuckDBSource(
                    name=name,
                    table=f"features.{name}",
                    valid_to_field="valid_to" if method == "ours" else "",
                    **times,
                ),
            )
        )
    state = folder / f"registry_{method}"
    state.mkdir(exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(state / "registry.db"),
            offline_store=offline,
            online_store={"type": "sqlite", "path": str(state / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    store.apply([customer, *views])
    return store


def prepare(
    case: Case, folder: Path, method: str, options: argparse.Namespace
) -> Callable[[], Any]:
    """Everything but the join itself; the call gives a frame or a table with `number`."""
    asked = folder / "asked.parquet"
    histories = [folder / f"view_{view}.parquet" for view in range(case.views)]
    if method in ("ours", "events", "feast"):
        import pandas as pd

        store = feast_store(case, folder, method, options)
        wanted = [f"view_{view}:{name}" for view in range(case.views) for name in names(view)]
        frame = pd.read_parquet(asked)
        return lambda: store.get_historical_features(entity_df=frame, features=wanted).to_arrow()
    if method == "asof":
        from feature_repo.stores.connection import connect

        con = connect(
            folder / "warehouse.duckdb", memory_limit=options.memory_limit, threads=options.threads
        )
        joins = " ".join(
            f"ASOF LEFT JOIN features.view_{view} AS v{view} ON v{view}.customer_id = asked.customer_id "
            f"AND v{view}.valid_from <= asked.moment"
            for view in range(case.views)
        )
        columns = ", ".join(f"v{v}.{name}" for v in range(case.views) for name in names(v))
        return con.sql(
            f"SELECT asked.number, {columns} FROM (SELECT *, event_timestamp::TIMESTAMP AS moment "
            f"FROM '{asked}') AS asked {joins} ORDER BY number"
        ).to_arrow_table
    if method == "pandas":
        import pandas as pd

        def merged() -> Any:
            left = pd.read_parquet(asked).sort_values("event_timestamp")
            for file in histories:
                right = pd.read_parquet(file).drop(columns="created_at").sort_values("valid_from")
                left = pd.merge_asof(
                    left, right, left_on="event_timestamp", right_on="valid_from", by="customer_id"
                ).drop(columns="valid_from")
            return left

        return merged
    import polars as pl

    def joined() -> Any:
        left = pl.read_parquet(asked).sort("event_timestamp")
        for file in histories:
            right = pl.read_parquet(file).drop("created_at").sort("valid_from")
            left = left.join_asof(
                right,
                left_on="event_timestamp",
                right_on="valid_from",
                by="customer_id",
                strategy="backward",
                check_sortedness=False,
            ).drop("valid_from")
        return left.to_arrow()

    return joined


def work(case: Case, folder: Path, method: str, options: argparse.Namespace) -> None:
    """Join once; print the seconds, the peak of memory and a digest of the answer."""
    import pandas as pd

    ask = prepare(case, folder, method, options)
    before, used = time.perf_counter(), time.process_time()
    found = ask()
    seconds, cpu = time.perf_counter() - before, time.process_time() - used
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    frame = found if isinstance(found, pd.DataFrame) else None
    if frame is None:
        wanted = [name for name in found.column_names if name == "number" or name[0] == "v"]
        frame = found.select(wanted).to_pandas()
    frame = frame.sort_values("number")
    digest = hashlib.sha256()
    for view in range(case.views):
        for name in names(view):
            digest.update(frame[name].to_numpy("float64", na_value=float("nan")).tobytes())
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak, "answer": digest.hexdigest()}))


def measure(name: str, method: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    ran = subprocess.run(
        [
            *(sys.executable, __file__, "--worker", name, method, str(folder)),
            *("--memory-limit", options.memory_limit, "--threads", str(options.threads)),
        ],
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{METHODS[method]} failed on {name}:\n{ran.stderr[-3000:]}")
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=float, default=0.02, help="of all sizes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--memory-limit", default="1GB", help="of our store's DuckDB")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the data here, and use what is there")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, method, place = options.worker
        work(CASES[name], Path(place), method, options)
        return
    methods = [m for m in options.methods if m != "polars" or find_spec("polars")]
    with TemporaryDirectory() as temporary:
        for name in options.cases:
            case = CASES[name]
            folder = (options.folder or Path(temporary)) / f"{case.data}_{options.scale}"
            folder.mkdir(parents=True, exist_ok=True)
            make(case, folder, options.scale)
            show(name, methods, folder, options)


def show(name: str, methods: list[str], folder: Path, options: argparse.Namespace) -> None:
    case = CASES[name]
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in methods}
    for _ in range(options.repeats):
        for method in methods:
            runs[method].append(measure(name, method, folder, options))
    answers = {method: {run["answer"] for run in found} for method, found in runs.items()}
    if len(set.union(*answers.values())) > 1:
        raise SystemExit(f"{name}: the answers differ: {answers}")
    history = f"{int(case.rows * options.scale):,} rows"
    print(f"\n### {case.title[0].upper()}{case.title[1:]}\n")
    print(
        f"{int(case.moments * options.scale):,} moments, {case.views} "
        f"{'view' if case.views == 1 else 'views'} of {FEATURES} features, {history} each, "
        f"{case.depth} for each key; equal answers.\n"
    )
    print("| method | seconds | times ours | CPU seconds | times ours | peak memory |")
    print("|---|---|---|---|---|---|")
    middle = {
        method: {key: median(run[key] for run in found) for key in ("seconds", "cpu", "peak")}
        for method, found in runs.items()
    }
    ours = middle[methods[0]]
    for method, run in middle.items():
        cells = [METHODS[method]]
        for key in ("seconds", "cpu"):
            cells += [f"{run[key]:.2f}", f"{run[key] / ours[key]:.1f}"]
        print(f"| {' | '.join(cells)} | {run['peak'] / 2**20:.1f} GB |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
