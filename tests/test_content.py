"""Content: words and pictures as vectors, what looks alike, and both as features of a shop."""

import json
import shutil
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from feature_repo.errors import LookbookError
from pipelines import content, feature_tables, features, online
from pipelines.cli import main
from pipelines.content.clusters import Clusters, purity
from pipelines.content.embedding import load_picture_encoder, load_text_encoder
from pipelines.content.pictures import (
    LABELS,
    PictureEncoder,
    PictureError,
    PictureNetwork,
    as_pixels,
    decoded,
    held_out,
)
from pipelines.content.text import (
    ModelTextEncoder,
    TextModelError,
    WordsTextEncoder,
    make_text_encoder,
    texts_of,
    words,
)
from pipelines.content.text import load_text_encoder as load_text
from pipelines.data.load import load
from pipelines.data.synthetic import synthesize
from pipelines.data.synthetic.pictures import Look, draw
from pipelines.features import OfflineFeatures, OnlineFeatures, moment_of
from pipelines.model_registry.registry import list_versions, open_version
from pipelines.warehouse import WarehouseError, reading, writing

# Text

TEXTS = [
    "Slim jeans in washed denim with a high waist",
    "Wide jeans in washed denim with a low waist",
    "Straight jeans in soft denim",
    "Knitted jumper in soft wool with long sleeves",
    "Ribbed jumper in merino wool with long sleeves",
    "Wool cardigan with buttons and long sleeves",
    "Leather boots with a zip and rubber soles",
    "Ankle boots in leather with rubber soles",
]


@pytest.fixture(scope="module")
def encoder() -> WordsTextEncoder:
    return WordsTextEncoder(dimensions=4).fit(TEXTS)


def test_similar_texts_are_nearest(encoder: WordsTextEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 4)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    kind = [0, 0, 0, 1, 1, 1, 2, 2]
    assert [kind[nearest] for nearest in likeness.argmax(axis=1)] == kind


@pytest.mark.parametrize(("asked", "kind"), [("boot of leather", 6), ("JEAN", 0), ("jumpers", 3)])
def test_what_somebody_types_is_near_what_it_names(
    encoder: WordsTextEncoder, asked: str, kind: int
) -> None:
    found = encoder.encode_query(asked)
    assert found.shape == (4,)
    nearest = int((encoder.encode(TEXTS) @ found).argmax())
    assert words(TEXTS[kind])[1] in words(TEXTS[nearest])


@pytest.mark.parametrize("nothing", ["", "  ", "zeppelin", "!?"])
def test_a_text_of_which_nothing_is_known_is_zero(encoder: WordsTextEncoder, nothing: str) -> None:
    assert not encoder.encode_query(nothing).any()
    assert np.array_equal(encoder.encode([nothing, TEXTS[0]])[1], encoder.encode_query(TEXTS[0]))


def test_a_saved_text_encoder_is_the_same(encoder: WordsTextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    asked = [*TEXTS, "washed wool with a zip", "", "zeppelin"]
    assert np.array_equal(load_text(tmp_path).encode(asked), encoder.encode(asked))
    (tmp_path / "again").mkdir()
    WordsTextEncoder(dimensions=4).fit(TEXTS).save(tmp_path / "again")
    for file in (tmp_path / "again").iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()


@pytest.mark.parametrize("texts", [[], [""], ["", "a b"], ["word"], ["one word", ""]])
def test_few_words_or_none_are_enough(texts: list[str], tmp_path: Path) -> None:
    encoder = WordsTextEncoder().fit(texts)
    encoder.save(tmp_path)
    found = load_text(tmp_path).encode(texts)
    assert found.shape == (len(texts), 64)
    assert [bool(row.any()) for row in found] == [bool(words(text)) for text in texts]


def test_an_articles_text_is_what_is_known_of_it() -> None:
    articles = pd.DataFrame(
        {
            "article_id": ["1", "2", "3"],
            "prod_name": ["Strap top", None, None],
            "colour_group_name": ["Black", "Black", None],
            "detail_desc": ["Soft.", np.nan, None],
        }
    )
    assert texts_of(articles) == ["Strap top. Black. Soft.", "Black", ""]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("T-shirts, BODIES & dresses", ["shirt", "body", "dresse"]),
        ("Dress", ["dress"]),
        ("bus gas ies", ["bus", "gas", "ies"]),
    ],
)
def test_plurals_are_the_word_itself(said: str, meant: list[str]) -> None:
    assert words(said) == meant


