"""Fixtures: an empty home for each test that asks, and one small shop, built once, to read from."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from feature_repo import places

if TYPE_CHECKING:
    from tests.retrieval_worlds import Worlds

Serve = Callable[..., AbstractContextManager[str]]

os.environ["BENTOML_DO_NOT_TRACK"] = "True"
# Shops that tests share are not written into; tests of the log ask for it.
os.environ["LOOKBOOK_SERVED_SAMPLE"] = "0"
# Tests ask as fast as they can; those of the limits set their own.
os.environ["LOOKBOOK_RATE_PER_SECOND"] = "0"
os.environ["LOOKBOOK_RELEASE"] = str(places.PROJECT / "tests" / "release.yaml")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LOOKBOOK_HOME of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LOOKBOOK_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a made-up shop: loaded, built, applied, materialised and released. Read only."""
    own = tmp_path_factory.mktemp("built_shop")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _build_shop(own)
    # Built once a run, by the worker that asks first. Each has a copy: a service writes at home too.
    built = tmp_path_factory.getbasetemp().parent / "built_shop"
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (built / "whole").exists():
            shutil.rmtree(built, ignore_errors=True)
            _build_shop(built)
            (built / "whole").touch()
    shutil.copytree(built, own, dirs_exist_ok=True)
    return own / "home"


def _build_shop(folder: Path) -> Path:
    from pipelines.data.synthetic import synthesize
    from pipelines.demo import prepare

    files = folder / "files"
    synthesize(files, customers=400, articles=150, days=150, interactions=28, seed=3, csv=True)
    before = os.environ.get("LOOKBOOK_HOME")
    os.environ["LOOKBOOK_HOME"] = str(folder / "home")
    try:
        prepare(str(files), say=lambda text: None, weeks=1)
    finally:
        os.environ.pop("LOOKBOOK_HOME")
        if before is not None:
            os.environ["LOOKBOOK_HOME"] = before
    return folder / "home"


@pytest.fixture
def shop(built_shop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`built_shop` as this test's home."""
    monkeypatch.setenv("LOOKBOOK_HOME", str(built_shop))
    return built_shop


@pytest.fixture
def own_shop(built_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `built_shop` as this test's home, to write into."""
    shutil.copytree(built_shop, tmp_path / "own_shop")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "own_shop"))
    return tmp_path / "own_shop"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> "Worlds":
    """The home of a list of purchases, made once."""
    from tests.retrieval_worlds import Purchase, World, world

    @cache
    def of(purchases: tuple[Purchase, ...]) -> World:
        return world(tmp_path_factory.mktemp("world"), purchases)

    return lambda purchases: of(tuple(purchases))


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def _service(home: Path, folder: Path = places.PROJECT) -> Iterator[str]:
    """`bentoml serve` as a user types it, in the given folder; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"LOOKBOOK_HOME": str(home), "BENTOML_HOME": str(home / "models")}
    with (home / "served.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, f"the service ended: {home / 'served.log'}"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=10) as response:
                return response.status == 200
        except OSError:
            return False

    try:
        until(answers, seconds=90)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serves a home in a process of its own: `with serve(home) as address`."""
    return _service


@pytest.fixture(scope="session")
def address(built_shop: Path) -> Iterator[str]:
    """The made-up shop's service, running."""
    with _service(built_shop) as found:
        yield found
