"""How quick search is, how much it finds, and what two well-known libraries make of the same articles and queries.

    python benchmarks/search.py                    # 100,000 articles without pictures, 2,000 with
    python benchmarks/search.py --home HOME        # a shop that is loaded, embedded and built; it is only read
    python benchmarks/search.py --articles 5000 --pictures 500 --epochs 2

Queries are made of combinations of attributes, such as "light blue shirt": those articles on sale are right that have
all of them. Half of the combinations, by a hash, were looked at when fields and fusion were chosen; the figures are of
the others. Queries by description are four words of an article's description that are in none of its
attributes; right is what is of its kind. Beside search stand its halves alone and put together by reciprocal rank
fusion, scikit-learn's TF-IDF with all cosines, and bm25s where it is installed. Each time is a median of runs in one thread.
Prints Markdown.
"""

import argparse
import importlib.util
import io
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from pipelines.content.search import SearchIndex

QUERIES = 150
"""Of each family."""
SHOWN, DEEP = 12, 100
FAMILIES = {
    "colour and type": ("colour_group_name", "product_type_name"),
    "pattern and type": ("graphical_appearance_name", "product_type_name"),
    "colour, pattern, type": (
        "colour_group_name",
        "graphical_appearance_name",
        "product_type_name",
    ),
    "department and colour": ("department_name", "colour_group_name"),
    "type and index": ("product_type_name", "index_group_name"),
}


class Query(NamedTuple):
    family: str
    text: str
    right: np.ndarray
    """Whether each article on sale is (S,)."""


Ranks = Callable[[str], np.ndarray]
"""The rows of the articles on sale that answer a query, the best first."""


def plural(text: str) -> str:
    last = text.split()[-1].lower()
    if last.endswith(("ss", "sh", "ch", "x")):
        return f"{text}es"
    return text if last.endswith("s") else f"{text}s"


