"""Dirt: what is planted is what loading sets aside, line by line, and nothing else."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feature_repo.raw_tables import RAW_TABLES
from pipelines.data.load import LoadReport, load
from pipelines.data.synthetic import ShopError, dirt, synthesize
from pipelines.data.synthetic.dirt import DirtError, plant
from pipelines.warehouse import reading

KEPT_KINDS = {
    "age as a float",
    "article_id read as a number",
    "article_id that no file describes",
    "blank line",
    "blanks around an id",
    "byte order mark",
    "CRLF line ends",
    "customer_id that no file describes",
    "empty attribute",
    "line break in a text",
    "quote in a text",
    "quoted value",
    "removed row",
    "repeated row",
    "time with an offset",
    "trailing comma",
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "shop"
    size = {"customers": 300, "articles": 120, "days": 60, "interactions": 5}
    return synthesize(folder, **size, csv=True).folder


@pytest.fixture
def shop(clean: Path, tmp_path: Path, home: Path) -> Path:
    return shutil.copytree(clean, tmp_path / "shop")


def ask(sql: str) -> list[tuple[Any, ...]]:
    with reading() as con:
        return con.execute(sql).fetchall()


def everything() -> list[list[tuple[Any, ...]]]:
    return [ask(f"FROM raw.{name} ORDER BY ALL") for name in (*RAW_TABLES, "quarantine", "loads")]


def check(manifest: dict[str, Any], report: LoadReport) -> None:
    """The warehouse against the manifest, both ways."""
    listed = Counter(
        (d["table"], d["file"], d["line"], d["reason"], d["expected"] == "value left unknown")
        for d in manifest["defects"]
        if d["expected"] != "kept"
    )
    found = Counter(ask("SELECT table_name, file, line, reason, row_kept FROM raw.quarantine"))
    assert found == listed
    for name, rows in manifest["rows"].items():
        described = "WHERE NOT from_transactions" if RAW_TABLES[name].key else ""
        assert ask(f"SELECT count(*) FROM raw.{name} {described}") == [(rows,)], name
        table, counts = report.tables[name], manifest["counts"][name]
        assert table.quarantined == counts["quarantined"]
        assert table.values_left_unknown == counts["value left unknown"]
    for name in ("articles", "customers"):
        table = report.tables[name]
        assert table.from_transactions == manifest["known_from_transactions"][name]
        assert table.from_interactions == manifest["known_from_interactions"].get(name, 0)


@pytest.mark.parametrize("seed", range(8))
def test_loading_sets_aside_exactly_what_the_manifest_lists(shop: Path, seed: int) -> None:
    manifest = plant(shop, seed)
    check(manifest, load(str(shop)))


def test_a_shop_without_interactions(shop: Path) -> None:
    (shop / "interactions.csv").unlink()
    manifest = plant(shop, 1)
    assert [*manifest["rows"]] == ["articles", "customers", "transactions"]
    check(manifest, load(str(shop)))


def test_a_larger_shop(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks of many lines, and more than two defects of each kind."""
    monkeypatch.setattr(dirt, "ROWS_FOR_EACH", 60_000)
    size = {"customers": 18_000, "articles": 1000, "days": 400, "interactions": 2}
    synthesize(tmp_path / "shop", **size, csv=True)
    manifest = plant(tmp_path / "shop", 5)
    assert manifest["rows"]["transactions"] > 180_000
    assert manifest["counts"]["transactions"]["quarantined"]["price is missing"] >= 3
    check(manifest, load(str(tmp_path / "shop")))


def test_loading_a_dirty_shop_twice_adds_nothing(shop: Path) -> None:
    manifest = plant(shop, 2)
    report = load(str(shop))
    before = everything()
    assert all(table.unchanged for table in load(str(shop)).tables.values())
    assert everything() == before
    for file in sorted(shop.glob("*.csv")):  # as other files: read again
        text = file.read_bytes()
        end = b"\r\n" if text.endswith(b"\r\n") else b"\n"
        Path(f"{file}.gz").write_bytes(gzip.compress(text + end))
        file.unlink()
    again = load(str(shop))
    assert everything()[:-1] == before[:-1]
    assert not any(table.loaded or table.updated for table in again.tables.values())
    check(manifest, report)


