"""The SQL of staging and of every feature view, rendered with the windows and a last day.

A file `sql/features/NAME.sql` is the table `features.NAME` and the Feast view `NAME`. It selects
the view's keys, `valid_from` (the moment a row becomes known) and exactly the declared fields.
"""

import hashlib
import re
from datetime import date
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_repo.raw_tables import RAW_TABLES
from feature_repo.windows import DECAY_DAYS, RECENT_ARTICLES, SHORT_WINDOWS, WINDOWS

SQL_FOLDER = Path(__file__).parent / "sql"

STAGING = ("customers", "articles", "purchases")

VIEW_KEYS: dict[str, tuple[str, ...]] = {
    "customer_profile": ("customer_id",),
    "article_profile": ("article_id",),
    "customer_activity": ("customer_id",),
    "article_activity": ("article_id",),
    "postal_code_activity": ("postal_code",),
    "customer_article": ("customer_id", "article_id"),
    "customer_recent": ("customer_id",),
}
"""Every feature table with its keys, in an order in which each finds what it reads."""

TABLES = (
    *(("staging", name) for name in STAGING),
    *(("features", name) for name in VIEW_KEYS),
)
"""(schema, table) of everything that a build computes, in order."""

_environment = Environment(
    loader=FileSystemLoader(SQL_FOLDER),
    undefined=StrictUndefined,
    autoescape=False,
)
_COMMENT = re.compile(r"--[^\n]*")
_MACROS = '{% from "macros.sql" import windowed, distinct_changes with context %}'


def render(folder: str, name: str, through: date) -> str:
    """The SQL of one table.

    Args:
        folder: "staging" or "features".
        name: the table.
        through: the last day whose purchases may be used.
    """
    source = (SQL_FOLDER / folder / f"{name}.sql").read_text()
    return _environment.from_string(_MACROS + source).render(
        windows=WINDOWS,
        short_windows=SHORT_WINDOWS,
        decay_days=DECAY_DAYS,
        recent_articles=RECENT_ARTICLES,
        raw_tables=RAW_TABLES,
        through=through.isoformat(),
    )


def definition_hash() -> str:
    """A fingerprint of what all feature tables mean: their SQL, windows and constants, without
    comments and layout. A model that was trained on other meanings of the same names is refused."""
    day = date(2000, 1, 1)
    text = "\n".join(render(folder, name, day) for folder, name in TABLES)
    return hashlib.sha256(" ".join(_COMMENT.sub("", text).split()).encode()).hexdigest()[:16]
