"""Articles' words as vectors: near is alike.

By default the words are weighted by how rare they are (TF-IDF; Sparck Jones, 1972) and brought to a few
dimensions by a singular value decomposition (latent semantic analysis; Deerwester et al., 1990). A
sentence-transformers model that lies on this machine may stand in its place.
"""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd

from feature_repo.errors import LookbookError

TEXT_COLUMNS = (
    "prod_name",
    "product_type_name",
    "product_group_name",
    "colour_group_name",
    "graphical_appearance_name",
    "index_name",
    "section_name",
    "garment_group_name",
    "detail_desc",
)
"""The columns of raw.articles that are joined to the text of an article."""

_SETTINGS, _WORDS, _ARRAYS = "settings.json", "vocabulary.json", "text_encoder.npz"
_WORD = re.compile(r"\w\w+")
_BLOCK = 20_000

Progress = Callable[[str], None]


class TextModelError(LookbookError):
    """The model for texts cannot be used; the text says why."""


def texts_of(articles: pd.DataFrame) -> list[str]:
    """Of each row the values of TEXT_COLUMNS that are there, each a sentence."""
    columns = [articles[name].fillna("") for name in TEXT_COLUMNS if name in articles]
    return [". ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]


def words(text: str) -> list[str]:
    """The words of a text in lower case, without the s of a plural (the rules of Harman, 1991)."""
    return [_singular(word) for word in _WORD.findall(text.lower())]


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("us", "ss")):
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else f"{word[:-3]}y"
    return word[:-1]


class TextEncoder(ABC):
    """Texts as unit vectors of one length (T x D float32); a text of which nothing is known is zero."""

    kind: str

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What makes another encoder of this kind; JSON's own types."""

    @abstractmethod
    def fit(self, texts: Sequence[str], progress: Progress = lambda text: None) -> Self:
        """Learn from texts; the same ones in the same order give the same encoder."""

    @abstractmethod
    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        """T x D, of any length."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load_text_encoder` needs, without pickle."""

    def encode(
        self, texts: Sequence[str] | pd.DataFrame, progress: Progress = lambda text: None
    ) -> np.ndarray:
        """T x D unit vectors, float32.

        Args:
            texts: texts, or articles with TEXT_COLUMNS.
        """
        if isinstance(texts, pd.DataFrame):
            texts = texts_of(texts)
        blocks = []
        for start in range(0, max(len(texts), 1), _BLOCK):
            blocks.append(_unit(self._encode(texts[start : start + _BLOCK])))
            done = min(start + _BLOCK, len(texts))
            if done < len(texts):
                progress(f"{done:,} of {len(texts):,} texts encoded")
        return np.concatenate(blocks)

    def encode_query(self, text: str) -> np.ndarray:
        """What somebody types, as one such vector (D,)."""
        found: np.ndarray = self.encode([text])[0]
        return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6).astype(
        "float32"
    )


class WordsTextEncoder(TextEncoder):
    """TF-IDF and a truncated singular value decomposition.

    Cost: some seconds for 100,000 articles; W words take 4 x W x D bytes, 13 MB for 50,000 words.

    Args:
        dimensions: D; where the texts have fewer, the others are zero.
        most_words: how many words to know, the most frequent first.
        seed: of the randomised decomposition.
    """

    kind = "words"

    def __init__(self, dimensions: int = 64, most_words: int = 50_000, seed: int = 7) -> None:
        self.dimensions = dimensions
        self.most_words = most_words
        self.seed = seed
        self._vectorizer: TfidfVectorizer | None = None
        self._directions = np.zeros((0, dimensions), dtype="float32")

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "dimensions": self.dimensions,
            "most_words": self.most_words,
            "seed": self.seed,
        }

    def fit(self, texts: Sequence[str], progress: Progress = lambda text: None) -> Self:
        vectorizer = _vectorizer(max_features=self.most_words)
        try:
            weighted = vectorizer.fit_transform(texts).astype("float32")
        except ValueError:
            # There is no word in any text.
            self._vectorizer = None
            return self
        self._vectorizer = vectorizer
        progress(f"{weighted.shape[1]:,} words in {len(texts):,} texts")
        size = min(self.dimensions, *weighted.shape)
        _, _, directions = randomized_svd(weighted, size, n_iter=5, random_state=self.seed)
        self._directions = np.zeros((weighted.shape[1], self.dimensions), dtype="float32")
        self._directions[:, :size] = directions.T
        return self

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        if self._vectorizer is None or not len(texts):
            return np.zeros((len(texts), self.dimensions), dtype="float32")
        weighted: sparse.csr_matrix = self._vectorizer.transform(texts).astype("float32")
        return np.asarray(weighted @ self._directions)

    def save(self, folder: Path) -> None:
        known: dict[str, int] = self._vectorizer.vocabulary_ if self._vectorizer else {}
        in_order = sorted(known, key=lambda word: known[word])
        (folder / _WORDS).write_text(json.dumps(in_order), encoding="utf-8")
        rarity = self._vectorizer.idf_ if self._vectorizer else np.zeros(0)
        np.savez(folder / _ARRAYS, rarity=rarity, directions=self._directions)
        _write_settings(folder, self)

    @classmethod
    def _load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        encoder = cls(**settings)
        known = json.loads((folder / _WORDS).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            encoder._directions = arrays["directions"]
            if known:
                encoder._vectorizer = _vectorizer(
                    vocabulary={word: place for place, word in enumerate(known)}
                )
                encoder._vectorizer.idf_ = arrays["rarity"]
        return encoder


def _vectorizer(**settings: Any) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer=words, sublinear_tf=True, **settings)


