"""docs/bring-your-shop.md, followed to the letter: its files, its commands, its output."""

import re
from pathlib import Path

import pytest

from feature_repo.places import PROJECT
from pipelines.data.load import load
from pipelines.warehouse import reading

PAGE = (PROJECT / "docs" / "bring-your-shop.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, flags=re.M | re.S)


def blocks(kind: str) -> list[tuple[str, str]]:
    return [(name, text) for found, name, text in BLOCKS if found == kind]


def test_the_page_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("csv") + blocks("python"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    commands = blocks("console")
    assert len(commands) == 2
    for _, text in commands:
        command, output = text.split("\n", 1)
        source = command.removeprefix("$ lookbook data load ")
        assert str(load(source)) == output.strip()

    [(_, query)], [(_, expected)] = blocks("sql"), blocks("text")
    with reading() as con:
        rows = con.execute(query).fetchall()
        articles = con.execute("SELECT prod_name FROM raw.articles ORDER BY 1").fetchall()
        sold = con.execute("SELECT price, quantity FROM raw.transactions ORDER BY 1, 2").fetchall()
    assert "\n".join(", ".join(map(str, row)) for row in rows) == expected.strip()
    assert articles == [("Linen shirt",), ("Scarf, red",)]
    assert sold == [(15.0, 1), (15.0, 2), (39.0, 1)]
