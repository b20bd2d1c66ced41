"""Articles by what somebody types, and by a picture that somebody sends: a part of a release.

It holds what belongs together: the articles on sale at the cutoff, their words, their vectors, and the very encoders
that made these, so vectors are never compared with those of another encoder. Nothing of it comes from sales, so
what has never been sold is found like everything else.
"""

import json
import shutil
import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd

from feature_repo.errors import InputError, LookbookError
from feature_repo.raw_tables import ARTICLE_CONTENT
from pipelines.assortment import Assortment
from pipelines.content.embedding import PICTURE_ENCODER, TEXT_ENCODER
from pipelines.content.pixels import pixels_sent
from pipelines.content.text import load_text_encoder
from pipelines.content.words import Field, WordIndex
from pipelines.model_registry.registry import list_versions, open_version
from pipelines.nearest import Index
from pipelines.reports.words import many
from pipelines.retrievers.base import Past
from pipelines.retrievers.similar import vectors_of
from pipelines.warehouse import has_table

if TYPE_CHECKING:
    from pipelines.content.pictures import PictureEncoder

FIELDS = {
    "prod_name": Field(2.0),
    "product_type_name": Field(4.0),
    "product_group_name": Field(0.7),
    "colour_group_name": Field(4.0),
    "perceived_colour_master_name": Field(0.7),
    "graphical_appearance_name": Field(2.5),
    "department_name": Field(2.0),
    "index_name": Field(1.0),
    "index_group_name": Field(1.0),
    "section_name": Field(1.0),
    "garment_group_name": Field(0.7),
    "detail_desc": Field(0.8),
}
"""What a word in each column of an article counts: docs/content.md says how it was chosen."""
MOST_CHARACTERS = 200
"""Of a query."""
MOST_RESULTS = 1_000
NOT_THERE = (
    "The release in production is older than search: run `lookbook train`, `lookbook release create`, and promote "
    "what it makes."
)
"""What to say where `composing.load_search` finds nothing."""

_NEAREST = 200
"""Articles by their words, and by their vectors, among which the best are chosen."""
_FILLS = 0.2
"""How much the likeness of vectors counts where no article has a word of the query."""
_ENOUGH = 12
"""Articles that have all words, if nothing is to be filled in."""
_BEHIND = 0.1
_LEAST_LIKE = 0.2
"""Cosine below which two texts have nothing to do with each other."""
_AN_ID, _LIKE_AN_ID = 2.0, 1.5
"""Scores of an article that was named by its id, and of those whose ids begin as what was typed."""
_FEWEST_OF_AN_ID = 6
"""Characters of an id that say which articles are meant."""
_SAMPLE = 2_000
"""Texts such as somebody types on which the recall of an index of texts is measured."""
_MOST_NUMBERS = 30_000_000
"""Of all vectors together, up to which looking at each takes no more than some milliseconds; FAISS's graphs and cells
find too little of what short queries are near to before they are quicker (benchmarks/search.py)."""
_FORMAT = 1
_RECORD, _TEXT, _PICTURES, _ENCODER = "search.json", "text", "pictures", "encoder"

_SQL = """
SELECT
    places.article AS article,
    {columns}
FROM places
INNER JOIN staging.articles AS articles ON articles.article_id = places.article_id
{join}
ORDER BY article
"""


class SearchError(LookbookError):
    """Articles cannot be searched like this; the text says what to do."""


class NoPicturesError(SearchError):
    """The release has no vectors of pictures."""


