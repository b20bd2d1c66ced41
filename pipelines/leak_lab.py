"""The leak lab: whether a feature says anything that was not known yet, or that is another's.

It knows no feature's meaning. A sample of the shop's raw tables becomes small shops, each with a
home of its own, that differ in one thing which must not matter: what is bought later, other names,
duplicates. In each the declared SQL is built and read through Feast as everywhere else, and what
differs in the answers is a leak. The user's own home is only read.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.raw_tables import RAW_TABLES, READ_TABLES, RawTable
from pipelines.feature_tables import bring, last_day
from pipelines.features import (
    KEYS,
    MOMENT,
    REQUEST_TIME,
    FeatureError,
    OfflineFeatures,
    apply,
    feature_store,
    moment_of,
    service_fields,
)
from pipelines.warehouse import WarehouseError, has_table, reading, writing

LABEL_DAYS = 7
"""The label is "bought in this many days"."""
PLANTED_DAYS = (0, 1, 2, 6, 7, 29, 30, 89, 180, 400)
"""Days after the cut on which purchases are planted."""
TOO_GOOD = 0.99
"""The AUC of a single feature from which it is taken to know the label."""
NOISE = 5.0
"""Standard deviations by which an AUC may be off 0.5 where nothing can be known."""
FEWEST_LABELS = 20
"""Rows with and rows without the label, below which labels say nothing."""

_PAIRS = (("1", "23"), ("12", "3"))
"""Customers and articles whose ids, one after the other, are the same text."""
_PLAIN = {"1": "700000001", "12": "800000002", "23": "7000000003", "3": "8000000004"}
"""For each such id that of a twin, who has done the same and collides with nobody."""
_UNDESCRIBED = ("900000005", "9000000006")
"""A customer without postal code, and an article without product group, so that there are such."""
_MADE_UP = (*_PLAIN, *_PLAIN.values(), *_UNDESCRIBED)
_NOBODY = "leak-lab-nobody"
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Leak:
    """One feature that a check has found, with an example."""

    service: str
    feature: str
    check: str
    says: str
    keys: dict[str, Any]
    moment: str
    expected: str
    """The value without the planted rows, under the plain name, and so on."""
    found: str

    def __str__(self) -> str:
        keys = ", ".join(f"{name} {value}" for name, value in self.keys.items())
        where = f" ({keys}{' at ' * bool(keys)}{self.moment})" if self.moment else ""
        what = f"expected {self.expected}, found {self.found}"
        return f"{self.feature}, {self.check}: {self.says}: {what}{where}"


Found = dict[str, Leak | None]
"""{feature: its leak, or None where it has none}; a feature that could not be tested is not there."""


@dataclass(frozen=True)
class Report:
    """What each check says of each feature of each service."""

    shop: str
    cut: date
    """The day at which rows are asked."""
    services: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """{service: {feature: {check: "ok", "leaks" or "untested"}}}."""
    leaks: list[Leak] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {
            "shop": self.shop,
            "cut": self.cut.isoformat(),
            "services": self.services,
            "leaks": [asdict(leak) for leak in self.leaks],
        }


def check(
    services: Sequence[str] = (),
    rows: int = 200,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check feature services, all that are registered if none is named, for leaks.

    Sets LOOKBOOK_HOME for as long as it runs, so not beside other threads that read it.

    Args:
        rows: how many customers are sampled, and rows asked.

    Raises:
        FeatureError: a service is not registered, or asks for keys or reads tables that the lab
            cannot make.
        InputError: the shop has too few days.
        WarehouseError: another process writes the warehouse.
    """
    with tempfile.TemporaryDirectory(prefix="lookbook-leak-lab-") as folder:
        shops = _Shops(Path(folder), rows, progress)
        report = Report(shops.origin, shops.cut)
        subjects = [_Service(name, shops) for name in services or shops.services()]
        for subject in subjects:
            statuses: dict[str, dict[str, str]] = {feature: {} for feature in subject.features}
            for title, test in CHECKS.items():
                progress(f"{subject.name}: {title}")
                found = test(subject)
                report.leaks.extend(leak for leak in found.values() if leak)
                for feature, status in statuses.items():
                    status[title] = (
                        "leaks" if found.get(feature) else "ok" if feature in found else "untested"
                    )
            report.services[subject.name] = statuses
        return report


