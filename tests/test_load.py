"""Loading: small files with visible rows in, the warehouse's rows out."""

import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from feature_repo.places import PROJECT
from feature_repo.raw_tables import RAW_TABLES
from pipelines.data import adapters
from pipelines.data.load import LoadError, load
from pipelines.feature_tables import data_hash
from pipelines.warehouse import WarehouseError, reading

ANNA, BERT, CARA = "a" * 64, "b" * 64, "c" * 64
SHIRT, SCARF = "0108775015", "0108775044"
KAGGLES = [table.name for table in RAW_TABLES.values() if not table.optional]


def article(article_id: str = SHIRT, **values: str) -> str:
    known = {"article_id": article_id, "prod_name": "Strap top", "product_type_no": "253"} | values
    return ",".join(known.get(name, "") for name in RAW_TABLES["articles"].column_names)


def purchase(
    day: str = "2020-09-01",
    who: str = ANNA,
    what: str = SHIRT,
    price: str = "0.05",
    channel: str = "2",
) -> str:
    return f"{day},{who},{what},{price},{channel}"


def event(
    time: str = "2020-09-22 14:03:05",
    who: str = ANNA,
    what: str = SHIRT,
    kind: str = "view",
    position: str = "3",
    propensity: str = "0.25",
) -> str:
    return f"{time},{who},{what},{kind},r1,{position},home,,{propensity}"