@dataclass(frozen=True)
class _Vectors:
    """Vectors of one kind of the articles on sale, and what made them.

    Attributes:
        encoder: version of it.
        rows: which of the articles on sale have one (N,), ascending.
        index: N vectors.
        folder: the encoder's files.
    """

    encoder: str
    rows: np.ndarray
    index: Index
    folder: Path

    def save(self, folder: Path) -> None:
        copy = folder / _ENCODER
        copy.mkdir(parents=True)
        for file in sorted(self.folder.iterdir()):
            shutil.copyfile(file, copy / file.name)
        self.index.save(folder)
        np.savez(folder / "rows.npz", rows=self.rows)

    @classmethod
    def load(cls, folder: Path, encoder: str, size: int) -> Self:
        with np.load(folder / "rows.npz", allow_pickle=False) as arrays:
            rows = arrays["rows"]
        index = Index.load(folder, made_for=encoder)
        if rows.shape != (len(index),) or (len(rows) and not 0 <= rows.min() <= rows.max() < size):
            raise SearchError(
                f"The vectors in {folder.name} are not those of the release's articles: train again."
            )
        return cls(encoder, rows, index, folder / _ENCODER)

    def nearest(
        self, vector: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and cosines of the k nearest that are allowed, the nearest first.

        Args:
            allowed: of the articles on sale (S,); all if None.
        """
        those = None if allowed is None else allowed[self.rows]
        cosines, places = self.index.search(vector[None], k, those)
        found = places[0] >= 0
        return self.rows[places[0][found]], cosines[0][found]

    def likeness(self, vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Cosines to the articles in some rows (N,); 0 for those without a vector."""
        found = np.zeros(len(rows), dtype="float32")
        if len(self.rows):
            places = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
            has = self.rows[places] == rows
            found[has] = self.index.products(vector, places[has])
        return found


class SearchIndex:
    """The articles on sale, to be found by words and by pictures.

    Many may ask at once. Memory: 8 bytes a pair of article and word, 2 bytes a number of a vector; the network that
    looks at pictures, and torch, come with the first of them.

    Attributes:
        assortment: the A articles known at the cutoff, of which those on sale are found.
        encoders: version of the text and the picture encoder whose vectors there are, by kind (`text`, `pictures`).
    """

    def __init__(
        self,
        assortment: Assortment,
        words: WordIndex,
        text: _Vectors | None = None,
        pictures: _Vectors | None = None,
    ) -> None:
        if len(words) != len(assortment.for_sale):
            raise SearchError(
                f"There are words of {many(len(words), 'article')} and {len(assortment.for_sale):,} on sale: train "
                "again."
            )
        self.assortment = assortment
        self._ids = assortment.ids[assortment.for_sale]
        self._words = words
        self._text = text
        self._pictures = pictures
        self._text_encoder = load_text_encoder(text.folder) if text else None
        self._picture_encoder: PictureEncoder | None = None
        # One at a time, for a picture may need 200 MB for a moment.
        self._looking = threading.Lock()

    @property
    def encoders(self) -> dict[str, str]:
        sides = {_TEXT: self._text, _PICTURES: self._pictures}
        return {kind: side.encoder for kind, side in sides.items() if side is not None}

    @classmethod
    def at(cls, past: Past) -> Self:
        """Of the articles on sale at the cutoff, with their words and vectors as the warehouse has them.

        Where vectors are not those of an encoder in the registry, there are none, and `past.progress` is told.

        Raises:
            RegistryError: the encoder is damaged.
            TextModelError: the sentence-transformers model that it names is gone.
        """
        assortment = past.assortment
        articles = _on_sale(past)
        texts = {name: articles[name].tolist() for name in FIELDS}
        words = WordIndex.fit(texts, FIELDS)

        def vectors(
            kind: str, name: str, queries: Callable[[Path], np.ndarray | None]
        ) -> _Vectors | None:
            tag = _encoder_of(articles[name], name, past.progress)
            if tag is None:
                return None
            folder = open_version(tag).path
            found = vectors_of(articles[f"{kind}_embedding"])
            found[(articles[name] != tag).to_numpy()] = 0
            rows = np.flatnonzero(found.any(axis=1))
            if not len(rows):
                return None
            below = _MOST_NUMBERS // found.shape[1]
            index = Index.build(
                found[rows], made_for=tag, queries=queries(folder), exact_below=below, half=True
            )
            return _Vectors(tag, rows, index, folder)

        text = vectors(
            "text", TEXT_ENCODER, lambda folder: load_text_encoder(folder).encode(_typed(articles))
        )
        pictures = vectors("image", PICTURE_ENCODER, lambda folder: None)
        return cls(assortment, words, text, pictures)

    def by_text(
        self, query: str, k: int = 12, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Articles on sale that answer what somebody types, the best first.

        An article that has the query's words comes first, the more so the rarer they are and the more they say of it:
        its kind and colour more than its description. The word at the end stands for all that begin so, unless white
        space follows it; a word that none has for those one slip away. Vectors count for what an article lacks of the
        words, the more so the more all of them lack (after the convex combinations of Bruch, Gai and Ingber, TOIS
        2023), and bring what is like it where few have its words. An article id, or six or more characters at its
        beginning, finds its articles.

        Args:
            query: 1 to `MOST_CHARACTERS` characters.
            k: at most so many, 1 to `MOST_RESULTS`.
            allowed: which of the assortment's articles may come back (A,); any on sale if None.

        Returns:
            article ids as text and scores, both (up to k,); empty if nothing in the query says anything.

        Raises:
            InputError: the query is empty or too long, or k or `allowed` cannot be.
        """
        if not query.strip():
            raise InputError("There is nothing to search for: give a word, such as dress.")
        if len(query) > MOST_CHARACTERS:
            raise InputError(
                f"The query has {len(query):,} characters: give at most {MOST_CHARACTERS}."
            )
        may = self._may(k, allowed)
        scores, covered = self._words.scores(query)
        if may is not None:
            scores[~may] = 0
        rows = _largest(scores, max(k, _NEAREST))
        points = scores[rows]
        lacking = _lacking(covered[rows])
        # Where enough have all words, vectors change nothing.
        if (lacking or len(rows) < k) and self._text is not None and self._text_encoder is not None:
            vector = self._text_encoder.encode_query(query)
            if vector.any():
                least = float(points.min(initial=1.0))
                near, _ = self._text.nearest(vector, max(k, _NEAREST), may)
                rows = np.union1d(rows, near)
                like = self._text.likeness(vector, rows)
                like[like < _LEAST_LIKE] = 0
                points = scores[rows] + _FILLS * lacking * (1 - covered[rows]) * like
                # Behind those that have all words stands what is like them.
                points = np.where(points > 0, points, least * _BEHIND * like)
        rows, points = _best(rows, points, k)
        named, named_points = self._by_id(query, may)
        if len(named):
            other = ~np.isin(rows, named)
            rows = np.concatenate([named, rows[other]])[:k]
            points = np.concatenate([named_points, points[other]])[:k]
        return self._ids[rows], points.astype("float32")

    def by_picture(
        self, data: bytes, k: int = 12, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Articles on sale whose picture looks most like one that somebody sends, the likest first.

        The first call imports torch, which takes some seconds.

        Args:
            data: a JPEG, PNG or WebP file of at most 5 MB and 25 million pixels (`pixels`).
            k: at most so many, 1 to `MOST_RESULTS`.
            allowed: which of the assortment's articles may come back (A,); any on sale if None.

        Returns:
            article ids as text and cosines, both (up to k,).

        Raises:
            NoPicturesError: the release has no vectors of pictures.
            InputError: the file is no such picture, or k or `allowed` cannot be.
        """
        if self._pictures is None:
            raise NoPicturesError(
                "The release knows no pictures: run `lookbook features embed --images DIR` and `lookbook features "
                "build`, then train and promote another."
            )
        may = self._may(k, allowed)
        with self._looking:
            vector = self._looked_at(data, self._pictures.folder)
        rows, cosines = self._pictures.nearest(vector, k, may)
        return self._ids[rows], cosines.astype("float32")

    def _looked_at(self, data: bytes, folder: Path) -> np.ndarray:
        """A picture's vector (D,)."""
        said = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["settings"]
        # What cannot be read does not bring torch in.
        pixels = pixels_sent(data, said["width"], said["height"])
        if self._picture_encoder is None:
            from pipelines.content.pictures import PictureEncoder

            self._picture_encoder = PictureEncoder.load(folder)
        vector: np.ndarray = self._picture_encoder.encode(pixels[None])[0]
        return vector

    def _may(self, k: int, allowed: np.ndarray | None) -> np.ndarray | None:
        """Which of the articles on sale may come back (S,)."""
        if not 1 <= k <= MOST_RESULTS:
            raise InputError(f"{k} articles cannot be given: ask for 1 to {MOST_RESULTS:,}.")
        if allowed is None:
            return None
        if np.shape(allowed) != (len(self.assortment),):
            raise InputError(
                f"allowed has the shape {np.shape(allowed)}: give one value for each of "
                f"{len(self.assortment):,} articles."
            )
        return np.asarray(allowed, dtype=bool)[self.assortment.for_sale]

    def _by_id(self, query: str, may: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the articles that the query names by id."""
        typed = query.strip()
        points: dict[int, float] = {}
        # Ids are text, and who copies one from a sheet of numbers has lost its zeros.
        for way in dict.fromkeys((typed, typed.upper(), typed.lower(), f"0{typed}", f"00{typed}")):
            first = bisect_left(self._ids, way)
            last = first + 1
            if len(typed) >= _FEWEST_OF_AN_ID:
                last = bisect_left(self._ids, f"{way}\U0010ffff")
            for row in range(first, min(last, first + MOST_RESULTS, len(self._ids))):
                if self._ids[row] == way:
                    points[row] = _AN_ID
                elif len(typed) >= _FEWEST_OF_AN_ID:
                    points.setdefault(row, _LIKE_AN_ID)
        rows = sorted(points, key=lambda row: (-points[row], row))
        rows = [row for row in rows if may is None or may[row]]
        return np.array(rows, "int64"), np.array([points[row] for row in rows], "float32")

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, the encoders' files among it, without pickle."""
        self.assortment.save(folder)
        self._words.save(folder)
        for kind, side in ((_TEXT, self._text), (_PICTURES, self._pictures)):
            if side is not None:
                side.save(folder / kind)
        record = {"format": _FORMAT, "encoders": self.encoders}
        (folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; the network that looks at pictures stays on disk until it is needed.

        Raises:
            SearchError: it is of another format, or its files do not belong together.
            NearestError: an index is damaged or of another encoder.
            TextModelError: the sentence-transformers model that it names is gone or another.
        """
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise SearchError(
                f"The search index is of format {record['format']!r}, and this Lookbook reads {_FORMAT}: train again."
            )
        assortment, encoders = Assortment.load(folder), record["encoders"]
        size = len(assortment.for_sale)
        sides = {k: _Vectors.load(folder / k, tag, size) for k, tag in encoders.items()}
        return cls(assortment, WordIndex.load(folder), sides.get(_TEXT), sides.get(_PICTURES))


def _on_sale(past: Past) -> pd.DataFrame:
    """A row for each article on sale, in order: texts, None where there is none, vectors and their encoders."""
    columns = [f"articles.{name}" for name in FIELDS]
    made = ("text_embedding", "image_embedding", TEXT_ENCODER, PICTURE_ENCODER)
    join = ""
    if has_table(past.con, "raw", ARTICLE_CONTENT.name):
        # Not of the last build: vectors must be those of the encoder that stands beside them.
        columns += [f"content.{name}" for name in made]
        join = f"LEFT JOIN raw.{ARTICLE_CONTENT.name} AS content ON content.article_id = places.article_id"
    else:
        columns += [f"NULL AS {name}" for name in made]
    found = past.query(_SQL.format(columns=", ".join(columns), join=join))
    table = pd.DataFrame({n: np.ma.filled(c.astype(object), None) for n, c in found.items()})
    # What only transactions name has no row of its own, and is found by its id alone.
    table = table.set_index("article").reindex(past.assortment.for_sale)
    for name in FIELDS:
        table[name] = table[name].fillna("")
    return table


def _encoder_of(tags: pd.Series, name: str, progress: Callable[[str], None]) -> str | None:
    """The version that made the vectors; None if that is not known."""
    counts = tags.dropna().value_counts()
    if not len(counts):
        return None
    tag = str(counts.index[0])
    if tag not in {version.tag for version in list_versions(name)}:
        progress(
            f"search goes without the vectors of {tag}, which is not in the registry: `lookbook features embed "
            "--retrain` makes others"
        )
        return None
    return tag


def _typed(articles: pd.DataFrame) -> list[str]:
    """Texts such as somebody types, of some of the articles: colour and kind, pattern and kind."""
    some = articles.sample(min(_SAMPLE, len(articles)), random_state=7)
    ways = ("colour_group_name", "graphical_appearance_name")
    texts = [
        " ".join(parts)
        for way in ways
        for parts in zip(some[way], some["product_type_name"], strict=True)
    ]
    return sorted({text for text in texts if text.strip()})


def _largest(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k largest scores above 0, in no order; of equal ones at the end the first."""
    there = np.flatnonzero(scores > 0)
    if len(there) <= k:
        return there
    of_those = scores[there]
    least = np.partition(of_those, -k)[-k]
    above, equal = there[of_those > least], there[of_those == least]
    return np.concatenate([above, equal[: k - len(above)]])


def _lacking(covered: np.ndarray) -> float:
    """The share of a query that the `_ENOUGH` articles lack that have most of it; 0 if they have all."""
    had = np.zeros(_ENOUGH)
    most = np.sort(covered)[::-1][:_ENOUGH]
    had[: len(most)] = most
    lacking = float(1 - had.mean())
    return lacking if lacking > 1e-6 else 0.0


def _best(rows: np.ndarray, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k rows with the most points, the best first, of equal ones the first row; none without a point."""
    order = np.lexsort((rows, -points))[:k]
    order = order[points[order] > 0]
    return rows[order], points[order]