# The small shops


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("LOOKBOOK_HOME")
    os.environ["LOOKBOOK_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["LOOKBOOK_HOME"]
        else:
            os.environ["LOOKBOOK_HOME"] = before


_SHOPS = {
    "past": ("{day} < $cut", ""),
    "present": ("true", ""),
    "next day": ("{day} < $cut", "planted.{table} WHERE {day} = $cut"),
    "future": ("true", "planted.{table}"),
    "doubled": ("{day} < $cut", "raw.{table} WHERE {day} < $cut"),
}
"""Small shops: which days of the sample's purchases they have, and what is bought there besides; so of
interactions, each with the day whose purchases are known no later than it (`_DAYS`)."""

_DAYS = {"transactions": "t_dat", "interactions": "CAST(event_time AS DATE) - 1"}


class _Shops:
    """A sample of the shop, and homes in which it has gone on differently, built when first opened."""

    def __init__(self, folder: Path, rows: int, progress: Callable[[str], None]) -> None:
        self._folder, self._progress = folder, progress
        self._registry = folder / "registry.db"
        if (places.home() / "registry.db").exists():
            shutil.copy(places.home() / "registry.db", self._registry)
        else:
            progress("nothing is registered: checking what is declared")
            with _home(folder):
                apply()
        self.origin = str(places.warehouse_file())
        if _is_loaded():
            self._sample(rows)
        else:
            progress("nothing is loaded: checking on a made-up shop")
            self.origin = "made up"
            with _home(folder / "made up"):
                _make_up(folder / "files", rows)
                self._sample(rows)

    def services(self) -> list[str]:
        with self.registry():
            return sorted(found.name for found in feature_store().list_feature_services())

    @contextmanager
    def registry(self) -> Iterator[None]:
        """As LOOKBOOK_HOME, a home with definitions and nothing built."""
        with _home(self._folder):
            yield

    @contextmanager
    def open(self, name: str) -> Iterator[None]:
        """As LOOKBOOK_HOME, one of _SHOPS."""
        with _home(self._folder / name):
            if not places.warehouse_file().exists():
                self._progress(f"building the shop {name!r}")
                self._build(*_SHOPS[name])
            yield

    def _sample(self, rows: int) -> None:
        """Leaves sample.duckdb: raw tables of some customers, and whom and what to ask for."""
        with reading() as shop, duckdb.connect(str(self._folder / "sample.duckdb")) as con:
            # On a cursor, for DuckDB wants one result read to its end before the next.
            self.cut = last_day(shop.cursor()) - timedelta(days=LABEL_DAYS - 1)
            days = {"cut": self.cut}
            con.execute("CREATE SCHEMA raw")
            # Those who buy in the last days and others in turn, so that there are labels of both.
            chosen = shop.sql(
                "SELECT customer_id FROM raw.transactions "
                f"WHERE customer_id NOT IN {_MADE_UP} AND article_id NOT IN {_MADE_UP} "
                "GROUP BY customer_id HAVING min(t_dat) < $cut ORDER BY row_number() OVER "
                "(PARTITION BY max(t_dat) >= $cut ORDER BY hash(customer_id)), customer_id "
                f"LIMIT {rows}",
                params=days,
            ).to_arrow_table()
            if not chosen.num_rows:
                raise InputError(
                    f"Nobody bought before {self.cut}: a leak check needs more than "
                    f"{LABEL_DAYS} days of purchases."
                )
            shop.register("chosen", chosen)
            of_table = {
                table.name: f"SELECT * FROM raw.{table.name} {_of_chosen(table)}"
                for table in READ_TABLES.values()
                if has_table(shop.cursor(), "raw", table.name)
            }
            for name, sql in {**of_table, "loads": "FROM raw.loads"}.items():
                # DuckDB finds the Arrow table by its name.
                found = shop.sql(sql).to_arrow_table()  # noqa: F841
                con.execute(f"CREATE TABLE raw.{name} AS FROM found")
            for table in RAW_TABLES.values():
                # Events are planted also where a shop has none.
                con.execute(table.create)
            con.execute(_ADD_TWINS, days)
            con.execute(_CHOOSE_ROWS, days)
            offsets = ", ".join(f"({number})" for number in PLANTED_DAYS)
            con.execute(_PLANT.format(offsets=offsets), days)
            con.execute(_ADD_EVENTS)
            self.asked = con.execute("FROM asked ORDER BY number").df().drop(columns="number")
            self.week = con.execute(_BOUGHT_IN_WEEK, days).df()

    def _build(self, events: str, also: str) -> None:
        with writing() as con:
            shutil.copy(self._registry, places.home() / "registry.db")
            con.execute(f"ATTACH '{self._folder / 'sample.duckdb'}' AS sample (READ_ONLY)")
            tables = con.execute(
                "SELECT table_name FROM duckdb_tables() "
                "WHERE database_name = 'sample' AND schema_name = 'raw'"
            ).fetchall()
            for (table,) in tables:
                day = _DAYS.get(table)
                kept, more = (
                    sql.format(table=table, day=day).replace("$cut", f"DATE '{self.cut}'")
                    for sql in (events if day else "true", also if day else "")
                )
                con.execute(
                    f"CREATE TABLE raw.{table} AS SELECT * FROM sample.raw.{table} WHERE {kept}"
                )
                if more:
                    con.execute(f"INSERT INTO raw.{table} BY NAME FROM sample.{more}")
            bring(con)


def _is_loaded() -> bool:
    if not places.warehouse_file().exists():
        return False
    with reading() as con:
        try:
            return bool(last_day(con))
        except WarehouseError:
            return False


def _make_up(files: Path, customers: int) -> None:
    from pipelines.data.load import load
    from pipelines.data.synthetic import synthesize

    synthesize(files, customers=max(customers, 50), articles=120, days=150, interactions=60)
    load(str(files))


def _of_chosen(table: RawTable) -> str:
    if table.key == ("article_id",):
        return "SEMI JOIN (SELECT * FROM raw.transactions SEMI JOIN chosen USING (customer_id)) USING (article_id)"
    return "SEMI JOIN chosen USING (customer_id)"


_BOUGHT_BY_TWINS = ", ".join(
    f"('{customer}', '{article}', {number}), ('{_PLAIN[customer]}', '{_PLAIN[article]}', {number})"
    for number, (customer, article) in enumerate(_PAIRS)
)

_ADD_TWINS = f"""
CREATE TABLE bought AS FROM (VALUES {_BOUGHT_BY_TWINS}, {(*_UNDESCRIBED, 2)}) AS twin (customer_id, article_id, number);
INSERT INTO raw.customers BY NAME
SELECT customer_id, 30 + 20 * number AS age, CASE WHEN number < 2 THEN article_id END AS postal_code,
    false AS from_transactions
FROM bought;
INSERT INTO raw.articles BY NAME
SELECT article_id, CASE WHEN number < 2 THEN article_id END AS product_group_name,
    'leak lab ' || number AS colour_group_name,
    false AS from_transactions
FROM bought;
INSERT INTO raw.transactions BY NAME
SELECT $cut - days.days AS t_dat, customer_id, article_id, days.days + 0.5 AS price,
    1 + number AS sales_channel_id, 1 + number AS quantity, now() AT TIME ZONE 'UTC' AS known_at
FROM bought
-- One of them the day before the cut: features of all shops are built up to it, whoever is in the sample.
INNER JOIN (VALUES (0, 40), (0, 20), (0, 3), (1, 55), (1, 2), (2, 9), (2, 1)) AS days (number, days) USING (number)
"""

_CHOOSE_ROWS = f"""
CREATE TABLE asked AS
WITH latest AS (
    SELECT customer_id, arg_max(article_id, (t_dat, article_id)) AS article_id,
        row_number() OVER (ORDER BY hash(customer_id)) AS number
    FROM raw.transactions
    WHERE t_dat < $cut AND customer_id NOT IN {_MADE_UP}
    GROUP BY customer_id
), pairs AS (
    SELECT customer_id, number, CASE WHEN number % 2 = 0 THEN article_id
        ELSE coalesce(lag(article_id) OVER (ORDER BY number), article_id) END AS article_id
    FROM latest
)
SELECT number, customer_id, article_id, postal_code, product_code AS product, product_group_name AS product_group
FROM pairs LEFT JOIN raw.customers USING (customer_id) LEFT JOIN raw.articles USING (article_id)
"""
"""A row for each customer: with the article last bought, or one that another has bought."""

_PLANT = """
INSERT INTO raw.customers BY NAME
SELECT 'leak-lab-' || number AS customer_id, 40 AS age, postal_code, false AS from_transactions FROM asked;
INSERT INTO raw.articles BY NAME
SELECT 'leak-lab-' || number AS article_id, product AS product_code, product_group AS product_group_name,
    false AS from_transactions
FROM asked;
CREATE SCHEMA planted;
CREATE TABLE planted.transactions AS
WITH pairs AS (
    SELECT customer_id, article_id, number FROM asked
    UNION ALL
    SELECT customer_id, lead(article_id, 1, 'leak-lab') OVER (ORDER BY number), number FROM asked
    UNION ALL
    SELECT customer_id, 'leak-lab-' || number, number FROM asked
    UNION ALL
    SELECT 'leak-lab-' || number, article_id, number FROM asked
    UNION ALL
    SELECT 'leak-lab', article_id, number FROM asked
)
SELECT $cut + days AS t_dat, customer_id, article_id,
    CASE WHEN number % 3 = 0 THEN 0.01 ELSE 3 END * (SELECT max(price) FROM raw.transactions) AS price,
    1 + (number + days) % 2 AS sales_channel_id, 1 + number % 5 AS quantity,
    now() AT TIME ZONE 'UTC' AS known_at
FROM pairs CROSS JOIN (VALUES {offsets}) AS offsets (days)
"""
"""Unlike what was there: very dear or very cheap, and also by and of newcomers, with the postal code,
product and product group of each row and with none. Their attributes have no date and are in every shop."""

_ADD_EVENTS = """
CREATE TABLE planted.interactions AS
SELECT CAST(t_dat + 1 AS TIMESTAMP) AS event_time, customer_id, article_id, 'cart' AS kind, known_at
FROM planted.transactions;
INSERT INTO raw.interactions BY NAME
SELECT t_dat AS event_time, customer_id, article_id, 'view' AS kind, known_at
FROM raw.transactions SEMI JOIN bought USING (customer_id)
"""
"""One with each planted purchase, at the moment at which that is known, and views of the twins' own."""

_BOUGHT_IN_WEEK = """
SELECT DISTINCT customer_id, article_id, postal_code, product_code AS product,
    product_group_name AS product_group
FROM raw.transactions INNER JOIN raw.customers USING (customer_id) INNER JOIN raw.articles USING (article_id)
WHERE t_dat >= $cut ORDER BY ALL
"""


# What is checked


@dataclass(frozen=True)
class _View:
    name: str
    keys: frozenset[str]
    on_demand: bool
    takes_moment: bool
    of_ids: frozenset[str]
    """Features that are made of an id itself: others under another name."""


class _Service:
    """A feature service, asked for the sample's rows in any of the small shops."""

    def __init__(self, name: str, shops: _Shops) -> None:
        self.name, self.shops = name, shops
        with shops.registry():
            self.features = list(service_fields(name))
            self._registered = feature_store().get_feature_service(name)
            self.views = [_view(one) for one in self._registered.feature_view_projections]
            request = {
                field
                for view in feature_store().list_on_demand_feature_views()
                if view.name in {one.name for one in self._registered.feature_view_projections}
                for field in view.get_request_data_schema()
            }
        needed = set[str]().union(*(view.keys for view in self.views))
        strange = sorted(needed - set(KEYS)) + sorted(request - {REQUEST_TIME})
        if strange:
            raise FeatureError(
                f"Feature service {name!r} asks for {strange[0]!r}, and the leak lab makes only "
                f"{', '.join(KEYS)} and {REQUEST_TIME}: check other services with --service."
            )
        self.keys = [key for key in KEYS if key in needed]
        self.midnight = pd.Timestamp(moment_of(shops.cut))
        self.day_after = self.midnight + timedelta(days=1)

    def rows(self, *moments: pd.Timestamp, of: pd.DataFrame | None = None) -> pd.DataFrame:
        """The sample's keys (or those given), at each of the moments."""
        keys = (self.shops.asked if of is None else of)[self.keys]
        return pd.concat([keys.assign(**{MOMENT: at}) for at in moments], ignore_index=True)

    def ask(
        self, shop: str, rows: pd.DataFrame, request_time: pd.Series | pd.Timestamp | None = None
    ) -> pd.DataFrame:
        """The features of the rows; with `request_time`, on-demand views are told another moment."""
        with self.shops.open(shop):
            try:
                if request_time is None:
                    return OfflineFeatures().read(rows, self.name)[self.features]
                job = feature_store().get_historical_features(
                    entity_df=rows.assign(**{REQUEST_TIME: request_time}),
                    features=self._registered,
                    full_feature_names=True,
                )
                return job.to_df()[self.features]
            except WarehouseError as error:
                raise FeatureError(
                    f"Feature service {self.name!r} cannot be checked, for the leak lab has only raw, "
                    f"staging and feature tables. {error}"
                ) from error

    @cached_property
    def unseen(self) -> pd.DataFrame:
        """Rows at the first and last moment at which nothing of the day of the cut is known."""
        return self.rows(self.midnight, self.day_after - _TICK)

    @cached_property
    def right(self) -> pd.DataFrame:
        """What `unseen` is answered where nothing later has happened."""
        return self.ask("past", self.unseen)

    @cached_property
    def seen(self) -> list[str]:
        """Features that have a value in some row: of the others nothing can be said."""
        return [name for name in self.features if self.right[name].notna().any()]

    def of_view(self, view: _View) -> list[str]:
        return [name for name in self.features if name.startswith(f"{view.name}__")]

    def compare(
        self, title: str, says: str, rows: pd.DataFrame, right: pd.DataFrame, given: pd.DataFrame
    ) -> Found:
        """Each feature's first row in which `given` is not what is right."""
        found: Found = {}
        for name in self.features:
            wrong = np.flatnonzero(_differ(right[name], given[name]))
            if len(wrong):
                row = rows.iloc[wrong[0]]
                values = right[name].iloc[wrong[0]], given[name].iloc[wrong[0]]
                found[name] = self.leak(title, says, name, *values, row)
            elif name in self.seen:
                found[name] = None
        return found

    def leak(
        self,
        title: str,
        says: str,
        feature: str,
        right: Any,
        given: Any,
        row: pd.Series | None = None,
    ) -> Leak:
        keys, moment = {}, ""
        if row is not None:
            keys = {key: None if pd.isna(row[key]) else row[key] for key in self.keys}
            moment = str(row[MOMENT])
        return Leak(self.name, feature, title, says, keys, moment, _short(right), _short(given))


def _view(projection: Any) -> _View:
    from feast.feature_view import DUMMY_ENTITY_ID

    from feature_repo.views.declare import OF_ID

    store = feature_store()
    on_demand = {view.name: view for view in store.list_on_demand_feature_views()}
    view = on_demand.get(projection.name)
    sources = list(view.source_feature_view_projections.values()) if view else [projection]
    keys = frozenset(
        source.join_key_map.get(key, key)
        for source in sources
        for key in store.get_feature_view(source.name).join_keys
        if key != DUMMY_ENTITY_ID
    )
    takes_moment = view is not None and REQUEST_TIME in view.get_request_data_schema()
    name = projection.name_to_use()
    tagged = {field.name for source in sources for field in source.features if OF_ID in field.tags}
    of_ids = {field.name for field in projection.features} if view and tagged else tagged
    named = frozenset(f"{name}__{feature}" for feature in of_ids)
    return _View(name, keys, view is not None, takes_moment, named)


def _short(value: Any) -> str:
    text = str(list(value) if isinstance(value, np.ndarray) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _differ(one: pd.Series, other: pd.Series) -> np.ndarray:
    """In which rows; the last bits of a number do not count."""
    if all(pd.api.types.is_numeric_dtype(values) for values in (one, other)):
        left, right = (values.astype("float64").to_numpy() for values in (one, other))
        return ~np.isclose(left, right, rtol=1e-9, atol=1e-12, equal_nan=True)
    return np.array([not _same(a, b) for a, b in zip(one, other, strict=True)], dtype=bool)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | np.ndarray) or isinstance(other, list | np.ndarray):
        lists = isinstance(one, list | np.ndarray) and isinstance(other, list | np.ndarray)
        return lists and len(one) == len(other) and all(map(_same, one, other))
    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) and pd.isna(other))
    if isinstance(one, Real) and isinstance(other, Real):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    return bool(one == other)


