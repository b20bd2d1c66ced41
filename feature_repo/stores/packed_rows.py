"""Rows of features as bytes, and many of them as one matrix.

A packed row is a fixed part in 64-bit little-endian words, then what has no fixed width:

    event time | created time | schema | a bit for each value that is there | a slot for each feature

Times are microseconds since 1970, UTC. The slot of a number holds it; that of a text or a list holds
where it begins after the fixed part (low half) and its length in bytes (high half). So the rows of
hundreds of keys are joined and read as an array, and nothing is decoded that is not asked for.

A row names the schema it was packed with (`Schema`): rows of an older one are read as well, and what
they do not have is missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import InputError

MISSING, PRESENT, EXPIRED = 0, 1, 2
"""The status of a row: the key has none, it has one, or one that is older than its time to live."""

NO_TIME = np.iinfo(np.int64).min
_HEADER = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT = pa.timestamp("us", "UTC")
_NOTHING = pa.scalar(b"", pa.large_binary())

_NUMBERS = {"DOUBLE": pa.float64(), "FLOAT": pa.float32()}
_WHOLE = {
    "INT64": pa.int64(),
    "INT32": pa.int32(),
    "BOOL": pa.bool_(),
    "UNIX_TIMESTAMP": _MOMENT,
}
_TEXTS = {
    **dict.fromkeys(("STRING", "JSON", "UUID", "TIME_UUID", "DECIMAL"), pa.string()),
    **dict.fromkeys(("BYTES", "PDF_BYTES", "IMAGE_BYTES"), pa.binary()),
}
_LISTS = {
    f"{name}_LIST": pa.list_(kind)
    for name, kind in (_NUMBERS | _WHOLE | _TEXTS).items()
    if name not in ("PDF_BYTES", "IMAGE_BYTES")
}


def to_microseconds(moment: datetime | None) -> int:
    """Since 1970; a moment without a zone is UTC. NO_TIME for None."""
    if moment is None:
        return int(NO_TIME)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(time: int) -> datetime:
    """The moment, UTC, of microseconds since 1970."""
    return _EPOCH + time * _MICROSECOND


def arrow_type(value_type: str) -> pa.DataType:
    """What a feature is in Arrow, by the name of its Feast type; a serialized `Value` message if it
    is none of numbers, moments, texts and lists of them."""
    kinds = _NUMBERS | _WHOLE | _TEXTS | _LISTS
    return kinds.get(value_type, pa.binary())


def is_message(value_type: str) -> bool:
    """Whether a feature of this type is kept as a serialized `Value` message."""
    return value_type not in _NUMBERS | _WHOLE | _TEXTS | _LISTS


@dataclass(frozen=True)
class Schema:
    """The features of a view, in the order of their slots, with the names of their Feast types."""

    number: int
    features: tuple[tuple[str, str], ...]

    @cached_property
    def slots(self) -> dict[str, int]:
        return {name: slot for slot, (name, _) in enumerate(self.features)}

    @cached_property
    def types(self) -> dict[str, str]:
        return dict(self.features)

    @cached_property
    def bit_words(self) -> int:
        return -(-len(self.features) // 64)

    @cached_property
    def first_slot(self) -> int:
        return _HEADER + self.bit_words

    @cached_property
    def words(self) -> int:
        """64-bit words of the fixed part."""
        return self.first_slot + len(self.features)

    @cached_property
    def empty_row(self) -> bytes:
        return np.array([NO_TIME] * 2 + [0] * (self.words - 2), dtype="<i8").tobytes()


def pack(
    schema: Schema,
    columns: pa.Table | pa.RecordBatch,
    event_times: np.ndarray,
    created_times: np.ndarray,
) -> list[bytes]:
    """One packed row for each row of the columns.

    Args:
        columns: a column for each feature of the schema, of a type that can be cast to its Arrow type.
        event_times: int64 microseconds.
        created_times: the same; NO_TIME where there is none.

    Raises:
        InputError: a value is not of the feature's type, or a list has an element that is null;
            the text names the feature.
    """
    rows = columns.num_rows
    words = np.zeros((rows, schema.words), dtype="<i8")
    words[:, 0], words[:, 1], words[:, 2] = event_times, created_times, schema.number
    there = np.zeros((rows, 64 * schema.bit_words), dtype=bool)
    variable: list[pa.Array] = []
    begin = np.zeros(rows, dtype=np.int64)
    for slot, (name, kind) in enumerate(schema.features):
        column = _cast(columns[name], name, arrow_type(kind))
        there[:, slot] = _there = column.is_valid().to_numpy(zero_copy_only=False)
        place = words[:, schema.first_slot + slot]
        if kind in _NUMBERS:
            place[:] = column.cast(pa.float64()).fill_null(np.nan).to_numpy().view("<i8")
        elif kind in _WHOLE:
            place[:] = column.cast(pa.int64()).fill_null(0).to_numpy()
        else:
            data = _as_bytes(column, name)
            lengths = pc.binary_length(data).to_numpy().astype(np.int64)
            place[:] = begin | (lengths << 32)
            begin += lengths
            variable.append(data)
    bits = np.packbits(there, axis=1, bitorder="little").view("<i8")
    words[:, _HEADER : schema.first_slot] = bits
    if not variable:
        width = 8 * schema.words
        whole = words.tobytes()
        return [whole[at : at + width] for at in range(0, rows * width, width)]
    width = pa.binary(8 * schema.words)
    fixed = pa.FixedSizeBinaryArray.from_buffers(width, rows, [None, pa.py_buffer(words)])
    joined = pc.binary_join_element_wise(fixed.cast(pa.large_binary()), *variable, _NOTHING)
    return list(joined.to_pylist())


def _cast(column: pa.Array | pa.ChunkedArray, name: str, wanted: pa.DataType) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if column.type == wanted:
        return column
    try:
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("us"))
        # Nanoseconds are cut, as everywhere.
        return column.cast(wanted, safe=not pa.types.is_temporal(column.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"Feature {name!r} must be {wanted}: {error}") from error


def _as_bytes(column: pa.Array, name: str) -> pa.Array:
    """Texts and lists as binary values; what is null is empty."""
    if not pa.types.is_list(column.type):
        return column.cast(pa.large_binary()).fill_null(b"")
    values = column.flatten()
    if values.null_count:
        if not pa.types.is_floating(values.type):
            raise InputError(
                f"Feature {name!r} has a list with a null in it, which has no place among "
                f"{values.type} values: leave it out of the list."
            )
        values = values.fill_null(float("nan"))
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(column).fill_null(0).to_numpy())])
    if pa.types.is_boolean(values.type):
        return _slices(values.cast(pa.uint8()).to_numpy(), offsets)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
        return _slices(values.to_numpy(), offsets)
    # How many there are, how long each is, and then the texts one after the other.
    texts = values.cast(pa.large_binary())
    lengths = pc.binary_length(texts).to_numpy().astype("<u4")
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pc.binary_join_element_wise(
        _slices(np.diff(offsets).astype("<u4"), np.arange(len(offsets))),
        _slices(lengths, offsets),
        _slices(np.frombuffer(b"".join(texts.to_pylist()), dtype=np.uint8), ends[offsets]),
        _NOTHING,
    )


def _slices(values: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """Binary values: the bytes of values[offsets[i]:offsets[i + 1]]."""
    values = np.ascontiguousarray(values)
    places = np.ascontiguousarray(offsets.astype(np.int64) * values.itemsize)
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(places), pa.py_buffer(values)]
    )


@lru_cache(maxsize=1024)
def _selection(schema: Schema, features: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The slots of the features, and which of them hold whole numbers.

    Raises:
        InputError: the schema has no such feature, or it is no number.
    """
    for name in features:
        if name not in schema.types:
            raise InputError(f"There is no feature {name!r}; there are: {', '.join(schema.types)}.")
        if schema.types[name] not in _NUMBERS and schema.types[name] not in _WHOLE:
            raise InputError(
                f"Feature {name!r} is {schema.types[name]}, which has no place in a matrix of "
                "numbers: read it with column()."
            )
    slots = np.array([schema.slots[name] for name in features], dtype=np.intp)
    whole = np.array([schema.types[name] in _WHOLE for name in features], dtype=bool)
    return slots, whole


