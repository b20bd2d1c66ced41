"""The exploration page: small shops, the sentences and tables they must give, and the page itself."""

import errno
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError
from feature_repo.places import whole_file
from feature_repo.raw_tables import RAW_TABLES
from pipelines.cli import main
from pipelines.data.explore import SECTIONS, Exploration, explore
from pipelines.data.explore.shop import LoadedShop, concentration, quantile
from pipelines.data.load import load
from pipelines.reports import Cell, Page, plots
from pipelines.reports.words import many, said_share
from pipelines.warehouse import WarehouseError

HOSTILE = "<script>alert('$x$ & \"y\"')</script>"
SHIRT, TEE, SOCK, HAT = "0000001001", "0000001002", "0000002001", "0000003001"
ANN, BOB, CID, DAN = (letter * 64 for letter in "abcd")

CATALOGUE = [
    (SHIRT, "0000001", HOSTILE, "Shirt", "Upper body", "Black"),
    (TEE, "0000001", "Tee", "Shirt", "Upper body", "Red"),
    (SOCK, "0000002", "Sock", "Socks", "Socks", "White"),
    (HAT, "0000003", "Hat", "Hat", "Accessories", "Black"),
]
PEOPLE = [(ANN, 24, "p1"), (BOB, 50, "p1"), (CID, None, "p2"), (DAN, 30, "p3")]
BOUGHT = [
    ("2020-07-01", ANN, SHIRT, 19.99, 2),
    ("2020-07-01", ANN, SHIRT, 19.99, 2),
    ("2020-07-01", ANN, TEE, 19.99, 2),
    ("2020-07-03", ANN, SHIRT, 19.99, 2),
    ("2020-07-03", BOB, SOCK, 9.99, 1),
    ("2020-07-08", BOB, TEE, 19.99, 1),
    ("2020-09-13", ANN, TEE, 15.99, 2),
    ("2020-09-13", BOB, SHIRT, 19.99, 2),
    ("2020-09-14", CID, SOCK, 9.99, 1),
    ("2020-09-14", CID, SOCK, 7.99, 1),
]
SHOWN = "From shown to bought"
# Two pages of a shelf, each of four articles from the first position down, and a till.
PAGES = [
    *(
        (day, who, what, "impression", place, "shelf")
        for day, who in ((13, ANN), (14, BOB))
        for place, what in enumerate((SHIRT, TEE, SOCK, HAT), 1)
    ),
    (13, ANN, SHIRT, "view", 1, "shelf"),
    (13, ANN, TEE, "view", 2, "shelf"),
    (13, ANN, SHIRT, "cart", 1, "shelf"),
    (13, ANN, SHIRT, "purchase", 1, "shelf"),
    (13, ANN, HAT, "dismiss", 4, "shelf"),
    (14, BOB, SHIRT, "view", 1, "shelf"),
    (14, CID, SOCK, "purchase", None, "store"),
]


def log(folder: Path, events: Sequence[tuple[int, str, str, str, int | None, str | None]]) -> None:
    """A log of some days of September 2020 in a shop's folder; a day's page is one request."""
    table = RAW_TABLES["interactions"]
    columns = ["event_time", "customer_id", "article_id", "kind", "position", "surface"]
    made = pd.DataFrame(events, columns=columns).astype({"position": "Int64"})
    made["event_time"] = [f"2020-09-{day}T12:00:{n:02d}Z" for n, (day, *_) in enumerate(events)]
    made["request_id"] = [f"page-{day}" if place else None for day, *_, place, _ in events]
    made.reindex(columns=table.column_names).to_csv(folder / table.file, index=False)


def write(folder: Path, bought: Sequence[tuple[str, str, str, float, int]] = BOUGHT) -> Path:
    folder.mkdir()
    attributes = ("product_code", "prod_name", "product_type_name", "product_group_name")
    made = {
        "articles": pd.DataFrame(
            CATALOGUE, columns=["article_id", *attributes, "colour_group_name"]
        ),
        "customers": pd.DataFrame(PEOPLE, columns=["customer_id", "age", "postal_code"]).astype(
            object
        ),
        "transactions": pd.DataFrame(bought, columns=RAW_TABLES["transactions"].column_names),
    }
    made["transactions"]["price"] /= 590
    for name, frame in made.items():
        table = RAW_TABLES[name]
        frame.reindex(columns=table.column_names).to_csv(folder / table.file, index=False)
    return folder


