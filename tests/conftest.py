"""Fixtures: an empty home for each test that asks, and one small shop, built once, to read from."""

import os
from pathlib import Path

import pytest

os.environ["BENTOML_DO_NOT_TRACK"] = "True"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LOOKBOOK_HOME of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LOOKBOOK_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a made-up shop: loaded, built, applied, materialised and released. Read only."""
    from pipelines.data.synthetic import synthesize
    from pipelines.demo import prepare

    folder = tmp_path_factory.mktemp("built_shop")
    files = folder / "files"
    synthesize(files, customers=400, articles=150, days=150, seed=3)
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
