"""Feast's own tests of offline stores, run on ours.

    git clone --depth 1 --branch v0.67.0 https://github.com/feast-dev/feast /tmp/feast
    python -m venv --system-site-packages /tmp/feast_venv  # or any environment with lookbook in it
    /tmp/feast_venv/bin/pip install pytest-asyncio pytest-env pytest-timeout pytest-mock \
        pytest-xdist assertpy testcontainers minio python-keycloak boto3 cryptography
    /tmp/feast_venv/bin/pip install 'great_expectations<0.19' && \
        /tmp/feast_venv/bin/pip install 'numpy>=2' 'pandas>=2.2,<3'  # it says it needs older ones
    /tmp/feast_venv/bin/python benchmarks/feast_universal_tests.py /tmp/feast

Only the tests are taken from the checkout; the Feast they test is the installed one. Arguments
after the checkout go to pytest. Prints every test with its outcome, then the sums and the reasons
of those that were skipped; ends with 1 if one failed.

Feast's tests learn of a store from a module with AVAILABLE_OFFLINE_STORES, which is this file too.
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

HERE = Path(__file__).resolve()
TESTS = "tests/integration/offline_store"
CREATOR = "DuckDBWarehouseCreator"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of feast's repository")
    options, pytest_options = parser.parse_known_args()
    sdk = options.checkout / "sdk" / "python"
    if not (sdk / TESTS).is_dir():
        parser.error(f"{sdk / TESTS} is not there: give the top folder of a feast checkout")
    with tempfile.TemporaryDirectory(prefix="feast_tests_") as folder:
        # Beside the tests the checkout has a `feast` of its own, without its generated files.
        shutil.copytree(sdk / "tests", Path(folder, "tests"))
        shutil.copy(sdk / "pytest.ini", folder)
        unable = []
        if find_spec("great_expectations") is None:
            unable = [f"--ignore={TESTS}/test_dqm_validation.py"]
            print("left out: test_dqm_validation.py, which needs great_expectations")
        environment = os.environ | {
            "FULL_REPO_CONFIGS_MODULE": HERE.stem,
            "FEAST_IS_LOCAL_TEST": "True",
            "IS_TEST": "True",
            "PYTHONPATH": os.pathsep.join([folder, str(HERE.parent), str(HERE.parents[1])]),
        }
        pytest = [
            *(sys.executable, "-m", "pytest", TESTS, "--integration", "-p", "no:cacheprovider"),
            *("--no-header", "--disable-warnings", *unable),
        ]
        others = subprocess.run(
            [*pytest, "--collect-only", "-qq", "-k", f"not {CREATOR}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        for test in sorted({line.split("[")[0] for line in others.stdout.splitlines()}):
            if "::" in test:
                print(f"left out: {Path(test).name}, which Feast runs on a store of its own only")
        sys.stdout.flush()
        report = Path(folder, "report.xml")
        ran = subprocess.run(
            [*pytest, "-q", "-k", CREATOR, f"--junitxml={report}", *pytest_options],
            cwd=folder,
            env=environment,
        )
        if report.exists():
            summarise(report)
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
from feast.feature_logging import LoggingDestination  # noqa: E402
from feast.saved_dataset import SavedDatasetStorage  # noqa: E402
from tests.universal.feature_repos.universal.data_source_creator import (  # noqa: E402
    DataSourceCreator,
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


AVAILABLE_OFFLINE_STORES = [("local", DuckDBWarehouseCreator)]
AVAILABLE_ONLINE_STORES = {"sqlite": ({"type": "sqlite"}, None)}
