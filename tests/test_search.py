"""Search: an article is found by what it says and shows, sold or not, and by nothing that is not on sale."""

import io
import json
import math
import re
import shutil
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from feature_repo.raw_tables import RAW_TABLES
from pipelines import content, feature_tables, features
from pipelines.content import pixels
from pipelines.content.search import (
    MOST_CHARACTERS,
    NoPicturesError,
    SearchError,
    SearchIndex,
    _Vectors,
)
from pipelines.content.text import WordsTextEncoder, texts_of
from pipelines.content.words import SATURATION, Field, WordIndex, raw_words, singular
from pipelines.data.load import load
from pipelines.data.synthetic.pictures import Look, draw
from pipelines.model_registry import composing, exchange, gates, publishing, release
from pipelines.model_registry.registry import RegistryError, list_versions, open_version
from pipelines.nearest import Index, NearestError, recorded_recall

# Words


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Dresses", ["dress"]),
        ("DRESS", ["dress"]),
        ("Boxes, brushes & watches", ["box", "brush", "watch"]),
        ("Accessories", ["accessory"]),
        ("Décolleté", ["decollete"]),
        ("T-shirts", ["t", "shirt", "tshirt"]),
        ("Women's jeans, womens jeans", ["woman", "jean", "woman", "jean"]),
        ("Ｗｉｄｅ straße", ["wide", "strasse"]),  # noqa: RUF001
        ("Sleeves, shoes, sizes", ["sleeve", "shoe", "size"]),
        ("xs 92/98", ["xs", "92", "98"]),
        ("ワンピース", ["ワンピース"]),
        ("हिन्दी साड़ी", ["हिन्दी", "साड़ी"]),
        ("!? ... '-'", []),
        ("", []),
    ],
)
def test_words_are_told_without_case_accents_and_plural(text: str, meant: list[str]) -> None:
    found = [singular(word) for word in raw_words(text)]
    assert found == [unicodedata.normalize("NFKC", word) for word in meant]
    assert all(singular(word) == word for word in found)


FIELDS = {"name": Field(2.0, 0.5), "said": Field(0.7)}
LETTERS = st.text("ab", min_size=1, max_size=2)
TEXTS = st.lists(st.lists(LETTERS, max_size=5).map(" ".join), min_size=1, max_size=6)


def scores_by_hand(texts: dict[str, list[str]], query: str) -> tuple[list[float], list[float]]:
    """BM25F and the share of the query that each has, article by article."""
    size = len(texts["name"])
    words = {name: [text.split() for text in column] for name, column in texts.items()}
    asked = list(dict.fromkeys(query.split()))

    def rarity(word: str) -> float:
        having = sum(any(word in words[name][row] for name in words) for row in range(size))
        return (
            math.log1p((size - having + 0.5) / (having + 0.5))
            if having
            else math.log1p(2 * size + 1)
        )

    whole = sum(map(rarity, asked))
    known = [w for w in asked if any(w in said for column in words.values() for said in column)]
    most = whole * (SATURATION + 1)
    scores, shares = [], []
    for row in range(size):
        total = covered = 0.0
        for word in known:
            often = 0.0
            for name, field in FIELDS.items():
                lengths = [len(said) for said in words[name] if said]
                mean = sum(lengths) / len(lengths) if lengths else 1.0
                said = words[name][row]
                longer = 1 - field.length + field.length * len(said) / mean
                often += field.weight * Counter(said)[word] / longer if said else 0.0
            if often:
                total += rarity(word) * often * (SATURATION + 1) / (often + SATURATION)
                covered += rarity(word)
        share = covered / whole if whole else 0.0
        scores.append(total * share / most if most else 0.0)
        shares.append(share)
    return scores, shares