def test_all_that_is_not_dirty_arrives(shop: Path, clean: Path, home: Path) -> None:
    """Row by row: the dirty shop's rows are the clean one's, save where the manifest says."""
    manifest = plant(shop, 3)
    load(str(shop))
    names = ("transactions", "interactions")
    rows = {name: Counter(ask(f"SELECT * EXCLUDE known_at FROM raw.{name}")) for name in names}
    shutil.rmtree(home)
    load(str(clean))
    for name in names:
        before = Counter(ask(f"SELECT * EXCLUDE known_at FROM raw.{name}"))
        gone, new = before - rows[name], rows[name] - before
        kept, unknown = (manifest["counts"][name][w] for w in ("kept", "value left unknown"))
        added = sum(
            1 for d in manifest["defects"] if d["table"] == name and d["kind"] == "swallowed line"
        )
        changed = sum(n for kind, n in kept.items() if kind.endswith("no file describes"))
        changed += sum(unknown.values())
        twice = kept["repeated row"] if name == "transactions" else 0
        lost = sum(manifest["counts"][name]["quarantined"].values()) - added
        assert gone.total() <= lost + changed
        assert new.total() - gone.total() == twice - lost
        assert new.total() <= changed + twice


def test_every_kind_is_planted_at_least_twice_and_no_line_has_two(shop: Path) -> None:
    manifest = plant(shop, 4)
    defects = [
        d for d in manifest["defects"] if d["kind"] not in ("byte order mark", "CRLF line ends")
    ]
    kinds = Counter((d["table"], d["done"]) for d in defects)
    assert set(kinds.values()) == {2}
    assert {d["kind"] for d in manifest["defects"] if d["expected"] == "kept"} == KEPT_KINDS
    lines = Counter((d["file"], d["line"]) for d in defects if d["line"])
    assert set(lines.values()) == {1}
    assert all((d["reason"] is None) == (d["expected"] == "kept") for d in defects)


def test_the_manifest_is_written_and_its_lines_show_what_was_done(shop: Path) -> None:
    manifest = plant(shop, 6)
    assert json.loads((shop / "dirt.json").read_text()) == manifest
    assert sorted(f.name for f in shop.iterdir() if f.suffix != ".json" and f.is_file()) == sorted(
        table.file for table in RAW_TABLES.values()
    )
    shown = {
        "t_dat is '22/09/2020'": b"22/09/2020,",
        "customer_id holds the bytes FF FE": b"\xff\xfe",
        "a value 'surplus' follows the last one": b",surplus",
        "article_id has an eleventh digit": b"0,",
    }
    for defect in manifest["defects"]:
        if defect["done"] in shown:
            line = (shop / defect["file"]).read_bytes().split(b"\n")[defect["line"] - 1]
            assert shown[defect["done"]] in line


def test_the_same_seed_gives_the_same_bytes(clean: Path, tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = shutil.copytree(clean, tmp_path / name)
        plant(folder, seed)
        made.append({f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()})
    assert made[0] == made[1]
    assert all(made[0][name] != made[2][name] for name in made[0])


def parquet(shop: Path) -> None:
    file = shop / "transactions_train.csv"
    duckdb.sql(f"COPY (FROM read_csv('{file}')) TO '{file.with_suffix('.parquet')}'")
    file.unlink()


def short(shop: Path, name: str) -> None:
    file = shop / RAW_TABLES[name].file
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:30]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (parquet, "has transactions_train.parquet .* only CSV can carry dirt"),
        (lambda s: (s / "articles.csv").unlink(), r"articles\.csv is missing"),
        (lambda s: short(s, "customers"), r"customers\.csv has 29 rows, too few for dirt"),
        (lambda s: (s / "customers.csv").write_text("id\n1\n"), "not as a made-up shop is written"),
        (lambda s: (s / "dirt.json").write_text("{}"), "dirty already"),
        (lambda s: (s / ".customers.csv.partial").mkdir(), "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_made_dirty_stays_as_it_was(
    shop: Path, spoil: Any, message: str
) -> None:
    spoil(shop)
    before = {f.name: f.read_bytes() for f in shop.iterdir() if f.is_file()}
    with pytest.raises(DirtError, match=message) as raised:
        plant(shop, 1)
    assert "\n" not in str(raised.value)
    assert {f.name: f.read_bytes() for f in shop.iterdir() if f.is_file()} == before


@pytest.mark.parametrize("few", ["articles", "customers"])
def test_a_shop_too_small_for_dirt_is_refused_before_it_is_made(tmp_path: Path, few: str) -> None:
    told: list[str] = []
    size = {"articles": 150, "customers": 300, few: 40}
    with pytest.raises(
        DirtError, match=rf"^{few}\.csv has 40 rows, too few for dirt: make"
    ) as raised:
        synthesize(
            tmp_path / "s", **size, csv=True, dirt=True, progress=lambda step, _: told.append(step)
        )
    assert isinstance(raised.value, ShopError)
    assert told == []
    assert list(tmp_path.iterdir()) == []
