"""Feast's own tests of offline and online stores, run on ours.

    git clone --depth 1 --branch v0.67.0 https://github.com/feast-dev/feast /tmp/feast
    python -m venv --system-site-packages /tmp/feast_venv  # or any environment with lookbook in it
    /tmp/feast_venv/bin/pip install pytest-asyncio pytest-env pytest-timeout pytest-mock \
        pytest-xdist assertpy testcontainers minio python-keycloak boto3 cryptography \
        google-cloud-bigquery google-cloud-storage 'psycopg[binary,pool]'
    /tmp/feast_venv/bin/pip install 'great_expectations<0.19' && \
        /tmp/feast_venv/bin/pip install 'numpy>=2' 'pandas>=2.2,<3'  # it says it needs older ones
    /tmp/feast_venv/bin/python benchmarks/feast_universal_tests.py /tmp/feast

Only the tests are taken from the checkout; the Feast they test is the installed one. Arguments
after the checkout go to pytest. The tests of online stores run twice: with rows from our warehouse,
which our engine brings, and with rows from Feast's files, which Feast's engine brings. Prints every
test with its outcome, what is left out and why, and the sums; ends with 1 if one failed.

Feast's tests learn of a store from a module with AVAILABLE_OFFLINE_STORES and AVAILABLE_ONLINE_STORES,
which is this file too.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
FROM_WAREHOUSE = "LOOKBOOK_ROWS_FROM_WAREHOUSE"
OFFLINE = "tests/integration/offline_store"
ONLINE = "tests/integration/online_store"
ONLINE_TESTS = [
    f"{ONLINE}/test_universal_online.py",
    f"{ONLINE}/test_universal_online_types.py",
    f"{ONLINE}/test_push_features_to_online_store.py",
    f"{ONLINE}/test_universal_e2e.py",
]
OURS = "LMDBCreator and not async"
PARTS = {
    "offline store": ([OFFLINE], "DuckDBWarehouseCreator"),
    "online store, rows from the warehouse": (ONLINE_TESTS, f"{OURS} and not event_check"),
    "online store, rows from files": (ONLINE_TESTS, OURS),
}
"""{part: (its tests, which of them run on our store)}."""

NOT_OURS = {
    "offline_store": "Feast runs it on a store of its own only",
    "dynamo": "it starts a DynamoDB in Docker",
    "connection_pool": "it is about Postgres's pools of connections",
    "async": "the store is not read asynchronously",
    "retrieve_online": "the store does not search for vectors or words",
    "openai": "the store does not search for vectors or words",
    "event_check": "it brings rows from a Parquet file: see the run with files",
}
"""Why a test cannot run on ours, by a word in its name; the first that fits."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of feast's repository")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options, pytest_options = parser.parse_known_args()
    sdk = options.checkout / "sdk" / "python"
    if not (sdk / OFFLINE).is_dir():
        parser.error(f"{sdk / OFFLINE} is not there: give the top folder of a feast checkout")
    with tempfile.TemporaryDirectory(prefix="feast_tests_") as folder:
        # Beside the tests the checkout has a `feast` of its own, without its generated files.
        shutil.copytree(sdk / "tests", Path(folder, "tests"))
        shutil.copy(sdk / "pytest.ini", folder)
        adapt(Path(folder, ONLINE, "test_universal_online.py"))
        return max([run(part, Path(folder), pytest_options) for part in options.parts])


def adapt(file: Path) -> None:
    """Two of Feast's tests set the time to live in Redis and not in the view, where ours has it."""
    text = file.read_text()
    expires = """    fs.config.online_store.key_ttl_seconds = 1
    entities, datasets, data_sources = universal_data_sources
    driver_hourly_stats = create_driver_hourly_stats_feature_view(data_sources.driver)
"""
    seconds = "    driver_hourly_stats.ttl = timedelta(seconds=1)\n"
    for before, after in (
        (expires, expires.partition("\n")[2] + seconds),
        # It expects values of an hour ago.
        ("ttl=timedelta(minutes=5)", "ttl=timedelta(hours=5)"),
    ):
        assert text.count(before) == 1, f"{file} has changed"
        text = text.replace(before, after)
    file.write_text(text)