def test_a_text_model_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TextModelError, match="There is no folder"):
        make_text_encoder(tmp_path / "none")
    if "sentence_transformers" not in sys.modules:
        with pytest.raises(TextModelError, match="needs the package sentence-transformers"):
            make_text_encoder(tmp_path)


class _LengthModel:
    """Stands where a sentence-transformers model would: a text's vector is its length and its words."""

    def __init__(self, path: str, **settings: Any) -> None:
        if not (Path(path) / "modules.json").exists():
            raise OSError("no modules.json")

    def encode(self, texts: list[str], **settings: Any) -> np.ndarray:
        return np.array([[len(text), len(text.split()), 1.0] for text in texts])


@pytest.fixture
def text_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = _LengthModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    return folder


def test_a_sentence_model_may_stand_in_its_place(text_model: Path, tmp_path: Path) -> None:
    made = make_text_encoder(text_model).fit(TEXTS)
    found = made.encode([*TEXTS, ""])
    assert found.shape == (len(TEXTS) + 1, 3)
    assert np.linalg.norm(found[:-1], axis=1) == pytest.approx(1, abs=1e-6)
    assert not found[-1].any()
    saved = tmp_path / "saved"
    saved.mkdir()
    made.save(saved)
    assert np.array_equal(load_text(saved).encode(TEXTS), found[:-1])
    # Other weights of the same size, as those of a model that learnt on.
    weights = text_model / "weights.bin"
    weights.write_bytes(bytes(2_000_000))
    before = ModelTextEncoder(text_model).fingerprint
    weights.write_bytes(bytes(1_999_999) + b"1")
    assert ModelTextEncoder(text_model).fingerprint != before
    weights.unlink()
    (text_model / "modules.json").write_text("[1]")
    with pytest.raises(TextModelError, match="not the one"):
        load_text(saved)
    (text_model / "modules.json").unlink()
    with pytest.raises(TextModelError, match="holds no sentence-transformers model"):
        ModelTextEncoder(text_model)


# Pictures