@settings(max_examples=80, deadline=None)
@given(TEXTS, st.data(), st.lists(LETTERS, max_size=4))
def test_words_count_as_by_hand(names: list[str], data: st.DataObject, asked: list[str]) -> None:
    said = data.draw(
        st.lists(
            st.lists(LETTERS, max_size=5).map(" ".join), min_size=len(names), max_size=len(names)
        )
    )
    texts = {"name": names, "said": said}
    index = WordIndex.fit(texts, FIELDS)
    # White space at the end: nothing is being typed. Words of a letter or two are completed to nothing.
    query = " ".join(asked) + " "
    known = {word for column in texts.values() for text in column for word in text.split()}
    longer = any(len(word) == 2 and word not in known for word in asked)
    if longer and any(other.startswith(word) for word in asked for other in known if other != word):
        return
    scores, shares = index.scores(query)
    by_hand = scores_by_hand(texts, query)
    np.testing.assert_allclose(scores, by_hand[0], atol=1e-5)
    np.testing.assert_allclose(shares, by_hand[1], atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("trousers", [2]),
        ("trou", [2, 3]),
        ("trou ", [2, 3]),  # no word is trou, so it stands for more
        ("trousser", [2]),
        ("tousers", [2]),
        ("rtousers", [2]),
        ("d", []),
        ("dr", [0, 1]),
        ("zeppelin", []),
        ("red zeppelin", [0]),
    ],
)
def test_what_is_typed_stands_for_words(asked: str, found: list[int]) -> None:
    texts = ["red dress", "blue dress", "black trousers", "trouble"]
    scores, shares = WordIndex.fit({"text": texts}, {"text": Field(1.0)}).scores(asked)
    assert np.flatnonzero(scores).tolist() == found
    assert ((scores >= 0) & (scores <= 1) & (shares <= 1)).all()


@pytest.mark.parametrize("texts", [[], [""], ["", "!?"]])
def test_texts_without_words_find_nothing(texts: list[str], tmp_path: Path) -> None:
    WordIndex.fit({"text": texts}, {"text": Field(1.0)}).save(tmp_path)
    scores, shares = WordIndex.load(tmp_path).scores("dress")
    assert scores.tolist() == shares.tolist() == [0.0] * len(texts)


# A shop

CUTOFF = date(2020, 9, 16)
KINDS = {
    "Dress": "Garment Full body",
    "T-shirt": "Garment Upper body",
    "Trousers": "Garment Lower body",
}
COLOURS = {
    "Red": (190, 30, 40),
    "Dark Blue": (40, 60, 170),
    "White": (240, 240, 240),
    "Green": (40, 140, 60),
}
COLD, GONE, NAMELESS = "0200000001", "0200000002", "0300000001"
"""Never sold; sold long ago; known from a purchase alone."""


def articles_of_the_shop() -> pd.DataFrame:
    rows = []
    for number in range(6):
        for k, (kind, group) in enumerate(KINDS.items()):
            for c, colour in enumerate(COLOURS, start=1):
                rows.append(
                    (
                        f"01{number}0{k:03}{c:03}",
                        kind,
                        group,
                        colour,
                        f"Soft {kind.lower()} in cotton.",
                    )
                )
    rows.append((COLD, "Kaftan", "Garment Full body", "Red", "Airy kaftan for a café by the sea."))
    rows.append((GONE, "Kaftan", "Garment Full body", "Red", "Airy kaftan for a café by the sea."))
    table = pd.DataFrame(
        rows,
        columns=[
            "article_id",
            "product_type_name",
            "product_group_name",
            "colour_group_name",
            "detail_desc",
        ],
    )
    return table.assign(
        product_code=table["article_id"].str[:7],
        prod_name="Nell " + table["product_type_name"].str.lower(),
        graphical_appearance_name="Solid",
    )


def make_shop(folder: Path, *, pictures: bool) -> None:
    """Files of a shop, loaded, embedded and built at LOOKBOOK_HOME."""
    articles = articles_of_the_shop()
    sold = [(article, 1) for article in articles["article_id"] if article not in (COLD, GONE)]
    purchases = pd.DataFrame([*sold, (GONE, 100), (NAMELESS, 1)], columns=["article_id", "days"])
    tables = {
        "articles": articles,
        "customers": pd.DataFrame({"customer_id": ["ann"], "age": [30]}),
        "transactions": purchases.assign(
            t_dat=[CUTOFF - timedelta(days=days) for days in purchases["days"]],
            customer_id="ann",
            price=0.02,
            sales_channel_id=2,
        ),
    }
    folder.mkdir()
    for name, table in tables.items():
        file = "transactions_train" if name == "transactions" else name
        columns = RAW_TABLES[name].column_names
        table.reindex(columns=columns).to_parquet(folder / f"{file}.parquet", index=False)
    if pictures:
        (folder / "images").mkdir()
        for row in articles.itertuples():
            look = Look(
                row.article_id, row.product_type_name, row.product_group_name, "Solid",
                row.colour_group_name, COLOURS[row.colour_group_name], "Ladieswear",
            )  # fmt: skip
            draw(look, 7).resize((128, 192)).save(
                folder / "images" / f"{row.article_id}.jpg", "JPEG"
            )
    load(str(folder))
    content.embed(epochs=4 if pictures else None)
    feature_tables.build()
    features.apply()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of the shop, with pictures, trained; read only."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(folder / "home"))
        make_shop(folder / "files", pictures=True)
        tag = publishing.train(CUTOFF, ["popular"])[publishing.SEARCH_PART]
        made = release.create({publishing.SEARCH_PART: tag}, {}, open_version(tag).lineage, {})
        release.promote(made.tag)
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOKBOOK_HOME", str(trained / "home"))
    return trained


