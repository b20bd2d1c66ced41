"""A release is made again from what is recorded of it, to the same hashes, or what differs is told."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from click.testing import CliRunner

from pipelines import feature_tables
from pipelines.cli import main
from pipelines.model_catalog import RELEASE
from pipelines.model_registry import composing, publishing, release
from pipelines.model_registry.registry import list_versions
from pipelines.model_registry.reproducing import reproduce
from tests.test_parity import load_late

FEW = replace(RELEASE, training_weeks=1, training_customers=100)


def test_a_release_is_made_again_to_the_same_hashes(own_shop: Path) -> None:
    """Also of an earlier day, and after others have been trained with other settings."""
    cutoff = date(2020, 9, 16)
    made = composing.create_release(publishing.train(cutoff, settings=FEW), settings=FEW)
    release.promote(made.tag)
    before = list_versions()
    found = reproduce("production")
    assert found.same
    assert found.release == made.tag
    assert set(found.parts) == set(made.parts)
    assert list_versions() == before
    assert not [said for said in found.different if "commit" not in said]


def test_other_data_and_features_are_told(own_shop: Path, built_shop: Path, tmp_path: Path) -> None:
    made = composing.create_release(publishing.train(date(2020, 9, 16), settings=FEW), settings=FEW)
    load_late(built_shop.parent / "files", tmp_path / "late")
    feature_tables.build()
    done = CliRunner().invoke(main, ["release", "reproduce", made.tag, "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["same"]
    assert not found["parts"]["ease"]["same"]
    assert any("The data are others" in said for said in found["different"])
    said = CliRunner().invoke(main, ["release", "reproduce", "release:nosuch"])
    assert said.exit_code == 1
    assert "is unknown" in said.output
