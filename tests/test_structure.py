"""The shape of the project: which way imports go, what `feast apply` reads, what never happens."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo import places
from feature_repo.feature_sql import SQL_FOLDER, VIEW_KEYS

ROOT = places.PROJECT
ROOMS = ["feature_repo", "pipelines", "services"]
"""Lowest first: each may import itself and what stands before it."""

FLOORS = {
    "settings": [
        "warehouse",
        "feature_tables",
        "spark_tables",
        "columns",
        "warm_rows",
        "features",
        "online",
        "reports",
    ],
    "parts": ["assortment", "nearest", "neural", "growing_file", "steady_features", "exploration"],
    "data": ["data", "negatives"],
    "models": ["retrievers", "rankers", "article_facts", "rerankers", "reasons"],
    "model_catalog": ["model_catalog"],
    "recommender": ["recommender", "training", "sizing"],
    "above": ["content", "evaluation", "model_registry", "monitoring", "explaining", "leak_lab"],
    "in charge": ["recommending"],
    "demo": ["demo"],
    "cli": ["cli"],
}
"""The floors of `pipelines`, lowest first."""


def _imports(file: Path) -> set[str]:
    """Every module that a file imports, at the top or inside."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _files(room: str) -> list[Path]:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_what_stands_below(room: str) -> None:
    above = [*ROOMS[ROOMS.index(room) + 1 :], "tests", "benchmarks"]
    for file in _files(room):
        wrong = {name for name in _imports(file) if name.split(".")[0] in above}
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_floors_of_pipelines_import_only_what_stands_below() -> None:
    level = {name: height for height, names in enumerate(FLOORS.values()) for name in names}
    for file in _files("pipelines"):
        own = file.relative_to(ROOT / "pipelines").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in level, f"pipelines/{own} has no floor: add it to FLOORS"
        for name in _imports(file):
            parts = name.split(".")
            if parts[0] == "pipelines" and len(parts) > 1:
                assert level[parts[1]] <= level[own], f"pipelines/{own} imports {name}"


def test_a_relative_home_does_not_depend_on_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", ".lookbook-other")
    monkeypatch.chdir(tmp_path)
    assert places.home() == ROOT / ".lookbook-other"
    monkeypatch.setenv("LOOKBOOK_HOME", "~/shops/one")
    assert places.home() == Path.home() / "shops" / "one"
    monkeypatch.delenv("LOOKBOOK_HOME")
    assert places.home() == ROOT / ".lookbook"


def test_feast_apply_reads_only_definitions() -> None:
    from feast.repo_operations import get_repo_files

    read = get_repo_files(ROOT / "feature_repo")
    assert [file.name for file in read] == ["definitions.py"]


def test_every_sql_file_is_a_view_and_every_view_a_sql_file() -> None:
    from feast import FeatureView

    from feature_repo import definitions

    declared = {
        found.name
        for found in (getattr(definitions, name) for name in definitions.__all__)
        if type(found) is FeatureView
    }
    files = {file.stem for file in (SQL_FOLDER / "features").glob("*.sql")}
    assert declared == files == set(VIEW_KEYS)


@pytest.mark.parametrize("words", [["models", "list"], ["build"]], ids=" ".join)
def test_bentoml_reports_to_nobody(words: list[str], tmp_path: Path) -> None:
    """Also when a user types its command in a shell that says nothing of it."""
    code = """
import socket, sys, time
asked = []
socket.getaddrinfo = lambda host, *rest, **more: asked.append(host) or 1 / 0
from bentoml_cli.cli import cli
cli.main(sys.argv[1:], standalone_mode=False)
time.sleep(0.5)
assert not asked, asked
"""
    environment = {k: v for k, v in os.environ.items() if k != "BENTOML_DO_NOT_TRACK"}
    environment["BENTOML_HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"is this the environment that `make` made? {done.stderr}"


def test_duckdb_cannot_fetch_extensions(home: Path) -> None:
    from pipelines.warehouse import writing

    with writing() as con:
        setting = con.execute("SELECT current_setting('autoinstall_known_extensions')").fetchone()
    assert setting == (False,)


def test_nothing_reaches_outside_this_machine(own_shop: Path) -> None:
    """Registering, features from both stores and an answer, with connections elsewhere refused."""
    code = """
import socket
real = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        raise AssertionError(f"connects to {address}")
    return real(self, address)
socket.socket.connect = refuse
def resolve(host, *a, **k):
    raise AssertionError(f"looks up {host}")
socket.getaddrinfo = resolve
from services.answers import Answers
from pipelines import features
from pipelines.online import online_moment
features.apply()
features.OfflineFeatures(online_moment()).read(
    __import__("pandas").DataFrame({"customer_id": ["nobody"]}), "customer_state"
)
answers = Answers()
customer = answers.sample_customers()[0].customer_id
assert answers.recommend(customer, 5).recommendations
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_no_pickle_is_read() -> None:
    """The only modules that may unpickle are none of ours."""
    for room in ROOMS:
        for file in _files(room):
            names = {name.split(".")[0] for name in _imports(file)}
            assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}, file


def test_importing_the_command_is_quick() -> None:
    """`lookbook --help` must not wait for feast, bentoml or lightgbm."""
    code = (
        "import sys, pipelines.cli; "
        "print(sorted({'feast', 'bentoml', 'lightgbm', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_features_do_not_wait_for_torch() -> None:
    """It is seconds and 200 MB of every command, and Feast asks for it whether it is needed or not."""
    code = """
import sys
from pipelines.features import _quiet_feast
_quiet_feast()
assert "torch" not in sys.modules
from feast.torch_wrapper import get_torch
assert get_torch().ones(2).sum() == 2
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
