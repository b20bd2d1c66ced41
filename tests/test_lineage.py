"""What a release was made from can be seen: as a graph, a tree and a page, with every hash."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from feature_repo import feature_sql, places
from pipelines.cli import main
from pipelines.model_registry import composing, release
from pipelines.model_registry.lineage import (
    Alias,
    Data,
    FeatureView,
    Graph,
    Part,
    Service,
    Whole,
    trace,
)
from pipelines.model_registry.lineage_page import lineage_page
from pipelines.model_registry.registry import open_version, save_version
from pipelines.reports import plots

HOSTILE = "<script>alert(1)</script> [bold]"


@pytest.fixture(scope="module")
def production(built_shop: Path) -> Graph:
    """The lineage of the made-up shop's release, compared with the code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(built_shop))
        return trace("production", compare=True)


def view(graph: Graph, name: str) -> FeatureView:
    (found,) = [one for one in graph.of(FeatureView) if one.name == name]
    return found


def words(html: str) -> str:
    return " ".join(ET.fromstring(html.partition("\n")[2]).itertext())


def said(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["release", "show", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def trained_again(role: str, **changed: object) -> str:
    """The same version once more, with another lineage."""
    old = open_version(release.get("production").parts[role])

    def write(folder: Path) -> None:
        shutil.copytree(old.path, folder, dirs_exist_ok=True)

    return save_version(role, write, replace(old.lineage, **changed), {})


def test_the_graph_is_what_the_versions_recorded(production: Graph, shop: Path) -> None:
    (whole,) = production.of(Whole)
    assert whole.name == release.resolve("production")
    assert whole.hash == open_version(whole.name).content_hash
    assert [alias.name for alias in production.out_of(whole, Alias)] == ["production"]
    parts = production.into(whole, Part)
    assert {part.name: part.version for part in parts} == release.get("production").parts
    (data,) = production.of(Data)
    for part in parts:
        version = open_version(part.version)
        lineage = version.lineage
        assert (part.hash, part.before, data.hash) == (
            version.content_hash,
            lineage.data_cutoff,
            lineage.data_hash,
        )
        read = [(one.name, one.hash) for one in production.into(part, Service)]
        assert read == (
            [(lineage.feature_service, lineage.feature_schema_hash)]
            if lineage.feature_service
            else []
        )
        for service in production.into(part, Service):
            taken = {
                one.name: {"definition": one.hash, "fields": one.fields[service.name]}
                for one in production.into(service, FeatureView)
            }
            assert taken == lineage.feature_views
        assert data in production.into(part, Data)
    assert production.remarks() == []


def test_computed_views_are_made_of_the_moment_and_of_views(production: Graph) -> None:
    def given(name: str) -> set[str]:
        return {one.name for one in production.into(view(production, name), FeatureView)}

    assert given("recency") == {"customer_activity", "article_activity"}
    assert given("taste_match") == {"customer_taste", "article_profile"}
    assert given("calendar") == set()
    assert production.into(view(production, "calendar"), Data) == []
    # No service of the release holds it, and still it is where features come from.
    taste = view(production, "customer_taste")
    assert production.out_of(taste, Service) == []
    assert production.into(taste, Data) == production.of(Data)
    # A view that a service takes too is the same one.
    assert "ranking" in view(production, "customer_activity").fields


def test_the_tree_and_the_json_say_the_same(production: Graph, shop: Path) -> None:
    text = said()
    for node in (*production.of(Part), *production.of(FeatureView)):
        if node.name != "customer_taste":
            assert re.search(rf"\b{node.name} +{node.hash[:12]}", text), node
    for service in production.of(Service):
        assert f"service {service.name}  schema {service.hash}" in text
    (data,) = production.of(Data)
    assert f"data {data.hash}, days before {data.before}" in text
    assert (
        text.index("data ") < text.index("service ranking") < text.index("part gradient_boosting")
    )
    found = json.loads(said("--json"))
    assert found["history"][0]["why"] == "demo"
    assert found["remarks"] == []
    keys = {node["key"] for node in found["graph"]["nodes"]}
    assert {key for edge in found["graph"]["edges"] for key in edge} == keys
    assert found["graph"]["compared"] is False
    assert {node["kind"] for node in found["graph"]["nodes"]} == {
        "data",
        "view",
        "service",
        "part",
        "release",
        "alias",
    }


def test_the_page_shows_everything_and_needs_nothing_from_elsewhere(
    production: Graph, shop: Path, tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "release.html"
    found = json.loads(said("--out", str(page), "--json"))
    assert found["graph"] == json.loads(json.dumps(production.to_dict(), default=str))
    html = page.read_text()
    assert html == lineage_page(production).html()
    assert not re.search(r"https?://(?!www\.w3\.org)|<script", html)
    text = words(html)
    for node in production.nodes:
        assert node.name.partition(":")[2] in text or node.name in text
        assert node.hash in text
    for one in production.of(FeatureView):
        for fields in one.fields.values():
            assert all(field in text for field in fields)
    assert "the code of today defines every view as it was" in text
    # Names stand in the drawing as text, which can be found and copied.
    drawing = html[html.index("<svg") : html.index("</svg>")]
    for one in (*production.of(FeatureView), *production.of(Part), *production.of(Service)):
        assert f">{one.name}<" in drawing
        assert f">{one.hash[:10]}<" in drawing


def test_parts_of_other_days_and_who_moved_what_are_told(own_shop: Path) -> None:
    first = release.resolve("production")
    trained_again("ease", data_cutoff=date(2020, 9, 16))
    made = composing.create_release().tag
    release.promote(made, "shadow", why=HOSTILE, by="ana")
    release.promote("shadow", why="more weeks", by="ana")
    release.rollback(why="fewer clicks", by="ben")
    graph = trace(made)
    (remark,) = graph.remarks()
    others = len(graph.of(Part)) - 1
    assert remark == (
        "Parts have seen different days: ease before 2020-09-16; "
        f"the other {others} parts before 2020-09-23."
    )
    assert {data.before: len(graph.made_of(data)) for data in graph.of(Data)} == {
        date(2020, 9, 16): 1,
        date(2020, 9, 23): others,
    }
    text = said(made)
    assert remark in text
    assert HOSTILE in text
    assert [(m.alias, m.action, m.by, m.release == made) for m in graph.moves] == [
        ("shadow", "promote", "ana", True),
        ("production", "promote", "ana", True),
        ("production", "rollback", "ben", False),
        ("previous", "rollback", "ben", True),
    ]
    html = words(lineage_page(graph).html())
    for expected in (
        remark,
        HOSTILE,
        f"from here to {first}",
        f"here, from {first}",
        "not compared",
    ):
        assert expected in html
    moves = json.loads(said(first, "--json"))["history"]
    assert {move["alias"] for move in moves} == {"production", "previous"}


def test_what_the_code_defines_otherwise_is_told(
    shop: Path, production: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(feature_sql.SQL_FOLDER, tmp_path / "sql")
    file = tmp_path / "sql" / "features" / "customer_price.sql"
    file.write_text(file.read_text() + "\nLIMIT 5")
    monkeypatch.setattr(feature_sql, "SQL_FOLDER", tmp_path / "sql")
    graph = trace("production", compare=True)
    changed = {one.name: set(one.changed) for one in graph.of(FeatureView) if one.changed}
    assert changed == {
        "customer_price": {"ranking", "customer_state"},
        "customer_article_now": {"ranking"},
    }
    # What it was made of is not known from code that makes it otherwise.
    assert graph.into(view(graph, "customer_article_now"), FeatureView) == []
    assert (
        "The code of today has another customer_price in ranking, whose SQL, function or declaration means something else."
        in graph.remarks()
    )
    text = words(lineage_page(graph).html())
    assert "a view whose SQL, function or declaration means something else" in text
    assert "its views are others" in text
    # Without the comparison the code does not matter.
    assert trace("production").remarks() == []


def test_a_damaged_part_is_shown_as_such(own_shop: Path) -> None:
    found = open_version(release.get("production").parts["ease"])
    next(file for file in found.path.rglob("*") if file.is_file()).write_text("x")
    text = said()
    assert "The ease cannot be used: " in text
    assert f"ease  {found.tag}  cannot be used" in text
    assert "service ranking" in text
    html = words(lineage_page(trace("production")).html())
    assert "What cannot be used" in html


def test_the_python_of_the_documentation_runs(
    shop: Path, production: Graph, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (places.PROJECT / "docs" / "registry.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec(block, {})
    *parts, changed = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in parts] == [
        [part.name, part.version, part.hash[:12]] for part in production.of(Part)
    ]
    assert changed == "[]"


@pytest.mark.parametrize("order", [lambda keys: keys, reversed], ids=["as given", "reversed"])
def test_boxes_stand_where_lines_do_not_cross(order: Callable[[list[str]], list[str]]) -> None:
    names = [f"<script>{nth}</script>" for nth in range(4)]
    left = [plots.Box(f"l{nth}", name) for nth, name in enumerate(names)]
    right = [plots.Box(f"r{key}", f"to {key}") for key in order(list("0123"))]
    edges = [(f"l{nth}", f"r{nth}") for nth in range(4)]
    passing = [*edges, ("l0", "end"), ("r3", "end")]
    figure = plots.layers(
        [("a", left), ("b", right), ("c", []), ("d", [plots.Box("end", "end")])], passing
    )
    heights = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    from_left = sorted(range(4), key=lambda nth: heights[names[nth]])
    assert from_left == sorted(range(4), key=lambda nth: heights[f"to {nth}"])
    assert "c" not in heights
    drawing = plots.svg(figure, name="f1", label="boxes")
    ET.fromstring(drawing)
    assert "<script" not in drawing
    assert drawing.count("<path") >= 9 + len(passing)