def queries(articles: pd.DataFrame, *, held_out: bool = True) -> Iterator[Query]:
    """
    Args:
        held_out: those that nothing was chosen by.
    """
    seed = 2 if held_out else 1
    rng = np.random.default_rng(seed)
    for family, columns in FAMILIES.items():
        sizes = articles.groupby(list(columns)).size()
        combinations = [values for values, size in sizes.items() if size >= 3]
        ours = [v for v in combinations if zlib.crc32(repr(v).encode()) % 2 == held_out]
        for place in rng.permutation(len(ours))[:QUERIES]:
            values = ours[place]
            right = np.logical_and.reduce(
                [articles[name].to_numpy() == v for name, v in zip(columns, values, strict=True)]
            )
            text = " ".join(values)
            yield Query(family, text, right)
            if family != "colour and type":
                continue
            yield Query(f"{family}, PLURAL", plural(text).upper(), right)
            colour, kind = values
            if len(kind) > 4:
                at = int(rng.integers(1, len(kind) - 1))
                yield Query(
                    f"{family}, a letter left out", f"{colour} {kind[:at]}{kind[at + 1 :]}", right
                )
                typed = kind[: max(4, len(kind) * 2 // 3)]
                yield Query(f"{family}, being typed", f"{colour} {typed}", right)
    yield from described(articles, rng)


def described(articles: pd.DataFrame, rng: np.random.Generator) -> Iterator[Query]:
    """Words of an article's description that none of its attributes has."""
    from pipelines.content.words import raw_words, singular

    kinds = ("product_type_name", "product_group_name", "colour_group_name", "prod_name")
    made = 0
    for place in rng.permutation(len(articles)):
        article = articles.iloc[place]
        own = {singular(word) for name in kinds for word in raw_words(article[name])}
        said = dict.fromkeys(raw_words(article["detail_desc"]))
        told = [w for w in said if len(w) > 3 and w.isalpha() and singular(w) not in own]
        if len(told) < 4:
            continue
        text = " ".join(told[n] for n in sorted(rng.permutation(len(told))[:4]))
        for name, family in (("product_type_name", "type"), ("product_group_name", "group")):
            right = articles[name].to_numpy() == article[name]
            yield Query(f"description, its {family}", text, right)
        made += 1
        if made == QUERIES:
            return


def judged(ranks: Ranks, asked: list[Query]) -> pd.DataFrame:
    """MAP@12 and recall@100 (of what 100 can hold) of each query."""
    rows = []
    for query in asked:
        found = query.right[ranks(query.text)[:DEEP]]
        shown = found[:SHOWN]
        there = int(query.right.sum())
        precision = np.cumsum(shown) / np.arange(1, len(shown) + 1)
        rows.append(
            {
                "family": query.family,
                "map": float((precision * shown).sum() / min(SHOWN, there)),
                "recall": float(found.sum() / min(DEEP, there)),
            }
        )
    return pd.DataFrame(rows)


def milliseconds(
    run: Callable[[Any], object], asked: list[Any], times: int = 1
) -> tuple[float, float]:
    """Median and 95th percentile, each query once to warm up."""
    for one in asked[:20]:
        run(one)
    took = []
    for _ in range(times):
        for one in asked:
            started = time.perf_counter()
            run(one)
            took.append(1e3 * (time.perf_counter() - started))
    return float(np.median(took)), float(np.quantile(took, 0.95))


def ranks_of(search: "SearchIndex") -> dict[str, Ranks]:
    """Search, its halves, and these by reciprocal rank fusion."""
    from pipelines.content.search import SearchIndex
    from pipelines.retrievers.base import FUSION

    row_of = {
        article: row for row, article in enumerate(search.assortment.ids[search.assortment.on_sale])
    }
    alone = SearchIndex(search.assortment, search._words)
    vectors, encoder = search._text, search._text_encoder
    assert vectors is not None
    assert encoder is not None

    def rows(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.array([row_of[article] for article in found[0]], dtype="int64")

    def near(text: str) -> np.ndarray:
        vector = encoder.encode_query(text)
        return vectors.nearest(vector, DEEP, None)[0] if vector.any() else np.zeros(0, "int64")

    def fused(text: str) -> np.ndarray:
        points: dict[int, float] = {}
        for one in (rows(alone.by_text(text, DEEP)), near(text)):
            for rank, row in enumerate(one.tolist(), start=1):
                points[row] = points.get(row, 0.0) + 1 / (FUSION + rank)
        return np.array(sorted(points, key=lambda row: (-points[row], row)), dtype="int64")

    return {
        "search": lambda text: rows(search.by_text(text, DEEP)),
        "words alone": lambda text: rows(alone.by_text(text, DEEP)),
        "vectors alone": near,
        "rank fusion": fused,
    }


def peers(texts: list[str]) -> dict[str, Ranks]:
    """What other libraries make of the same texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    matrix = vectorizer.fit_transform(texts)

    def tf_idf(text: str) -> np.ndarray:
        cosines = np.asarray((matrix @ vectorizer.transform([text]).T).todense()).ravel()
        best = np.argpartition(-cosines, DEEP)[:DEEP]
        best = best[cosines[best] > 0]
        return best[np.lexsort((best, -cosines[best]))]

    found: dict[str, Ranks] = {"scikit-learn TF-IDF": tf_idf}
    if importlib.util.find_spec("bm25s"):
        import bm25s

        index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        index.index(bm25s.tokenize(texts, show_progress=False, stopwords="en"), show_progress=False)

        def bm25(text: str) -> np.ndarray:
            words = bm25s.tokenize([text], return_ids=False, show_progress=False, stopwords="en")
            if not words[0]:
                return np.zeros(0, "int64")
            places, scores = index.retrieve(words, k=DEEP, show_progress=False)
            return places[0][scores[0] > 0]

        found["bm25s"] = bm25
    return found


def require_same_bm25(texts: list[str], asked: list[Query]) -> str:
    """That words in one field and bm25s give the same scores, but for a factor."""
    if not importlib.util.find_spec("bm25s"):
        return "bm25s is not installed, so nothing was compared with it."
    import bm25s

    from pipelines.content.words import SATURATION, Field, WordIndex, raw_words, singular

    ours = WordIndex.fit({"text": texts}, {"text": Field(1.0)})
    words = [[singular(word) for word in raw_words(text)] for text in texts]
    theirs = bm25s.BM25(k1=SATURATION, b=0.75, method="lucene")
    theirs.index(words, show_progress=False)
    compared, worst = 0, 0.0
    for query in asked:
        typed = [singular(word) for word in dict.fromkeys(raw_words(query.text))]
        if any(word not in theirs.vocab_dict for word in typed):
            continue
        # White space at the end: nothing is being typed any more.
        scores, covered = ours.scores(f"{query.text} ")
        plain = np.divide(scores, covered, out=np.zeros_like(scores), where=covered > 0)
        expected = theirs.get_scores(typed)
        factor = float(expected.max() / plain[expected.argmax()])
        worst = max(worst, float(np.abs(plain * factor - expected).max() / expected.max()))
        compared += 1
    assert worst < 1e-4, worst
    return (
        f"In one field, every score of {compared:,} queries for {len(texts):,} articles is that of bm25s but for one factor a "
        f"query; the greatest difference is {worst:.1e} of the best score."
    )


def shop_of(options: argparse.Namespace, folder: Path, articles: int, images: int) -> None:
    """A made-up shop at LOOKBOOK_HOME."""
    from pipelines import content, feature_tables, features
    from pipelines.data.load import load
    from pipelines.data.synthetic import synthesize

    files = folder / f"files-{articles}"
    customers = max(500, articles // 10)
    synthesize(files, customers=customers, articles=articles, days=120, images=images)
    load(str(files))
    content.embed(epochs=options.epochs if images else None)
    feature_tables.build()
    features.apply()


def fitted(folder: Path) -> tuple["SearchIndex", pd.DataFrame, float]:
    """The search index of the home, saved into the folder, its articles on sale, and seconds of making it."""
    from pipelines import feature_tables
    from pipelines.content.search import FIELDS, SearchIndex
    from pipelines.retrievers.base import Past
    from pipelines.warehouse import reading

    with reading() as con:
        past = Past.at(con, feature_tables.latest_build().end)
        started = time.perf_counter()
        made = SearchIndex.at(past)
        took = time.perf_counter() - started
        table = con.execute(f"SELECT article_id, {', '.join(FIELDS)} FROM staging.articles").df()
    folder.mkdir()
    made.save(folder)
    ids = made.assortment.ids[made.assortment.on_sale]
    articles = table.set_index("article_id").reindex(ids).fillna("")
    return SearchIndex.load(folder), articles, took


def by_words(options: argparse.Namespace, folder: Path) -> None:
    from pipelines.content.search import SearchIndex

    search, articles, took = fitted(folder / "index")
    loading = [timed(lambda: SearchIndex.load(folder / "index")) for _ in range(9)]
    size = sum(file.stat().st_size for file in (folder / "index").rglob("*") if file.is_file())
    asked = list(queries(articles))
    texts = [query.text for query in asked]
    print(
        f"{len(search.assortment):,} articles, {len(articles):,} on sale; {len(asked):,} queries.\n\n"
        f"Made in {took:.1f} s, {size / 1e6:.1f} MB on disk, loaded in {1e3 * np.median(loading):.0f} ms.\n"
    )
    whole = articles.agg(". ".join, axis=1).tolist()
    ways = {**ranks_of(search), **peers(whole)}
    table: dict[str, pd.DataFrame] = {name: judged(way, asked) for name, way in ways.items()}
    families = list(dict.fromkeys(query.family for query in asked))
    for measure, said in (("map", "MAP@12"), ("recall", "recall@100")):
        print(f"| {said} | {' | '.join(table)} |\n|---|{'---|' * len(table)}")
        for family in [*families, ""]:
            cells = [
                found.loc[(found["family"] == family) | (not family), measure].mean()
                for found in table.values()
            ]
            print(f"| {family or 'all'} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
        print()
    print("| milliseconds a query | median | 95 of 100 within |\n|---|---|---|")
    timed_ways = {"search, 12 articles": lambda text: search.by_text(text, 12), **ways}
    for name, way in timed_ways.items():
        if name in ("search", "rank fusion"):
            continue
        print("| {} | {:.2f} | {:.2f} |".format(name, *milliseconds(way, texts)))
    few = np.random.default_rng(1).permutation(len(whole))[:20_000]
    print("\n" + require_same_bm25([whole[place] for place in few], asked[:300]) + "\n")
    wider(articles, texts)


def wider(articles: pd.DataFrame, texts: list[str]) -> None:
    """Every vector looked at, with more numbers each, beside the graph or cells that FAISS would have."""
    from pipelines.content.text import WordsTextEncoder
    from pipelines.nearest import Index

    def near(index: Index, asked: list[np.ndarray]) -> float:
        return milliseconds(lambda query: index.search(query[None], 200), asked)[0]

    whole = list(articles.agg(". ".join, axis=1))
    print(
        "| numbers a vector | MB | loaded in ms | search ms | four bytes | NumPy | approximate, that finds 0.98 |"
    )
    print("|---|---|---|---|---|---|---|")
    for dimensions in (64, 128, 256):
        encoder = WordsTextEncoder(dimensions).fit(whole)
        vectors, asked = encoder.encode(whole), list(encoder.encode(texts[:400]))
        half = Index.build(vectors, made_for="benchmark", kind="exact", half=True)
        four = Index.build(vectors, made_for="benchmark", kind="exact")
        quick = Index.build(vectors, made_for="benchmark", queries=np.stack(asked), exact_below=0)
        with TemporaryDirectory() as name:
            half.save(Path(name))
            size = sum(file.stat().st_size for file in Path(name).iterdir())
            loads = [
                timed(lambda n=name: Index.load(Path(n), made_for="benchmark")) for _ in range(9)
            ]

        def all_of_them(query: np.ndarray, vectors: np.ndarray = vectors) -> np.ndarray:
            scores = vectors @ query
            best = np.argpartition(scores, -200)[-200:]
            return best[np.argsort(-scores[best])]

        print(
            f"| {dimensions} | {size / 1e6:.0f} | {1e3 * np.median(loads):.0f} | {near(half, asked):.2f} | {near(four, asked):.2f} "
            f"| {milliseconds(all_of_them, asked)[0]:.2f} | {quick.kind}: {near(quick, asked):.2f} |"
        )


def by_pictures(options: argparse.Namespace, folder: Path) -> None:
    from PIL import Image

    shop_of(options, folder, options.pictures, options.pictures)
    search, articles, _ = fitted(folder / "index-pictures")
    files = {file.stem: file for file in (folder / f"files-{options.pictures}").rglob("*.jpg")}
    shown = [article for article in articles.index if article in files]
    rng = np.random.default_rng(3)
    asked = [shown[n] for n in rng.permutation(len(shown))[:200]]

    def sent(article: str) -> bytes:
        """As somebody's telephone would have it: larger, cut at the edges, packed again."""
        with Image.open(files[article]) as picture:
            width, height = picture.size
            cut = picture.crop(
                (width // 25, height // 25, width - width // 25, height - height // 25)
            )
            whole = cut.resize((900, 1350))
        packed = io.BytesIO()
        whole.save(packed, "JPEG", quality=70)
        return packed.getvalue()

    pictures = [sent(article) for article in asked]
    first = first_picture(folder / "index-pictures", files[asked[0]])
    found = [search.by_picture(data, 12)[0] for data in pictures]
    own = np.mean([article in ids for article, ids in zip(asked, found, strict=True)])
    print(
        f"\n{len(shown):,} articles with pictures; {len(asked)} of them sent again, cut at the edges, "
        "1.2 megapixels, JPEG of quality 70.\n\n"
        f"The article itself is among the first 12 for {own:.1%}.\n"
    )
    print("| of the first 12, share with the same | found | by chance |\n|---|---|---|")
    for name in ("product_group_name", "product_type_name", "colour_group_name"):
        values = articles[name]
        same = [
            (values[ids[ids != article]] == values[article]).mean()
            for article, ids in zip(asked, found, strict=True)
        ]
        chance = [(values == values[article]).mean() for article in asked]
        print(
            f"| {name.removesuffix('_name').replace('_', ' ')} | {np.mean(same):.3f} | {np.mean(chance):.3f} |"
        )
    median, most = milliseconds(search.by_picture, pictures)
    print(
        f"\nA picture takes {median:.1f} ms (95 of 100 within {most:.1f}), the first of a process {first:.1f} s, for "
        "torch comes with it."
    )


def first_picture(index: Path, picture: Path) -> float:
    """Seconds of the first picture in a process of its own."""
    code = """
import sys, time
from pathlib import Path
from pipelines.content.search import SearchIndex
search, data = SearchIndex.load(Path(sys.argv[1])), Path(sys.argv[2]).read_bytes()
started = time.perf_counter()
search.by_picture(data)
print(time.perf_counter() - started)
"""
    words = [sys.executable, "-W", "ignore", "-c", code, str(index), str(picture)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--articles", type=int, default=100_000)
    parser.add_argument(
        "--pictures", type=int, default=2_000, help="articles of the shop with pictures; 0 for none"
    )
    parser.add_argument("--epochs", type=int, default=6, help="of the picture encoder")
    parser.add_argument("--home", type=Path, help="LOOKBOOK_HOME to read for the queries in words")
    options = parser.parse_args()
    with TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        os.environ["LOOKBOOK_HOME"] = str((options.home or folder / "home").resolve())
        if options.home is None:
            print("making a shop ...", file=sys.stderr)
            shop_of(options, folder, options.articles, 0)
        by_words(options, folder)
        sys.stdout.flush()
        if options.pictures:
            os.environ["LOOKBOOK_HOME"] = str(folder / "home-pictures")
            print("making a shop with pictures ...", file=sys.stderr)
            by_pictures(options, folder)


if __name__ == "__main__":
    main()
