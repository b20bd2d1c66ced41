"""The SQL of staging, of every feature view and of pushes, rendered with the windows and a last day.

A file `sql/features/NAME.sql` is the table `features.NAME` and the Feast view `NAME`. It selects
the view's keys, `valid_from` (the moment a row becomes known) and exactly the declared fields. What
would be a long list in every row is no table: such a file is asked for the moments that somebody
needs (`AS_OF`). A file `sql/pushes/NAME.sql` has the statements that take what is pushed to the
push source NAME into the warehouse.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from feature_repo.raw_tables import ARTICLE_CONTENT, RAW_TABLES
from feature_repo.windows import (
    DECAY_DAYS,
    RECENT_ARTICLES,
    SESSION_EVENTS,
    SHORT_WINDOWS,
    WINDOWS,
    Window,
)

SQL_FOLDER = Path(__file__).parent / "sql"

STAGING = ("customers", "articles", "purchases", "prices", "actions")


@dataclass(frozen=True)
class Table:
    """A feature table: what it is keyed by, and what changes it beside a purchase of its key."""

    keys: tuple[str, ...]
    windows: tuple[Window, ...] = ()
    """Those whose end changes it."""
    attributes: str = ""
    """The staging table of which it reads an attribute, beside purchases."""
    attribute: str = ""
    """Which one. It is the key, unless that is the customer or article."""
    by_price: bool = False
    """Whether it compares purchases with `staging.prices`."""

    @property
    def attribute_key(self) -> str:
        """The key that is an attribute of a customer or an article; none if empty."""
        return next((key for key in self.keys if key not in ("customer_id", "article_id")), "")


@dataclass(frozen=True)
class AsOf:
    """A view of which nothing is kept: its keys, and the table that it reads when it is asked for."""

    keys: tuple[str, ...]
    table: str = "features.customer_article"
    since: str = "valid_from"
    """The column of the table with the moment from which a row is known."""
    until: str = "valid_to"
    """That until which it is true; events have none, for they stay true."""

    def asked(self, moment: str) -> str:
        """SELECT the keys that have something of the view, each with a moment, an expression."""
        return f"SELECT DISTINCT {', '.join(self.keys)}, {moment} AS moment FROM {self.table}"

    @property
    def changes(self) -> str:
        """SELECT those keys with all moments at which something of them changes, some more than once:
        whoever needs only the keys need not tell them all apart."""
        return f"SELECT {', '.join(self.keys)}, {self.since} AS moment FROM {self.table}"


PROFILES: dict[str, str] = {"customer_profile": "customers", "article_profile": "articles"}
"""Feature tables without history, and the staging table that each shows."""

HISTORIES: dict[str, Table] = {
    "customer_article": Table(("customer_id", "article_id")),
    "customer_product": Table(
        ("customer_id", "product"), attributes="articles", attribute="product_code"
    ),
    "customer_activity": Table(("customer_id",), WINDOWS),
    "customer_price": Table(("customer_id",), by_price=True),
    "article_activity": Table(("article_id",), WINDOWS, "customers", "age", by_price=True),
    "postal_code_activity": Table(("postal_code",), SHORT_WINDOWS, "customers", "postal_code"),
    "product_group_activity": Table(
        ("product_group",), SHORT_WINDOWS, "articles", "product_group_name"
    ),
}
"""Feature tables with history, in an order in which each finds what it reads."""

AS_OF: dict[str, AsOf] = {
    "customer_recent": AsOf(("customer_id",)),
    "customer_taste": AsOf(("customer_id",)),
    "customer_session": AsOf(("customer_id",), "staging.actions", since="event_time", until=""),
}
"""Views that are computed when they are asked for."""

FEW_DAYS = 31
"""Days up to which a median is computed day by day: each anew over all that came before."""

TASTES = {
    "colour_group": "colour_group_name",
    "product_group": "product_group_name",
    "index_group": "index_group_name",
    "garment_group": "garment_group_name",
    "section": "section_name",
    "visual_cluster": "visual_cluster",
}
"""What `customer_taste` shares purchases over: the name of a feature, and the column of articles."""

VIEW_KEYS: dict[str, tuple[str, ...]] = {
    **{name: RAW_TABLES[of].key for name, of in PROFILES.items()},
    **{name: table.keys for name, table in HISTORIES.items()},
    **{name: view.keys for name, view in AS_OF.items()},
}
"""Every view that has SQL, with its keys."""

TABLES = (
    *(("staging", name) for name in STAGING),
    *(("features", name) for name in (*PROFILES, *HISTORIES)),
)
"""(schema, table) of everything that a build computes, in order."""

_DAY = date(2000, 1, 1)
_WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"part": "true"},
    {"scoped": True, "since": _DAY},
    {"scoped": True, "since": _DAY - timedelta(FEW_DAYS + 1)},
)
"""How `render` is asked for a table, each of which may go another way through the macros."""

_environment = Environment(
    loader=FileSystemLoader(SQL_FOLDER),
    undefined=StrictUndefined,
    autoescape=False,
)
_LAYOUT = re.compile(r"""('(?:[^']|'')*'|"[^"]*")|(?:\s|--[^\n]*)+""")
"""Texts and quoted names, which stay as they are, or blanks and remarks."""
_TABLE = re.compile(r"\b(staging|features)\.(\w+)")
_MACROS = '{% from "macros.sql" import windowed, in_scope, moving, lately, touched, known_when_asked with context %}'


