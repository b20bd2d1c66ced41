"""What the registry holds, told to the MLflow of those who have one; off unless LOOKBOOK_MLFLOW names it.

A version becomes a run, a release a run with those of its parts and a version of the registered model `lookbook`, and
aliases become that model's. The registry comes first and never waits long: where MLflow cannot be reached, that is a
warning, and what it has missed is told with the next release or alias that needs it.

Feast's own hook (`mlflow:` in feature_store.yaml) logs each reading of features to a run that is active, while parts
are registered long after they have read theirs, and switches MLflow on in the service too. So runs are written here,
under the names that Feast writes and reads: `store.mlflow.resolve_features` and the runs in `feast ui` know them.
"""

import io
import json
import logging
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipelines.model_registry.registry import Version, list_versions, log, open_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTING = "LOOKBOOK_MLFLOW"
"""The tracking URI."""
NAME = "lookbook"
"""Of the experiment, where Feast looks for runs of the project of this name, and of the registered model."""
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own settings, where they are not set: it would wait minutes for a server that is down."""
_LONGEST_PARAM = 500
_LONGEST_TAG = 5000


def log_versions(tags: Iterable[str]) -> None:
    """Each version as a run."""
    _tell(lambda mirror: [mirror.run(tag) for tag in tags])


def log_release(tag: str) -> None:
    """A release as a run and a version of the registered model, its parts as runs."""
    _tell(lambda mirror: mirror.model_version(tag))


def log_aliases(pointing: Mapping[str, str]) -> None:
    """Point the registered model's aliases at the releases that ours point at: {alias: tag}."""
    _tell(lambda mirror: mirror.point(pointing))


def _tell(what: Callable[["_Mirror"], object]) -> None:
    """Do it if MLflow is switched on; whatever goes wrong is a warning of one sentence."""
    uri = os.environ.get(SETTING)
    if not uri:
        return
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    # It tells of each attempt.
    attempts = logging.getLogger("urllib3.connectionpool")
    before = attempts.level
    attempts.setLevel(logging.ERROR)
    try:
        # Standard output is for results, and MLflow would print the URI there, password and all.
        with redirect_stdout(io.StringIO()):
            from mlflow import MlflowClient

            what(_Mirror(MlflowClient(uri)))
    except ModuleNotFoundError as error:
        package = "mlflow-skinny" if error.name == "mlflow" else error.name
        log.warning(
            "%s is set, and %s is not installed: run `pip install %s`; nothing was logged to MLflow.",
            *(SETTING, error.name, package),
        )
    except Exception as error:  # of MLflow, HTTP, a database: none is worth a trained version
        log.warning(
            "MLflow was not told all (%s); the registry is whole, and the next release or move of an alias tells what "
            "it needs.",
            _reason(error, uri),
        )
    finally:
        attempts.setLevel(before)


def _reason(error: Exception, uri: str) -> str:
    """An error in short, with neither name nor password nor query of the URI."""
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    # Of a URI that lacks its slashes, whoever it names stands before the @ as well.
    place, _, query = uri.rpartition("://")[2].partition("?")
    who = place.rpartition("@")[0]
    for secret in (who, who.partition(":")[2], *reversed(who.split(":")), query):
        for written in filter(None, (secret, unquote(secret))):
            text = text.replace(written, "***")
    # Of a request that failed several times, why.
    _, caused, cause = text.rpartition("(Caused by ")
    return textwrap.shorten(cause.removesuffix(")") if caused else text, 300).rstrip(".")


class _Mirror:
    """Versions of the registry in one MLflow; what is there already is left as it is."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client
        found = client.get_experiment_by_name(NAME)
        self.experiment = found.experiment_id if found else client.create_experiment(NAME)

    def run(self, tag: str) -> str:
        """The id of a version's run."""
        # One that has not ended was cut short.
        whole = f"tags.`lookbook.version` = '{tag}' and attributes.status = 'FINISHED'"
        for found in self.client.search_runs([self.experiment], whole, max_results=1):
            return str(found.info.run_id)
        from mlflow.entities import Metric, Param

        version = open_version(tag)
        tags = _tags(version)
        for part in version.lineage.parents:
            name = part.partition(":")[0]
            tags[f"lookbook.part.{name}"] = part
            # The encoders of a search index, of which it holds a copy, need not have come along with it.
            if part in {found.tag for found in list_versions(name)}:
                tags[f"lookbook.run.{name}"] = self.run(part)
        moment = int(version.created.timestamp() * 1000)
        figures = {key: value for key, value in _flat(version.metrics).items() if value is not None}
        said = _flat(version.lineage.settings)
        # Of what weeks the figures are.
        said |= {key: figures.pop(key) for key in [*figures] if not _is_number(figures[key])}
        run = self.client.create_run(self.experiment, moment, tags, run_name=tag).info.run_id
        self.client.log_batch(
            run,
            metrics=[Metric(key, value, moment, 0) for key, value in figures.items()],
            params=[Param(key, _text(value)) for key, value in said.items()],
        )
        self.client.set_terminated(run, end_time=moment)
        return str(run)

    def model_version(self, tag: str) -> str:
        """The registered model's version that is a release."""
        run = self.run(tag)
        for found in self.client.search_model_versions(f"name = '{NAME}' and run_id = '{run}'"):
            return str(found.version)
        if not self.client.search_registered_models(f"name = '{NAME}'"):
            self.client.create_registered_model(NAME, description="Releases of Lookbook.")
        tags = _tags(open_version(tag))
        made = self.client.create_model_version(
            NAME, f"runs:/{run}", run, tags, description=tag, await_creation_for=0
        )
        return str(made.version)

    def point(self, pointing: Mapping[str, str]) -> None:
        """Move the registered model's aliases."""
        for alias, tag in pointing.items():
            # MLflow's have no dots.
            name = alias.replace(".", "_")
            self.client.set_registered_model_alias(NAME, name, self.model_version(tag))


def _tags(version: Version) -> dict[str, str]:
    """Where a version comes from, and the features it has learned from under Feast's names."""
    lineage = version.lineage
    tags = {
        "lookbook.version": version.tag,
        "lookbook.content_hash": version.content_hash,
        "lookbook.data_cutoff": lineage.data_cutoff.isoformat(),
        "lookbook.data_hash": lineage.data_hash,
        "lookbook.commit": lineage.commit,
        "lookbook.seed": str(lineage.seed),
        "feast.project": NAME,
    }
    if lineage.feature_service is None:
        return tags
    views = lineage.feature_views
    refs = ",".join(f"{name}:{field}" for name, view in views.items() for field in view["fields"])
    return tags | {
        "lookbook.schema_hash": str(lineage.feature_schema_hash),
        "feast.feature_service": lineage.feature_service,
        "feast.feature_views": ",".join(views)[:_LONGEST_TAG],
        # No half of a name at the end.
        "feast.feature_refs": f"{refs},"[:_LONGEST_TAG].rpartition(",")[0],
        "feast.retrieval_type": "historical",
    }


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries by their path, in names that MLflow allows: {"MAP_at_12/low": 0.02}."""
    if isinstance(value, Mapping) and (value or not name):
        return {
            path: leaf
            for key, inner in value.items()
            for path, leaf in _flat(inner, f"{name}/{key}" if name else str(key)).items()
        }
    return {re.sub(r"[^\w\-. /]", "_", name.replace("@", "_at_")): value}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAM else text[: _LONGEST_PARAM - 3] + "..."