@pytest.fixture(scope="module")
def search(trained: Path) -> SearchIndex:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(trained / "home"))
        return SearchIndex.load(open_version(publishing.SEARCH_PART).path)


@pytest.fixture(scope="module")
def about() -> pd.DataFrame:
    return articles_of_the_shop().set_index("article_id")


@pytest.mark.parametrize(
    "asked",
    ["red dress", "Red DRESSES", "dress, red", "dress rèd", "red dres", "red drress", "RÉD Dress "],
)
def test_red_dress_finds_red_dresses_first(
    search: SearchIndex, about: pd.DataFrame, asked: str
) -> None:
    ids, scores = search.by_text(asked, 10)
    looks = about.loc[ids, ["colour_group_name", "product_type_name"]].to_numpy().tolist()
    assert looks[:6] == [["Red", "Dress"]] * 6
    assert ["Red", "Dress"] not in looks[6:]
    # What has one of the two follows.
    assert all("Red" in look or "Dress" in look for look in looks)
    assert (np.diff(scores) <= 0).all()
    assert scores.dtype == np.float32


def test_tshirts_are_found_however_they_are_written(
    search: SearchIndex, about: pd.DataFrame
) -> None:
    for asked in ("t-shirt white", "tshirt white", "T‑SHIRTS WHITE", "white t-shi"):  # noqa: RUF001
        ids, _ = search.by_text(asked, 6)
        found = about.loc[ids]
        assert set(found["product_type_name"]) == {"T-shirt"}, asked
        assert set(found["colour_group_name"]) == {"White"}, asked


@pytest.mark.parametrize(
    "asked", ["kaftan", "cafe by the sea", "KAFTANS", "kaft", COLD, "200000001", f" {COLD} "]
)
def test_what_never_sold_is_found_and_what_is_gone_is_not(search: SearchIndex, asked: str) -> None:
    ids, _ = search.by_text(asked, 200)
    assert ids[0] == COLD
    assert GONE not in ids


def test_an_id_and_the_beginning_of_one_find_their_articles(search: SearchIndex) -> None:
    ids, scores = search.by_text("0100000001")
    assert ids[0] == "0100000001"
    assert scores[0] == 2.0
    for product in ("0100001", "100001"):
        ids, scores = search.by_text(product)
        assert ids.tolist() == [f"0100001{c:03}" for c in range(1, 5)]
        assert set(scores) == {np.float32(1.5)}
    # It has no words and no picture, for no file names it.
    assert search.by_text(NAMELESS)[0].tolist() == [NAMELESS]
    assert search.by_text("01")[0].size == 0
    assert search.by_text(GONE)[0].size == 0


@pytest.mark.parametrize(
    "asked",
    ["!?", "...", "zeppelin", "漢字", "'; DROP TABLE raw.articles; --zz", "\x00", "\ud800", "%_%"],
)
def test_what_says_nothing_finds_nothing(search: SearchIndex, asked: str) -> None:
    ids, scores = search.by_text(asked)
    assert ids.shape == scores.shape == (0,)


