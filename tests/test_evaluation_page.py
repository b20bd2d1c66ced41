"""The page of an evaluation: it shows what the dictionary says, whatever is missing, and nothing else."""

import json
import xml.etree.ElementTree as ET
from copy import deepcopy
from datetime import date
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from feature_repo.errors import InputError
from pipelines.evaluation.evaluation_page import (
    between,
    digits,
    evaluation_page,
    write_evaluation_page,
)
from pipelines.evaluation.metrics import ACCURACY

HOSTILE = "<script>alert('$x$ & \"y\"')</script>"


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.0123, "high": mean + 0.0234}


def figures(mean: float) -> dict[str, Any]:
    """Of a model: every metric with another value."""
    return {name: interval(mean + 0.01 * n) for n, name in enumerate(ACCURACY)} | {
        "coverage@12": interval(mean + 0.31),
        "novelty@12": interval(mean + 11.7),
        "revenue@12": interval(mean + 2345.6),
    }


NAMES = ["release", "popular", HOSTILE]
FULL: dict[str, Any] = {
    "weeks": ["2020-09-09", "2020-09-16"],
    "customers": 1234,
    "models": {name: figures(0.2 - 0.05 * n) for n, name in enumerate(NAMES)},
    "base": "popular",
    "differences": {"release": {"MAP@12": interval(0.05)}, HOSTILE: {"MAP@12": interval(-0.0501)}},
    "folds": [
        {
            "week": week,
            "customers": 701 + n,
            "models": {name: {"MAP@12": interval(0.211 + n / 100)} for name in NAMES},
        }
        for n, week in enumerate(("2020-09-09", "2020-09-16"))
    ],
    "segments": {
        "age": {
            "20-24": {
                "customers": 321,
                "models": {name: {"MAP@12": interval(0.171)} for name in NAMES},
            },
            "unknown": {"customers": 4, "models": {"release": {"MAP@12": interval(0.161)}}},
        }
    },
    "gaps": {
        "age": {
            "release": {"MAP@12": {"highest": "20-24", "lowest": "50-59", **interval(0.0417)}},
            "popular": {},
        }
    },
    "exposure": {
        "popularity": {
            "new": {
                "bought": 0.126,
                "models": {"release": {"shown": 0.076, "gap": interval(-0.05)}},
            },
            HOSTILE: {"bought": 0.874, "models": {}},
        }
    },
    "rankers": {
        "release": {
            "AUC": interval(0.789),
            "NE": interval(0.923),
            "calibration": interval(1.07),
            "reliability": [
                {"from": 0.0, "to": 0.0001, "rows": 5432, "predicted": 0.00005, "observed": 0.0},
                {"from": 0.01, "to": 0.02, "rows": 987, "predicted": 0.0151, "observed": 0.0172},
            ],
            "segments": {"age": {"20-24": {"calibration": interval(1.19)}}},
        }
    },
}
PRICES = {
    "customers": 55,
    "candidates": 20.0,
    "rows": [
        {
            "reranker": name,
            "strength": strength,
            "settings": {},
            "metrics": {
                "MAP@12": interval(0.2 - strength / 10),
                "diversity@12": interval(strength),
            },
            "changes": {} if name == "unchanged" else {"MAP@12": interval(-0.0777)},
        }
        for name, strength in (("unchanged", 0), ("mmr", 0.25), ("mmr", 0.5))
    ],
}
ABLATIONS = [
    {
        "kind": "views",
        "rows": [
            {"part": "customer_taste", "metrics": {}, "changes": {"MAP@12": interval(-0.0333)}}
        ],
        "skipped": {HOSTILE: "The ranker has nothing else."},
    }
]


def text_of(html: str) -> str:
    """What stands on the page, without markup; it is well-formed XML."""
    root = ET.fromstring(html.partition("\n")[2])
    return " ".join(" ".join(root.itertext()).split())


