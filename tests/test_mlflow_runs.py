"""What MLflow is told, where it is switched on; and that it is nowhere else, and never in the way.

MLflow stands in a folder beside the packages of the environment, where `make test` puts it: it asks for an older
package than the one that is pinned.
"""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from feature_repo import places
from pipelines import features
from pipelines.model_catalog import RETRIEVERS
from pipelines.model_registry import composing, mlflow_runs, publishing, release
from pipelines.model_registry.registry import Lineage, list_versions, open_version, save_version
from tests.conftest import until

BESIDE = Path(sys.prefix) / "mlflow"
CUTOFF = date(2020, 9, 23)


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow can be imported."""
    for name, value in mlflow_runs.DEFAULTS.items():
        monkeypatch.setenv(name, value)
    if BESIDE.is_dir():
        monkeypatch.syspath_prepend(str(BESIDE))
    pytest.importorskip("mlflow", reason="MLflow is not installed: make test does")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow's tables are made, once: it takes seconds for them."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def database(packages: None, empty: Path, tmp_path: Path) -> Path:
    """An empty MLflow's."""
    from mlflow import MlflowClient

    if not empty.exists():
        MlflowClient(f"sqlite:///{empty}").search_experiments()
    return Path(shutil.copy(empty, tmp_path))