def _all_of(*parts: Found) -> Found:
    """Features that are right in every part, and the first leak of the others."""
    found: Found = {}
    for part in parts:
        for name, leak in part.items():
            found[name] = found.get(name) or leak
    return found


# The checks


def _future_rows(service: _Service) -> Found:
    given = service.ask("future", service.unseen)
    says = "what comes later changes it"
    return service.compare("future rows", says, service.unseen, service.right, given)


def _same_day(service: _Service) -> Found:
    title = "same day"
    given = service.ask("next day", service.unseen)
    says = "what is known only from the day after changes it"
    found = service.compare(title, says, service.unseen, service.right, given)
    leaks = {name: leak for name, leak in found.items() if leak}

    def moved(moment: pd.Timestamp) -> Found:
        """The features that the purchase changes at a later moment."""
        rows = service.rows(moment)
        before, after = service.ask("past", rows), service.ask("next day", rows)
        says = "a purchase is not seen the day after, but a month later"
        changes = service.compare(title, says, rows, before, after)
        return {name: change for name, change in changes.items() if change}

    seen = moved(service.day_after)
    # If nothing has come through, no purchase matters to this service, or all come late.
    late = {} if seen else moved(service.day_after + timedelta(days=30))
    return dict.fromkeys(seen) | late | leaks