SHIRT = Look(
    "0123456001", "T-shirt", "Garment Upper body", "Solid", "Dark Blue", (32, 42, 74), "Ladieswear"
)
KINDS = {"T-shirt": "Upper", "Trousers": "Lower"}
COLOURS = {"Red": (190, 30, 40), "Blue": (40, 60, 170)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{article: file}: shirts and trousers in two colours; two articles of each product."""
    folder = tmp_path_factory.mktemp("drawn")
    files = {}
    for number in range(60):
        kind = list(KINDS)[number % 2]
        for variant, (colour, rgb) in enumerate(COLOURS.items(), start=1):
            article = f"01{number:05d}{variant:03d}"
            look = replace(SHIRT, article_id=article, product_type=kind, colour=colour, rgb=rgb)
            files[article] = folder / f"{article}.jpg"
            draw(look, 7).resize((120, 180)).save(files[article], "JPEG")
    return files


def kind_of(article: str) -> str:
    return list(KINDS.values())[int(article[2:7]) % 2]


def colour_of(article: str) -> str:
    return list(COLOURS)[int(article[7:]) - 1]


def fitted(drawn: dict[str, Path], **settings: Any) -> PictureEncoder:
    with decoded(drawn, 32, 48) as pictures:
        return PictureEncoder(
            **{"epochs": 8, "width": 32, "height": 48, "batch_size": 16, **settings}
        ).fit(
            pictures.pixels,
            {
                "product_group": [kind_of(name) for name in pictures.names],
                "colour_group": [colour_of(name) for name in pictures.names],
                "product_type": [None] * len(pictures.names),
            },
            [name[:7] for name in pictures.names],
        )


@pytest.fixture(scope="module")
def seen(home_of_pictures: None, drawn: dict[str, Path]) -> PictureEncoder:
    return fitted(drawn)


@pytest.fixture(scope="module")
def home_of_pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def test_what_was_not_shown_is_told_right(seen: PictureEncoder, drawn: dict[str, Path]) -> None:
    apart = held_out([name[:7] for name in drawn])
    assert seen.metrics["pictures_held_out"] == apart.sum() > 4
    assert seen.metrics["pictures_learnt"] == (~apart).sum()
    assert seen.metrics["product_group_accuracy"] > 0.85
    assert seen.metrics["colour_group_accuracy"] > 0.85
    assert seen.metrics["colour_group_most_common"] == 0.5


def test_a_product_is_never_on_both_sides() -> None:
    products = [f"{number:07d}" for number in range(500) for _ in range(3)]
    apart = held_out(products).reshape(-1, 3)
    assert (apart.all(axis=1) | ~apart.any(axis=1)).all()
    assert 0.05 < apart.mean() < 0.15


def test_pictures_that_look_alike_are_near(seen: PictureEncoder, drawn: dict[str, Path]) -> None:
    with decoded(drawn, 32, 48) as pictures:
        vectors = seen.encode(pictures.pixels)
    assert vectors.shape == (len(drawn), 64)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    names = list(drawn)
    nearest = [names[place] for place in likeness.argmax(axis=1)]
    assert np.mean([kind_of(a) == kind_of(b) for a, b in zip(names, nearest, strict=True)]) > 0.9
    assert (
        np.mean([colour_of(a) == colour_of(b) for a, b in zip(names, nearest, strict=True)]) > 0.9
    )


def test_one_picture_is_encoded_as_many_are(seen: PictureEncoder, drawn: dict[str, Path]) -> None:
    name, file = next(iter(drawn.items()))
    with decoded({name: file}, 32, 48) as pictures:
        many = seen.encode(pictures.pixels)
    with Image.open(file) as picture:
        one = seen.encode_picture(picture)
    np.testing.assert_allclose(one, many[0], atol=1e-6)


def test_a_saved_picture_encoder_is_the_same(
    seen: PictureEncoder, drawn: dict[str, Path], tmp_path: Path
) -> None:
    seen.save(tmp_path)
    loaded = PictureEncoder.load(tmp_path)
    assert (
        loaded.classes
        == seen.classes
        == {
            "product_group": ["Lower", "Upper"],
            "colour_group": ["Blue", "Red"],
            "product_type": [],
        }
    )
    with decoded(drawn, 32, 48) as pictures:
        assert np.array_equal(loaded.encode(pictures.pixels), seen.encode(pictures.pixels))
    (tmp_path / "picture_encoder.safetensors").write_bytes(b"no")
    with pytest.raises(LookbookError, match="train again"):
        PictureEncoder.load(tmp_path)


def test_the_same_seed_gives_the_same_encoder(
    home_of_pictures: None, drawn: dict[str, Path]
) -> None:
    few = dict(list(drawn.items())[:24])
    one, same, other = (fitted(few, epochs=1, seed=seed) for seed in (1, 1, 2))
    with decoded(few, 32, 48) as pictures:
        assert np.array_equal(one.encode(pictures.pixels), same.encode(pictures.pixels))
        assert not np.array_equal(one.encode(pictures.pixels), other.encode(pictures.pixels))


def test_labels_may_be_unknown_and_pictures_few(home_of_pictures: None) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (1, 48, 32, 3), dtype=np.uint8)
    encoder = PictureEncoder(epochs=1, width=32, height=48)
    encoder.fit(pixels, {label: [None] for label in LABELS}, ["1"])
    assert np.isfinite(encoder.encode(pixels)).all()
    assert encoder.metrics["product_group_accuracy"] is None
    assert encoder.encode(pixels[:0]).shape == (0, 64)
    with pytest.raises(PictureError, match="no pictures"):
        encoder.fit(pixels[:0], {label: [] for label in LABELS}, [])


def test_damaged_files_are_left_out_and_counted(
    home_of_pictures: None, drawn: dict[str, Path], tmp_path: Path
) -> None:
    whole = next(iter(drawn.values()))
    files = {"first": whole, "none": tmp_path / "none.jpg"}
    for name, data in {
        "empty": b"",
        "text": b"this is no picture",
        "half": whole.read_bytes()[:900],
    }.items():
        files[name] = tmp_path / f"{name}.jpg"
        files[name].write_bytes(data)
    files["last"] = whole
    with decoded(files, 32, 48) as pictures:
        assert pictures.names == ["first", "last"]
        assert set(pictures.broken) == {"none", "empty", "text", "half"}
        assert np.array_equal(pictures.pixels[0], pictures.pixels[1])


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("size", [(64, 96), (3, 500), (500, 3), (1, 1), (700, 700)])
def test_pictures_of_any_kind_and_size_are_read(mode: str, size: tuple[int, int]) -> None:
    found = as_pixels(Image.new(mode, size), 64, 96)
    assert found.shape == (96, 64, 3)
    assert found.dtype == np.uint8


def test_what_is_clear_is_white_and_margins_too() -> None:
    assert as_pixels(Image.new("RGBA", (64, 96), (255, 0, 0, 0)), 64, 96).min() == 255
    wide = as_pixels(Image.new("RGB", (96, 48), "black"), 64, 96)
    assert wide[0].min() == 255
    assert wide[48].max() == 0


def test_a_network_looks_at_each_picture_for_itself() -> None:
    import torch

    network = PictureNetwork([3, 2], 8).eval()
    pixels = torch.randint(0, 255, (4, 48, 32, 3), dtype=torch.uint8)
    together = network.embed(pixels)
    apart = torch.cat([network.embed(one[None]) for one in pixels])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)
    assert [scores.shape for scores in network(pixels)] == [(4, 3), (4, 2)]


# Clusters


def blobs(count: int, centres: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    of = rng.integers(len(centres), size=count)
    return of, (centres[of] + rng.normal(0, 0.02, (count, centres.shape[1]))).astype("float32")


def test_clusters_are_found_inside_each_group() -> None:
    of, vectors = blobs(72, np.eye(3))
    groups = ["Shoes"] * 72 + ["Bags"] * 2 + [None]
    everything = np.concatenate([vectors, vectors[:3]])

    clusters = Clusters().fit(groups, everything)
    names = clusters.names(groups, everything)

    assert {name.rsplit(" ", 1)[0] for name in names if name} == {"Shoes", "Bags", "Unknown"}
    assert names[72:] == ["Bags 01", "Bags 01", "Unknown 01"]
    found = pd.crosstab(of, np.array(names[:72]))
    assert (found > 0).sum().sum() == 3
    # The largest comes first.
    sizes = pd.Series(names[:72]).value_counts()
    assert sizes["Shoes 01"] >= sizes["Shoes 02"] >= sizes["Shoes 03"]


def test_clusters_stay_what_they_are(tmp_path: Path) -> None:
    _, vectors = blobs(80, np.eye(4))
    groups = ["a"] * 40 + ["b"] * 40
    clusters = Clusters().fit(groups, vectors)
    clusters.save(tmp_path)
    again = Clusters.load(tmp_path)
    assert again.names(groups, vectors) == clusters.names(groups, vectors)
    assert Clusters().fit(groups, vectors).names(groups, vectors) == clusters.names(groups, vectors)
    assert again.names(["b", "new", None], vectors[40:43])[1:] == [None, None]
    assert again.names([], vectors[:0]) == []


def test_equal_pictures_are_one_cluster() -> None:
    vectors = np.ones((200, 3), dtype="float32")
    assert set(Clusters().fit(["a"] * 200, vectors).names(["a"] * 200, vectors)) == {"a 01"}


def test_purity_is_held_against_chance() -> None:
    groups = ["a"] * 8
    clusters = ["a 01"] * 4 + ["a 02"] * 4
    attributes = pd.DataFrame(
        {
            "pure": ["x"] * 4 + ["y"] * 4,
            "mixed": ["x", "x", "x", "y", "y", "y", None, None],
            "one": ["z"] * 8,
        }
    )
    found = purity(clusters, groups, attributes)
    assert found["pure"]["purity"] == 1
    assert 0.5 <= found["pure"]["chance"] < 1
    assert found["mixed"]["purity"] == pytest.approx(5 / 6)
    assert found["one"] == {"purity": 1, "chance": 1}
    assert purity([None] * 8, groups, attributes)["pure"]["purity"] is None


# A shop


def lookbook(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


def as_json(*words: str) -> dict[str, Any]:
    done = lookbook(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows_of(sql: str) -> list[tuple[Any, ...]]:
    with reading() as con:
        return con.execute(sql).fetchall()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a small shop with 60 pictures, one of them damaged, embedded; not built."""
    folder = tmp_path_factory.mktemp("embedded")
    synthesize(folder / "files", customers=60, articles=80, days=60, images=60, seed=3, csv=True)
    pictures = sorted((folder / "files" / "images").rglob("*.jpg"))
    pictures[5].write_bytes(pictures[5].read_bytes()[:400])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(folder / "home"))
        load(str(folder / "files"))
        feature_tables.build()
        made = as_json("features", "embed", "--epochs", "1")
    assert (made["articles"], made["with_text"]) == (80, 80)
    assert (made["with_picture"], made["broken"]) == (59, 1)
    assert made["trained"] == ["text_encoder", "picture_encoder"]
    assert made["changed"]
    return folder / "home"


