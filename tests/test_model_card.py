"""Model cards say what the registry, the code and an evaluation say, in Markdown and as a page."""

import json
import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.evaluation.evaluation_page import between
from pipelines.evaluation.model_card import card_page, model_card, write_card
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS, ReleaseSettings, read_release
from pipelines.model_registry.registry import Lineage, Version, open_version, save_version

HOSTILE = "<script>alert(1)</script> | `x` [a](b)"
LINEAGE = Lineage(
    feature_service="ranking",
    feature_schema_hash="5c4e3a",
    data_cutoff=date(2020, 9, 16),
    data_hash="da7a",
    seed=7,
    commit="c0ffee+dirty",
    settings={
        "model": {"trees": 100, "learning_rate": 0.08, "words": HOSTILE},
        "release": {"per_source": {"ease": 100}},
        "weeks": ["2020-07-22", "2020-09-09"],
        "rows": 123_456,
    },
    environment={"python": "3.11.7", "lightgbm": "4.6.0"},
)


def version(tag: str, lineage: Lineage = LINEAGE, metrics: dict[str, Any] | None = None) -> Version:
    made = datetime(2020, 9, 17, 12, 30, tzinfo=UTC)
    return Version(tag, Path("files"), lineage, metrics or {}, made, "c0de")


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.0123, "high": mean + 0.0234}


EVALUATION: dict[str, Any] = {
    "weeks": ["2020-09-09", "2020-09-16"],
    "customers": 1234,
    "models": {
        "release": {"MAP@12": interval(0.215), "recall@12": interval(0.225)},
        "popular": {"MAP@12": interval(0.056)},
    },
    "base": "popular",
    "release_ranker": "gradient_boosting",
    "differences": {"release": {"MAP@12": interval(0.159)}},
    "segments": {
        "history": {"cold": {"customers": 321, "models": {"release": {"MAP@12": interval(0.111)}}}}
    },
    "gaps": {
        "age": {"release": {"MAP@12": {"highest": "20-24", "lowest": "50-59", **interval(0.041)}}}
    },
    "exposure": {
        "popularity": {
            "new": {
                "bought": 0.126,
                "models": {"release": {"shown": 0.076, "gap": interval(-0.05)}},
            }
        }
    },
    "rankers": {
        "release": {
            "NE": interval(0.923),
            "calibration": interval(1.07),
            "reliability": [
                {"from": 0.01, "to": 0.02, "rows": 987, "predicted": 0.0151, "observed": 0.0172}
            ],
            "segments": {"history": {"cold": {"calibration": interval(1.19)}}},
        }
    },
}


def test_a_ranker_is_described_from_what_is_recorded() -> None:
    card = model_card(version("gradient_boosting:1"), EVALUATION)
    assert card.startswith("# gradient_boosting:1\n")
    for said in (
        "\n\nGradient-boosted trees that put each customer's candidates in order (LambdaMART).\n",
        "\n\nLightGBM with the lambdarank objective",
        "Burges",
        "| kind | ranker |",
        "| made | 2020-09-17 12:30 UTC |",
        "| content hash | c0de |",
        "strictly before 2020-09-16",
        "| data hash | da7a |",
        "| training weeks | 2, from 2020-07-22 to the one from 2020-09-09 |",
        "| training rows | 123,456 |",
        "| feature service | ranking |",
        "| feature schema hash | 5c4e3a |",
        "| model.trees | 100 |",
        "| release.per_source.ease | 100 |",
        "1,234 customers who bought in the weeks from 2020-09-09, 2020-09-16",
        "the release with a ranker of these settings",
        f"| MAP@12 | {between(interval(0.215))} |",
        f"| MAP@12 | {between(interval(0.159))} |",
        f"| cold | 321 | {between(interval(0.111))} | - |",
        f"| By age | MAP@12 | 20-24 | 50-59 | {between(interval(0.041))} |",
        "| By how much they sell | new | 12.6% | 7.6% |",
        f"| NE | {between(interval(0.923))} |",
        f"| cold | {between(interval(1.19))} |",
        "| 1.510% | 1.720% | 987 |",
        "It has seen nothing from 2020-09-16 on.",
        "$ git checkout c0ffee\n# files differed",
        "$ lookbook train gradient_boosting --cutoff 2020-09-16",
        "| lightgbm | 4.6.0 |",
    ):
        assert said in card, said


def test_hostile_text_stays_text() -> None:
    made = version("gradient_boosting:1")
    card = model_card(made)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| \\`x\\` \\[a\\](b) |" in card
    assert "<script" not in card
    html = card_page(made).html()
    assert "<script" not in html
    ET.fromstring(html.partition("\n")[2])
    assert not re.search(r"https?://", html)