def test_all_figures_are_those_of_the_dictionary(tmp_path: Path) -> None:
    out = tmp_path / "reports" / "page.html"
    write_evaluation_page(json.loads(json.dumps(FULL)), out, prices=PRICES, ablations=ABLATIONS)
    text = text_of(out.read_text())
    for model in FULL["models"].values():
        for found in model.values():
            assert between(found) in text
    for part in (
        *(of["models"][name]["MAP@12"] for of in FULL["folds"] for name in NAMES),
        FULL["segments"]["age"]["unknown"]["models"]["release"]["MAP@12"],
        FULL["gaps"]["age"]["release"]["MAP@12"],
        *(FULL["rankers"]["release"][name] for name in ("AUC", "NE", "calibration")),
        FULL["rankers"]["release"]["segments"]["age"]["20-24"]["calibration"],
    ):
        assert between(part) in text
    for said in (
        "1,234 customers who bought in 2 weeks, from 9 September 2020",
        "The best by MAP@12 is release with 0.200 (0.188 to 0.223); that is +0.0500 against popular.",
        "+0.0500 (+0.0377 to +0.0734)",
        "-0.0501 (-0.0624 to -0.0267)",
        "-0.0777 (-0.0900 to -0.0543)",
        "-0.0333 (-0.0456 to -0.0099)",
        "7.6% (-5.0: -6.2 to -2.7)",
        "5,432",
        "1.51%",
        "1.72%",
        "20-24 (321)",
        "2020-09-16 (702)",
        "2,346 (2,346 to 2,346)",
    ):
        assert said in text, said


def test_the_page_reaches_nowhere_and_runs_nothing() -> None:
    html = evaluation_page(FULL, prices=PRICES, ablations=ABLATIONS).html()
    rest = html.replace('xmlns="http://www.w3.org/2000/svg"', "").replace(
        'xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
    rest = rest.replace('xmlns="http://www.w3.org/1999/xhtml"', "")
    for word in ("http:", "https:", "//www", "<script", "<link", "<img", "@import", "url(h"):
        assert word not in rest, word
    assert unescape(html).count(HOSTILE) >= 5
    assert html == evaluation_page(FULL, prices=PRICES, ablations=ABLATIONS).html()


@pytest.mark.parametrize(
    "parts", [("base", "differences"), ("folds", "gaps"), ("segments", "rankers", "exposure")]
)
def test_parts_may_be_missing(parts: tuple[str, ...]) -> None:
    without = {key: value for key, value in FULL.items() if key not in parts}
    html = evaluation_page(without).html()
    assert between(FULL["models"]["release"]["MAP@12"]) in text_of(html)
    empty = {key: type(value)() if key in parts else value for key, value in FULL.items()}
    assert evaluation_page(empty).html() == html


def test_little_is_enough() -> None:
    assert "0 models" in text_of(evaluation_page({}).html())
    nothing = {"weeks": ["2020-09-09"], "customers": 0, "models": {"popular": {}}}
    assert "popular" in text_of(evaluation_page(nothing).html())
    old = {name: FULL[name] for name in ("weeks", "customers", "models")}
    text = text_of(evaluation_page(old).html())
    assert "What the lists are like" in text
    assert "For whom" not in text


def test_differences_are_coloured_by_what_is_better() -> None:
    said = deepcopy(FULL)
    said["differences"]["release"] = {
        "MAP@12": interval(0.05),
        "exposure_gini@12": interval(0.06),
        "recall@12": interval(0.0),
        "days_on_sale@12": interval(9.0),
    }
    html = evaluation_page(said).html()
    assert '<td class="r good">+0.0500' in html
    assert '<td class="r bad">+0.0600' in html
    assert '<td class="r quiet">0.0000 (-0.0123 to +0.0234)' in html
    assert '<td class="r quiet">+9.000' in html


def test_figures_have_the_digits_they_need() -> None:
    values = (0.03456, 0.3456, 3.456, 34.56, 3456.7, -0.00001, -0.0346, 0)
    assert [digits(value) for value in values] == [
        *("0.0346", "0.346", "3.456", "34.6", "3,457", "0.0000", "-0.0346", "0.0000"),
    ]


def test_the_page_of_a_made_evaluation(tmp_path: Path) -> None:
    """What `Evaluation.to_dict` gives is what the page takes."""
    from pipelines.evaluation.evaluation import Evaluation
    from tests.test_metrics import a_fold

    folds = [a_fold(date(2020, 9, 2), 1), a_fold(date(2020, 9, 9), 2)]
    said = Evaluation.of(folds, "guessing", samples=50).to_dict()
    said = json.loads(json.dumps(said, allow_nan=False))
    text = text_of(evaluation_page(said).html())
    for heading in (
        "All models",
        "Against guessing",
        "Week by week",
        "For whom",
        "What the lists are like",
        "What is seen",
        "What chances are worth",
        "What the words mean",
    ):
        assert heading in text
    for name, found in said["models"].items():
        assert name in text
        assert all(between(value) in text for value in found.values())


def test_a_folder_is_no_place_for_a_page(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_evaluation_page(FULL, tmp_path)