def run(part: str, folder: Path, pytest_options: list[str]) -> int:
    tests, ours = PARTS[part]
    print(f"\n{part}\n{'=' * len(part)}\n")
    environment = os.environ | {
        "FULL_REPO_CONFIGS_MODULE": HERE.stem,
        # Where it is True, tests of what SQLite cannot do end at once, and pass.
        "FEAST_IS_LOCAL_TEST": str(tests == [OFFLINE]),
        "IS_TEST": "True",
        "PYTHONPATH": os.pathsep.join([str(folder), str(HERE.parent), str(HERE.parents[1])]),
    }
    unable = []
    if "warehouse" in part:
        environment[FROM_WAREHOUSE] = "yes"
    if tests == [OFFLINE] and find_spec("great_expectations") is None:
        unable = [f"--ignore={OFFLINE}/test_dqm_validation.py"]
        print("left out: test_dqm_validation.py, which needs great_expectations")
    pytest = [
        *(sys.executable, "-m", "pytest", *tests, "--integration", "-p", "no:cacheprovider"),
        *("--no-header", "--disable-warnings", *unable),
    ]
    others = subprocess.run(
        [*pytest, "--collect-only", "-qq", "-k", f"not ({ours})"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    left_out = {line.split("[")[0] for line in others.stdout.splitlines() if "::" in line}
    for test in sorted(left_out):
        why = next(reason for word, reason in NOT_OURS.items() if word in test)
        print(f"left out: {test.split('::')[1]}: {why}")
    sys.stdout.flush()
    report = folder / "report.xml"
    ran = subprocess.run(
        [*pytest, "-q", "-k", ours, f"--junitxml={report}", *pytest_options],
        cwd=folder,
        env=environment,
    )
    if report.exists():
        summarise(report)
        report.unlink()
    return ran.returncode


def summarise(report: Path) -> None:
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        detail = next((c for c in case if c.tag in ("skipped", "failure", "error")), None)
        outcome = "passed" if detail is None else detail.tag
        outcomes[outcome] += 1
        if detail is not None:
            name = (
                f"{case.get('classname', '').split('.')[-1]}.{case.get('name', '').split('[')[0]}"
            )
            reasons[f"{outcome}: {name}: {detail.get('message', '')[:300]}"] += 1
    print("\n" + ", ".join(f"{n} {outcome}" for outcome, n in sorted(outcomes.items())))
    for reason, n in sorted(reasons.items()):
        print(f"{n:4} x {reason}")


if __name__ == "__main__":
    sys.exit(main())


import duckdb  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402
import pytest  # noqa: E402
from feast.feature_logging import LoggingDestination  # noqa: E402
from feast.saved_dataset import SavedDatasetStorage  # noqa: E402
from tests.universal.feature_repos.universal.data_source_creator import (  # noqa: E402
    DataSourceCreator,
)
from tests.universal.feature_repos.universal.data_sources import file as feast_files  # noqa: E402
from tests.universal.feature_repos.universal.online_store_creator import (  # noqa: E402
    OnlineStoreCreator,
)

from feature_repo.stores import duckdb_source  # noqa: E402
from feature_repo.stores.duckdb_offline_store import DuckDBOfflineStoreConfig  # noqa: E402


def _kept(field: pa.Field) -> pa.Field:
    """A column as a warehouse would keep it."""
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.timestamp("us", field.type.tz))
    if field.name in ("conv_rate", "acc_rate"):
        # The test of ranges writes 0.1 here and asks for it back, which no 4-byte column can give.
        return field.with_type(pa.float64())
    return field


class DuckDBWarehouseCreator(DataSourceCreator):
    """A warehouse of its own for each test, filled from Feast's data frames."""

    def __init__(self, project_name: str, *args: object, **kwargs: object) -> None:
        super().__init__(project_name)
        self.folder = Path(tempfile.mkdtemp(prefix=project_name))
        self.warehouse = self.folder / "warehouse.duckdb"
        duckdb.connect(str(self.warehouse)).close()

    def create_data_source(
        self,
        df: pd.DataFrame,
        destination_name: str,
        created_timestamp_column: str | None = "created_ts",
        field_mapping: dict[str, str] | None = None,
        timestamp_field: str | None = "ts",
    ) -> duckdb_source.DuckDBSource:
        table = pa.Table.from_pandas(df, preserve_index=False)
        with duckdb.connect(str(self.warehouse)) as con:
            con.register("given", table.cast(pa.schema(map(_kept, table.schema)), safe=False))
            con.execute(f'CREATE OR REPLACE TABLE "{destination_name}" AS SELECT * FROM given')
        return duckdb_source.DuckDBSource(
            name=f"{self.project_name}.{destination_name}",
            table=destination_name,
            timestamp_field=timestamp_field or "",
            created_timestamp_column=created_timestamp_column or "",
            field_mapping=field_mapping or {"ts_1": "ts"},
        )

    def create_offline_store_config(self) -> DuckDBOfflineStoreConfig:
        return DuckDBOfflineStoreConfig(path=str(self.warehouse), threads=2)

    def create_saved_dataset_destination(self) -> SavedDatasetStorage:
        return duckdb_source.SavedDatasetDuckDBStorage(table="saved.data_set")

    def create_logged_features_destination(self) -> LoggingDestination:
        return duckdb_source.DuckDBLoggingDestination(table="logs.served")

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class LMDBCreator(OnlineStoreCreator):
    """A folder of its own for each test, and our engine to bring rows there."""

    def __init__(self, project_name: str, fixture_request: pytest.FixtureRequest) -> None:
        super().__init__(project_name)
        self.folder = Path(tempfile.mkdtemp(prefix=project_name))
        fixture_request.param.batch_engine = {
            "type": "feature_repo.stores.materialization_engine.MaterializationEngine"
        }

    def create_online_store(self) -> dict[str, Any]:
        return {
            "type": "feature_repo.stores.lmdb_online_store.LMDBOnlineStore",
            "path": str(self.folder / "online"),
        }

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class OnlineStores(dict[str, Any]):
    """Our store under the names of those whose claims it makes too: Redis (newest event, time to live,
    clean-up) and SQLite. What runs on every store runs on it once."""

    def values(self) -> Any:
        return list(super().values())[:1]


AVAILABLE_OFFLINE_STORES = [("local", DuckDBWarehouseCreator)]
AVAILABLE_ONLINE_STORES = OnlineStores.fromkeys(("redis", "sqlite"), (None, LMDBCreator))
if FROM_WAREHOUSE in os.environ:
    # What tests of online stores take their rows from.
    feast_files.FileDataSourceCreator = DuckDBWarehouseCreator
