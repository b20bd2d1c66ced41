"""Documentation that can fail: generated pages and links are held to what is there."""

import re
from pathlib import Path

import pytest

from feature_repo import places
from pipelines.data.synthetic import synthesize
from pipelines.data.synthetic.behaviour import REMEMBERED
from pipelines.features import catalogue

PAGES = [places.PROJECT / "README.md", *sorted((places.PROJECT / "docs").glob("*.md"))]


def test_the_feature_catalogue_is_what_is_declared() -> None:
    page = (places.PROJECT / "docs" / "features.md").read_text()
    assert page == catalogue(), "write it anew: lookbook features list > docs/features.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_python_of_the_made_up_shop_runs(tmp_path: Path) -> None:
    page = (places.PROJECT / "docs" / "made-up-shop.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert block.count("/tmp/shop") == 1
    synthesize(tmp_path / "shop", customers=40, articles=60, days=30)
    said: dict[str, object] = {}
    exec(block.replace("/tmp/shop", str(tmp_path / "shop")), said)
    assert len(said["best"]) == 12
    assert said["answer"].view.shape == (3,)
    assert f"the latest {REMEMBERED} purchases" in page


def test_dependencies_are_explained() -> None:
    import tomllib

    page = (places.PROJECT / "docs" / "dependencies.md").read_text()
    project = tomllib.loads((places.PROJECT / "pyproject.toml").read_text())["project"]
    for wanted in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        name = re.split(r"[\[<>=]", wanted)[0]
        assert f"`{name}" in page, f"docs/dependencies.md does not say why {name} is here"
