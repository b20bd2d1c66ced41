"""The life of a release, as those who run it live it: with the commands, in a copy of the project that they edit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo import places
from pipelines.model_registry import release

DECLARED = """
per_source: {repurchase: 20, popular: 10}
ranker: logistic_regression
training_weeks: 1
training_customers: 100
feature_service: %s
gates:
  quality: {may_lose: 0.9, weeks: 1, customers: 300}
  calibration: {least: 0.05, most: 20, entropy: 9}
  index_recall: {}
  size: {}
"""
SERVICES = "feature_repo/feature_services.py"


class Project:
    """A copy of the project, whose commands work on a home of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        for room in ("feature_repo", "pipelines", "services"):
            junk = shutil.ignore_patterns("__pycache__")
            shutil.copytree(places.PROJECT / room, folder / room, ignore=junk)
        for file in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-dev.txt"):
            shutil.copy2(places.PROJECT / file, folder / file)
        (folder / ".venv").symlink_to(sys.prefix)
        self.environment = os.environ | {"LOOKBOOK_HOME": str(home), "PYTHONPATH": str(folder)}

    def run(self, *words: str, fails: bool = False) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert (done.returncode != 0) == fails, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr if fails else done.stdout

    def lookbook(self, *commands: str) -> list[str]:
        """The last line of each, in one process: what is imported takes the most time."""
        code = "import sys; from pipelines.cli import main\n"
        code += (
            "for words in sys.argv[1:]: main(words.split(), standalone_mode=False); print('----')"
        )
        said = self.run(sys.executable, "-c", code, *commands)
        return [part.strip().rpartition("\n")[2] for part in said.split("----\n")[:-1]]

    def apply(self, fails: bool = False) -> str:
        # Whatever is installed is new enough.
        return self.run("make", "-o", ".venv/.ready", "apply", fails=fails)

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        text = (self.folder / file).read_text()
        for before, after in changes:
            assert before in text
            text = text.replace(before, after, 1)
        (self.folder / file).write_text(text)

    def released(self, service: str) -> str:
        """The tag of a new release, trained and promoted."""
        (self.folder / "mine.yaml").write_text(DECLARED % service)
        *_, tag, _ = self.lookbook(
            "train --release mine.yaml",
            "release create --release mine.yaml",
            f"release promote release:latest --why {service}",
        )
        return tag


@pytest.fixture
def project(own_shop: Path, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", own_shop)


def test_a_view_changes_and_everything_can_go_on_and_back(project: Project) -> None:
    sql = "feature_repo/sql/features/customer_price"
    first = project.released("ranking")

    # What a line bought at a discount is, is to change: not under the feet of what is in production.
    before = (project.folder / f"{sql}.sql").read_text()
    change = ("0.99 * highest_price", "0.9 * highest_price")
    project.edit(f"{sql}.sql", change)
    said = project.apply(fails=True)
    assert "production" in said
    assert first in said
    assert "customer_price" in said
    assert "discount_share" in said

    # As a new version, beside the old, with a service of its own.
    (project.folder / f"{sql}.sql").write_text(before)
    (project.folder / f"{sql}_2.sql").write_text(before)
    project.edit(f"{sql}_2.sql", change)
    project.edit(
        "feature_repo/feature_sql.py",
        (
            '    "customer_price": Table(("customer_id",), by_price=True),\n',
            '    "customer_price": Table(("customer_id",), by_price=True),\n'
            '    "customer_price_2": Table(("customer_id",), by_price=True),\n',
        ),
    )
    views = project.folder / "feature_repo/views/customers.py"
    (old,) = [part for part in views.read_text().split("\n\n") if part.startswith("customer_price")]
    views.write_text(
        f"{views.read_text()}\n\n{old.replace('customer_price', 'customer_price_2')}\n"
    )
    services = project.folder / SERVICES
    (old,) = [part for part in services.read_text().split("\n\n") if part.startswith("ranking = ")]
    new = old.replace("ranking", "ranking_2").replace("customer_price", "customer_price_2")
    services.write_text(f"{services.read_text()}\n\n{new}\n")
    project.edit(
        SERVICES, ("    customer_price,\n", "    customer_price,\n    customer_price_2,\n")
    )
    project.edit(
        "feature_repo/definitions.py",
        ("    ranking,\n", "    ranking,\n    ranking_2,\n"),
        ("    customer_price,\n", "    customer_price,\n    customer_price_2,\n"),
        ('    "ranking",\n', '    "ranking",\n    "ranking_2",\n'),
        ('    "customer_price",\n', '    "customer_price",\n    "customer_price_2",\n'),
    )
    project.apply()
    project.lookbook("features build", "features materialize")
    second = project.released("ranking_2")
    now = release.get("production")
    assert now.tag == second
    assert "ranking_2" in now.feature_services
    move = release.history()[-1]
    assert move.why == "ranking_2"
    assert move.gates is not None
    assert f"like:{first}" in move.gates["results"][0]["figure"]

    # Back, and the first can be made again, in the code that has both.
    _, again, answer = map(
        json.loads,
        project.lookbook(
            "release rollback --json",
            "release reproduce --json",
            "recommend --customer nobody --json",
        ),
    )
    assert release.resolve("production") == first
    assert (again["release"], again["same"]) == (first, True)
    assert answer["release"] == first