@cache
def _template(source: str) -> Template:
    return _environment.from_string(_MACROS + source)


def render(
    folder: str,
    name: str,
    through: date,
    *,
    scoped: bool = False,
    since: date | None = None,
    part: str = "",
    asked: str = "asked",
) -> str:
    """The SQL of one table.

    Args:
        folder: "staging", "features" or "pushes".
        name: the table.
        through: the last day whose purchases may be used.
        scoped: only for the keys in the table `scope`, from the day on that it says (macros.sql).
        since: where `scoped`, the first day that is computed.
        part: a condition on the first key: only what it holds for.
        asked: of a view in AS_OF, what stands after FROM to give its keys and `moment`.
    """
    source = (SQL_FOLDER / folder / f"{name}.sql").read_text()
    return _template(source).render(
        windows=WINDOWS,
        short_windows=SHORT_WINDOWS,
        decay_days=DECAY_DAYS,
        recent_articles=RECENT_ARTICLES,
        session_events=SESSION_EVENTS,
        as_of=AS_OF.get(name),
        raw_tables=RAW_TABLES,
        content=[column.name for column in ARTICLE_CONTENT.columns if column.name != "article_id"],
        tastes=TASTES,
        through=through.isoformat(),
        scoped=scoped,
        since=since and since.isoformat(),
        part=part,
        few_days=since is not None and (through - since).days <= FEW_DAYS,
        asked=asked,
    )


def table_sql(schema: str, name: str, through: date, part: str = "") -> str:
    """The SELECT of all that a table holds: its SQL and, of features, until when each row is true.

    Args:
        schema: "staging" or "features".
        name: the table.
        through: the last day whose purchases may be used.
        part: a condition on the first key: only what it holds for.
    """
    sql = render(schema, name, through, part=part)
    if schema == "staging":
        return sql
    keys = ", ".join(VIEW_KEYS[name])
    return (
        f"SELECT *, lead(valid_from) OVER (PARTITION BY {keys} ORDER BY valid_from) AS valid_to, "
        f"CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP) AS created_at FROM ({sql}) AS {name}"
    )


def whole_history(view: str) -> str:
    """The SQL of a view in AS_OF as if it were a table: a row from each moment that changes it."""
    keys = ", ".join(AS_OF[view].keys)
    sql = render("features", view, date.max, asked=f"({AS_OF[view].asked(AS_OF[view].since)})")
    return (
        f"SELECT * EXCLUDE (moment), lead(valid_from) OVER (PARTITION BY {keys} ORDER BY valid_from) "
        f"AS valid_to FROM ({sql}) AS history"
    )


@cache
def meaning(sql: str) -> str:
    """SQL without comments and layout: what stays the same as long as it means the same."""
    return _LAYOUT.sub(lambda found: found[1] or " ", sql).strip()


def definition(view: str) -> str:
    """A fingerprint of the SQL of a view and of every table that it reads, with windows and constants,
    without remarks and layout: in each way in which a build renders it, whole, in parts and by days."""
    wanted, found = [("features", view)], {}
    while wanted:
        schema, name = wanted.pop()
        sqls = [meaning(render(schema, name, _DAY, **way)) for way in _WAYS]
        shape = HISTORIES.get(name) or AS_OF.get(name) if schema == "features" else None
        found[schema, name] = "\n".join([*dict.fromkeys(sqls), repr(shape)])
        tables = set(_TABLE.findall("\n".join(sqls)))
        if name in AS_OF:
            tables.add(tuple(AS_OF[name].table.split(".")))
        wanted += [table for table in sorted(tables) if table in TABLES and table not in found]
    text = "\n".join(found[table] for table in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