def _texts_of(data: bytes) -> np.ndarray:
    """A list of texts, as it is packed."""
    count = int.from_bytes(data[:4], "little")
    found = np.empty(count, dtype=object)
    begin = 4 * (count + 1)
    for place, length in enumerate(np.frombuffer(data, "<u4", count, 4).tolist() if count else ()):
        found[place] = data[begin : begin + length].decode()
        begin += length
    return found


_DECODED: dict[str, Callable[[bytes], Any]] = {
    **{kind: bytes.decode for kind, of in _TEXTS.items() if of == pa.string()},
    **{f"{kind}_LIST": _texts_of for kind, of in _TEXTS.items() if of == pa.string()},
    **{
        f"{kind}_LIST": partial(np.frombuffer, dtype=of)
        for kind, of in (("DOUBLE", "<f8"), ("FLOAT", "<f4"), ("INT64", "<i8"), ("INT32", "<i4"))
    },
}
"""How a value of a few rows is read: by the name of its Feast type."""
FEW = 4


@dataclass(frozen=True)
class Matrix:
    """Features of many keys, as they were read.

    Attributes:
        features: names, in the order that was asked for.
        status: uint8 (rows,): PRESENT, MISSING (the key has no row) or EXPIRED (its row is older
            than the time to live). Nothing of a row that is not PRESENT is ever given.
        event_times: int64 (rows,), microseconds since 1970; NO_TIME where MISSING.
    """

    schema: Schema
    features: tuple[str, ...]
    _rows: Sequence[bytes] = field(repr=False)
    _words: np.ndarray = field(repr=False)
    status: np.ndarray
    event_times: np.ndarray

    @staticmethod
    def of_rows(
        schemas: dict[int, Schema],
        schema: Schema,
        features: tuple[str, ...],
        rows: Sequence[bytes | None],
        ttl: timedelta | None,
        now: int,
    ) -> "Matrix":
        """
        Args:
            schemas: {number: schema} of all that rows may have been packed with.
            schema: the newest.
            rows: packed rows; None where the key has none.
            ttl: how long a row counts after its event time; None: forever.
            now: microseconds since 1970.
        """
        empty = schema.empty_row
        found = [row or empty for row in rows]
        words = _fixed_parts(schema, found)
        numbers = words[:, 2]
        # Those of keys without a row say schema 0, which is none.
        other = (numbers != schema.number) & (numbers != 0)
        if other.any():
            for number in np.unique(numbers[other]).tolist():
                at = np.flatnonzero(numbers == number).tolist()
                for place, row in zip(
                    at, _repacked(schemas[number], schema, [rows[i] for i in at]), strict=True
                ):
                    found[place] = row
            words = _fixed_parts(schema, found)
        times = words[:, 0]
        status = np.where(words[:, 2] != 0, PRESENT, MISSING).astype(np.uint8)
        if ttl is not None:
            oldest = now - ttl // timedelta(microseconds=1)
            status[(times < oldest) & (status == PRESENT)] = EXPIRED
        return Matrix(schema, features, found, words, status, times)

    def __len__(self) -> int:
        return len(self._words)

    @cached_property
    def values(self) -> np.ndarray:
        """float64 (rows, features); NaN where there is no value. Moments are microseconds since 1970.

        Raises:
            InputError: a feature is no number.
        """
        slots, whole = _selection(self.schema, self.features)
        words = self._words[:, self.schema.first_slot :]
        values = words.view("<f8")[:, slots]
        if whole.any():
            values[:, whole] = words[:, slots[whole]]
            values[~self._there[:, slots]] = np.nan
        values[self.status != PRESENT] = np.nan
        return values

    @cached_property
    def _there(self) -> np.ndarray:
        bits = np.ascontiguousarray(self._words[:, _HEADER : self.schema.first_slot])
        return np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").astype(bool)

    def column(self, name: str) -> pa.Array:
        """A feature's values in its own type, exactly as they were written; null where there is none.

        Raises:
            InputError: there is no such feature.
        """
        if name not in self.schema.types:
            raise InputError(
                f"There is no feature {name!r}; there are: {', '.join(self.schema.types)}."
            )
        kind, slot = self.schema.types[name], self.schema.slots[name]
        missing = ~self._there[:, slot] | (self.status != PRESENT)
        words = self._words[:, self.schema.first_slot + slot]
        wanted = arrow_type(kind)
        if kind in _NUMBERS:
            return pa.array(words.view("<f8"), mask=missing).cast(wanted)
        if kind in _WHOLE:
            return pa.array(words, mask=missing).cast(wanted)
        begins, lengths = words & 0xFFFFFFFF, np.where(missing, 0, words >> 32)
        data, ends = _gathered(self._blob, self._starts + begins, lengths)
        if not pa.types.is_list(wanted):
            found = _slices(data, ends).cast(pa.binary()).cast(wanted)
            return pc.if_else(pa.array(~missing), found, pa.scalar(None, wanted))
        return _lists(data, ends, wanted, missing)

    def objects(self, name: str) -> np.ndarray:
        """The same as an array (rows,) of Python's and numpy's values, None where there is none; moments are
        datetime64[us].

        Raises:
            InputError: there is no such feature.
        """
        if self.schema.types.get(name) == "UNIX_TIMESTAMP":
            slot = self.schema.slots[name]
            there = self._there[:, slot] & (self.status == PRESENT)
            moments = self._words[:, self.schema.first_slot + slot].astype("datetime64[us]")
            return np.where(there, moments, np.datetime64("NaT", "us"))
        decoded = _DECODED.get(self.schema.types.get(name, ""))
        if len(self) > FEW or decoded is None:
            return np.asarray(self.column(name).to_numpy(zero_copy_only=False))
        # Arrow and numpy take their time over every column: of few rows values are read one by one.
        found = np.empty(len(self), dtype=object)
        slot = self.schema.slots[name]
        for row, (bits, words) in enumerate(self._one_by_one):
            if bits >> slot & 1:
                begin = 8 * self.schema.words + (words[slot] & 0xFFFFFFFF)
                found[row] = decoded(self._rows[row][begin : begin + (words[slot] >> 32)])
        return found

    @cached_property
    def _one_by_one(self) -> list[tuple[int, list[int]]]:
        """Of each row the bits of the values that are there, as one number, and its slots."""
        found = []
        for words, status in zip(self._words, self.status, strict=True):
            bits = words[_HEADER : self.schema.first_slot].tobytes() if status == PRESENT else b""
            slots = words[self.schema.first_slot :].tolist()
            found.append((int.from_bytes(bits, "little"), slots))
        return found

    @cached_property
    def _blob(self) -> bytes:
        return b"".join(self._rows)

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where each row's variable part begins."""
        lengths = np.fromiter(map(len, self._rows), dtype=np.int64, count=len(self._rows))
        return np.cumsum(lengths) - lengths + 8 * self.schema.words


