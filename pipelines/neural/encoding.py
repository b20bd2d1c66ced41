"""From the rows of a feature service to tensors, the same in training and in serving.

A `FeatureEncoder` is fitted on training rows and saved with the model as JSON. It takes frames or, for one
request, plain lists by column.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from feature_repo.errors import LookbookError
from feature_repo.places import whole_file

Columns = Mapping[str, Sequence[Any]] | pd.DataFrame
"""Columns of equal length by name."""

FEW = 16
"""Up to so many rows, comparing all columns with all their edges at once is quickest."""

BLOCK = 4096
"""Rows that are encoded at once, few enough to stay in the processor's cache."""


class EncodingError(LookbookError):
    """Rows that an encoder cannot take; the text names the column."""


@dataclass(frozen=True)
class Spec:
    """What a network must know of encoded rows.

    Attributes:
        codes: how many codes each column of `codes` has: bucketed numbers, then texts.
        numbers: columns of `numbers`.
        vectors: length of each stretch of `vectors`.
        sequences: size of the vocabulary of each sequence, by name.
        fields: names of the columns behind codes, vectors and sequences, in this order.
    """

    codes: tuple[int, ...]
    numbers: int
    vectors: tuple[int, ...]
    sequences: dict[str, int]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class IdLists:
    """A column with lists of ids, to become sequences of places in a vocabulary.

    Attributes:
        ids: the column of the lists.
        vocabulary: the ids, in order of place; others are left out.
        weights: the column with a weight for each id; all are 1 if None.
        length: at most so many of each list, the first.
    """

    ids: str
    vocabulary: Sequence[str]
    weights: str | None = None
    length: int = 50