def _labels(service: _Service) -> Found:
    if not service.keys:
        return {}
    rng = np.random.default_rng(0)
    asked, week = service.shops.asked, service.shops.week
    one, other = (asked.iloc[rng.integers(len(asked), size=1000)].reset_index() for _ in range(2))
    drawn = one[["customer_id", "postal_code"]].join(
        other[["article_id", "product", "product_group"]]
    )
    # Those with the label come first, as people have them; what is drawn of them goes.
    rows = pd.concat([week.assign(bought=True), drawn.assign(bought=False)], ignore_index=True)
    rows = rows[[*service.keys, "bought"]].drop_duplicates(service.keys, ignore_index=True)
    bought = rows.pop("bought").to_numpy()
    if min(bought.sum(), (~bought).sum()) < FEWEST_LABELS:
        return {}
    at = {MOMENT: service.midnight}
    real = service.ask("present", rows.assign(**at))
    shuffled = rows.sample(frac=1, random_state=0, ignore_index=True)
    permuted = service.ask("present", shuffled.assign(**at))
    with_, without = int(bought.sum()), int((~bought).sum())
    noise = NOISE * math.sqrt((with_ + without + 1) / (12 * with_ * without))
    found: Found = {}
    for name in service.seen:
        by_chance, auc = _auc(permuted[name], bought), _auc(real[name], bought)
        if auc is None or by_chance is None:
            continue
        found[name] = None
        if abs(by_chance - 0.5) > noise:
            says, right, given = "AUC of labels that belong to other rows", 0.5, by_chance
        elif max(auc, 1 - auc) > TOO_GOOD:
            says = f'AUC of "bought in {LABEL_DAYS} days" with this feature alone'
            right, given = TOO_GOOD, auc
        else:
            continue
        found[name] = service.leak("labels", says, name, right, round(given, 3))
    return found