class Shop:
    """A folder in the Kaggle layout, good unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.write("articles", article(SHIRT), article(SCARF, prod_name="Scarf"))
        self.write("customers", f"{ANNA},1.0,1.0,ACTIVE,Regularly,24,p1", f"{BERT},,,,,,p2")
        self.write("transactions", purchase(), purchase(who=BERT, what=SCARF, channel="1"))

    def file(self, table: str) -> Path:
        return self.folder / RAW_TABLES[table].file

    def write(self, table: str, *rows: str) -> None:
        header = ",".join(RAW_TABLES[table].column_names)
        self.file(table).write_text("".join(f"{row}\n" for row in (header, *rows)))

    def load(self) -> Any:
        return load(str(self.folder))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    return Shop(tmp_path / "shop")


def ask(sql: str) -> list[tuple[Any, ...]]:
    with reading() as con:
        return con.execute(sql).fetchall()


def quarantine() -> list[tuple[Any, ...]]:
    return ask("SELECT file, line, reason FROM raw.quarantine ORDER BY ALL")


def hash_of_data() -> str:
    with reading() as con:
        return data_hash(con)


def everything() -> list[list[tuple[Any, ...]]]:
    return [ask(f"SELECT * FROM raw.{table} ORDER BY ALL") for table in (*RAW_TABLES, "quarantine")]


def test_three_csv_files(shop: Shop) -> None:
    seen: list[str] = []
    report = load(str(shop.folder), progress=seen.append)
    assert ask("SELECT article_id, prod_name, product_type_no FROM raw.articles") == [
        (SHIRT, "Strap top", 253),
        (SCARF, "Scarf", 253),
    ]
    assert ask("SELECT * FROM raw.customers") == [
        (ANNA, 1.0, 1.0, "ACTIVE", "Regularly", 24, "p1", False),
        (BERT, None, None, None, None, None, "p2", False),
    ]
    assert [[str(v) for v in row[:6]] for row in ask("SELECT * FROM raw.transactions")] == [
        ["2020-09-01", ANNA, SHIRT, "0.05", "2", "1"],
        ["2020-09-01", BERT, SCARF, "0.05", "1", "1"],
    ]
    assert ask("SELECT count(*) FROM raw.transactions WHERE known_at IS NULL") == [(0,)]
    assert quarantine() == []
    assert report.to_dict()["tables"]["transactions"]["loaded"] == 2
    assert "transactions: 2 rows read, 2 loaded" in str(report)
    assert any("MB" in line for line in seen)


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "kaggle:"])
def test_gzip_parquet_and_the_named_adapter_give_the_same(shop: Shop, kind: str) -> None:
    shop.load()
    expected = ask("SELECT * EXCLUDE known_at FROM raw.transactions ORDER BY ALL")
    source = shop.folder
    if kind == "kaggle:":
        source = Path(f"kaggle:{shop.folder}")
    else:
        for table in KAGGLES:
            file = shop.file(table)
            if kind == "csv.gz":
                Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
            else:  # ids as numbers, as a data frame would write them
                duckdb.sql(
                    f"COPY (FROM read_csv('{file}', header = true)) TO '{file.with_suffix('.parquet')}'"
                )
            file.unlink()
    os.environ["LOOKBOOK_HOME"] += "2"
    load(str(source))
    assert ask("SELECT * EXCLUDE known_at FROM raw.transactions ORDER BY ALL") == expected
    assert ask("SELECT article_id FROM raw.articles ORDER BY 1") == [(SHIRT,), (SCARF,)]
    load(str(shop.folder))
    assert ask("SELECT * EXCLUDE known_at FROM raw.transactions ORDER BY ALL") == expected


def test_descriptions_with_commas_quotes_and_line_breaks(shop: Shop) -> None:
    shop.write("articles", article(detail_desc='"Top, ""soft""\nand long."'), article(SCARF))
    shop.load()
    assert ask("SELECT detail_desc FROM raw.articles ORDER BY article_id") == [
        ('Top, "soft"\nand long.',),
        (None,),
    ]


def test_codes_that_are_numbers_in_parquet_get_their_zeros_back(shop: Shop) -> None:
    shop.write("articles", article(product_code="0108775"), article(SCARF, product_code="12"))
    file = shop.file("articles")
    duckdb.sql(
        "COPY (SELECT * REPLACE (CAST(article_id AS BIGINT) AS article_id, "
        f"CAST(product_code AS DOUBLE) AS product_code) FROM read_csv('{file}')) "
        f"TO '{file.with_suffix('.parquet')}'"
    )
    file.unlink()
    shop.load()
    assert ask("SELECT article_id, product_code FROM raw.articles ORDER BY 1") == [
        (SHIRT, "0108775"),
        (SCARF, "0000012"),
    ]


@pytest.mark.parametrize(
    ("kind", "values", "days"),
    [
        ("VARCHAR", ("2020-09-02", "2020-09-01 23:59:59"), ["2020-09-02"]),
        ("VARCHAR", ("2020-09-02", "2020-09-01T10:00+09:00"), ["2020-09-02"]),
        ("VARCHAR", ("2020-09-02", "2020-9-1"), ["2020-09-02"]),
        ("DATE", ("2020-09-02", "2020-09-01"), ["2020-09-01", "2020-09-02"]),
        ("TIMESTAMP", ("2020-09-02", "2020-09-01 23:59:59"), ["2020-09-01", "2020-09-02"]),
        ("TIMESTAMP_NS", ("2020-09-02", "2020-09-01 23:59:59"), ["2020-09-01", "2020-09-02"]),
        ("TIMESTAMPTZ", ("2020-09-02", "2020-09-01 23:59:59Z"), ["2020-09-01", "2020-09-02"]),
    ],
)
def test_a_day_is_a_day_and_a_text_with_a_time_is_none(
    shop: Shop, kind: str, values: tuple[str, str], days: list[str]
) -> None:
    shop.write("transactions", *map(purchase, values))
    file = shop.file("transactions")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(
            f"COPY (SELECT * REPLACE (CAST(t_dat AS {kind}) AS t_dat) FROM "
            f"read_csv('{file}', all_varchar = true)) TO '{file.with_suffix('.parquet')}'"
        )
    file.unlink()
    shop.load()
    assert ask("SELECT CAST(t_dat AS VARCHAR) FROM raw.transactions ORDER BY 1") == [
        (day,) for day in days
    ]
    assert [r for _, _, r in quarantine()] == ["t_dat is not a date YYYY-MM-DD"] * (2 - len(days))


def test_article_id_read_as_a_number_gets_its_zero_back(shop: Shop) -> None:
    shop.write("articles", article("108775015"), article("108775044.0"))
    shop.write("transactions", purchase(what="108775015.0"), purchase(what="12345678901"))
    shop.load()
    assert ask("SELECT article_id FROM raw.articles ORDER BY 1") == [(SHIRT,), (SCARF,)]
    assert ask("SELECT article_id FROM raw.transactions") == [(SHIRT,)]
    assert [r for _, _, r in quarantine()] == [r"article_id does not match \d{10}"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (purchase(day="2020-02-30"), "t_dat is not a date YYYY-MM-DD"),
        (purchase(day="2020-09-01 23:59:59"), "t_dat is not a date YYYY-MM-DD"),
        (purchase(day="20-09-01"), "t_dat is not a date YYYY-MM-DD"),
        (purchase(day=""), "t_dat is missing"),
        (purchase(day="2999-01-01"), "t_dat is in the future"),
        (purchase(who=""), "customer_id is missing"),
        (purchase(what="12"), None),
        (purchase(what="SHIRT"), r"article_id does not match \d{10}"),
        (purchase(price="-0.01"), "price is not above 0"),
        (purchase(price="0"), "price is not above 0"),
        (purchase(price="nan"), "price is not a number"),
        (purchase(price="inf"), "price is not a number"),
        (purchase(price="cheap"), "price is not a number"),
        (purchase(price=""), "price is missing"),
        (purchase(channel="3"), "sales_channel_id is above 2"),
        (purchase(channel="1.5"), "sales_channel_id is not a whole number"),
        (purchase(price="x", channel=""), "price is not a number; sales_channel_id is missing"),
        ("2020-09-01,too few", "the line has too few values"),
        (purchase() + ",extra", "the line has too many values"),
        (purchase(who='"a"b'), "a quote in the line is not closed"),
        (purchase(who=f"{ANNA[:9]}\0"), "customer_id holds a NUL character"),
        (purchase(day=" 2020-09-01", who=f" {ANNA}\t", what="108775015\u00a0", price=" 1 "), None),
        (purchase(who="  "), "customer_id is missing"),
        (purchase(price="1e12"), "price is above 999,999,999"),
    ],
)
def test_a_bad_row_goes_to_quarantine_with_reason_and_line(
    shop: Shop, row: str, reason: str | None
) -> None:
    shop.write("transactions", purchase(), purchase(day="2020-09-02"), row, purchase(who=BERT))
    table = shop.load().tables["transactions"]
    assert table.loaded == (4 if reason is None else 3)
    assert table.quarantined == ({} if reason is None else {reason: 1})
    assert quarantine() == ([] if reason is None else [("transactions_train.csv", 4, reason)])


def test_lines_stay_right_after_lines_that_are_no_csv(shop: Shop) -> None:
    bad = purchase(price="-1")
    shop.write(
        "transactions", "short", purchase(), bad, "short too", "a,b,c,d,e,f", bad, purchase()
    )
    with shop.file("transactions").open("ab") as file:
        file.write(b"2020-09-01,\xff\xfe,0108775015,0.1,1\n")
    report = shop.load().tables["transactions"]
    assert [(line, reason.split()[-1]) for _, line, reason in quarantine()] == [
        (2, "values"),
        (4, "0"),
        (5, "values"),
        (6, "values"),
        (7, "0"),
        (9, "UTF-8"),
    ]
    assert (report.read, report.loaded, sum(report.quarantined.values())) == (8, 2, 6)


PIECES = {
    "good": ([purchase()], None),
    "bad": ([purchase(price="-1")], "price is not above 0"),
    "short": (["short"], "the line has too few values"),
    "long": ([purchase() + ",x"], "the line has too many values"),
    "blank": ([""], None),
    "quoted": ([purchase(who=f'"{ANNA}"')], None),
    "inch": ([purchase(who='5" wide')], None),
    "spoilt": ([purchase(who='"a"b"')], "a quote in the line is not closed"),
    "spoilt twice": (['"x"y,"a"b",""'], "a quote in the line is not closed"),
    "soft": ([purchase(who='"a "soft" scarf"')], "a quote in the line is not closed"),
    "swallowed": (
        ['2020-09-01,"a, ""b""', "", f'c",{SHIRT},0.05,2'],
        "customer_id holds a line break",
    ),
    "bad twice": (['2020-09-01, "a', f'b" ,{SHIRT},0.05'], "the line has too few values"),
}
"""Lines of a file, and what is wrong with the record that they are."""


@settings(max_examples=10, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(sorted(PIECES)), max_size=40),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_the_line_of_a_bad_row_is_that_of_the_file(pieces: list[str], end: str) -> None:
    lines = [",".join(RAW_TABLES["transactions"].column_names), *[purchase()] * 9]
    expected = []
    for piece in pieces:
        more, reason = PIECES[piece]
        expected += [(len(lines) + 1, reason)] if reason else []
        lines += more
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", f"{folder}/home")
        shop = Shop(Path(folder) / "shop")
        shop.file("transactions").write_bytes("".join(line + end for line in lines).encode())
        shop.load()
        assert ask("SELECT line, reason FROM raw.quarantine ORDER BY line") == expected


def test_a_line_far_into_a_compressed_file(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are found a chunk at a time; here each chunk is a few lines."""
    monkeypatch.setattr(adapters, "CHUNK", 200)
    rows = [purchase(who=f"{n:064}") for n in range(100)]
    rows[20:20], rows[60], rows[90] = ["", '2020-09-01,"a', f'b",{SHIRT},0.05,2'], "short", "short"
    rows += [purchase(price="0")]
    shop.write("transactions", *rows)
    file = shop.file("transactions")
    Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    shop.load()
    assert [line for _, line, _ in quarantine()] == [23, 62, 92, 105]


