"""From the rows of a feature service to tensors, the same in training and in serving.

A `FeatureEncoder` is fitted on training rows and saved with the model as JSON. It takes frames or, for one
request, plain lists by column.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
ONE_REQUEST = 1_000
"""Up to so many rows, texts are looked up one by one."""

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
        fields: names of the columns behind codes and vectors, in this order.
    """

    codes: tuple[int, ...]
    numbers: int
    vectors: tuple[int, ...]
    fields: tuple[str, ...]


class FeatureEncoder:
    """Encodes the columns `view__feature` that it was fitted on.

    Numbers (and yes or no) become the code of a bucket between quantiles of the training rows, and also their
    place among those, from -1 to 1; a missing one has a code of its own. Texts become codes of a vocabulary,
    the most frequent first; those outside share hashed codes. Lists of numbers in columns that end in
    `_embedding` become vectors, each followed by a 1 if it is there. Columns in which nothing differs, moments and other lists are left out.

    Args:
        buckets: quantile buckets of a number, at most.
        vocabulary: texts of a column that have a code of their own, at most.
        unseen: hashed codes for other texts, which are as missing if 0; as many as `vocabulary` if training
            rows have more texts than that.
    """

    def __init__(self, buckets: int = 32, vocabulary: int = 2000, unseen: int = 4) -> None:
        self.buckets = buckets
        self.vocabulary = vocabulary
        self.unseen = unseen
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
            columns: what to encode; every `view__feature` if None.
        """
        self.numbers, self.texts, self.hashes, self.vectors = {}, {}, {}, {}
        for name in columns if columns is not None else [n for n in rows.columns if "__" in n]:
            if pd.api.types.is_datetime64_any_dtype(rows[name].dtype):
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

    @property
    def spec(self) -> Spec:
        return Spec(
            codes=(
                *(len(knots) for knots in self.numbers.values()),
                *(1 + len(texts) + self.hashes[name] for name, texts in self.texts.items()),
            ),
            numbers=len(self.numbers),
            vectors=tuple(size + 1 for size in self.vectors.values()),
            fields=(*self.numbers, *self.texts, *self.vectors),
        )

    @property
    def columns(self) -> list[str]:
        """The columns that rows must have."""
        return [*self.numbers, *self.texts, *self.vectors]

    def encode(self, rows: Columns) -> dict[str, Tensor]:
        """Rows as tensors.

        Returns:
            codes (B x C, int64), numbers (B x N) and vectors (B x V).

        Raises:
            EncodingError: a column is missing, or a list of numbers has another length.
        """
        there = set(rows.columns if isinstance(rows, pd.DataFrame) else rows)
        for name in self.columns:
            if name not in there:
                raise EncodingError(
                    f"The rows lack {name}, which this model was trained on: the feature service has "
                    "changed, so train again."
                )
        count = len(rows) if isinstance(rows, pd.DataFrame) else len(next(iter(rows.values())))
        codes = np.empty((count, len(self.numbers) + len(self.texts)), dtype="int64")
        numbers = np.empty((count, len(self.numbers)), dtype="float32")
        self._encode_numbers(_matrix(rows, list(self.numbers)), codes, numbers)
        for place, name in enumerate(self.texts, start=len(self.numbers)):
            codes[:, place] = self._text_codes(name, rows[name])
        return {
            "codes": torch.from_numpy(codes),
            "numbers": torch.from_numpy(numbers),
            "vectors": torch.from_numpy(self._encode_vectors(rows, count)),
        }

    def _encode_numbers(self, matrix: np.ndarray, codes: np.ndarray, numbers: np.ndarray) -> None:
        for start in range(0, len(codes) if len(matrix) else 0, BLOCK):
            block = slice(start, start + BLOCK)
            values = np.ascontiguousarray(matrix[:, block])  # N x block
            # Rows of one customer are alike in much, which is worked out once.
            same = (values == values[:, :1]).all(axis=1)
            code = np.empty(values.shape, dtype="int64")
            number = np.empty(values.shape, dtype="float32")
            for some, width in ((np.flatnonzero(~same), None), (np.flatnonzero(same), 1)):
                code[some], number[some] = self._placed(values[some, :width], some)
            codes[block, : len(matrix)] = code.T
            numbers[block] = number.T

    def _placed(self, values: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes and numbers of some of the columns (C x B each)."""
        bucket = self._buckets_of(values, columns)
        missing = np.isnan(values)
        knot = bucket + self._knot_starts[columns]
        with np.errstate(invalid="ignore", over="ignore"):
            share = (values - self._lows.take(knot)) / self._widths.take(knot)
        number = (bucket + np.fmin(np.fmax(share, 0), 1)) * self._steps[columns] - 1
        number[missing], bucket[missing] = 0, -1
        return bucket + 1, number

    def _buckets_of(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """How many edges of its column each number reaches, C x B -> C x B."""
        edges, sizes = self._edges[columns], self._edge_counts[columns]
        if values.shape[1] <= FEW:
            return np.asarray((values[:, :, None] >= edges[:, None]).sum(axis=2))
        found = np.empty(values.shape, dtype="int64")
        for place, size in enumerate(sizes):
            found[place] = np.searchsorted(edges[place, :size], values[place], side="right")
        return found

    def _text_codes(self, name: str, values: Sequence[Any] | pd.Series) -> Any:
        known, hashes = self._codes[name], self.hashes[name]

        def code(value: object) -> int:
            if _missing(value):
                return 0
            text = str(value)
            return known.get(text) or (hashes and 1 + len(known) + _hash(text) % hashes)

        if len(values) <= ONE_REQUEST:
            # Most are known, and to look each up is several times as quick as to tell them apart first.
            listed = values.tolist() if isinstance(values, pd.Series) else values
            return [
                code(value) if found is None else found
                for value, found in zip(listed, map(known.get, listed), strict=True)
            ]
        arrow = isinstance(values, pd.Series) and values.dtype != object
        places, distinct = pd.factorize(
            values if arrow else np.asarray(values, dtype=object)  # type: ignore[arg-type]
        )
        return np.array([*map(code, distinct), 0], dtype="int64")[places]

    def _encode_vectors(self, rows: Columns, count: int) -> np.ndarray:
        matrix = np.zeros((count, sum(self.vectors.values()) + len(self.vectors)), dtype="float32")
        start = 0
        for name, size in self.vectors.items():
            values = list(rows[name])
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

    def save(self, file: Path) -> None:
        """Write everything that `load` needs, as JSON."""
        content = {
            "buckets": self.buckets,
            "vocabulary": self.vocabulary,
            "unseen": self.unseen,
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
            made = cls(content["buckets"], content["vocabulary"], content["unseen"])
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


def _matrix(rows: Columns, names: list[str]) -> np.ndarray:
    """The named columns as numbers (N x B)."""
    if isinstance(rows, pd.DataFrame) and names:
        wanted = rows[names]
        # All at once, for pandas takes its time over every column.
        if "O" not in {dtype.kind for dtype in wanted.dtypes}:
            return wanted.to_numpy("float64", na_value=math.nan).T
    return np.stack([_numbers(rows[name]) for name in names]) if names else np.empty((0, 0))


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