def _auc(values: pd.Series, bought: np.ndarray) -> float | None:
    """How well the number orders rows with the label above those without; null is the lowest, and
    words have no order."""
    if values.map(lambda value: isinstance(value, str)).any():
        return None
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.astype("int64").where(values.notna())
    values = pd.to_numeric(values, errors="coerce").where(values.notna())
    if values.isna().all():
        return None
    ranks = values.astype("float64").fillna(-np.inf).rank().to_numpy()
    with_, without = int(bought.sum()), int((~bought).sum())
    return float((ranks[bought].sum() - with_ * (with_ + 1) / 2) / (with_ * without))


def _collisions(service: _Service) -> Found:
    customers, articles = (list(names) for names in zip(*_PAIRS, strict=True))
    pairs = pd.DataFrame(
        [(customer, article) for customer in customers for article in articles],
        columns=["customer_id", "article_id"],
    )
    pairs = pairs.assign(
        **dict.fromkeys(("postal_code", "product", "product_group"), pairs["article_id"])
    )
    rows = service.rows(service.midnight, of=pairs)
    twins = service.rows(service.midnight, of=pairs.replace(_PLAIN))
    right, given = service.ask("past", twins), service.ask("past", rows)

    def renamed(value: Any) -> Any:
        if isinstance(value, list | np.ndarray):
            return [renamed(one) for one in value]
        return _PLAIN.get(value, value) if isinstance(value, str) else value

    given = given.apply(lambda column: column.map(renamed) if column.dtype == object else column)
    of_ids = sorted(set().union(*(view.of_ids for view in service.views)))
    given[of_ids] = right[of_ids]
    says = "not what a customer and an article of other names and the same purchases have"
    return service.compare("collisions", says, rows, right, given)