def test_nothing_is_lost_after_a_bad_line_where_a_new_piece_of_the_file_begins(
    shop: Shop,
) -> None:
    """DuckDB takes 32,000,000 bytes at a time."""
    row = purchase() + "\n"
    with shop.file("transactions").open("w") as file:
        before = file.write(",".join(RAW_TABLES["transactions"].column_names) + "\n")
        good = (32_000_000 - before) // len(row)
        file.write(row * (good + 1) + "short\n" + row * 9)
    report = shop.load().tables["transactions"]
    assert (report.loaded, report.read) == (good + 10, good + 11)
    assert [line for _, line, _ in quarantine()] == [good + 3]


def test_a_repeated_key_after_a_bad_line_is_told_with_its_own_line(shop: Shop) -> None:
    shop.write("articles", article(), "short", article(prod_name="Another"), article(SCARF))
    shop.load()
    assert [line for _, line, _ in quarantine()] == [3, 4]


def test_lines_swallowed_by_a_quote_are_kept_in_the_quarantine(shop: Shop) -> None:
    one = f'2020-09-01,"open\n{purchase(price="0.07")}\nclosed",{SHIRT},0.05,2'
    shop.write("transactions", purchase(), one, purchase())
    assert shop.load().tables["transactions"].loaded == 2
    [(line, reason, row)] = ask("SELECT line, reason, row FROM raw.quarantine")
    assert (line, reason) == (3, "customer_id holds a line break")
    assert "0.07" in row


def test_an_odd_value_of_an_attribute_does_not_lose_the_customer(shop: Shop) -> None:
    shop.write("customers", f"{ANNA},1.0,,ACTIVE,,999,p1", f"{BERT},x,,,,31.0,p2")
    report = shop.load().tables["customers"]
    assert ask("SELECT customer_id, FN, age FROM raw.customers") == [
        (ANNA, 1, None),
        (BERT, None, 31),
    ]
    assert ask("SELECT line, reason, row_kept FROM raw.quarantine ORDER BY 1") == [
        (2, "age is above 130", True),
        (3, "FN is not a number", True),
    ]
    assert report.loaded == 2
    assert report.values_left_unknown == {"age is above 130": 1, "FN is not a number": 1}


def test_a_repeated_key_keeps_the_first_row(shop: Shop) -> None:
    shop.write("articles", article(), article(), article(prod_name="Another"), article(SCARF))
    report = shop.load().tables["articles"]
    assert ask("SELECT prod_name FROM raw.articles WHERE article_id = '0108775015'") == [
        ("Strap top",)
    ]
    [(file, line, reason)] = quarantine()
    assert (file, line) == ("articles.csv", 4)
    assert "the first stays" in reason
    assert (report.read, report.loaded, report.already_there) == (4, 2, 1)


