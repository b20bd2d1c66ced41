"""The OpenAPI document: complete, and kept by the running service under requests that nobody thought of."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from feature_repo import environment
from services.document import ERRORS, PROBES, _files, document
from services.recommendations import Recommender


def test_every_endpoint_is_documented_with_every_answer(address: str) -> None:
    with urllib.request.urlopen(f"{address}/docs.json", timeout=10) as response:
        found = json.load(response)
    endpoints = {api.route for api in Recommender.apis.values()}
    assert set(found["paths"]) == endpoints | set(PROBES)
    for path in endpoints:
        operation = found["paths"][path]["post"]
        assert operation["summary"]
        protected = {"401"} if "security" in operation else set()
        errors = {str(status) for status in ERRORS if status != 401}
        assert set(operation["responses"]) == {"200"} | errors | protected
        for status in errors:
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}
    text = json.dumps(found)
    assert "BentoML" not in text
    assert not {f"#/components/schemas/{name}" for name in found["components"]["schemas"]} ^ {
        part.partition('"')[0] for part in text.split('"$ref": "')[1:]
    }


def test_a_value_that_may_be_null_says_so() -> None:
    found = document(Recommender, lambda path: False)
    answer = found["paths"]["/customer"]["post"]["responses"]["200"]["content"]["application/json"]
    age = answer["schema"]["properties"]["age"]
    assert {"type": "null"} in age["anyOf"]


def test_paths_that_want_the_token_say_so() -> None:
    found = document(Recommender, lambda path: path == "/release")["paths"]
    assert found["/release"]["post"]["security"] == [{"token": []}]
    assert "401" in found["/release"]["post"]["responses"]
    assert "security" not in found["/customer"]["post"]


def test_a_picture_in_a_form_is_bytes() -> None:
    asked = {"properties": {"picture": {"type": "file", "format": "image", "title": "Picture"}}}
    (picture,) = _files(asked)["properties"].values()
    assert picture == {
        "title": "Picture",
        "type": "string",
        "contentMediaType": "application/octet-stream",
    }


def test_the_service_keeps_to_its_document(address: str, shop: Path, tmp_path: Path) -> None:
    """Valid and broken requests, the same each time: no 5xx, no answer that is not documented."""
    pytest.importorskip("schemathesis")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{address}/docs.json"),
            *("--header", f"Authorization: Bearer {environment.token()}"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "12", "--seed", "1"),
            *("--generation-database", "none", "--no-color", "--workers", "2"),
            # A release may refuse what the document must allow, as weights that its ranker has not learnt.
            *("--exclude-checks", "positive_data_acceptance"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"Tested: {len(Recommender.apis) + len(PROBES)}" in done.stdout