def page_of(found: Exploration) -> str:
    return found.out.read_text(encoding="utf-8")


def sentence(page: str, heading: str) -> str:
    """The words with which a section opens."""
    found = re.search(rf"<h2>{heading}</h2>\n<p class=\"lead\">(.*?)</p>", page, flags=re.S)
    assert found, heading
    return found[1]


def check(page: str) -> ElementTree.Element:
    """What every page must be: well-formed, complete in itself, inert, and readable aloud."""
    root = ElementTree.fromstring(page)
    assert set(re.findall(r"https?://[^\"'\s)<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert not list(root.iter("script"))
    assert not re.search(r"<(script|link|iframe|img|object)\b|@import|url\((?!#)", page)
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    for name in re.findall(r"(?:href=\"|url\()#([^\")]+)", page):
        assert name in names
    drawings = [e for e in root.iter() if e.tag.endswith("}svg")]
    for drawing in drawings:
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")
        assert not re.search(r"\b(nan|inf)\b", ElementTree.tostring(drawing, "unicode"))
    return root


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Exploration:
    """The small world, loaded into `out`'s folder and explored. Read only."""
    folder = tmp_path_factory.mktemp("explored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(folder))
        load(str(write(folder / "shop")))
        return explore(folder / "out" / "page.html")


def test_the_page_is_sound_and_has_every_section(explored: Exploration) -> None:
    root = check(page_of(explored))
    expected = [heading for heading in SECTIONS if heading != SHOWN]
    assert [e.text for e in root.iter("h2")] == expected == list(explored.numbers)
    assert len([e for e in root.iter() if e.tag.endswith("}svg")]) > 15


def test_data_are_text(explored: Exploration) -> None:
    page = page_of(explored)
    assert "alert('$x$ &amp; \"y\"')&lt;/script&gt;" in page
    assert "<script" not in page


def test_the_same_data_give_the_same_bytes(
    explored: Exploration, home: Path, tmp_path: Path
) -> None:
    """Also when they were loaded at another time, from another folder, in another order."""
    load(str(write(tmp_path / "elsewhere", BOUGHT[::-1])))
    again = explore(tmp_path / "again.html")
    assert again.out.read_bytes() == explored.out.read_bytes()


def test_numbers_that_can_be_counted(explored: Exploration) -> None:
    numbers = explored.numbers
    assert numbers["The shop"] | {"revenue": 0} == {
        "customers": 4,
        "buyers": 3,
        "articles": 4,
        "sold": 3,
        "pieces": 10,
        "baskets": 7,
        "days": 76,
        "revenue": 0,
    }
    assert numbers["The shop"]["revenue"] == pytest.approx(163.90 / 590)
    assert numbers["Bulk buyers"]["most_pieces"] == 5
    assert numbers["Bulk buyers"]["most_pieces_on_a_day"] == 3
    assert numbers["Customers who buy little"]["one_day"] == pytest.approx(1 / 3)
    assert numbers["Best and worst sellers"]["never_sold"] == 1
    assert numbers["Prices and markdowns"]["weekly"] == pytest.approx(1 / 10)
    assert numbers["Prices and markdowns"]["weekly_depth"] == pytest.approx(1 - 7.99 / 9.99)
    assert numbers["Prices and markdowns"]["ever"] == pytest.approx(2 / 10)
    assert numbers["Seasons and week days"]["peak_day"] == "2020-07-01"
    assert numbers["Coming back"]["same_article"] == pytest.approx(2 / 8)
    assert numbers["Coming back"]["same_product"] == pytest.approx(3 / 8)
    assert numbers["Baskets"]["mean"] == pytest.approx(10 / 7)
    assert numbers["Baskets"]["variants"] == pytest.approx(1 / 7)
    assert numbers["Store and online"]["online"] == pytest.approx(6 / 10)
    assert numbers["Store and online"]["both"] == pytest.approx(1 / 3)
    assert numbers["Who the customers are"]["age_median"] == 30
    assert numbers["Gaps and quarantine"]["quarantined"] == 0


def test_sentences_say_what_was_counted(explored: Exploration) -> None:
    page = page_of(explored)
    assert "10 pieces of 3 articles, sold to 3 customers from 1 July 2020" in page
    assert "4 customers are on file, 1 of them without a purchase" in sentence(page, "The shop")
    assert (
        "The largest buyer took 5 pieces on 3 days; the most on one day were 3 pieces"
        in sentence(page, "Bulk buyers")
    )
    assert "the most common price is 19.99 (60% of the pieces)" in sentence(
        page, "Prices and markdowns"
    )
    assert "the same article 25%, the same product 37.5%" in sentence(page, "Coming back")
    assert "60% of the pieces are sold online" in sentence(page, "Store and online")


def test_what_comes_of_what_is_shown(home: Path, tmp_path: Path) -> None:
    log(write(tmp_path / "shop"), PAGES)
    load(str(tmp_path / "shop"))
    found = explore(tmp_path / "page.html")
    root = check(page_of(found))
    assert [e.text for e in root.iter("h2")] == list(SECTIONS)
    assert found.numbers[SHOWN] == {
        "first_day": "2020-09-13",
        "last_day": "2020-09-14",
        "impression": 8,
        "view": 3,
        "cart": 1,
        "purchase": 2,
        "dismiss": 1,
        "opened": 3 / 8,
        "in_the_cart": 1 / 8,
        # What the till sold was not shown.
        "bought": 1 / 8,
        "dismissed": 1 / 8,
    }
    said = sentence(page_of(found), SHOWN)
    assert "15 events from 13 September 2020 to 14 September 2020" in said
    assert "shown 8 times: 37.5% of these were opened, 12.5% came into the cart" in said
    drawn = {
        e.find("figcaption").text: e.find("div/{*}svg").get("aria-label")
        for e in root.iter("figure")
    }
    assert drawn["Opened, by position"] == "1: 100%, 2: 50%, 3: 0%, 4: 0%"
    assert drawn["Bought, by position"] == "1: 50%, 2: 0%, 3: 0%, 4: 0%"
    assert (
        "shown: most on 13 September 2020, 4; opened: most on 13 September 2020, 2"
        in (drawn["Events by day, each kind beside its own mean day"])
    )
    tables = {e.get("aria-label"): e for e in root.iter("div") if e.get("role") == "region"}
    cells = [
        "".join(e.itertext())
        for e in tables["Surfaces: where customers met the articles"].iter("td")
    ]
    assert cells == [
        *("shelf", "8", "3", "1", "1", "1", "37.5%", "12.5%"),
        *("store", "0", "0", "0", "1", "0", "-", "-"),
        *("all", "8", "3", "1", "2", "1", "-", "-"),
    ]


def test_two_pieces_come_of_one_impression(home: Path, tmp_path: Path) -> None:
    more = [(13, ANN, SHIRT, "purchase", 1, "shelf"), (13, ANN, SHIRT, "view", 1, "shelf")]
    log(write(tmp_path / "shop"), [*PAGES, *more])
    load(str(tmp_path / "shop"))
    found = explore(tmp_path / "page.html")
    numbers = found.numbers[SHOWN]
    assert (numbers["purchase"], numbers["bought"]) == (3, 1 / 8)
    assert (numbers["view"], numbers["opened"]) == (4, 3 / 8)
    page = page_of(found)
    assert "shown: 8, opened: 3, in the cart: 1, bought: 1" in page
    assert "1: 50%, 2: 0%, 3: 0%, 4: 0%" in page
    assert '<td class="r">2</td><td class="r">1</td><td>37.5%' in page
    assert "count an article on a page once" in page


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([(13, ANN, SHIRT, "view", None, None)], "It does not tell what was shown"),
        ([(13, ANN, SHIRT, "impression", 1, None)], "shown 1 time: 0% of these were opened"),
    ],
)
def test_a_log_of_one_event_makes_a_section(
    home: Path,
    tmp_path: Path,
    events: list[tuple[int, str, str, str, int | None, str | None]],
    says: str,
) -> None:
    log(write(tmp_path / "shop"), events)
    load(str(tmp_path / "shop"))
    page = page_of(explore(tmp_path / "page.html"))
    check(page)
    assert "The log has 1 event from" in sentence(page, SHOWN)
    assert says in sentence(page, SHOWN)
    assert "not told" in page


def test_what_went_to_quarantine_is_shown_with_an_example(home: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "shop")
    with (folder / "transactions_train.csv").open("a") as file:
        file.write(f"2020-09-01,{ANN},{SHIRT},-1,2\n2020-09-01,{BOB},{SHIRT},-2,2\n")
    people = (folder / "customers.csv").read_text().replace(",24.0,", ",999,")
    (folder / "customers.csv").write_text(people)
    load(str(folder))
    found = explore(tmp_path / "page.html")
    page = page_of(found)
    check(page)
    assert found.numbers["Gaps and quarantine"]["quarantined"] == 2
    assert found.numbers["Gaps and quarantine"]["values_left_unknown"] == 1
    rows = re.findall(r"<tr>.*?price is not above 0.*?</tr>", page)
    assert len(rows) == 1
    assert '<td class="r">2</td>' in rows[0]
    assert "transactions_train.csv, line 12" in rows[0]
    assert '"price":"-1"' in rows[0]
    assert "kept, value unknown" in page


def test_a_shop_without_attributes_says_so(home: Path, tmp_path: Path) -> None:
    """Lines of invoices: no ages, colours, types or channels, and quantities of dozens."""
    lines = pd.DataFrame(
        {
            "Description": ["MUG", "MUG", "LAMP & SHADE", "MUG", "BAG"],
            "Quantity": [24, 12, 6, -1, 144],
            "InvoiceDate": pd.to_datetime(
                ["2011-01-04", "2011-02-09", "2011-03-10", "2011-03-11", "2011-04-12"]
            ),
            "UnitPrice": [2.55, 2.10, 12.75, 2.55, 0.42],
            "CustomerID": [17850.0, 17850.0, 13047.0, 13047.0, 13047.0],
            "Country": ["France", "France", "Spain", "Spain", "Spain"],
        }
    )
    lines.to_parquet(tmp_path / "lines.parquet")
    load(f"online-retail:{tmp_path / 'lines.parquet'}")
    found = explore(tmp_path / "page.html")
    page = page_of(found)
    check(page)
    assert found.numbers["The shop"]["pieces"] == 186
    assert "do not tell an article's type or colour" in page
    assert "do not tell an article's product group" in page
    assert "marked as one channel (online)" in sentence(page, "Store and online")
    assert "do not tell the age of its customers" in sentence(page, "Who the customers are")
    assert "the most common one holds 50%" in sentence(page, "Who the customers are")
    assert "returned: the quantity is negative" in page
    assert "customers.age" in page
    assert found.numbers["Gaps and quarantine"]["set_aside"] == 1


def test_a_single_purchase_makes_a_page(home: Path, tmp_path: Path) -> None:
    load(str(write(tmp_path / "shop", BOUGHT[:1])))
    found = explore(tmp_path / "page.html")
    check(page_of(found))
    assert found.numbers["The shop"]["pieces"] == 1
    assert "1 piece of 1 article, sold to 1 customer from" in page_of(found)
    assert "No customer bought on a second day" in sentence(page_of(found), "Coming back")


def test_nothing_loaded_and_a_folder_in_the_way(home: Path, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="load a shop first"):
        explore(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "file").touch()
    # Known before anything is read.
    with pytest.raises(InputError, match=r"file is a file, not a folder\.$"):
        explore(tmp_path / "file" / "page.html")
    load(str(write(tmp_path / "shop")))
    with pytest.raises(InputError, match="is a folder"):
        explore(tmp_path / "shop")
    assert sorted(file.name for file in tmp_path.glob("*.partial")) == []


def test_the_command_writes_below_home_and_answers_in_json(home: Path, tmp_path: Path) -> None:
    load(str(write(tmp_path / "shop")))
    done = CliRunner().invoke(main, ["explore", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert Path(result["out"]) == home / "reports" / "explore.html"
    assert result["numbers"]["The shop"]["buyers"] == 3
    check(Path(result["out"]).read_text())


# Aggregates, each with a twin


def shop_of(pieces: Sequence[int]) -> LoadedShop:
    shop = LoadedShop.__new__(LoadedShop)
    shop.con = duckdb.connect(config={"threads": 1})
    shop.con.register("given", pd.DataFrame({"pieces": pieces}))
    shop.con.execute("CREATE TEMP TABLE buyers AS SELECT CAST(pieces AS BIGINT) pieces FROM given")
    return shop


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_concentration_has_a_twin(pieces: list[int]) -> None:
    found = concentration(shop_of(pieces), "buyers")
    total, n = sum(pieces), len(pieces)
    unequal = sum(abs(a - b) for a in pieces for b in pieces) / (2 * n * total)
    best = sorted(pieces, reverse=True)
    assert found["gini"] == pytest.approx(unequal, abs=1e-12)
    for top in (1, 5, 10, 50):
        share = sum(best[: -(-n * top // 100)]) / total
        assert found[f"top_{top}"] == pytest.approx(share)
    for place, share in found["curve"]:
        assert share == pytest.approx(sum(sorted(pieces)[: round(place * n)]) / total)
    assert found["curve"][-1] == (1, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
def test_bins_hold_everything_once(pieces: list[int]) -> None:
    bins = shop_of(pieces).spread("buyers", "pieces")
    assert sum(n for n, _ in bins.values()) == len(pieces)
    assert sum(total for _, total in bins.values()) == sum(pieces)
    assert len(bins) <= 10
    for name, (n, _) in bins.items():
        low, _, high = name.replace(",", "").replace("+", "-").partition("-")
        top = float(high or (low if "+" not in name else "inf"))
        assert n == sum(int(low) <= value <= top for value in pieces)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1), st.floats(0.01, 0.99))
def test_quantile_has_a_twin(sample: list[int], q: float) -> None:
    value = quantile(sorted(Counter(sample).items()), q)
    assert sum(one <= value for one in sample) >= q * len(sample)
    assert sum(one < value for one in sample) < q * len(sample)


def test_words() -> None:
    assert [said_share(v) for v in (0, 0.0004, 0.0123, 0.9961, 1, None)] == [
        *("0%", "less than 0.1%", "1.23%", "99.6%", "100%", "none"),
    ]
    assert [many(1, "piece"), many(1200, "piece"), many(0, "day")] == [
        *("1 piece", "1,200 pieces", "0 days"),
    ]


# The page and its plots


def test_a_page_of_every_block() -> None:
    page = Page("A <b> & c", "Summary", footer="Foot")
    section = page.section("Heading", "Lead")
    section.text("words\x00", note=True)
    section.numbers([("pieces", "1,200")])
    section.table(
        ["name", "n"],
        [[HOSTILE, 1200], [Cell(HOSTILE, "bad", bar=0.5), None]],
        align="cr",
    )
    labels = [HOSTILE, "b"]
    values = {HOSTILE: [1.0, 2.0], "two": [0.5, 0.0]}
    section.figure(plots.bars(labels, values), "Bars", HOSTILE)
    section.figure(plots.bars(labels, values, flat=True, values=True, line=1), "Flat", "alt")
    section.figure(
        plots.lines({"a": ([1, 2], [1, 2]), "b": ([1, 2], [2, 2])}, log_y=True), "Lines", "alt"
    )
    section.figure(plots.heat(labels, ["x", "y"], [[1, None], [0, 2]], middle=1), "Heat", "alt")
    section.figure(plots.differences(labels, [0.1, -3]), "Differences", "alt")
    html = page.html()
    root = check(html)
    assert len([e for e in root.iter() if e.tag.endswith("}svg")]) == 5
    assert '<td class="r">1,200</td>' in html
    assert "width:50.0%" in html
    assert "words\ufffd" in html
    assert html.count("&lt;script&gt;") > 5


def test_figures_keep_letters_as_text_and_nothing_of_the_machine() -> None:
    drawing = plots.svg(plots.bars(["Hats & caps"], {"n": [1.0]}), name="f1", label="one bar")
    assert ">Hats &amp; caps</text>" in drawing
    assert not re.search("DejaVu|Matplotlib|metadata|202[0-9]-", drawing)


def test_a_table_must_be_square() -> None:
    section = Page("t").section("s")
    with pytest.raises(InputError, match="2 columns, 2 alignments and a row of 1 cells"):
        section.table(["a", "b"], [["x"]], align="ll", caption="Prices")


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    Page("One").write(out)
    Page("Two").write(out)
    assert "Two" in out.read_text()
    assert [file.name for file in out.parent.iterdir()] == ["page.html"]


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.csv"
    with whole_file(out) as one, whole_file(out) as two:
        one.write_text("one")
        two.write_text("two")
        assert one.parent == out.parent
        assert not out.exists()
    assert out.read_text() == "one"
    with pytest.raises(KeyboardInterrupt), whole_file(out) as half:
        raise KeyboardInterrupt(half.write_text("half"))
    assert out.read_text() == "one"
    assert list(out.parent.iterdir()) == [out]


def test_what_cannot_be_written_is_known_by_its_own_name(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    with pytest.raises(FileNotFoundError) as gone, whole_file(out) as file:
        file.with_suffix(".partial").read_text()
    assert gone.value.filename == str(out)
    with pytest.raises(OSError, match="No space left") as full, whole_file(out):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(out)
