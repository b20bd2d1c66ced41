"""What a function means: its code and what it reaches, in a package of two modules."""

from pathlib import Path

import pytest

from feature_repo import feature_code

HELPERS = """
import numpy as np
from ours.numbers import LONG, SHORT

FACTORS = {"a": 1}
FACTORS["b"] = 2

def double(x):
    return FACTORS["a"] * scale(x, LONG)

def scale(x, by):
    return np.abs(x) * by

def other(x, double=3):
    return x * SHORT
"""
NUMBERS = """
BASE = 2
LONG = BASE * 3
SHORT = 1
"""


class Package:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(HELPERS, NUMBERS)

    def write(self, helpers: str, numbers: str) -> None:
        (self.folder / "helpers.py").write_text(helpers)
        (self.folder / "numbers.py").write_text(numbers)

    def changes(self, text: str, before: str, after: str) -> bool:
        """Whether the function means something else when this is replaced in its package."""
        assert before in HELPERS + NUMBERS
        self.write(HELPERS, NUMBERS)
        was = feature_code.meaning(text)
        self.write(HELPERS.replace(before, after), NUMBERS.replace(before, after))
        return feature_code.meaning(text) != was


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    folder = tmp_path / "ours"
    folder.mkdir()
    monkeypatch.setattr(feature_code, "PACKAGE", folder)
    return Package(folder)


BY_MODULE = """
@view(description="Twice")
def twice(x):
    from ours import helpers
    return helpers.double(x)
"""
WAYS = [
    BY_MODULE,
    "def twice(x):\n    from ours.helpers import double\n    return double(x)",
    "def twice(x):\n    from ours import helpers as h\n    return [h.double(one) for one in x]",
    "def twice(x):\n    import ours.helpers as h\n    return (lambda y: h.double(y))(x)",
    "def twice(x):\n    import ours.helpers\n    return ours.helpers.double(x)",
    "def twice(x):\n    from ours import helpers\n    return getattr(helpers, 'dou' + 'ble')(x)",
]


@pytest.mark.parametrize("text", WAYS)
def test_what_is_reached_counts_whichever_way_it_is_imported(package: Package, text: str) -> None:
    for before, after in (
        ("scale(x, LONG)", "-scale(x, LONG)"),
        ("np.abs(x) * by", "np.abs(x) + by"),
        ("import numpy as np", "import cupy as np"),
        ('FACTORS["b"] = 2', 'FACTORS["b"] = 3'),
        ("BASE * 3", "BASE * 4"),
        ("BASE = 2", "BASE = 3"),
    ):
        assert package.changes(text, before, after), before


@pytest.mark.parametrize("text", WAYS[:4])
def test_what_is_not_reached_does_not_count(package: Package, text: str) -> None:
    for before, after in (
        ("x * SHORT", "x / SHORT"),
        ("SHORT = 1", "SHORT = 9"),
        ("import LONG, SHORT", "import (\n    LONG,\n    SHORT,\n    BASE,\n)"),
        ("def other(", "def x():\n    return 1\n\ndef other("),
        ("BASE = 2", "by = 7\nBASE = 2"),
    ):
        assert not package.changes(text, before, after), before


def test_remarks_docstrings_and_layout_do_not_count(package: Package) -> None:
    for before, after in (
        ("def scale(x, by):", 'def scale(x, by):\n    """Scaled."""\n    # As it is.'),
        ("np.abs(x) * by", "(\n        np.abs(x)\n        * by\n    )"),
        ("BASE = 2", 'BASE = 2  # Why not.\n"""A base."""'),
    ):
        assert not package.changes(BY_MODULE, before, after), before
    was = feature_code.meaning(BY_MODULE)
    assert feature_code.meaning(BY_MODULE.replace("Twice", "Two times")) == was
    assert feature_code.meaning(BY_MODULE.replace("return ", "return -")) != was


def test_functions_that_call_each_other_come_to_an_end(package: Package) -> None:
    package.write("def a(x):\n    return b(x)\n\ndef b(x):\n    return a(x)\n", "")
    meant = feature_code.meaning("def f(x):\n    from ours.helpers import a\n    return a(x)")
    assert meant.count("return a(x)") == 2
    assert meant.count("return b(x)") == 1