class FeatureEncoder:
    """Encodes the columns `view__feature` that it was fitted on.

    Numbers (and yes or no) become the code of a bucket between quantiles of the training rows, and also their
    place among those, from -1 to 1; a missing one has a code of its own. Texts become codes of a vocabulary,
    the most frequent first; those outside share hashed codes. Lists of numbers in columns that end in
    `_embedding` become vectors, each followed by a 1 if it is there. Columns in which nothing differs, moments and other lists are left out.

    Args:
        buckets: quantile buckets of a number, at most.
        vocabulary: texts of a column that have a code of their own, at most.
        unseen: hashed codes for other texts; as many as `vocabulary` if training rows have more texts than that.
        lists: columns with lists of ids, by the name that the sequence is to have.
    """

    def __init__(
        self,
        buckets: int = 32,
        vocabulary: int = 2000,
        unseen: int = 4,
        lists: Mapping[str, IdLists] | None = None,
    ) -> None:
        self.buckets = buckets
        self.vocabulary = vocabulary
        self.unseen = unseen
        self.lists = dict(lists or {})
        self.numbers: dict[str, list[float]] = {}
        """Knots by column: the least value, the edges between buckets, the greatest."""
        self.texts: dict[str, list[str]] = {}
        self.hashes: dict[str, int] = {}
        self.vectors: dict[str, int] = {}
        self._prepare()

    def fit(self, rows: pd.DataFrame, columns: Sequence[str] | None = None) -> Self:
        """Learn quantiles and vocabularies.

        Args:
            rows: the training rows.
            columns: what to encode; every `view__feature` if None. Those of `lists` are encoded anyhow.
        """
        of_lists = {name for found in self.lists.values() for name in (found.ids, found.weights)}
        self.numbers, self.texts, self.hashes, self.vectors = {}, {}, {}, {}
        for name in columns if columns is not None else [n for n in rows.columns if "__" in n]:
            if name in of_lists or pd.api.types.is_datetime64_any_dtype(rows[name].dtype):
                continue
            there = rows[name].dropna()
            if there.empty:
                continue
            first = there.iloc[0]
            if isinstance(first, str):
                self._fit_text(name, rows[name])
            elif isinstance(first, list | tuple | np.ndarray):
                # Other lists may have one length only by chance.
                if name.endswith("_embedding"):
                    self.vectors[name] = len(first)
            elif isinstance(first, bool | int | float | np.bool_ | np.number):
                self._fit_number(name, _numbers(rows[name]))
        self._prepare()
        return self

    def _fit_number(self, name: str, values: np.ndarray) -> None:
        there = values[np.isfinite(values)]
        if not len(there):
            return
        distinct = np.unique(there)
        if len(distinct) == 1 and len(there) == len(values):
            return
        if len(distinct) <= self.buckets:
            edges = distinct[1:]
        else:
            shares = np.linspace(0, 1, self.buckets + 1)[1:-1]
            edges = np.unique(np.quantile(there, shares, method="higher"))
            edges = edges[edges > distinct[0]]
        self.numbers[name] = [float(x) for x in (distinct[0], *edges, distinct[-1])]

    def _fit_text(self, name: str, values: pd.Series) -> None:
        counts = values.dropna().astype(str).value_counts()
        if len(counts) == 1 and not values.isna().any():
            return
        # In a fixed order also where counts are equal.
        ordered = sorted(counts.items(), key=lambda found: (-found[1], found[0]))
        self.texts[name] = [str(text) for text, _ in ordered[: self.vocabulary]]
        self.hashes[name] = self.vocabulary if len(counts) > self.vocabulary else self.unseen

    def _prepare(self) -> None:
        """What encoding needs at hand."""
        sizes = np.array([len(knots) - 2 for knots in self.numbers.values()], dtype="int64")
        self._edge_counts = sizes
        self._knots = np.full((len(sizes), int(sizes.max(initial=0)) + 2), np.inf)
        for place, knots in enumerate(self.numbers.values()):
            self._knots[place, : len(knots)] = knots
        self._edges = self._knots[:, 1:-1].copy()
        for place, size in enumerate(sizes):
            self._edges[place, size:] = np.nan
        with np.errstate(invalid="ignore", over="ignore"):
            widths = np.diff(self._knots, axis=1, append=np.inf)
        # What reaches a bucket without width, the last one, is at its end.
        self._knot_starts = np.arange(len(sizes))[:, None] * self._knots.shape[1]
        self._steps = 2 / (sizes[:, None] + 1)
        self._lows = np.where(widths > 0, self._knots, -np.inf)
        self._widths = np.where(widths > 0, widths, 1)
        self._codes = {
            name: {text: code for code, text in enumerate(texts, start=1)}
            for name, texts in self.texts.items()
        }
        self._indexes = {name: pd.Index(texts, dtype=object) for name, texts in self.texts.items()}
        self._places = {
            name: {one: place for place, one in enumerate(found.vocabulary)}
            for name, found in self.lists.items()
        }

    @property
    def spec(self) -> Spec:
        return Spec(
            codes=(
                *(len(knots) for knots in self.numbers.values()),
                *(1 + len(texts) + self.hashes[name] for name, texts in self.texts.items()),
            ),
            numbers=len(self.numbers),
            vectors=tuple(size + 1 for size in self.vectors.values()),
            sequences={name: len(found.vocabulary) for name, found in self.lists.items()},
            fields=(*self.numbers, *self.texts, *self.vectors, *self.lists),
        )

    @property
    def columns(self) -> list[str]:
        """The columns that rows must have."""
        of_lists = [n for found in self.lists.values() for n in (found.ids, found.weights) if n]
        return [*dict.fromkeys([*self.numbers, *self.texts, *self.vectors, *of_lists])]

    def encode(self, rows: Columns) -> dict[str, Tensor]:
        """Rows as tensors.

        Returns:
            codes (B x C, int64), numbers (B x N), vectors (B x V), and for each of `lists` NAME (B x L, int64)
            and NAME.weights (B x L), which is 0 where there is nothing.

        Raises:
            EncodingError: a column is missing, or a list of numbers has another length.
        """
        found: dict[str, Any] = {}
        for name in self.columns:
            if name not in rows:
                raise EncodingError(
                    f"The rows lack {name}, which this model was trained on: the feature service has "
                    "changed, so train again."
                )
            found[name] = rows[name]
        count = len(rows) if isinstance(rows, pd.DataFrame) else len(next(iter(rows.values())))
        codes = np.empty((count, len(self.numbers) + len(self.texts)), dtype="int64")
        numbers = np.empty((count, len(self.numbers)), dtype="float32")
        self._encode_numbers(found, codes, numbers)
        for place, name in enumerate(self.texts, start=len(self.numbers)):
            codes[:, place] = self._text_codes(name, found[name])
        encoded = {
            "codes": torch.from_numpy(codes),
            "numbers": torch.from_numpy(numbers),
            "vectors": torch.from_numpy(self._encode_vectors(found, count)),
        }
        for name, lists in self.lists.items():
            places, weights = self._encode_lists(
                self._places[name],
                lists,
                found[lists.ids],
                found[lists.weights] if lists.weights else None,
            )
            encoded[name] = torch.from_numpy(places)
            encoded[f"{name}.weights"] = torch.from_numpy(weights)
        return encoded

    def _encode_numbers(
        self, found: dict[str, Any], codes: np.ndarray, numbers: np.ndarray
    ) -> None:
        columns = [_numbers(found[name]) for name in self.numbers]
        for start in range(0, len(codes) if columns else 0, BLOCK):
            block = slice(start, start + BLOCK)
            values = np.stack([column[block] for column in columns])  # N x block
            bucket = self._buckets_of(values)
            missing = np.isnan(values)
            codes[block, : len(columns)] = np.where(missing, 0, bucket + 1).T
            knot = bucket + self._knot_starts
            with np.errstate(invalid="ignore", over="ignore"):
                share = (values - self._lows.take(knot)) / self._widths.take(knot)
            number = (bucket + np.fmin(np.fmax(share, 0), 1)) * self._steps - 1
            numbers[block] = np.where(missing, 0, number).T

    def _buckets_of(self, values: np.ndarray) -> np.ndarray:
        """How many edges of its column each number reaches, N x B -> N x B."""
        if values.shape[1] <= FEW:
            return np.asarray((values[:, :, None] >= self._edges[:, None]).sum(axis=2))
        return np.stack(
            [
                np.searchsorted(edges[:size], of_column, side="right")
                for edges, size, of_column in zip(
                    self._edges, self._edge_counts, values, strict=True
                )
            ]
        )

    def _text_codes(self, name: str, values: Sequence[Any] | pd.Series) -> Any:
        known, hashes = self._codes[name], self.hashes[name]

        def code(value: object) -> int:
            if _missing(value):
                return 0
            text = str(value)
            return known.get(text) or 1 + len(known) + _hash(text) % hashes

        if len(values) <= FEW:
            return [code(value) for value in values]
        objects = np.asarray(values, dtype=object)
        codes = self._indexes[name].get_indexer(pd.Index(objects, dtype=object)) + 1
        for row in np.flatnonzero(codes == 0):
            codes[row] = code(objects[row])
        return codes

    def _encode_vectors(self, found: dict[str, Any], count: int) -> np.ndarray:
        matrix = np.zeros((count, sum(self.vectors.values()) + len(self.vectors)), dtype="float32")
        start = 0
        for name, size in self.vectors.items():
            values = list(found[name])
            there = [row for row, value in enumerate(values) if not _missing(value)]
            if there:
                try:
                    part = np.array([values[row] for row in there], dtype="float32")
                except ValueError:
                    part = np.empty((0, 0), dtype="float32")
                if part.shape != (len(there), size):
                    raise EncodingError(
                        f"{name} must be lists of {size} numbers, as this model was trained on: the feature "
                        "has changed, so train again."
                    )
                matrix[there, start : start + size] = np.nan_to_num(part)
                matrix[there, start + size] = 1
            start += size + 1
        return matrix

    def _encode_lists(
        self,
        places: dict[str, int],
        lists: IdLists,
        ids: Sequence[Any],
        weights: Sequence[Any] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        whose: list[int] = []
        which: list[int] = []
        weighs: list[float] = []
        given = [None] * len(ids) if weights is None else list(weights)
        for row, (mine, theirs) in enumerate(zip(ids, given, strict=True)):
            if _missing(mine):
                continue
            its = [1.0] * len(mine) if theirs is None or _missing(theirs) else theirs
            for one, weight in zip(mine, its, strict=True):
                place = places.get(one)
                if place is not None:
                    whose.append(row)
                    which.append(place)
                    weighs.append(weight)
        return padded(
            np.array(whose, dtype="int64"),
            np.array(which, dtype="int64"),
            np.array(weighs, dtype="float32"),
            len(ids),
            lists.length,
        )

    def save(self, file: Path) -> None:
        """Write everything that `load` needs, as JSON."""
        content = {
            "buckets": self.buckets,
            "vocabulary": self.vocabulary,
            "unseen": self.unseen,
            "lists": {
                name: {**asdict(found), "vocabulary": list(found.vocabulary)}
                for name, found in self.lists.items()
            },
            "numbers": self.numbers,
            "texts": self.texts,
            "hashes": self.hashes,
            "vectors": self.vectors,
        }
        with whole_file(file) as partial:
            partial.write_text(json.dumps(content))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            EncodingError: the file is missing or not one of these.
        """
        try:
            content = json.loads(file.read_text())
            lists = {name: IdLists(**found) for name, found in content["lists"].items()}
            made = cls(content["buckets"], content["vocabulary"], content["unseen"], lists)
            made.numbers, made.texts = content["numbers"], content["texts"]
            made.hashes, made.vectors = content["hashes"], content["vectors"]
            made._prepare()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EncodingError(
                f"{file.name} cannot be read as an encoder ({error}): train again."
            ) from error
        return made


def padded(
    row: np.ndarray, place: np.ndarray, weight: np.ndarray, rows: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lists of different lengths as two matrices, the first `length` of each list.

    Args:
        row: whose list (R,), ascending.
        place: what is in it (R,).
        weight: its weight (R,).
        rows: B.
        length: L.

    Returns:
        Places (B x L, int64) and weights (B x L, float32), both 0 where there is nothing.
    """
    position = np.arange(len(row)) - np.searchsorted(row, row)
    kept = position < length
    places = np.zeros((rows, length), dtype="int64")
    weights = np.zeros((rows, length), dtype="float32")
    places[row[kept], position[kept]] = place[kept]
    weights[row[kept], position[kept]] = weight[kept]
    return places, weights


def hashed(ids: Sequence[str] | np.ndarray) -> Tensor:
    """A number for each id (N,), int64, the same on every machine: for `HashedEmbedding`."""
    return torch.tensor([_hash(str(one)) for one in ids], dtype=torch.int64)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def under(prefix: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors named PREFIX/NAME, so that two encoded things fit into one batch."""
    return {f"{prefix}/{name}": tensor for name, tensor in batch.items()}


def part(prefix: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `under` put into a batch, by its own names."""
    start = f"{prefix}/"
    return {n.removeprefix(start): tensor for n, tensor in batch.items() if n.startswith(start)}


def _missing(value: object) -> bool:
    return value is None or isinstance(value, float) or value is pd.NA or value is pd.NaT


def _numbers(values: Any) -> np.ndarray:
    """float64, NaN where there is none."""
    if isinstance(values, pd.Series):
        if values.dtype == object:
            return pd.to_numeric(values, errors="coerce").to_numpy("float64", na_value=math.nan)
        return values.to_numpy("float64", na_value=math.nan)
    try:
        return np.asarray(values, dtype="float64")
    except (TypeError, ValueError):
        return pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").to_numpy("float64")