@pytest.mark.parametrize(
    ("asked", "k", "why"),
    [
        ("", 12, "nothing to search for"),
        (" \n\t ", 12, "nothing to search for"),
        ("x" * 10_000, 12, "10,000 characters: give at most 200"),
        ("dress", 0, "0 articles"),
        ("dress", 10**9, "ask for 1 to 1,000"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(
    search: SearchIndex, asked: str, k: int, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        search.by_text(asked, k)


@settings(max_examples=80, deadline=None)
@given(
    st.one_of(
        st.text(max_size=MOST_CHARACTERS),
        st.lists(
            st.sampled_from(["red", "dres", "T-Shirt", "kaftan", "01", "0100001001", "'", "no"])
        ).map(" ".join),
    ),
    st.integers(1, 30),
    st.integers(0, 2**16),
)
@example("a " * 100, 30, 3)
def test_any_text_finds_what_is_allowed_alone(
    search: SearchIndex, asked: str, k: int, seed: int
) -> None:
    if not asked.strip() or len(asked) > MOST_CHARACTERS:
        with pytest.raises(InputError):
            search.by_text(asked, k)
        return
    allowed = np.random.default_rng(seed).random(len(search.assortment)) < 0.5
    ids, scores = search.by_text(asked, k, allowed)
    assert len(ids) == len(scores) == len(set(ids)) <= k
    may = set(search.assortment.ids[allowed & search.assortment.on_sale])
    assert set(ids) <= may
    assert (scores > 0).all()
    assert (np.diff(scores) <= 0).all()
    # Fewer of them are the first of more.
    assert search.by_text(asked, 1, allowed)[0].tolist() in ([], ids[:1].tolist())


def test_allowed_is_of_the_assortment(search: SearchIndex) -> None:
    with pytest.raises(InputError, match="one value for each of 75 articles"):
        search.by_text("dress", 3, np.ones(4, bool))
    none = np.zeros(len(search.assortment), bool)
    assert search.by_text("dress", 3, none)[0].size == 0
    assert search.by_text(COLD, 3, none)[0].size == 0


def test_vectors_bring_what_is_like_the_words(
    search: SearchIndex, about: pd.DataFrame, tmp_path: Path
) -> None:
    """Words alone find one kaftan. In few dimensions it is like a dress, and dresses follow."""
    words = SearchIndex(search.assortment, search._words)
    assert words.by_text("kaftan")[0].tolist() == [COLD]
    encoder = WordsTextEncoder(dimensions=3).fit(texts_of(about))
    encoder.save(tmp_path)
    ids = search.assortment.ids[search.assortment.on_sale]
    rows = np.flatnonzero(np.isin(ids, about.index))
    made = Index.build(encoder.encode(about.loc[ids[rows]]), made_for="few")
    few = SearchIndex(search.assortment, search._words, _Vectors("few", rows, made, tmp_path))
    found, scores = few.by_text("kaftan", 7)
    assert found[0] == COLD
    assert set(about.loc[found[1:], "product_group_name"]) == {"Garment Full body"}
    assert scores[1] < scores[0]
    # Where enough have all words, they stand as they are.
    assert few.by_text("dress", 24)[0].tolist() == words.by_text("dress", 24)[0].tolist()


# Pictures


def file_of(article: str, trained: Path, kind: str = "JPEG", **changes: object) -> bytes:
    packed = io.BytesIO()
    with Image.open(trained / "files" / "images" / f"{article}.jpg") as picture:
        picture.save(packed, kind, **changes)
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_finds_its_own_article(
    search: SearchIndex, trained: Path, about: pd.DataFrame, kind: str
) -> None:
    changes = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    data = file_of("0110002001", trained, kind, **changes)
    ids, scores = search.by_picture(data, 8)
    assert "0110002001" in ids[:3]
    assert scores[0] == pytest.approx(1, abs=0.05)
    assert (np.diff(scores) <= 0).all()
    allowed = (search.assortment.ids != "0110002001") & search.assortment.on_sale
    assert "0110002001" not in search.by_picture(data, 8, allowed)[0]


def test_a_picture_finds_what_never_sold(search: SearchIndex, trained: Path) -> None:
    ids, _ = search.by_picture(file_of(COLD, trained), 75)
    assert COLD in ids[:3]
    assert GONE not in ids
    # It has none.
    assert NAMELESS not in ids


def bomb(width: int, height: int) -> bytes:
    """A PNG whose head says that it has so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def packed(kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 96), 90).save(file, kind, **settings)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (b"<svg onload=alert(1)>", "is no picture"),
        (packed("GIF"), "is no picture"),
        (packed("TIFF"), "is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is no picture"),
        (packed("JPEG")[:200], "no picture|damaged or cut off"),
        (packed("JPEG")[:-800], "damaged or cut off"),
        (packed("PNG")[:-500], "damaged or cut off"),
        (packed("WEBP")[:-200], "no picture|damaged or cut off"),
        (bomb(50_000, 50_000), "no picture|pixels"),
        (bomb(6_000, 6_000), "6,000 x 6,000 pixels"),
        (bomb(4_000, 4_000), "damaged or cut off"),
        (packed("JPEG") + bytes(5_000_000), "more than 5,000,000"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_is_no_picture_is_one_sentence(search: SearchIndex, data: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why) as told:
        search.by_picture(data)
    assert "\n" not in str(told.value)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_a_forged_file_fails_in_one_way(kind: str, data: st.DataObject) -> None:
    file = bytearray(packed(kind))
    for place in data.draw(
        st.lists(st.integers(0, min(len(file), 400) - 1), min_size=1, max_size=8)
    ):
        file[place] = data.draw(st.integers(0, 255))
    try:
        found = pixels.pixels_sent(bytes(file), 64, 96)
    except InputError:
        return
    assert found.shape == (96, 64, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "I;16"])
def test_large_pictures_of_any_mode_are_made_small_first(mode: str) -> None:
    picture = Image.new("RGB", (2_400, 3_600), (200, 30, 30)).convert(
        "L" if mode == "I;16" else mode
    )
    if mode == "I;16":
        picture = picture.convert("I;16")
    file = io.BytesIO()
    picture.save(file, "PNG")
    found = pixels.pixels_sent(file.getvalue(), 64, 96)
    assert found.shape == (96, 64, 3)
    if mode in ("RGB", "RGBA", "P"):
        assert np.abs(found.astype(int) - [200, 30, 30]).max() <= 30


def test_a_shop_without_pictures_says_so(search: SearchIndex) -> None:
    without = SearchIndex(search.assortment, search._words, search._text)
    with pytest.raises(
        NoPicturesError, match="knows no pictures: run `lookbook features embed --images"
    ):
        without.by_picture(packed("JPEG"))


def test_torch_comes_with_the_first_picture(here: Path) -> None:
    code = """
import sys
from pathlib import Path
from feature_repo.errors import InputError
from pipelines.content.search import SearchIndex
from pipelines.model_registry.registry import open_version
search = SearchIndex.load(open_version("search_index").path)
assert search.by_text("red dress")[0].size
try:
    search.by_picture(b"none")
except InputError:
    pass
assert "torch" not in sys.modules
assert search.by_picture(Path(sys.argv[1]).read_bytes())[0].size
assert "torch" in sys.modules
"""
    file = next((here / "files" / "images").iterdir())
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(file)], check=True, cwd=places.PROJECT
    )


# On disk, and in a release


def test_a_saved_index_is_the_same(here: Path, search: SearchIndex, tmp_path: Path) -> None:
    search.save(tmp_path)
    again = SearchIndex.load(tmp_path)
    assert again.encoders == search.encoders
    assert set(again.encoders) == {"text", "pictures"}
    data = file_of(COLD, here)
    for asked in ("red dress", "kaftan sea", "red zeppelin", "0100001"):
        for one, other in zip(again.by_text(asked, 40), search.by_text(asked, 40), strict=True):
            assert np.array_equal(one, other)
    for one, other in zip(again.by_picture(data, 40), search.by_picture(data, 40), strict=True):
        assert np.array_equal(one, other)
    version = open_version(publishing.SEARCH_PART)
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert file.read_bytes() == (version.path / file.relative_to(tmp_path)).read_bytes()


def test_vectors_and_encoder_stay_together(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is embedded anew, with new encoders, does not reach an index that there is; the old ones may go."""
    home = tmp_path / "home"
    shutil.copytree(here / "home", home)
    monkeypatch.setenv("LOOKBOOK_HOME", str(home))
    tag = open_version(publishing.SEARCH_PART).tag
    before = SearchIndex.load(open_version(tag).path)
    data = file_of(COLD, here)
    expected = before.by_text("kaftan")[0].tolist(), before.by_picture(data)[0].tolist()
    for kind, made in before.encoders.items():
        assert made in open_version(tag).lineage.parents, kind
        shutil.rmtree(home / "models" / "models" / made.replace(":", "/"))
    now = SearchIndex.load(open_version(tag).path)
    assert (now.by_text("kaftan")[0].tolist(), now.by_picture(data)[0].tolist()) == expected
    # An encoder that is not in the registry has no vectors to go with.
    said: list[str] = []
    newer = publishing.train(CUTOFF, ["popular"], progress=said.append)[publishing.SEARCH_PART]
    assert SearchIndex.load(open_version(newer).path).encoders == {}
    assert sum("is not in the registry" in line for line in said) == 2
    assert SearchIndex.load(open_version(newer).path).by_text("kaftan")[0].tolist() == [COLD]


@pytest.mark.parametrize("damage", ["format", "other articles", "other encoder", "vectors"])
def test_parts_that_do_not_belong_together_are_refused(
    search: SearchIndex, tmp_path: Path, damage: str
) -> None:
    search.save(tmp_path)
    record = json.loads((tmp_path / "search.json").read_text())
    if damage == "format":
        record["format"] = 99
    elif damage == "other encoder":
        record["encoders"]["text"] = "text_encoder:another"
    elif damage == "other articles":
        assortment = search.assortment
        type(assortment)(assortment.ids[5:], assortment.on_sale[5:], assortment.is_new[5:]).save(
            tmp_path
        )
    else:
        np.savez(tmp_path / "text" / "rows.npz", rows=np.arange(5))
    (tmp_path / "search.json").write_text(json.dumps(record))
    with pytest.raises((SearchError, NearestError)) as told:
        SearchIndex.load(tmp_path)
    assert "\n" not in str(told.value)


def test_the_python_of_the_page_runs(here: Path) -> None:
    page = (places.PROJECT / "docs" / "content.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert block.count("/tmp/dress.jpg") == 1
    said: dict[str, object] = {}
    exec(block.replace("/tmp/dress.jpg", str(here / "files" / "images" / f"{COLD}.jpg")), said)
    assert len(said["ids"]) == len(said["scores"]) == 12


def test_a_release_has_its_search(shop: Path) -> None:
    chosen = release.get("production")
    search = composing.load_search(chosen)
    assert search is not None
    assert (
        search.encoders["text"]
        in open_version(chosen.parts[publishing.SEARCH_PART]).lineage.parents
    )
    recommender, _ = composing.load_recommender(chosen)
    assert recommender.facts is not None
    # One list of articles in memory, so a mask over the recommender's is one over these.
    assert search.assortment is recommender.facts.assortment
    ids, _ = search.by_text("black", 5)
    assert len(ids) == 5


def test_a_release_from_before_search_still_loads(own_shop: Path) -> None:
    now = release.get("production")
    parts = {role: tag for role, tag in now.parts.items() if role != publishing.SEARCH_PART}
    old = release.create(parts, now.settings, replace(now.lineage, parents=()), {})
    assert composing.load_search(old) is None
    composing.load_recommender(old)
    # Search is no reason to ask again how well a release recommends.
    assert gates._answers(old, old.open_parts()) == gates._answers(now, now.open_parts())
    for version in list_versions(publishing.SEARCH_PART):
        shutil.rmtree(version.path.parent)
    with pytest.raises(
        RegistryError, match="search_index has not been trained yet: run `lookbook train`"
    ):
        composing.create_release()


def test_a_damaged_search_is_refused_by_name(own_shop: Path) -> None:
    chosen = release.get("production")
    file = open_version(chosen.parts[publishing.SEARCH_PART]).path / "words.npz"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RegistryError, match=r"words\.npz"):
        composing.load_search(chosen)


def test_a_release_is_carried_with_its_search(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = release.get("production")
    here = composing.load_search(chosen)
    exchange.export_release("production", tmp_path / "carried.zip")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "elsewhere"))
    tag, _ = exchange.import_release(tmp_path / "carried.zip")
    there = composing.load_search(release.get(tag))
    assert here is not None
    assert there is not None
    assert np.array_equal(there.by_text("dress")[0], here.by_text("dress")[0])


def test_a_shop_without_vectors_is_searched_by_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(content, "embed", lambda **said: None)
    make_shop(tmp_path / "files", pictures=False)
    publishing.train(CUTOFF, ["popular"])
    found = SearchIndex.load(open_version(publishing.SEARCH_PART).path)
    assert found.encoders == {}
    assert found.by_text("kaftan")[0].tolist() == [COLD]
    with pytest.raises(LookbookError, match="knows no pictures"):
        found.by_picture(packed("JPEG"))


def test_the_index_gate_sees_indexes_inside_a_part(tmp_path: Path) -> None:
    assert recorded_recall(tmp_path) is None
    vectors = np.eye(8, dtype="float32")
    for name in ("text", "pictures"):
        (tmp_path / name).mkdir()
        Index.build(vectors, made_for="x").save(tmp_path / name)
    assert recorded_recall(tmp_path) == 1.0
    record = json.loads((tmp_path / "pictures" / "nearest.json").read_text())
    (tmp_path / "pictures" / "nearest.json").write_text(json.dumps(record | {"recall": 0.9}))
    assert recorded_recall(tmp_path) == 0.9
