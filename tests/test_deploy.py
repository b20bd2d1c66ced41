"""What `deploy/` says is held to Kubernetes' schemas and to the code; a published folder serves."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml
from prometheus_client import REGISTRY

from feature_repo import places
from pipelines import cli, demo
from services.access import routes
from services.recommendations import Recommender
from tests.conftest import Serve
from tests.test_service import get, post

DEPLOY = places.PROJECT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
RUNNING = (places.PROJECT / "docs" / "running.md").read_text()
VERSION = "0.1.0"


def resources(kind: str = "") -> list[dict[str, Any]]:
    found = [one for file in MANIFESTS for one in yaml.safe_load_all(file.read_text())]
    return [one for one in found if kind in ("", one["kind"])]


def pods() -> list[dict[str, Any]]:
    (service,), (night,) = resources("Deployment"), resources("CronJob")
    templates = service["spec"]["template"], night["spec"]["jobTemplate"]["spec"]["template"]
    return [template["spec"] for template in templates]


def containers(kind: str = "containers") -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod.get(kind, [])]


def code() -> str:
    rooms = ("feature_repo", "pipelines", "services")
    files = [file for room in rooms for file in (places.PROJECT / room).rglob("*.py")]
    return "\n".join(file.read_text() for file in files)


def test_manifests_are_what_kubernetes_takes() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for one in resources():
        if one["kind"] != "ServiceMonitor":
            validate(one, "1.32", strict=True)
            with pytest.raises(Exception, match="nonsense"):
                validate({**one, "nonsense": 1}, "1.32", strict=True)


def test_kustomize_takes_every_file() -> None:
    told = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    files = [
        *told["resources"],
        *(file for each in told["configMapGenerator"] for file in each["files"]),
    ]
    assert all((DEPLOY / file).is_file() for file in files)
    theirs = {Path(file).name for file in told["resources"]} | {"service-monitor.yaml"}
    assert theirs == {file.name for file in MANIFESTS}
    if shutil.which("kubectl"):
        done = subprocess.run(
            ["kubectl", "kustomize", str(DEPLOY)], capture_output=True, text=True, check=True
        )
        built = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "Deployment"]
        image = built[0]["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image == f"registry.example/lookbook:{VERSION}"


def test_probes_ask_for_what_there_is() -> None:
    known = routes(Recommender)
    (service,) = (one for one in containers() if one["name"] == "service")
    asked = [service[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")]
    paths = [probe["path"] for probe in asked]
    paths += [urlsplit(url).path for url in re.findall(r"http://127\S+?(?=')", DOCKERFILE)]
    (monitor,) = resources("ServiceMonitor")
    paths += [end["path"] for end in monitor["spec"]["endpoints"]]
    assert len(paths) == 5
    for path in paths:
        assert "GET" in known[path].methods
        assert not known[path].limited, "a probe must never be told to ask later"


def test_ports_names_and_images_agree() -> None:
    (service,) = (one for one in containers() if one["name"] == "service")
    (port,) = service["ports"]
    assert port == {"name": "http", "containerPort": 3000}
    assert {
        probe["port"]
        for probe in (
            service[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
        )
    } == {"http"}
    (network,) = resources("Service")
    assert network["spec"]["ports"][0]["targetPort"] == "http"
    assert "EXPOSE 3000" in DOCKERFILE
    command = json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)[-1])
    assert command[:3] == ["bentoml", "serve", demo.SERVICE]
    assert command[-2:] == ["--port", "3000"]
    assert (
        yaml.safe_load((places.PROJECT / "bentofile.yaml").read_text())["service"] == demo.SERVICE
    )
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"]["service"]["image"] == f"lookbook:{VERSION}"
    assert f'version = "{VERSION}"' in (places.PROJECT / "pyproject.toml").read_text()
    (account,) = resources("ServiceAccount")
    assert account["metadata"]["name"] == pods()[1]["serviceAccountName"]
    (scaled,) = resources("HorizontalPodAutoscaler")
    assert (
        scaled["spec"]["scaleTargetRef"]["name"] == resources("Deployment")[0]["metadata"]["name"]
    )
    claims = {one["metadata"]["name"] for one in resources("PersistentVolumeClaim")}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == claims


def test_no_container_may_more_than_it_needs() -> None:
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"USER {pod['securityContext']['runAsUser']}:" in DOCKERFILE
    for container in [*containers(), *containers("initContainers")]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted <= {volume["name"] for pod in pods() for volume in pod["volumes"]}
    assert not resources("Secret")


def test_the_dockerfile_has_what_a_bento_has() -> None:
    bento = yaml.safe_load((places.PROJECT / "bentofile.yaml").read_text())
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for pattern in bento["include"]:
        name = pattern.strip("/").partition("/")[0]
        assert re.search(rf"^COPY .*\b{re.escape(name)}\b", DOCKERFILE, re.M), name
        assert f"!{name}" in ignored
    for package in bento["docker"]["system_packages"]:
        assert package in DOCKERFILE


def test_every_setting_exists_and_is_explained() -> None:
    known = set(re.findall(r"LOOKBOOK_[A-Z]+(?:_[A-Z]+)*\b(?!_)", code()))
    for file in [*DEPLOY.rglob("*.*"), DEPLOY / "Dockerfile"]:
        assert set(re.findall(r"LOOKBOOK_[A-Z_]+", file.read_text())) <= known, file
    explained = set(re.findall(r"`(LOOKBOOK_[A-Z_]+)`", RUNNING))
    assert explained == known


def test_metrics_exist_and_are_explained() -> None:
    mine = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("lookbook_")}
    explained = set(re.findall(r"^\| `(lookbook_\w+?)(?:_total)?` \|", RUNNING, re.M))
    assert mine - explained == set()
    assert explained == mine
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    asked = [rule["expr"] for rule in alerts["groups"][0]["rules"]]
    board = json.loads((DEPLOY / "grafana" / "lookbook.json").read_text())
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(asked) > 10
    for expression in asked:
        assert expression.count("(") == expression.count(")")
        for name in re.findall(r"\blookbook_\w+", expression):
            assert re.sub(r"_(total|bucket|count|sum)$", "", name) in explained, name


def _verbs(script: str) -> list[list[str]]:
    lines = [line.strip() for line in script.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("lookbook ")]


def test_the_night_calls_verbs_that_there_are() -> None:
    verbs = _verbs((DEPLOY / "nightly.sh").read_text())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    verbs.append(compose["services"]["prepare"]["command"][1:])
    assert len(verbs) > 8
    for words in verbs:
        command: click.Command = cli.main
        context = click.Context(command)
        while isinstance(command, click.Group):
            name, *words = words
            found = command.get_command(context, name)
            assert found is not None, name
            command, context = found, click.Context(found, parent=context)
        # Raises what the command would say of options that it does not know.
        command.make_context(command.name, list(words), parent=context.parent)


def _publish(home: Path, to: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(DEPLOY / "publish.sh"), str(to)],
        env=os.environ | {"LOOKBOOK_HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )


def test_what_is_published_serves(built_shop: Path, tmp_path: Path, serve: Serve) -> None:
    to, pod = tmp_path / "published", tmp_path / "pod"
    done = _publish(built_shop, to)
    assert done.returncode == 0, done.stderr
    (copied,) = (one for one in containers("initContainers") if one["name"] == "home")
    script = copied["command"][-1].replace("/published", str(to))
    pod.mkdir()
    subprocess.run(["sh", "-c", script], env=os.environ | {"LOOKBOOK_HOME": str(pod)}, check=True)
    assert not (pod / "warehouse.duckdb").exists()
    assert not (pod / "online" / "lock.mdb").exists()
    with serve(pod) as address:
        assert json.loads(get(f"{address}/health")[1])["status"] == "ok"
        status, found = post(f"{address}/recommend", {"customer_id": "nobody", "k": 3})
    assert (status, len(found["recommendations"])) == (200, 3)


def test_a_publication_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    home, to = tmp_path / "home", tmp_path / "to"
    for name in ("online", "models"):
        (home / name).mkdir(parents=True)
    (home / "registry.db").write_text("1")
    for number in range(4):
        (home / "registry.db").write_text(str(number))
        assert _publish(home, to, KEEP="2").returncode == 0
    assert (to / "current" / "registry.db").read_text() == "3"
    before = (to / "current").readlink()

    (home / "registry.db").unlink()
    assert _publish(home, to, KEEP="2").returncode != 0
    assert (to / "current").readlink() == before
    (home / "registry.db").write_text("5")
    assert _publish(home, to, KEEP="2").returncode == 0
    assert (to / "current" / "registry.db").read_text() == "5"
    assert not [path for path in to.iterdir() if path.name.endswith(".partial")]
    assert len([path for path in to.iterdir() if not path.is_symlink()]) == 2