def test_keys_known_from_transactions_only_are_filled_in_later(shop: Shop) -> None:
    shop.write("transactions", purchase(who=CARA, what="0999999999"))
    report = shop.load()
    assert ask("SELECT customer_id, age FROM raw.customers WHERE from_transactions") == [
        (CARA, None)
    ]
    assert ask("SELECT article_id FROM raw.articles WHERE from_transactions") == [("0999999999",)]
    assert report.tables["customers"].from_transactions == 1
    shop.write("customers", f"{CARA},,,,,50,p3")
    assert shop.load().tables["customers"].updated == 1
    assert ask(
        f"SELECT age, from_transactions FROM raw.customers WHERE customer_id = '{CARA}'"
    ) == [(50, False)]


def test_the_newest_attributes_win_also_when_an_old_file_comes_back(shop: Shop) -> None:
    shop.load()
    for age in ("25", "24"):
        shop.write("customers", f"{ANNA},1.0,1.0,ACTIVE,Regularly,{age},p1")
        report = shop.load()
        assert (report.tables["customers"].updated, report.tables["customers"].loaded) == (1, 0)
        assert report.tables["transactions"].unchanged
        assert ask("SELECT age FROM raw.customers ORDER BY customer_id") == [(int(age),), (None,)]


def test_one_of_two_files_alone_is_newer_than_both(shop: Shop) -> None:
    adapter = shop.folder / "mine.py"
    adapter.write_text(
        "def read(source):\n"
        "    files = [source.rows(f.name) for f in sorted(source.path.glob('*.csv'))]\n"
        "    return {'customers': ' UNION ALL '.join(f'FROM {file}' for file in files)}\n"
    )
    cards = shop.folder / "cards"
    cards.mkdir()
    for name, age in (("a.csv", 24), ("b.csv", 25)):
        (cards / name).write_text(f"customer_id,age\n{ANNA},{age}\n")
    load(f"{adapter}:{cards}")
    assert ask("SELECT age FROM raw.customers") == [(24,)]
    (cards / "a.csv").unlink()
    load(f"{adapter}:{cards}")
    assert ask("SELECT age FROM raw.customers") == [(25,)]


def test_loading_twice_adds_nothing(shop: Shop) -> None:
    shop.write(
        "transactions", purchase(), purchase(), purchase(price="-1"), purchase(price="-1"), "x"
    )
    shop.load()
    before, loads = everything(), ask("FROM raw.loads")
    assert all(table.unchanged for table in shop.load().tables.values())
    assert ask("FROM raw.loads") == loads
    for table in KAGGLES:  # the same rows as another file: read again, nothing new
        shop.file(table).write_bytes(shop.file(table).read_bytes() + b"\n")
        Path(f"{shop.file(table)}.gz").write_bytes(gzip.compress(shop.file(table).read_bytes()))
        shop.file(table).unlink()
    report = shop.load()
    assert report.tables["transactions"].read == 5
    assert report.tables["transactions"].already_there == 2
    assert everything() == before


def test_a_longer_export_adds_what_is_new_and_tells_when_it_was_known(shop: Shop) -> None:
    shop.load()
    late = purchase(day="2020-08-01")
    shop.write(
        "transactions", purchase(), purchase(), purchase(who=BERT, what=SCARF, channel="1"), late
    )
    assert shop.load().tables["transactions"].loaded == 2
    counts = ask("SELECT count(*) FROM raw.transactions GROUP BY known_at ORDER BY known_at")
    assert counts == [(2,), (2,)]


def test_a_shop_without_interactions_has_none(shop: Shop) -> None:
    assert "interactions" not in shop.load().tables
    assert ask("SELECT count(*) FROM raw.interactions") == [(0,)]
    shop.write("interactions")
    assert shop.load().tables["interactions"].read == 0


def test_other_things_in_the_folder_are_ignored(shop: Shop) -> None:
    for folder in ("images", "truth"):
        (shop.folder / folder).mkdir()
        (shop.folder / folder / "interactions.csv").write_text("x")
    (shop.folder / "dirt.json").write_text("{}")
    assert [*shop.load().tables] == KAGGLES


def test_an_interaction_is_an_event_with_all_its_columns(shop: Shop) -> None:
    shop.write(
        "interactions",
        event("2020-09-22T14:03:05.123456Z"),
        event(time="2020-09-24 08:00:00", kind="dismiss", position="", propensity=""),
    )
    assert shop.load().tables["interactions"].loaded == 2
    first, second = ask("SELECT * EXCLUDE known_at FROM raw.interactions ORDER BY event_time")
    moment = datetime(2020, 9, 22, 14, 3, 5, 123456)
    assert first == (moment, ANNA, SHIRT, "view", "r1", 3, "home", None, 0.25)
    assert second[3:] == ("dismiss", "r1", None, "home", None, None)
    assert ask("SELECT count(known_at) FROM raw.interactions") == [(2,)]


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2020-09-22T14:03:05.123456Z", "2020-09-22 14:03:05.123456"),
        ("2020-09-22T14:03:05.123456789Z", "2020-09-22 14:03:05.123456"),
        ("2020-09-22 14:03:05", "2020-09-22 14:03:05"),
        ("2020-09-22T01:03:05+02:00", "2020-09-21 23:03:05"),
        ("2020-09-22 14:03:05.5-0330", "2020-09-22 17:33:05.5"),
        ("2020-09-22 14:03:05+02", "2020-09-22 12:03:05"),
    ],
)
def test_event_times_are_utc(shop: Shop, time: str, utc: str) -> None:
    shop.write("interactions", event(time))
    shop.load()
    assert ask("SELECT CAST(event_time AS VARCHAR) FROM raw.interactions") == [(utc,)]