class ModelTextEncoder(TextEncoder):
    """A sentence-transformers model from a folder (Reimers and Gurevych, EMNLP 2019).

    The model stays where it is: what is saved is its folder and a fingerprint of its files.

    Args:
        path: the model's folder.
        fingerprint: of the folder's files, if it must be this one.

    Raises:
        TextModelError: the package or the folder is missing, or the model there is another or none.
    """

    kind = "sentence_transformers"

    def __init__(self, path: str | Path, fingerprint: str = "") -> None:
        self.path = Path(path).expanduser().resolve()
        if not self.path.is_dir():
            raise TextModelError(
                f"There is no folder {path}: give --text-model the folder of a sentence-transformers model."
            )
        self.fingerprint = _fingerprint(self.path)
        if fingerprint and fingerprint != self.fingerprint:
            raise TextModelError(
                f"The model in {path} is not the one that articles were encoded with: put that one "
                "back, or run `lookbook features embed --retrain`."
            )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise TextModelError(
                "--text-model needs the package sentence-transformers: `pip install sentence-transformers`, "
                "or leave it out for TF-IDF."
            ) from error
        try:
            self._model = SentenceTransformer(str(self.path), device="cpu", local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise TextModelError(
                f"{path} holds no sentence-transformers model that can be read: {error}"
            ) from error

    @property
    def settings(self) -> dict[str, Any]:
        return {"path": str(self.path), "fingerprint": self.fingerprint}

    def fit(self, texts: Sequence[str], progress: Progress = lambda text: None) -> Self:
        """It has learnt elsewhere."""
        return self

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(
            self._model.encode(list(texts), show_progress_bar=False), dtype="float32"
        )
        vectors[[not text.strip() for text in texts]] = 0
        return vectors

    def save(self, folder: Path) -> None:
        _write_settings(folder, self)

    @classmethod
    def _load(cls, folder: Path, settings: dict[str, Any]) -> Self:
        return cls(**settings)


def _fingerprint(folder: Path) -> str:
    """Of the names of a folder's files and all that is in them."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()[:16]


def make_text_encoder(model: str | Path | None = None) -> TextEncoder:
    """One that is to be fitted.

    Args:
        model: the folder of a sentence-transformers model; TF-IDF and SVD if None.

    Raises:
        TextModelError: the package or the model is missing.
    """
    return WordsTextEncoder() if model is None else ModelTextEncoder(model)


def _write_settings(folder: Path, encoder: TextEncoder) -> None:
    text = json.dumps({"kind": encoder.kind, **encoder.settings}, indent=1)
    (folder / _SETTINGS).write_text(text, encoding="utf-8")


def load_text_encoder(folder: Path) -> TextEncoder:
    """What was saved in the folder.

    Raises:
        TextModelError: the sentence-transformers model that it names is gone or another.
    """
    settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    kinds: dict[str, type[WordsTextEncoder] | type[ModelTextEncoder]] = {
        encoder.kind: encoder for encoder in (WordsTextEncoder, ModelTextEncoder)
    }
    return kinds[settings.pop("kind")]._load(folder, settings)
