"""Where Lookbook keeps its state: everything lives under one folder, LOOKBOOK_HOME."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def home() -> Path:
    """The state folder: `LOOKBOOK_HOME`, or `.lookbook/` beside `feature_repo/`.

    Read at every call, so that a test or a second shop can move it. A relative path is below the
    project's folder: `feast apply` changes the working directory, so nothing may depend on that.
    """
    chosen = os.environ.get("LOOKBOOK_HOME") or ".lookbook"
    return (PROJECT / Path(chosen).expanduser()).resolve()


def resolve(path: str | Path) -> Path:
    """A path from `feature_store.yaml`, read as relative to the state folder."""
    return home() / path


def warehouse_file() -> Path:
    return home() / "warehouse.duckdb"


def models_folder() -> Path:
    """BentoML's home: model versions, and the release history beside them."""
    return home() / "models"