@pytest.mark.parametrize(
    ("row", "reason", "kept"),
    [
        (event(time="2020-09-22"), "event_time is not a time YYYY-MM-DD HH:MM:SS", False),
        (event(time="2020-02-30 10:00:00"), "event_time is not a time YYYY-MM-DD HH:MM:SS", False),
        (event(time="18-09-20 10:00:00"), "event_time is not a time YYYY-MM-DD HH:MM:SS", False),
        (event(time="2999-01-01 10:00:00"), "event_time is in the future", False),
        (event(time=""), "event_time is missing", False),
        (event(who=""), "customer_id is missing", False),
        (event(what="SHIRT"), r"article_id does not match \d{10}", False),
        (event(what="108775015.0"), None, False),
        (
            event(kind="click"),
            "kind is not one of impression, view, cart, purchase, dismiss",
            False,
        ),
        (event(kind=""), "kind is missing", False),
        (event(position="0"), "position is below 1", True),
        (event(position="1.5"), "position is not a whole number", True),
        (event(propensity="0"), "propensity is not above 0", True),
        (event(propensity="1.5"), "propensity is above 1", True),
        (event(propensity="1"), None, False),
    ],
)
def test_a_bad_event_goes_to_quarantine(
    shop: Shop, row: str, reason: str | None, kept: bool
) -> None:
    shop.write("interactions", event(time="2020-09-20 10:00:00"), event(who=BERT), row)
    assert shop.load().tables["interactions"].loaded == (3 if kept or reason is None else 2)
    assert ask("SELECT file, line, reason, row_kept FROM raw.quarantine") == (
        [("interactions.csv", 4, reason, kept)] if reason else []
    )


def test_keys_of_interactions_that_no_file_has_are_added(shop: Shop) -> None:
    shop.write("transactions", purchase(), purchase(what="0999999998"))
    shop.write("interactions", event(what="0999999999", who=CARA), event(what="0999999998"))
    report = shop.load()
    assert report.tables["articles"].from_transactions == 1
    assert report.tables["articles"].from_interactions == 1
    assert report.tables["customers"].from_interactions == 1
    assert "  1 known from interactions only" in str(report)
    assert ask("SELECT customer_id FROM raw.customers WHERE from_transactions") == [(CARA,)]


@settings(max_examples=6, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 3), st.booleans())), min_size=1, max_size=3))
def test_interactions_are_a_union_of_sets(exports: list[list[tuple[int, bool]]]) -> None:
    """An event with an empty position is the same event the second time, too."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", f"{folder}/home")
        shop = Shop(Path(folder) / "shop")
        twin: set[tuple[int, bool]] = set()
        for n, export in enumerate(exports):
            rows = [
                event(f"2020-09-0{day} 10:00:00", position="1" if shown else "")
                for day, shown in export
            ]
            shop.write("interactions", *rows, event(f"2019-01-0{n + 1} 10:00:00"))
            report = shop.load().tables["interactions"]
            assert report.loaded == len(set(export) - twin) + 1
            assert report.already_there == report.read - report.loaded
            twin |= set(export)
        found = ask(
            "SELECT day(event_time), position IS NOT NULL FROM raw.interactions "
            "WHERE event_time > DATE '2020-01-01'"
        )
        assert sorted(found) == sorted(twin)


def typed(csv: Path, types: dict[str, str], dictionary: str = "") -> None:
    """The CSV as Parquet with these types instead of text, and one column by a dictionary."""
    values = ", ".join(f"CAST({name} AS {kind}) AS {name}" for name, kind in types.items())
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        rows = con.sql(
            f"SELECT * REPLACE ({values}) FROM read_csv('{csv}', all_varchar = true)"
        ).to_arrow_table()
    if dictionary:
        at = rows.column_names.index(dictionary)
        rows = rows.set_column(at, dictionary, rows[dictionary].dictionary_encode())
    parquet.write_table(rows, csv.with_suffix(".parquet"))
    csv.unlink()


@pytest.mark.parametrize(
    ("channel", "time"),
    [("TINYINT", "TIMESTAMP"), ("SMALLINT", "TIMESTAMPTZ"), ("INTEGER", "TIMESTAMP_NS")],
)
def test_typed_parquet_gives_the_same_tables_as_csv(shop: Shop, channel: str, time: str) -> None:
    codes = [c.name for c in RAW_TABLES["articles"].columns if c.type == "INTEGER"]
    black = dict.fromkeys(codes, "17") | {"colour_group_code": "09", "product_code": "0108775"}
    shop.write("articles", article(**black), article(SCARF, product_type_no="-1"))
    shop.write("transactions", *[purchase(price=repr(c / 59000)) for c in range(1, 99)])
    shop.write(
        "interactions",
        event("2020-09-22T14:03:05.123456Z", propensity=repr(1 / 3)),
        event(position="", propensity=""),
    )
    shop.load()
    tables = [f"SELECT * FROM raw.{n} ORDER BY ALL" for n in ("articles", "customers")]
    tables += [
        f"SELECT * EXCLUDE known_at FROM raw.{n} ORDER BY ALL"
        for n in ("transactions", "interactions")
    ]
    expected = [ask(table) for table in tables]
    assert len(expected[2]) == 98
    typed(shop.file("articles"), dict.fromkeys([*codes, "product_code"], "INTEGER"))
    typed(shop.file("customers"), {"FN": "DOUBLE", "Active": "DOUBLE", "age": "INTEGER"})
    kinds = {"t_dat": "DATE", "price": "DOUBLE", "sales_channel_id": channel}
    typed(shop.file("transactions"), kinds, dictionary="customer_id")
    kinds = {"event_time": time, "position": "INTEGER", "propensity": "DOUBLE"}
    typed(shop.file("interactions"), kinds, dictionary="article_id")
    os.environ["LOOKBOOK_HOME"] += "2"
    shop.load()
    assert [ask(table) for table in tables] == expected
    assert quarantine() == []


def test_few_articles_from_a_file_with_more_bad_lines(shop: Shop) -> None:
    """Lines that do not fit are held against those of the file, not against what is made of it."""
    adapter = shop.folder / "mine.py"
    adapter.write_text(
        "def read(source):\n"
        "    rows = source.rows('transactions_train.csv')\n"
        "    return {'articles': f'SELECT article_id FROM {rows} GROUP BY 1'}\n"
    )
    shop.write("transactions", *[purchase()] * 90, *["short"] * 60)
    assert load(f"{adapter}:{shop.folder}").tables["articles"].loaded == 1


COPIED = """
    source.con.execute(f"CREATE TEMP TABLE tidy AS FROM {source.rows('sales.csv')}")
    return {"transactions": "SELECT *, 2 AS sales_channel_id FROM tidy"}