def _duplicates(service: _Service) -> Found:
    title = "duplicates"
    count = len(service.unseen)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(count), 2))
    # Beside rows of another moment, so that what looks at its neighbours is seen.
    later = service.rows(service.day_after + timedelta(days=100))
    asked = pd.concat([service.unseen.iloc[order], later], ignore_index=True)
    given = service.ask("past", asked).iloc[: len(order)].reset_index(drop=True)
    right = service.right.iloc[order].reset_index(drop=True)
    says = "another answer when rows are asked twice, in another order, beside others"
    twice = service.compare(title, says, service.unseen.iloc[order], right, given)
    first = [service.unseen.iloc[[row]] for row in (0, count - 1)]
    alone = pd.concat([service.ask("past", row) for row in first], ignore_index=True)
    both = service.right.iloc[[0, count - 1]].reset_index(drop=True)
    says = "another answer when a row is asked alone"
    single = service.compare(title, says, pd.concat(first), both, alone)
    doubled = service.ask("doubled", service.unseen)
    says = "missing, or not, when every raw row is there twice"
    missing = (frame.isna().astype(object) for frame in (service.right, doubled))
    return _all_of(twice, single, service.compare(title, says, service.unseen, *missing))


def _time_zones(service: _Service) -> Found:
    # Where purchases of the day of the cut are known, so that a day too early or late is another value.
    rows = service.rows(service.midnight, service.day_after - _TICK, service.day_after)
    moments = rows[MOMENT]
    right = service.ask("next day", rows)
    west = moments.dt.tz_convert("America/Los_Angeles")
    spellings: dict[str, tuple[pd.Series, pd.Series | None]] = {
        "written in Tokyo's time": (moments.dt.tz_convert("Asia/Tokyo"), None),
        "written in Los Angeles' time": (west, None),
        "written in UTC without zone": (moments.dt.tz_localize(None), None),
        "written as text with an offset": (
            west.map(lambda at: at.isoformat(timespec="microseconds")),
            moments,
        ),
    }
    return _all_of(
        *(
            service.compare(
                "time zones",
                f"another answer when the same moment is {said}",
                rows,
                right,
                service.ask("next day", rows.assign(**{MOMENT: written}), request_time),
            )
            for said, (written, request_time) in spellings.items()
        )
    )