@pytest.fixture
def shop_home(embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it and its files, to write into."""
    shutil.copytree(embedded.parent / "files", tmp_path / "files", copy_function=shutil.copy2)
    shutil.copytree(embedded, tmp_path / "home")
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "home"))
    with writing() as con:
        con.execute("UPDATE raw.loads SET source = ?", [f"kaggle:{tmp_path / 'files'}"])
    return tmp_path / "home"


def test_features_take_up_what_was_embedded(shop_home: Path) -> None:
    """Over a build that knew nothing of it, and the same as if all were built anew."""
    before = rows_of("SELECT count(image_embedding), count(text_embedding) FROM staging.articles")
    assert before == [(0, 0)]
    built = feature_tables.build()
    assert "features.article_profile" not in built.reused
    after = rows_of(
        "SELECT count(image_embedding), count(visual_cluster), count(text_embedding), "
        "min(len(image_embedding)), max(len(text_embedding)) FROM features.article_profile"
    )
    assert after == [(59, 59, 80, 64, 64)]
    grown = rows_of("SELECT * EXCLUDE (created_at) FROM features.article_profile ORDER BY ALL")

    features.apply()
    online.materialize(built.through)
    moment = moment_of(built.end)
    customers = rows_of("SELECT DISTINCT customer_id FROM staging.purchases ORDER BY 1 LIMIT 3")
    articles = rows_of("SELECT DISTINCT article_id FROM staging.articles ORDER BY 1 LIMIT 12")
    asked = pd.DataFrame(
        [(c, a, "p", "Shoes", "1") for (c,) in customers for (a,) in articles],
        columns=["customer_id", "article_id", "postal_code", "product_group", "product"],
    )
    offline = OfflineFeatures(moment).read(asked, "everything")
    served = OnlineFeatures(moment).read(asked, "everything")
    for name in (
        "article_profile__text_embedding",
        "article_profile__image_embedding",
        "customer_taste__visual_cluster_shares",
    ):
        for one, other in zip(offline[name], served[name], strict=True):
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)
    for name in ("article_profile__visual_cluster", "taste_match__visual_cluster_share"):
        pd.testing.assert_series_equal(offline[name], served[name], check_dtype=False)
    embeddings = served["article_profile__image_embedding"].dropna()
    assert embeddings.iloc[0].dtype == np.float32
    assert offline["taste_match__visual_cluster_share"].max() > 0
    shares = np.array([sum(of) for of in offline["customer_taste__visual_cluster_shares"].dropna()])
    assert shares == pytest.approx(1)

    (shop_home / "warehouse.duckdb").unlink()
    load(str(shop_home.parent / "files"))
    content.embed()
    feature_tables.build()
    anew = rows_of("SELECT * EXCLUDE (created_at) FROM features.article_profile ORDER BY ALL")
    assert anew == grown


def test_nothing_new_does_nothing(shop_home: Path) -> None:
    before = (shop_home / "warehouse.duckdb").read_bytes(), list_versions()
    made = content.embed()
    assert not made.changed
    assert (made.texts, made.pictures, made.trained) == (0, 0, ())
    assert (made.with_picture, made.broken) == (59, 1)
    assert "Nothing was new" in str(made)
    assert ((shop_home / "warehouse.duckdb").read_bytes(), list_versions()) == before


def test_what_is_new_is_encoded_by_the_encoders_that_there_are(shop_home: Path) -> None:
    files = shop_home.parent / "files"
    feature_tables.build()
    kept = dict(rows_of("SELECT article_id, image_embedding FROM raw.article_content"))
    articles = pd.read_csv(files / "articles.csv", dtype=str)
    old = next(name for name, vector in kept.items() if vector is not None)
    group = articles.set_index("article_id")["product_group_name"]
    new = "0999999001"
    row = articles[articles["article_id"] == old].assign(article_id=new, product_code="0999999")
    changed = articles.assign(
        detail_desc=articles["detail_desc"].where(articles["article_id"] != old, "Quite another.")
    )
    pd.concat([changed, row]).to_csv(files / "articles.csv", index=False)
    (files / "images" / "099").mkdir()
    shutil.copy(files / "images" / old[:3] / f"{old}.jpg", files / "images/099" / f"{new}.jpg")
    load(str(files))

    made = content.embed()

    assert (made.texts, made.pictures, made.trained) == (2, 1, ())
    found = dict(rows_of("SELECT article_id, image_embedding FROM raw.article_content"))
    np.testing.assert_allclose(found.pop(new), kept[old], atol=1e-6)
    assert found == kept
    (cluster,) = rows_of(
        f"SELECT visual_cluster FROM raw.article_content WHERE article_id = '{new}'"
    )
    assert cluster[0].startswith(group[old])
    built = feature_tables.build()
    assert "features.article_profile" not in built.reused
    assert rows_of(
        f"SELECT visual_cluster FROM features.article_profile WHERE article_id = '{new}'"
    ) == [cluster]


def test_a_picture_that_is_gone_or_the_folder(shop_home: Path) -> None:
    images = shop_home.parent / "files" / "images"
    one = sorted(images.rglob("*.jpg"))[0]
    one.unlink()
    assert content.embed().with_picture == 58
    shutil.rmtree(images)
    left = content.embed()
    assert (left.with_picture, left.changed) == (58, False)


def test_encoders_can_be_made_anew(shop_home: Path) -> None:
    made = content.embed(epochs=2)
    assert made.trained == ("picture_encoder",)
    assert made.pictures == 59
    again = content.embed(retrain=True, epochs=1)
    assert again.trained == ("text_encoder", "picture_encoder")
    assert again.encoders["text_encoder"] != made.encoders["text_encoder"]
    # The same texts give the same encoder.
    one, other = (open_version(found.encoders["text_encoder"]) for found in (made, again))
    assert one.content_hash == other.content_hash


def test_encoders_are_versions_that_a_service_can_load(shop_home: Path) -> None:
    version = open_version("picture_encoder")
    assert version.metrics["pictures_learnt"] + version.metrics["pictures_held_out"] == 59
    assert set(version.metrics["purity"]) == {
        "product_type_name",
        "colour_group_name",
        "graphical_appearance_name",
    }
    assert version.lineage.settings["model"]["epochs"] == 1
    article, kept, words_kept = rows_of(
        "SELECT article_id, image_embedding, text_embedding FROM raw.article_content "
        "WHERE image_embedding IS NOT NULL ORDER BY article_id LIMIT 1"
    )[0]
    with Image.open(
        shop_home.parent / "files" / "images" / article[:3] / f"{article}.jpg"
    ) as picture:
        found = load_picture_encoder().encode_picture(picture)
    np.testing.assert_allclose(found, kept, atol=1e-5)
    with reading() as con:
        frame = con.execute("FROM raw.articles WHERE article_id = ?", [article]).df()
    np.testing.assert_array_equal(load_text_encoder().encode(frame)[0], np.float32(words_kept))


def test_a_sentence_model_is_kept_until_another_is_named(shop_home: Path, text_model: Path) -> None:
    made = content.embed(text_model=text_model)
    assert made.trained == ("text_encoder",)
    assert rows_of("SELECT DISTINCT len(text_embedding) FROM raw.article_content") == [(3,)]
    assert content.embed(text_model=text_model).trained == ()
    assert not content.embed().changed


def test_a_shop_without_pictures_has_text_only(home: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "files", customers=30, articles=30, days=40, seed=3)
    load(str(tmp_path / "files"))
    made = content.embed()
    assert (made.with_text, made.with_picture, made.clusters) == (30, 0, 0)
    assert list(made.encoders) == ["text_encoder"]
    feature_tables.build()
    assert rows_of(
        "SELECT count(text_embedding), count(image_embedding) FROM features.article_profile"
    ) == [(30, 0)]
    broken = tmp_path / "broken"
    broken.mkdir()
    (article,) = rows_of("SELECT min(article_id) FROM raw.articles")[0]
    (broken / f"{article}.jpg").write_bytes(b"no")
    assert content.embed(images=broken).with_picture == 0


def test_what_people_can_mend_is_one_sentence(home: Path, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="lookbook"):
        content.embed()
    synthesize(tmp_path / "files", customers=10, articles=10, days=30, seed=3)
    load(str(tmp_path / "files"))
    (tmp_path / "empty").mkdir()
    for words_given, said in (
        (["--images", str(tmp_path / "none")], "There is no folder"),
        (["--images", str(tmp_path / "empty")], "There is no picture of an article in"),
        (["--text-model", str(tmp_path / "none")], "There is no folder"),
    ):
        done = lookbook("features", "embed", *words_given)
        assert done.exit_code == 1
        assert said in done.stderr.strip().splitlines()[-1]
    assert list_versions() == []