"""
JOINED = """
    source.con.execute(f"CREATE TEMP TABLE prices AS FROM {source.rows('sales.csv')}")
    channels = source.rows("channels.csv")
    return {"transactions": f"SELECT p.*, channel AS sales_channel_id FROM prices p, {channels}"}
"""
BY_ITSELF = """
    file = source.path / "sales.csv"
    return {"transactions":
        f"SELECT *, 2 AS sales_channel_id FROM read_csv('{file}', all_varchar = true)"}
"""


@pytest.mark.parametrize("body", [COPIED, JOINED, BY_ITSELF])
def test_what_an_adapter_reads_in_its_own_way_is_new_data_too(shop: Shop, body: str) -> None:
    adapter, sales = shop.folder / "mine.py", shop.folder / "sales.csv"
    adapter.write_text(f"def read(source):{body}")
    (shop.folder / "channels.csv").write_text("channel\n2\n")
    header, rows = "t_dat,customer_id,article_id,price", [f"2020-09-01,{ANNA},{SHIRT},0.05"]
    source, hashes = f"{adapter}:{shop.folder}", []
    for day in ("2020-09-02", "2020-09-03"):
        rows.append(f"{day},{ANNA},{SCARF},0.07")
        sales.write_text("\n".join([header, *rows]))
        assert load(source).tables["transactions"].loaded > 0
        hashes.append(hash_of_data())
    assert ask("SELECT count(*) FROM raw.transactions") == [(3,)]
    assert hashes[0] != hashes[1]

    again = load(source).tables["transactions"]
    assert again.unchanged or (again.read, again.already_there) == (3, 3)
    assert again.unchanged == (body != BY_ITSELF)
    assert hash_of_data() == hashes[1]
    names = {file and Path(file).name for (file,) in ask("SELECT file FROM raw.loads")}
    assert (
        names
        == {
            COPIED: {"sales.csv"},
            JOINED: {"sales.csv", "channels.csv"},
            BY_ITSELF: {None},
        }[body]
    )


def test_a_line_that_is_no_csv_is_told_also_if_the_adapter_copies_the_rows(shop: Shop) -> None:
    adapter = shop.folder / "mine.py"
    adapter.write_text(f"def read(source):{COPIED}")
    good = f"{ANNA},{SHIRT},0.05"
    (shop.folder / "sales.csv").write_text(
        f"t_dat,customer_id,article_id,price\n2020-09-01,{good}\nshort\n,{good}\n2020-09-02,{good}\n"
    )
    load(f"{adapter}:{shop.folder}")
    assert quarantine() == [
        ("sales.csv", 3, "the line has too few values"),
        ("sales.csv", 4, "t_dat is missing"),
    ]


def test_the_hash_of_the_data_knows_the_order_of_loads(shop: Shop) -> None:
    def loaded_in(home: str, *ages: str) -> tuple[str, list[tuple[Any, ...]]]:
        os.environ["LOOKBOOK_HOME"] = str(shop.folder.parent / home)
        for age in ages:
            shop.write("customers", f"{ANNA},1.0,1.0,ACTIVE,Regularly,{age},p1")
            shop.load()
        return hash_of_data(), ask(f"SELECT age FROM raw.customers WHERE customer_id = '{ANNA}'")

    there, back = loaded_in("one", "24", "25"), loaded_in("two", "25", "24")
    assert (there[1], back[1]) == ([(25,)], [(24,)])
    assert there[0] != back[0]
    assert loaded_in("three", "24", "25") == there
    shop.file("customers").write_bytes(shop.file("customers").read_bytes() + b"\n")
    assert shop.load().tables["customers"].already_there == 1  # another file, the same rows
    assert hash_of_data() == there[0]


def test_a_change_of_the_code_that_reads_is_read_again(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.load()
    assert shop.load().tables["transactions"].unchanged
    changed = tmp_path / "adapters.py"
    changed.write_text(Path(adapters.__file__).read_text() + "# read in another way\n")
    monkeypatch.setattr(adapters, "__file__", str(changed))
    assert not shop.load().tables["transactions"].unchanged


ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from([ANNA, BERT]), st.integers(1, 2)), max_size=6
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROWS.filter(bool), min_size=1, max_size=3))
def test_transactions_are_a_multiset_union_by_maximum(
    exports: list[list[tuple[int, str, int]]],
) -> None:
    """Held against a Counter, whose | is the same rule."""
    twin: Counter[tuple[int, str, int]] = Counter()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", f"{folder}/home")
        shop = Shop(Path(folder) / "shop")
        for export in exports:
            rows = [
                purchase(day=f"2020-09-0{day}", who=who, price=f"0.{p}") for day, who, p in export
            ]
            shop.write("transactions", *rows)
            report = shop.load().tables["transactions"]
            added = (twin | Counter(export)).total() - twin.total()
            assert report.loaded == added
            twin |= Counter(export)
        found = ask(
            "SELECT day(t_dat), customer_id, CAST(round(price * 10) AS INT) FROM raw.transactions"
        )
        assert Counter(found) == twin


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda s: s.file("customers").unlink(), r"customers\.csv is missing"),
        (lambda s: s.file("articles").write_text(""), r"articles\.csv is empty"),
        (lambda s: s.write("articles"), r"articles\.csv holds no articles, not one row: export"),
        (lambda s: s.write("customers"), r"customers\.csv holds no customers"),
        (lambda s: s.write("transactions"), r"transactions_train\.csv holds no transactions"),
        (
            lambda s: s.file("customers").write_text("customer_id,FN,age,shoe\n"),
            r"customers\.csv has the wrong columns: it lacks Active.* and has the unknown shoe",
        ),
        (
            lambda s: s.write("transactions", *[purchase(day="05/09/2020")] * 3),
            r"transactions_train\.csv: in 3 of 3 rows t_dat is not a date YYYY-MM-DD, "
            r"for example '05/09/2020' in line 2",
        ),
        (
            lambda s: s.write("transactions", *[purchase(price='"0,05"')] * 10),
            r"price is not a number, for example '0,05'",
        ),
        (
            lambda s: s.write(
                "transactions", purchase(), purchase(who='"open'), *[purchase()] * 50_000
            ),
            r"transactions_train\.csv, line 3: a quote is opened and never closed",
        ),
        (
            lambda s: s.file("customers").write_bytes(
                s.file("customers").read_bytes().replace(b"p3\n", b"p3\r\n")
            ),
            r"customers\.csv mixes line ends .*: save it with one of them",
        ),
        (
            lambda s: s.write("interactions", *[event(time="22.09.2020 14:03")] * 3),
            r"interactions\.csv: in 3 of 3 rows event_time is not a time YYYY-MM-DD HH:MM:SS",
        ),
        (lambda s: s.file("interactions").write_text(""), r"interactions\.csv is empty"),
        (
            lambda s: s.write("transactions", *[purchase() + ",more"] * 30),
            r"30 of 30 lines do not fit the header, most often because the line has too many values",
        ),
        (lambda s: truncated_gzip(s.file("transactions")), "not a complete gzip file"),
        (lambda s: broken_parquet(s.file("articles")), "not a complete Parquet file"),
        (
            lambda s: Path(f"{s.file('articles')}.gz").write_bytes(b"x"),
            r"articles\.csv and articles\.csv\.gz: keep one",
        ),
        (lambda s: s.file("articles").write_bytes(b"\xff\xfea\x00"), "no readable header"),
    ],
)
def test_a_wrong_file_stops_the_load_and_changes_nothing(
    shop: Shop, tmp_path: Path, break_it: Any, message: str, prior: bool
) -> None:
    if prior:
        Shop(tmp_path / "earlier").load()
        before = everything(), ask("FROM raw.loads")
    shop.write("customers", f"{CARA},,,,,50,p3")
    break_it(shop)
    with pytest.raises(LoadError, match=message) as raised:
        shop.load()
    assert "\n" not in str(raised.value)
    if prior:
        assert (everything(), ask("FROM raw.loads")) == before
    else:
        assert not (tmp_path / "home" / "warehouse.duckdb").exists()
    assert not list((tmp_path / "home").glob("loading-*"))


def truncated_gzip(file: Path) -> None:
    noise = "".join(purchase(price=str(random.random())) + "\n" for _ in range(1000))
    data = gzip.compress((file.read_text() + noise).encode())
    Path(f"{file}.gz").write_bytes(data[: len(data) // 2])
    file.unlink()


def broken_parquet(file: Path) -> None:
    whole = file.with_suffix(".parquet")
    duckdb.sql(f"COPY (FROM read_csv('{file}', all_varchar = true)) TO '{whole}'")
    whole.write_bytes(whole.read_bytes()[:-20])
    file.unlink()


@pytest.mark.parametrize("moment", ["transactions: 1 new rows", "interactions: 1 new rows"])
def test_killed_in_the_middle_the_warehouse_is_as_it_was(
    shop: Shop, tmp_path: Path, moment: str
) -> None:
    shop.load()
    before = everything()
    shop.write("customers", f"{CARA},,,,,50,p3")
    shop.write("transactions", purchase(day="2020-09-05"))
    shop.write("interactions", event())
    code = (
        "import os, signal, sys\n"
        "from pipelines.data.load import load\n"
        "def die(line):\n"
        "    if line.startswith(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "load(sys.argv[1], progress=die)\n"
    )
    command = [sys.executable, "-c", code, str(shop.folder), moment]
    ended = subprocess.run(command, cwd=PROJECT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert everything() == before
    assert len(list((tmp_path / "home").glob("loading-*"))) == 1
    tables = shop.load().tables
    assert (tables["transactions"].loaded, tables["interactions"].loaded) == (1, 1)
    assert not list((tmp_path / "home").glob("loading-*"))


@pytest.mark.parametrize("moment", ["opening", "transactions: merging"])
def test_of_two_loads_at_once_the_second_is_told_and_the_first_ends(
    shop: Shop, tmp_path: Path, moment: str
) -> None:
    other = Shop(tmp_path / "other")
    other.write("transactions", purchase(day="2020-09-05"))
    said = "in use by another load: wait for it to end, then try again"
    seconds: list[str] = []

    def start_another(line: str) -> None:
        if line.startswith(moment):
            with pytest.raises(WarehouseError, match=said):
                other.load()
            code = "import sys; from pipelines.data.load import load; load(sys.argv[1])"
            command = [sys.executable, "-c", code, str(other.folder)]
            seconds.append(
                subprocess.run(
                    command, cwd=PROJECT, check=False, stderr=subprocess.PIPE, text=True
                ).stderr
            )

    assert load(str(shop.folder), progress=start_another).tables["transactions"].loaded == 2
    assert len(seconds) == 1
    assert said in seconds[0].splitlines()[-1]
    assert other.load().tables["transactions"].loaded == 1


def test_names_of_files_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "ho'me"))
    shop = Shop(tmp_path / "it's [a] *shop?; DROP TABLE x --")
    assert shop.load().tables["transactions"].loaded == 2


def test_a_home_that_cannot_be_written_is_told(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(
        WarehouseError, match=r"home cannot be written \(File exists\): set LOOKBOOK"
    ):
        shop.load()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere is missing"),
        ("teleshop:x", "no adapter 'teleshop': use one of kaggle, online-retail"),
        ("mine.py:x", r"mine\.py is missing"),
        ("kaggle:nowhere", "not a folder"),
        ("online-retail:nowhere.parquet", "is missing"),
    ],
)
def test_a_wrong_source_says_what_to_do(shop: Shop, source: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(source)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "has no function read"),
        ("def read(source): return {'sales': ''}", "gives sales: the raw tables are articles"),
        (
            "def read(source): return {'customers': 'SELECT 1 AS shoe'}",
            "lack the required customer_id and have the unknown shoe",
        ),
        (
            "def read(source): return {'customers': 'SELECT oops'}",
            "cannot be read with this adapter",
        ),
        ("1/0", "cannot be imported: ZeroDivisionError"),
    ],
)
def test_a_wrong_adapter_says_what_is_wrong(shop: Shop, body: str, message: str) -> None:
    adapter = shop.folder / "mine.py"
    adapter.write_text(body)
    with pytest.raises(LoadError, match=message):
        load(f"{adapter}:{shop.folder}")


def test_online_retail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path))
    file = PROJECT / "data" / "online_retail.parquet"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in (file.parent / "README.md").read_text()
    report = load(f"online-retail:{file}")
    table = report.tables["transactions"]
    assert (table.read, table.loaded, sum(table.set_aside.values())) == (541_909, 397_884, 144_025)
    assert ask("SELECT count(*), count(age) FROM raw.customers") == [(4_338, 0)]
    assert ask("SELECT count(*), count(colour_group_name) FROM raw.articles") == [(3_877, 0)]
    assert ask(
        "SELECT a.prod_name, t.quantity, t.price, t.sales_channel_id, c.postal_code "
        "FROM raw.transactions t JOIN raw.articles a USING (article_id) "
        "JOIN raw.customers c USING (customer_id) "
        "WHERE customer_id = '17850' AND t_dat = '2010-12-01' AND a.prod_name LIKE 'WHITE HANGING%' "
        "ORDER BY ALL LIMIT 1"
    ) == [("WHITE HANGING HEART T-LIGHT HOLDER", 6, 2.55, 2, "United Kingdom")]
    # 12455 bought in Cyprus first, and later more often in Spain.
    assert ask("SELECT postal_code FROM raw.customers WHERE customer_id = '12455'") == [("Cyprus",)]


def test_online_retail_a_later_country_changes_no_customer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    rows = [
        "('LAMP', 1, TIMESTAMP_NS '2011-01-02 10:00:00', 2.5, 1.0, 'Norway')",
        "('LAMP', 1, TIMESTAMP_NS '2011-01-01 10:00:00', 2.5, 1.0, 'France')",
        "('MUG', 1, TIMESTAMP_NS '2011-01-01 10:00:00', 2.5, 1.0, 'Germany')",
    ]
    later = ["('LAMP', 1, TIMESTAMP_NS '2011-03-01 10:00:00', 2.5, 1.0, 'Austria')"] * 5
    file = tmp_path / "lines.parquet"
    for lines in (rows, rows + later):
        duckdb.sql(
            f"COPY (FROM (VALUES {', '.join(lines)}) t(Description, Quantity, InvoiceDate, "
            f"UnitPrice, CustomerID, Country)) TO '{file}'"
        )
        table = load(f"online-retail:{file}").tables["customers"]
        assert table.updated == 0
        assert ask("SELECT customer_id, postal_code FROM raw.customers") == [("1", "France")]
    assert ask("SELECT count(*) FROM raw.transactions") == [(8,)]


def test_another_shop_is_not_mixed_in_unless_told_so(shop: Shop, tmp_path: Path) -> None:
    shop.load()
    sales = tmp_path / "sales.csv"
    sales.write_text(f"day,who,what,price\n2020-09-03,{CARA},{SHIRT},0.07\n")
    adapter = tmp_path / "till.py"
    adapter.write_text(
        "def read(source):\n"
        "    rows = source.rows()\n"
        "    return {'transactions': f'SELECT day AS t_dat, who AS customer_id, what AS article_id, '\n"
        "        f'price, 1 AS sales_channel_id, _file, _line FROM {rows}'}\n"
    )
    source = f"{adapter}:{sales}"
    before = everything()
    with pytest.raises(LoadError, match=r"holds kaggle:.* set LOOKBOOK_HOME .* or give --add"):
        load(source)
    assert everything() == before
    assert load(source, add=True).tables["transactions"].loaded == 1
    # Both are there now, so both may go on.
    assert load(f"kaggle:{shop.folder}", add=True).tables["transactions"].unchanged