def _fixed_parts(schema: Schema, rows: Sequence[bytes]) -> np.ndarray:
    width = 8 * schema.words
    if set(map(len, rows)) != {width}:
        # Of a row of an older schema only the header counts, before it is repacked.
        rows = [row[:width].ljust(width, b"\0") for row in rows]
    return np.frombuffer(b"".join(rows), dtype="<i8").reshape(-1, schema.words)


def _repacked(old: Schema, new: Schema, rows: Sequence[bytes | None]) -> list[bytes]:
    """Rows of an older schema as rows of the new one: what is of another type now is missing."""
    matrix = Matrix.of_rows({}, old, (), rows, None, 0)
    columns = {
        name: matrix.column(name)
        if old.types.get(name) == kind
        else pa.nulls(len(matrix), arrow_type(kind))
        for name, kind in new.features
    }
    return pack(new, pa.table(columns), matrix.event_times, matrix._words[:, 1])


def _gathered(
    blob: bytes, begins: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pieces of the blob one after the other, and the offsets that part them."""
    pieces = zip(begins.tolist(), (begins + lengths).tolist(), strict=True)
    data = np.frombuffer(b"".join([blob[begin:end] for begin, end in pieces]), dtype=np.uint8)
    return data, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _lists(
    data: np.ndarray, ends: np.ndarray, wanted: pa.DataType, missing: np.ndarray
) -> pa.Array:
    of = wanted.value_type
    if pa.types.is_string(of) or pa.types.is_binary(of):
        return _text_lists(data, ends, wanted, missing)
    kinds = {pa.bool_(): "<u1", _MOMENT: "<i8"}
    values = data.view(kinds.get(of) or of.to_pandas_dtype())
    counts = ends // values.itemsize
    elements = pa.array(values.astype(bool) if pa.types.is_boolean(of) else values)
    return _list_array(counts, elements.cast(of), missing)


def _text_lists(
    data: np.ndarray, ends: np.ndarray, wanted: pa.DataType, missing: np.ndarray
) -> pa.Array:
    blob, begins, sizes = data.tobytes(), ends[:-1], np.diff(ends)
    counts = np.zeros(len(sizes), dtype=np.int64)
    there = sizes > 0
    counts[there] = _gathered(blob, begins[there], np.full(there.sum(), 4))[0].view("<u4")
    of_lengths = np.where(there, 4 * (counts + 1), 0)
    lengths = _gathered(blob, begins + 4, 4 * counts)[0].view("<u4")
    texts, _ = _gathered(blob, begins + of_lengths, sizes - of_lengths)
    values = _slices(texts, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
    values = values.cast(pa.binary()).cast(wanted.value_type)
    return _list_array(np.concatenate([[0], np.cumsum(counts)]), values, missing)


def _list_array(offsets: np.ndarray, values: pa.Array, missing: np.ndarray) -> pa.Array:
    places = pa.py_buffer(np.ascontiguousarray(offsets.astype(np.int32)))
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.ListArray.from_buffers(
        pa.list_(values.type), len(offsets) - 1, [valid, places], children=[values]
    )
