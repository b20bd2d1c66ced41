"""The online store beside Feast's SQLite store: features brought there, read, and their bytes on disk.

    python benchmarks/online_store.py                    # 100,000 articles: six minutes
    python benchmarks/online_store.py --articles 2000    # half a minute
    python benchmarks/online_store.py --home HOME        # and every view of that home's shop, into a copy

Both stores bring the same rows of one warehouse and answer the same questions, every step in a process
of its own, one store after the other in each repeat; equal answers are required. Keys are drawn at
random anew for each read, so that they are not in the processor's caches, and one in a hundred is
unknown; for a matrix also among a fifth of the articles, as many as a shop of H&M's size sells in a
month and has to rank. Prints Markdown: medians of the repeats. The first read of a process, which
opens the store, is not counted.
"""

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import steps

FEATURES = [f"f{number}" for number in range(40)]
REFERENCES = [f"articles:{name}" for name in FEATURES]
SHOWN = 300
RANKED = 500
END = datetime(2020, 2, 1)
STORES = {"ours": "Lookbook", "sqlite": "Feast's SQLite store"}


def make(folder: Path, articles: int) -> None:
    """A warehouse with articles and a tenth as many customers: counts and amounts, some of them unknown."""
    import duckdb

    with duckdb.connect(str(folder / "warehouse.duckdb")) as con:
        values = ", ".join(
            f"CASE WHEN hash(n, {n}, 1) % 20 > 0 THEN "
            f"{f'hash(n, {n}) / 3e16' if n % 2 else f'CAST(hash(n, {n}) % 1000 AS BIGINT)'} END AS {name}"
            for n, name in enumerate(FEATURES)
        )
        for table, rows in (("articles", articles), ("customers", articles // 10)):
            con.execute(
                f"CREATE TABLE {table} AS SELECT format('{_KEY[table]}', n) AS id, "
                "TIMESTAMP '2020-01-01' AS valid_from, CAST(NULL AS TIMESTAMP) AS valid_to, "
                f"TIMESTAMP '2020-01-02' AS created_at, {values} FROM range({rows}) AS made(n)"
            )


_KEY = {"articles": "{:010d}", "customers": "{:064d}"}


def feast_store(folder: Path, kind: str) -> Any:
    """A Feast store with our online store and engine, or with Feast's own."""
    from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    from feature_repo.stores.duckdb_source import DuckDBSource

    home = folder / kind
    home.mkdir(exist_ok=True)
    stores = "feature_repo.stores"
    online: dict[str, Any] = {"online_store": {"type": "sqlite", "path": str(home / "online")}}
    if kind == "ours":
        engine = f"{stores}.materialization_engine.MaterializationEngine"
        online["online_store"]["type"] = f"{stores}.lmdb_online_store.LMDBOnlineStore"
        online["batch_engine"] = {"type": engine}
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(home / "registry.db"),
            offline_store={
                "type": f"{stores}.duckdb_offline_store.DuckDBOfflineStore",
                "path": str(folder / "warehouse.duckdb"),
            },
            materialization={"pull_latest_features": True},
            entity_key_serialization_version=3,
            **online,
        )
    )
    declared: list[Any] = []
    for table in _KEY:
        entity = Entity(name=table, join_keys=["id"], value_type=ValueType.STRING)
        fields = [Field(name=f, dtype=Float64 if n % 2 else Int64) for n, f in enumerate(FEATURES)]
        source = DuckDBSource(
            name=table,
            table=table,
            timestamp_field="valid_from",
            created_timestamp_column="created_at",
            valid_to_field="valid_to",
        )
        schema = [Field(name="id", dtype=String), *fields]
        declared += [
            entity,
            FeatureView(
                name=table, entities=[entity], ttl=timedelta(0), schema=schema, source=source
            ),
        ]
    store.apply(declared)
    return store


def bring(folder: Path, kind: str, articles: int) -> dict[str, float]:
    """All articles, then again, then the customers."""
    store = feast_store(folder, kind)
    seconds = []
    for view in ("articles", "articles", "customers"):
        before = time.perf_counter()
        store.materialize(datetime(1970, 1, 1), END, feature_views=[view])
        seconds.append(time.perf_counter() - before)
        if len(seconds) == 1:
            online = folder / kind / "online"
            files = online.iterdir() if online.is_dir() else [online]
            megabytes = sum(file.stat().st_size for file in files) / 1e6
    return {"bring": seconds[0], "again": seconds[1], "megabytes": megabytes}


def read(folder: Path, kind: str, articles: int) -> dict[str, float]:
    """Articles by `get_online_features`."""
    store = feast_store(folder, kind)

    def drawn(rng: random.Random) -> list[str]:
        return _drawn("articles", articles, rng, SHOWN)

    def ask(keys: list[str]) -> Any:
        return store.get_online_features(REFERENCES, {"id": keys})

    # Feast gives the features in any order.
    answers = [sorted(ask(drawn(random.Random(seed))).to_dict().items()) for seed in range(3)]
    digest = hashlib.sha256(repr(answers).encode()).hexdigest()
    return {"answer": int(digest[:12], 16), **_milliseconds(drawn, ask, 200)}