def test_every_row_of_a_table_has_as_many_cells() -> None:
    card = model_card(version("gradient_boosting:1"), EVALUATION)
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in card.splitlines()]
    tables = [line for line in card.splitlines() if line.startswith("|---")]
    assert len(tables) >= 8
    for one, two, line in zip(widths, widths[1:], card.splitlines(), strict=False):
        if one and two:
            assert one == two, line


def test_whose_figures_they_are_is_said() -> None:
    judged = {
        **EVALUATION,
        "models": {**EVALUATION["models"], "release:9": {"MAP@12": interval(0.3)}},
    }
    assert "of this very version" in model_card(version("release:9"), judged)
    card = model_card(version("popular:1"), judged)
    assert "a model of these settings" in card
    assert between(interval(0.056)) in card
    assert between(interval(0.215)) not in card
    assert "It was not evaluated." in model_card(version("ease:1"), judged)
    # The release that was judged had another ranker.
    assert "It was not evaluated." in model_card(version("multi_task:1"), judged)
    other = replace(LINEAGE, parents=("ease:1", "multi_task:1"))
    assert "It was not evaluated." in model_card(version("release:3", other), judged)
    own = replace(LINEAGE, parents=("ease:1", "gradient_boosting:1"))
    assert between(interval(0.215)) in model_card(version("release:3", own), judged)


def test_a_release_names_its_parts_and_what_was_registered() -> None:
    parts = ("ease:1", "gradient_boosting:2")
    lineage = replace(LINEAGE, parents=parts, settings={}, commit="unknown")
    metrics = {"MAP@12": interval(0.2), "weeks": ["2020-09-09"]}
    card = model_card(version("release:3", lineage, metrics))
    assert "| ease:1 |\n| gradient_boosting:2 |" in card
    assert f"| MAP@12 | {between(interval(0.2))} |" in card
    assert "test weeks from 2020-09-09" in card
    assert "$ lookbook release create" in card
    assert "git checkout" not in card
    assert "## Settings" not in card
    assert "$ lookbook release reproduce release:3" in card
    assert "release.yaml" not in card


def test_a_release_is_made_again_of_what_it_was_declared_as(tmp_path: Path) -> None:
    declared = replace(RELEASE, ranker="multi_task", rerankers={"dpp": {"strength": 0.2}})

    def commands(tag: str, settings: ReleaseSettings) -> list[str]:
        made_with = json.loads(json.dumps({"release": settings.to_dict()}))
        card = model_card(version(tag, replace(LINEAGE, settings=made_with)))
        return [line[2:] for line in card.splitlines() if line.startswith("$ ")]

    *_, again, write, train, create = commands("release:3", declared)
    assert again == "lookbook release reproduce release:3"
    assert train == "lookbook train --cutoff 2020-09-16 --release release.yaml"
    assert create == "lookbook release create --release release.yaml"
    _, said, _, file = shlex.split(write)
    (tmp_path / file).write_text(said)
    assert read_release(tmp_path / file) == declared
    assert commands("release:3", RELEASE)[-2:] == [
        "lookbook train --cutoff 2020-09-16",
        "lookbook release create",
    ]
    usual = replace(RELEASE, ranker="multi_task")
    assert commands("multi_task:3", usual)[-1] == "lookbook train multi_task --cutoff 2020-09-16"
    assert "release.yaml" in commands("multi_task:3", declared)[-1]


@pytest.mark.parametrize("name", [*RETRIEVERS, *RANKERS, "sample_customers", "search_index"])
def test_every_model_has_a_card(name: str) -> None:
    lineage = replace(LINEAGE, settings={}, feature_service=None, feature_schema_hash=None)
    card = model_card(version(f"{name}:1", lineage), EVALUATION)
    what = card.splitlines()[2]
    assert re.fullmatch(r"[A-Z].{10,}[.:]", what), what


def test_the_page_says_what_the_text_says(tmp_path: Path) -> None:
    made = version("gradient_boosting:1")
    write_card(made, tmp_path / "cards" / "card.html", EVALUATION)
    write_card(made, tmp_path / "card.md", EVALUATION)
    page = (tmp_path / "cards" / "card.html").read_text()
    words = " ".join(ET.fromstring(page.partition("\n")[2]).itertext())
    assert (tmp_path / "card.md").read_text() == model_card(made, EVALUATION)
    for said in ("Burges", "123,456", between(interval(0.215)), "lookbook train gradient_boosting"):
        assert said in words


def test_a_registered_version_has_a_card(home: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.json").write_text("{}")

    tag = save_version("popular", write, replace(LINEAGE, settings={"model": {"days": 7}}), {})
    card = model_card(open_version(tag))
    assert tag in card
    assert "| model.days | 7 |" in card
    assert "It was not evaluated." in card