@pytest.fixture
def mlflow(database: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of an empty MLflow, which is switched on."""
    from mlflow import MlflowClient

    monkeypatch.setenv(mlflow_runs.SETTING, f"sqlite:///{database}")
    return MlflowClient(os.environ[mlflow_runs.SETTING])


def _runs(client: Any) -> dict[str, Any]:
    """{tag: its run} of all runs that are there."""
    found = client.search_runs([client.get_experiment_by_name("lookbook").experiment_id])
    by_tag = {run.data.tags["lookbook.version"]: run for run in found}
    assert len(by_tag) == len(found), "a version has two runs"
    return by_tag


def _made_from(tags: Iterable[str]) -> set[str]:
    """The versions themselves, and what they were made from: a search index from its encoders."""
    return {one for tag in tags for one in (tag, *open_version(tag).lineage.parents)}


def test_what_is_trained_becomes_runs(own_shop: Path, mlflow: Any) -> None:
    tags = publishing.train(CUTOFF, ["similar"])
    runs = _runs(mlflow)
    assert set(runs) == _made_from(tags.values())
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    version, run = open_version(tags["similar"]), runs[tags["similar"]]
    assert run.info.run_name == version.tag
    settings = RETRIEVERS["similar"].settings_in_full()
    assert {key: run.data.params[f"model/{key}"] for key in settings} == {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in settings.items()
    }
    said = run.data.tags
    assert said["lookbook.content_hash"] == version.content_hash
    assert said["lookbook.data_cutoff"] == "2020-09-23"
    assert said["lookbook.data_hash"] == version.lineage.data_hash
    assert said["lookbook.schema_hash"] == version.lineage.feature_schema_hash
    assert said["lookbook.commit"] == version.lineage.commit
    assert said["lookbook.seed"] == str(version.lineage.seed)
    assert said["feast.feature_service"] == version.lineage.feature_service
    assert "feast.feature_service" not in runs[tags[publishing.SAMPLE_PART]].data.tags


def test_releases_and_aliases_are_mirrored(own_shop: Path, mlflow: Any) -> None:
    """Those from before it was switched on come along where they are needed."""
    old = release.get("production")
    new = composing.create_release()
    runs = _runs(mlflow)
    assert set(runs) == {new.tag} | _made_from(new.parts.values())
    said = runs[new.tag].data.tags
    for role, part in new.parts.items():
        assert said[f"lookbook.part.{role}"] == part
        assert said[f"lookbook.run.{role}"] == runs[part].info.run_id
    assert runs[new.tag].data.params["release/ranker"] == new.settings["ranker"]

    def aliased(name: str) -> Any:
        return mlflow.get_model_version_by_alias("lookbook", name).tags["lookbook.version"]

    release.promote(new.tag)
    assert (aliased("production"), aliased("previous")) == (new.tag, old.tag)
    release.promote(new.tag, "eu.shadow")
    assert aliased("eu_shadow") == new.tag
    release.rollback()
    assert (aliased("production"), aliased("previous")) == (old.tag, new.tag)

    runs = _runs(mlflow)
    assert set(runs) == {old.tag, new.tag} | _made_from({*old.parts.values(), *new.parts.values()})
    assert len(mlflow.search_model_versions("name = 'lookbook'")) == 2
    figures = runs[old.tag].data.metrics
    for end in ("mean", "low", "high"):
        assert figures[f"MAP_at_12/{end}"] == old.metrics["MAP@12"][end]
    assert json.loads(runs[old.tag].data.params["weeks"]) == old.metrics["weeks"]


def test_a_search_index_without_its_encoder_is_mirrored(own_shop: Path, mlflow: Any) -> None:
    """As in a registry that the release was carried to: the encoders are no parts of it."""
    search = open_version(release.get("production").parts[publishing.SEARCH_PART])
    (encoder,) = search.lineage.parents
    shutil.rmtree(open_version(encoder).path.parent)
    new = composing.create_release()
    runs = _runs(mlflow)
    assert set(runs) == {new.tag, *new.parts.values()}
    assert runs[search.tag].data.tags["lookbook.part.text_encoder"] == encoder


@pytest.fixture
def server(database: Path, tmp_path: Path) -> Iterator[int]:
    """The port of an MLflow server, as its users start it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *place],
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            stdout=told,
            stderr=told,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "server.log").read_text()
        try:
            # The first one makes its tables.
            return bool(MlflowClient(f"http://127.0.0.1:{port}").search_experiments())
        except MlflowException:
            return False

    try:
        until(answers, seconds=120)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_a_server_is_told_and_nothing_is_printed(
    own_shop: Path,
    server: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MLflow itself prints where a run is to be seen: the address with name and password."""
    from mlflow import MlflowClient

    monkeypatch.setenv(mlflow_runs.SETTING, f"http://someone:s3cret@127.0.0.1:{server}")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    new = composing.create_release()
    release.promote(new.tag)
    assert caplog.text == ""
    assert "".join(capsys.readouterr()) == ""
    client = MlflowClient(f"http://127.0.0.1:{server}")
    made = client.get_model_version_by_alias("lookbook", "production")
    assert made.tags["lookbook.version"] == new.tag
    assert (
        client.get_run(made.run_id).data.tags["lookbook.content_hash"]
        == open_version(new.tag).content_hash
    )
    assert len(_runs(client)) > len(new.parts)


def test_feast_knows_the_runs(own_shop: Path, mlflow: Any) -> None:
    """Feast's own hook, switched on in its settings, finds a model's features, and shows its run."""
    from fastapi.testclient import TestClient
    from feast import FeatureStore
    from feast.ui_server import get_app

    release.promote(composing.create_release().tag, "shadow")
    config = features.feature_store().config.model_copy()
    config.mlflow_config = {"enabled": True, "tracking_uri": os.environ[mlflow_runs.SETTING]}
    store = FeatureStore(config=config)
    assert store.mlflow.resolve_features("models:/lookbook/shadow") == "ranking"
    with TestClient(get_app(store, "lookbook", 0)) as page:
        shown = page.get("/api/mlflow-runs").json()["runs"]
    made = release.get("shadow")
    (run,) = [run for run in shown if run["run_name"] == made.tag]
    assert run["feature_views"] == list(made.lineage.feature_views)
    assert run["registered_models"][0]["model_name"] == "lookbook"
    fields = features.service_fields("ranking")
    assert [ref.replace(":", "__") for ref in run["feature_refs"]] == list(fields)


def test_a_run_that_was_cut_short_is_written_again(own_shop: Path, mlflow: Any) -> None:
    tag = release.get("production").parts["ease"]
    experiment = mlflow.create_experiment("lookbook")
    short = mlflow.create_run(experiment, tags={"lookbook.version": tag})
    mlflow_runs.log_versions([tag])
    mlflow_runs.log_versions([tag])
    found = mlflow.search_runs([experiment])
    assert len(found) == 2
    assert [run.data.params for run in found if run.info.run_id != short.info.run_id] != [{}]


def _small(name: str = "popular", **settings: Any) -> str:
    lineage = Lineage(None, None, date(2020, 9, 1), "data", 7, "commit", settings)
    return save_version(name, lambda to: (to / "a.txt").write_text("a") and None, lineage, {})


def test_settings_that_mlflow_would_refuse_are_fitted(home: Path, mlflow: Any) -> None:
    tag = _small(model={"MAP@12": {"a&b": 1.5}, "long": "x" * 9000, "none": None, "empty": {}})
    mlflow_runs.log_versions([tag])
    params = _runs(mlflow)[tag].data.params
    assert params.pop("model/long") == "x" * 497 + "..."
    assert params == {"model/MAP_at_12/a_b": "1.5", "model/none": "null", "model/empty": "{}"}


def test_off_it_is_not_even_imported(
    own_shop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "mlflow.py").write_text("raise AssertionError('MLflow is imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "trap"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.delitem(sys.modules, name)
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(mlflow_runs.SETTING, value)
        publishing.train(CUTOFF, ["popular"])
        release.promote(composing.create_release().tag)
        release.rollback()
    assert caplog.text == ""
    # The trap does catch.
    monkeypatch.setenv(mlflow_runs.SETTING, "sqlite://")
    release.promote("release:latest")
    assert "MLflow is imported" in caplog.text


def test_where_mlflow_is_missing_that_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setenv(mlflow_runs.SETTING, "http://mlflow.example")
    mlflow_runs.log_versions([_small()])
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "mlflow is not installed: run `pip install mlflow-skinny`" in said.getMessage()


@contextmanager
def _deaf() -> Iterator[int]:
    """A port that takes what is sent, and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def test_a_server_that_never_answers_is_given_up(
    own_shop: Path,
    packages: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with _deaf() as port:
        monkeypatch.setenv(mlflow_runs.SETTING, f"http://127.0.0.1:{port}")
        begun = time.monotonic()
        mlflow_runs.log_release(release.get("production").tag)
        assert 1 < time.monotonic() - begun < 15
    (said,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "MLflow was not told all" in said.getMessage()


def test_a_server_that_is_down_loses_nothing(own_shop: Path, packages: None) -> None:
    """The command as it is typed: one sentence, exit status 0, and nothing of the password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = list_versions("popular")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "train", "popular", "--json"],
        cwd=places.PROJECT,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            mlflow_runs.SETTING: f"http://someone:s3cret%21@127.0.0.1:{port}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    (new,) = list_versions("popular")[: len(list_versions("popular")) - len(before)]
    assert json.loads(done.stdout.splitlines()[-1])["versions"]["popular"] == new.tag
    told = done.stderr.splitlines()
    assert told[0] == "trained popular", told
    assert len(told) == 2, told
    assert told[1].startswith("MLflow was not told all (NewConnectionError(")
    assert "Connection refused" in told[1]
    assert "someone" not in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "http://someone:s3cret%21@host:5000",
        "postgresql://someone:s3c/ret!@host/db?token=s3cret",
        "http:someone:s3cret%21@host:5000",
    ],
)
def test_secrets_are_in_no_text(uri: str) -> None:
    error = RuntimeError(f"cannot reach {uri}/api as someone with s3cret! or s3c/ret!\nand more")
    said = mlflow_runs._reason(error, uri)
    assert said.startswith("cannot reach ")
    assert "host" in said
    for secret in ("someone", "s3cret%21", "s3c/ret!@", "token=", "more"):
        assert secret not in said


def test_what_cannot_be_read_any_more_is_a_warning_too(
    own_shop: Path, mlflow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """`previous` is told of as well, and its files may be damaged."""
    old = release.get("production")
    new = composing.create_release()
    (open_version(old.tag).path / release.FILE).write_text("{}")
    release.promote(new.tag)
    assert release.resolve("production") == new.tag
    made = mlflow.get_model_version_by_alias("lookbook", "production")
    assert made.tags["lookbook.version"] == new.tag
    assert f"{old.tag} is refused" in caplog.text