def matrix(folder: Path, kind: str, articles: int) -> dict[str, float]:
    """A customer and articles by `read_matrix`, whose numbers must be those of `get_online_features`."""
    import numpy as np

    from feature_repo.stores.lmdb_online_store import online_rows

    store = feast_store(folder, kind)
    rows = online_rows(store.config)
    views = [f"benchmark/{table}" for table in _KEY]

    def drawn(among: int) -> Callable[[random.Random], list[list[str]]]:
        return lambda rng: [
            _drawn("articles", among, rng, RANKED),
            _drawn("customers", articles // 10, rng, 1),
        ]

    def ask(keys: list[list[str]]) -> Any:
        with rows.reading(*views) as snapshot:
            return [
                snapshot.read_matrix(view, of_view, FEATURES).values
                for view, of_view in zip(views, keys, strict=True)
            ]

    keys = drawn(articles)(random.Random(0))
    values = store.get_online_features(REFERENCES, {"id": keys[0]}).to_dict()
    columns = np.array([values[name] for name in FEATURES], dtype="float64")
    if not np.array_equal(ask(keys)[0], columns.T, equal_nan=True):
        raise SystemExit("read_matrix and get_online_features give different values")
    of_all = _milliseconds(drawn(articles), ask, 2000)
    of_fifth = _milliseconds(drawn(articles // 5), ask, 2000)
    return of_all | {f"fifth_{name}": figure for name, figure in of_fifth.items()}


def _drawn(table: str, rows: int, rng: random.Random, count: int) -> list[str]:
    return [_KEY[table].format(rng.randrange(rows + rows // 100)) for _ in range(count)]


def _milliseconds(
    drawn: Callable[[random.Random], Any], ask: Callable[[Any], Any], times: int
) -> dict[str, float]:
    rng = random.Random(time.time_ns())
    ask(drawn(rng))
    taken = []
    for _ in range(times):
        keys = drawn(rng)
        before = time.perf_counter()
        ask(keys)
        taken.append(1000 * (time.perf_counter() - before))
    taken.sort()
    return {"p50": median(taken), "p99": taken[int(0.99 * times)]}


def shop(folder: Path, kind: str, articles: int) -> dict[str, float]:
    """Every view of a shop, into the home that the process was given."""
    from feature_repo.stores.lmdb_online_store import online_rows
    from pipelines import feature_tables, features, online

    features.apply()
    before = time.perf_counter()
    online.materialize(feature_tables.latest_build().through)
    seconds = time.perf_counter() - before
    rows = online_rows(features.feature_store().config)
    with rows.reading() as snapshot:
        names = list(snapshot.views())
    with rows.reading(*names) as snapshot:
        entries = {name: snapshot.entries(view) for name, view in snapshot.views().items()}
    size = (rows.folder / "data.mdb").stat().st_size
    return {
        "bring": seconds,
        "rows": sum(entries.values()),
        "customers": entries["lookbook/customer_profile"],
        "megabytes": size / 1e6,
    }


def _step(name: str, kind: str, folder: Path, articles: int, home: Path) -> dict[str, float]:
    found = steps.run(__file__, "step", name, kind, folder, articles, LOOKBOOK_HOME=str(home))
    print(f"{name}, {kind}: {found}", file=sys.stderr, flush=True)
    return found


def compare(articles: int, repeats: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in STORES}
    matrices = []
    for _ in range(repeats):
        with TemporaryDirectory() as name:
            folder = Path(name)
            make(folder, articles)
            for kind, found in runs.items():
                brought = _step("bring", kind, folder, articles, folder)
                # The memory shown is that of bringing.
                found.append(_step("read", kind, folder, articles, folder) | brought)
            matrices.append(_step("matrix", "ours", folder, articles, folder))
    if len({run["answer"] for found in runs.values() for run in found}) > 1:
        raise SystemExit("the stores give different answers")
    print(f"| | {' | '.join(STORES.values())} | times |\n|---|---|---|---|")
    things = f"{articles:,} articles x {len(FEATURES)} features"
    for label, figure, unit in (
        (f"{things} brought online", "bring", "{:.2f} s"),
        ("again, nothing new", "again", "{:.2f} s"),
        ("peak memory", "gigabytes", "{:.2f} GB"),
        ("on disk", "megabytes", "{:.1f} MB"),
        (f"{SHOWN} of them by `get_online_features`, p50", "p50", "{:.1f} ms"),
        ("p99", "p99", "{:.1f} ms"),
    ):
        ours, theirs = (median(run[figure] for run in found) for found in runs.values())
        cells = [label, unit.format(ours), unit.format(theirs), f"{theirs / ours:.1f}"]
        print(f"| {' | '.join(cells)} |")
    for figures, whose in (("", "any"), ("fifth_", "the fifth of the")):
        for figure in ("p50", "p99"):
            label = f"a customer and {RANKED} of {whose} articles by `read_matrix`, {figure}"
            cell = f"{median(run[figures + figure] for run in matrices):.2f} ms"
            print(f"| {label} | {cell} | | |")


def show_shop(home: Path) -> None:
    with TemporaryDirectory() as name:
        (Path(name) / "warehouse.duckdb").symlink_to(home.resolve() / "warehouse.duckdb")
        found = _step("shop", "ours", Path(name), 0, Path(name))
    print(
        f"\nEvery view of a shop of {found['customers']:,.0f} customers, {found['rows']:,.0f} rows: "
        f"{found['bring']:.0f} s, {found['gigabytes']:.1f} GB of memory, {found['megabytes']:,.0f} MB on disk."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--articles", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3, help="0: only the shop")
    parser.add_argument("--home", type=Path, help="a LOOKBOOK_HOME with built features")
    options = parser.parse_args()
    if options.repeats:
        compare(options.articles, options.repeats)
    if options.home:
        show_shop(options.home)


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        step, kind, folder, articles = sys.argv[2:]
        work = {"bring": bring, "read": read, "matrix": matrix, "shop": shop}
        with redirect_stdout(sys.stderr):
            found = work[step](Path(folder), kind, int(articles))
        steps.answer(**found)
    else:
        main()
