"""`Columns` does what a DataFrame does, column by column, whatever is done with it one after the other."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.columns import Coded, Columns, Row, as_frame, coded, decoded, objects, taken, texts

NAMES = ("a", "b", "c", "d")


@st.composite
def column(draw: Any, size: int) -> np.ndarray | Coded:
    """Numbers, texts with gaps, lists, moments, or names by their codes."""
    kind = draw(st.sampled_from(["number", "whole", "text", "list", "moment", "coded"]))
    if kind == "coded":
        names = draw(st.lists(st.text(max_size=3), min_size=1, max_size=4, unique=True))
        codes = draw(st.lists(st.integers(-1, len(names) - 1), min_size=size, max_size=size))
        return Coded.of(names, np.array(codes, dtype=np.intp))
    value = {
        "number": st.floats(width=32),
        "whole": st.integers(-5, 5),
        "text": st.none() | st.text(max_size=3),
        "list": st.none() | st.lists(st.integers(0, 3), max_size=3).map(np.array),
        "moment": st.integers(0, 10).map(lambda n: np.datetime64(n, "us")),
    }[kind]
    values = draw(st.lists(value, min_size=size, max_size=size))
    if kind in ("text", "list"):
        return texts(*values)
    types = {"number": "float64", "whole": "int64", "moment": "datetime64[us]"}
    return np.array(values, dtype=types[kind])


def same(found: Columns, expected: dict[str, np.ndarray], size: int) -> None:
    assert len(found) == size
    assert found.empty == (size == 0)
    assert sorted(found.columns) == sorted(expected)
    assert found.size == size * len(expected)
    for name, values in expected.items():
        assert name in found
        given = found[name]
        assert given.dtype == values.dtype
        assert repr(given.tolist()) == repr(values.tolist())
        assert found[name] is given
        known = coded(found, name)
        if known is not None:
            assert repr(known.decoded().tolist()) == repr(values.tolist())
    assert "none of them" not in found
    with pytest.raises(KeyError):
        found["none of them"]


@settings(max_examples=70, deadline=None)
@given(st.data())
def test_any_chain_gives_what_arrays_give(data: Any) -> None:
    size = data.draw(st.integers(0, 5))
    given = {name: data.draw(column(size)) for name in data.draw(st.sets(st.sampled_from(NAMES)))}
    found = Columns(given, size)
    expected = {name: decoded(values) for name, values in given.items()}
    for _ in range(data.draw(st.integers(0, 5))):
        step = data.draw(st.sampled_from(["take", "assign", "drop", "look"]))
        before, was, was_size = found, dict(expected), size
        if step == "take":
            places = data.draw(st.lists(st.integers(0, size - 1), max_size=6)) if size else []
            found, size = taken(found, np.array(places, dtype=np.intp)), len(places)
            expected = {name: values[places] for name, values in expected.items()}
        elif step == "assign":
            names = data.draw(st.sets(st.sampled_from(NAMES), max_size=2))
            new = {name: data.draw(column(size)) for name in names}
            found = found.assign(**new)
            expected |= {name: decoded(values) for name, values in new.items()}
        elif step == "drop":
            names = data.draw(st.sets(st.sampled_from(NAMES), max_size=2))
            found = found.drop(columns=[*names])
            expected = {n: values for n, values in expected.items() if n not in names}
        elif expected:
            name = data.draw(st.sampled_from(sorted(expected)))
            assert repr(objects(found, name).tolist()) == repr(
                expected[name].astype(object).tolist()
            )
        # What it was made of is as it was.
        if data.draw(st.booleans()):
            same(before, was, was_size)
    same(found, expected, size)
    frame = as_frame(found)
    assert len(frame) == size
    for name, values in expected.items():
        assert repr(frame[name].tolist()) == repr(pd.Series(values).tolist())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_path_does_to_a_frame_what_it_does_to_columns(data: Any) -> None:
    size = data.draw(st.integers(1, 6))
    numbers = {name: np.arange(size) * data.draw(st.integers(1, 9)) for name in "ab"}
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=8)), dtype=np.intp)
    tables = [pd.DataFrame(numbers), Columns(numbers)]
    made = [
        taken(table.assign(b=np.asarray(table["a"]) + 1), places).assign(c=np.arange(len(places)))
        for table in tables
    ]
    for name in "abc":
        assert made[0][name].tolist() == made[1][name].tolist()
    dropped = [table.drop(columns=["a"]) for table in made]
    assert sorted(dropped[0].columns) == sorted(dropped[1].columns)
    for place in range(len(places)):
        rows = [Row(table, place) for table in made]
        assert {n: int(rows[0][n]) for n in "abc"} == {n: int(rows[1][n]) for n in "abc"}
        assert rows[1].get("none") is None


@given(st.lists(st.none() | st.text(max_size=2), min_size=1, max_size=5), st.data())
def test_names_stand_for_their_values(names: list[str | None], data: Any) -> None:
    codes = np.array(data.draw(st.lists(st.integers(-1, len(names) - 1), max_size=9)), np.intp)
    column = Coded.of(names, codes)
    expected = [None if code < 0 else names[code] for code in codes]
    assert column.decoded().tolist() == expected
    lengths = column.mapped(lambda name: np.nan if name is None else len(name))
    assert lengths.dtype == "float64"
    assert repr(lengths.tolist()) == repr(
        [float("nan") if name is None else float(len(name)) for name in expected]
    )
    assert len(column) == len(codes)
    assert Coded.one(names[0], 3).decoded().tolist() == [names[0]] * 3


def test_arrays_of_one_length_are_values_not_rows() -> None:
    one, other = np.array([1, 2]), np.array([3, 4])
    assert texts(one, other).shape == (2,)
    assert texts(one)[0] is one
    assert Coded.one(one, 2).decoded()[1] is one


def test_what_is_no_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Column 'b' has 1 rows instead of 2\."):
        Columns({"a": np.arange(2), "b": np.arange(1)})
    with pytest.raises(ValueError, match="Column 'b' has 3 rows"):
        Columns({"a": np.arange(2)}).assign(b=np.arange(3))
    with pytest.raises(ValueError, match="not by truth values"):
        Columns({"a": np.arange(2)}).take(np.array([True, False]))


def test_a_matrix_is_a_column_too_but_not_of_a_frame() -> None:
    columns = Columns({"a": np.arange(3), "matrix": np.arange(6).reshape(3, 2)})
    assert columns.take([2, 0])["matrix"].tolist() == [[4, 5], [0, 1]]
    assert list(columns.frame()) == ["a"]


def test_some_read_while_others_make_new_ones_of_it() -> None:
    """A request that was left behind still fills columns in, while the answer is made of them."""
    names = [f"column_{number}" for number in range(400)]
    for _ in range(6):
        whole = Columns({name: np.arange(50) for name in names}).take(np.arange(40))
        coded_too = whole.assign(coded=Coded.of(["x"], np.zeros(40, np.intp)))

        def fill(table: Columns) -> int:
            return sum(int(table[name][1]) for name in names)

        def make(table: Columns) -> int:
            for number in range(60):
                table = table.assign(new=np.arange(40) + number).drop(columns=["column_7"])
            return len(table.columns)

        with ThreadPoolExecutor(2) as both:
            filled, made = both.submit(fill, coded_too), both.submit(make, coded_too)
        assert (filled.result(), made.result()) == (400, 401)