def _null_keys(service: _Service) -> Found:
    if not service.keys:
        return {}
    some = service.rows(service.midnight).head(10)
    nulls = [some.assign(**{key: None}) for key in service.keys]
    nulls.append(some.assign(**dict.fromkeys(service.keys)))
    rows = pd.concat(nulls, ignore_index=True)
    # An unknown key is what a null should be like; views without functions then have nothing at all.
    unknown = rows[service.keys].fillna(_NOBODY).assign(**{MOMENT: rows[MOMENT]})
    right = service.ask("past", unknown)
    for view in service.views:
        if not view.on_demand:
            null = rows[list(view.keys)].isna().any(axis=1)
            for name in service.of_view(view):
                right[name] = right[name].astype(object).mask(null)
    # Beside rows with keys, whose values must not be given to those without.
    beside = pd.concat([rows, service.unseen], ignore_index=True)
    given = service.ask("past", beside).iloc[: len(rows)]
    only = rows.iloc[-len(some) :]
    says = "a row without a key has a value"
    return _all_of(
        service.compare("null keys", says, rows, right, given),
        service.compare(
            "null keys", says, only, right.iloc[-len(some) :], service.ask("past", only)
        ),
    )


def _clock(service: _Service) -> Found:
    views = [view for view in service.views if view.takes_moment]
    if not views:
        return {}
    rows = service.rows(service.midnight)
    # All else stays as it is, so what differs can only come from the moment that is told.
    later = service.ask("past", rows, service.midnight + timedelta(days=45, hours=7))
    right = service.right.iloc[: len(rows)]
    found: Found = {}
    for view in views:
        names = [name for name in service.of_view(view) if name in service.seen]
        if any(_differ(right[name], later[name]).any() for name in names):
            found |= dict.fromkeys(names)
            continue
        for name in names:
            row = int(right[name].notna().to_numpy().argmax())
            value = right[name].iloc[row]
            says = f"no feature of {view.name} depends on the moment of asking; 45 days later"
            found[name] = service.leak("clock", says, name, value, value, rows.iloc[row])
    return found


CHECKS: dict[str, Callable[[_Service], Found]] = {
    "future rows": _future_rows,
    "same day": _same_day,
    "labels": _labels,
    "collisions": _collisions,
    "duplicates": _duplicates,
    "time zones": _time_zones,
    "null keys": _null_keys,
    "clock": _clock,
}
"""What is checked of each service, in the order of the report; docs/leak-lab.md explains each."""
