"""How long all feature tables take at H&M's size: built whole, one more day, a training set.

    python benchmarks/feature_tables.py            # 1%, 10% and all of H&M's size: the table of docs/benchmarks.md
    python benchmarks/feature_tables.py 0.01       # only these shares

Each size is a made-up shop in a temporary folder, loaded into a home of its own; every step is a
process of its own, for its peak memory. DuckDB may use 8 GB to build and 1 GB to join (`memory_limit`
in `feature_store.yaml`). Full size takes about half an hour on 2 cores, and 30 GB of disk.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import steps

SHARES = (0.01, 0.1, 1.0)
MEMORY = "8GB"
JOIN_MEMORY = "1GB"
TRAINING_ROWS = 1_000_000
SERVICE = "everything"


def main() -> None:
    shares = [float(text) for text in sys.argv[1:]] or list(SHARES)
    print(
        "| share of H&M | transactions | rows of all views | whole build | peak memory | one more day |"
        " peak memory | training rows | joined in | peak memory |"
    )
    print(f"|{'---|' * 10}")
    for share in shares:
        folder = Path(tempfile.mkdtemp(prefix="lookbook-features-"))
        try:
            _measure(folder, share)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _measure(folder: Path, share: float) -> None:
    made = _step("shop", folder, share)
    whole = _step("whole", folder, share)
    day = _step("day", folder, share)
    training = _step("training", folder, share)
    cells = [
        f"{share:.0%}",
        f"{made['rows']:,.0f}",
        f"{whole['rows']:,.0f}",
        *(f"{whole['seconds']:.0f} s", f"{whole['gigabytes']:.1f} GB"),
        *(f"{day['seconds']:.1f} s", f"{day['gigabytes']:.1f} GB"),
        f"{training['rows']:,.0f}",
        *(f"{training['seconds']:.0f} s", f"{training['gigabytes']:.1f} GB"),
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def _step(name: str, folder: Path, share: float) -> dict[str, float]:
    home = str(folder / "home")
    found = steps.run(__file__, "step", name, folder, share, LOOKBOOK_HOME=home)
    print(f"{name}: {found}", file=sys.stderr, flush=True)
    return found


def _run(name: str, folder: Path, share: float) -> None:
    work = {"shop": _shop, "whole": _whole, "day": _day, "training": _training}
    started = time.perf_counter()
    found = work[name](folder, share)
    seconds = found.pop("seconds", time.perf_counter() - started)
    steps.answer(**found, seconds=seconds)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _shop(folder: Path, share: float) -> dict[str, float]:
    from pipelines.data.load import load
    from pipelines.data.synthetic import like_hm, synthesize

    made = synthesize(folder / "shop", **like_hm(share))
    load(str(folder / "shop"), progress=_say)
    shutil.rmtree(folder / "shop")
    return {"rows": made.transactions}


def _build(through: date | None) -> dict[str, float]:
    from pipelines import feature_tables
    from pipelines.warehouse import writing

    with writing(memory_limit=MEMORY) as con:
        con.execute("SET enable_progress_bar = false")
        built = feature_tables.bring(con, through, _say)
    return {"rows": sum(rows for name, rows in built.rows.items() if name.startswith("features."))}


def _whole(folder: Path, share: float) -> dict[str, float]:
    from pipelines.data.synthetic import LAST_DAY

    return _build(LAST_DAY - timedelta(days=1))


def _day(folder: Path, share: float) -> dict[str, float]:
    return _build(None)


def _training(folder: Path, share: float) -> dict[str, float]:
    """Rows of the last year's customers, articles and days, each customer with articles of that day."""
    from pipelines import features

    features.apply()
    store = features.feature_store()
    store.config.offline_store.memory_limit = JOIN_MEMORY
    rows = f"""
        SELECT
            customer_id, article_id, postal_code, product_code AS product,
            product_group_name AS product_group,
            CAST(day AS TIMESTAMPTZ) AS event_timestamp, CAST(day AS TIMESTAMPTZ) AS request_time
        FROM (
            SELECT * FROM staging.purchases WHERE day >= DATE '2019-09-22'
            ORDER BY hash(customer_id, article_id, day) LIMIT {TRAINING_ROWS}
        ) AS sampled
        INNER JOIN staging.customers USING (customer_id)
        INNER JOIN staging.articles USING (article_id)"""
    out = folder / "training.parquet"
    started = time.perf_counter()
    job = store.get_historical_features(
        rows, store.get_feature_service(SERVICE), full_feature_names=True
    )
    count = job.to_parquet(out)
    return {"rows": count, "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        _run(sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
    else:
        main()
