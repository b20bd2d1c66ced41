"""The only door to Feast: features as they were at a moment, and as they are online.

Both doors take the same rows (keys) and a feature service, and give the same columns: the keys, then
`view__feature` for every feature of the service. Training and evaluation use `OfflineFeatures`,
serving uses `OnlineFeatures`; the recommender does not know which it has.
"""

import contextlib
import csv
import hashlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, overload

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo import feature_code, moment_features, places
from feature_repo.errors import LookbookError
from feature_repo.feature_sql import definition, meaning
from feature_repo.stores.connection import scratch
from feature_repo.stores.packed_rows import from_microseconds
from pipelines.columns import Coded, Columns, Table, coded, decoded
from pipelines.feature_tables import latest_build
from pipelines.warehouse import reading
from pipelines.warm_rows import KEY as WARM_KEY
from pipelines.warm_rows import WarmRows

if TYPE_CHECKING:
    from feast import FeatureStore

    from feature_repo.stores.lmdb_rows import Snapshot

REPO = Path(places.__file__).parent
MOMENT = "event_timestamp"
REQUEST_TIME = "request_time"
_FLOAT = np.dtype("float64")
KEYS = ("customer_id", "article_id", "postal_code", "product", "product_group")
_GIVEN_BY = {
    "postal_code": ("customer_id", "customer_state", "customer_profile__postal_code"),
    "product": ("article_id", "article_display", "article_profile__product_code"),
    "product_group": ("article_id", "article_display", "article_profile__product_group_name"),
}
"""Keys that are attributes of another key, with a service and its column that show them."""


class FeatureError(LookbookError):
    """Features cannot be given; the text says what to do."""


def moment_of(day: date) -> datetime:
    """The start of a day, at which everything up to the day before is known."""
    return datetime.combine(day, time(), tzinfo=UTC)


class Features(Protocol):
    """Features of rows at one moment."""

    @property
    def moment(self) -> datetime | None:
        """UTC; None if each row has its own, or it is now."""
        ...

    def table(self, columns: Mapping[str, np.ndarray]) -> Table:
        """Rows of the kind that this door reads soonest."""
        ...

    def read(self, rows: Any, service: str) -> Any:
        """One row per row of `rows`, in its order: its columns, then `view__feature`.

        Args:
            rows: a data frame, or of one request `Columns`, and so is what comes back; the warehouse takes data
                frames alone.
        """
        ...


def _quiet_feast() -> None:
    """Import feast (seconds, so only those who need features pay) without its advice.

    It turns its warnings on when it is imported, so ours must come after.
    """
    import feast  # noqa: F401

    warnings.filterwarnings("ignore", category=RuntimeWarning, module="feast")
    logging.getLogger("feast").setLevel(logging.ERROR)


@lru_cache(maxsize=8)
def _open_store(home: Path) -> "FeatureStore":
    _quiet_feast()
    from feast import FeatureStore

    return FeatureStore(repo_path=str(REPO))


def feature_store() -> "FeatureStore":
    """Feast's store of this home."""
    return _open_store(places.home())


def require_service(name: str) -> None:
    """Raise FeatureError if there is no such feature service, before anything long is begun."""
    _service(name)


def _service(name: str) -> Any:
    from feast.errors import FeastObjectNotFoundException, FeatureServiceNotFoundException

    try:
        return feature_store().get_feature_service(name)
    except (FeatureServiceNotFoundException, FeastObjectNotFoundException, FileNotFoundError) as e:
        there = _registered_services()
        raise FeatureError(
            f"Feature service {name!r} is not registered; there are: {', '.join(there)}."
            if there
            else "No feature service is registered: run `feast -c feature_repo apply`."
        ) from e


def _registered_services() -> list[str]:
    try:
        return sorted(service.name for service in feature_store().list_feature_services())
    except FileNotFoundError:
        return []


def service_fields(name: str) -> dict[str, str]:
    """The columns `view__feature` of a service with Feast's type names, in order."""
    return _fields(_service(name))


def _fields(service: Any) -> dict[str, str]:
    return {
        f"{projection.name_to_use()}__{field.name}": str(field.dtype)
        for projection in service.feature_view_projections
        for field in projection.features
    }


def service_schema(name: str) -> pa.Schema:
    """The columns `view__feature` of a service with the Arrow types that are declared, in order."""
    from feast.types import from_feast_to_pyarrow_type

    return pa.schema(
        (f"{projection.name_to_use()}__{field.name}", from_feast_to_pyarrow_type(field.dtype))
        for projection in _service(name).feature_view_projections
        for field in projection.features
    )


def schema_hash(name: str) -> str:
    """A fingerprint of a service's columns, their types and what its views mean: models remember what they were
    trained on. Views that are not in it do not count."""
    return hash_of(service_views(name))


def hash_of(views: Mapping[str, "View"]) -> str:
    """`schema_hash` of a service with these views."""
    meant = json.dumps([[name, view.fields, view.definition] for name, view in views.items()])
    return hashlib.sha256(meant.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class View:
    """What a service takes from a view.

    Attributes:
        fields: its features with Feast's type names.
        definition: a fingerprint of what they mean. Of a view with SQL: its SQL, keys, source, time to live and how
            it takes events; of one with a function: the code and what it is given.
    """

    fields: dict[str, str]
    definition: str


def service_views(name: str) -> dict[str, View]:
    """{view: what the registered service takes from it}, in order."""
    store = feature_store()
    views = [*store.list_feature_views(), *store.list_on_demand_feature_views()]
    return views_of(_service(name), definitions_of(views))


def declared_services() -> dict[str, dict[str, View]]:
    """The same of every service as the code declares it, registered or not."""
    meant = definitions_of(_declared_views())
    services = _declared("feature_view_projections")
    return {service.name: views_of(service, meant) for service in services}


def declared_sources() -> dict[str, dict[str, str]]:
    """{on-demand view: {view that it is given: fingerprint of its definition}}, as the code declares them."""
    meant = definitions_of(_declared_views())
    given = "source_feature_view_projections"
    return {
        view.name: {one.name: meant(one.name) for one in getattr(view, given).values()}
        for view in _declared(given)
    }


def views_of(service: Any, definition_of: Callable[[str], str]) -> dict[str, View]:
    """{view: what Feast's service takes from it}, in order.

    Args:
        definition_of: gives the fingerprint of a view (`definitions_of`).
    """
    found = {}
    for projection in service.feature_view_projections:
        fields = {field.name: str(field.dtype) for field in projection.features}
        meant = definition_of(projection.name)
        if projection.join_key_map:
            meant = _fingerprint([meant, projection.join_key_map])
        found[projection.name_to_use()] = View(fields, meant)
    return found


def definitions_of(views: Iterable[Any]) -> Callable[[str], str]:
    """The fingerprint of any of Feast's views by its name, each computed when it is first asked for."""
    named = {view.name: view for view in views}

    @cache
    def of(name: str) -> str:
        view = named[name]
        computed = hasattr(view, "source_feature_view_projections")
        return _fingerprint(_function(view, of) if computed else _stored(view))

    return of


def _stored(view: Any) -> dict[str, Any]:
    """What a view with SQL means. Feast takes its rows by what is declared, wherever the SQL has put them."""
    from feature_repo.stores.lmdb_online_store import events_of

    source = view.batch_source
    return {
        "sql": definition(view.name),
        "keys": _types(view.entity_columns),
        "ttl": view.ttl.total_seconds() if view.ttl else 0,
        "source": type(source).__name__,
        # What the sources of Feast and of ours say of their rows; each has some of it.
        "rows": {name: meaning(getattr(source, name, None) or "") for name in _OF_SOURCES},
        "mapping": dict(source.field_mapping),
        "events": repr(events_of(view)),
    }


_OF_SOURCES = (
    "table",
    "query",
    "as_of",
    "append",
    "timestamp_field",
    "created_timestamp_column",
    "valid_to_field",
)


def _function(view: Any, definition_of: Callable[[str], str]) -> dict[str, Any]:
    """What an on-demand view means: its code, and what it is given."""
    return {
        "code": feature_code.meaning(view.feature_transformation.udf_string),
        "mode": view.mode,
        # Feast's registry keeps sources in an order of its own.
        "given": {
            source.name: [definition_of(source.name), _types(source.features)]
            for source in view.source_feature_view_projections.values()
        },
        "asked": {
            source.name: _types(source.schema) for source in view.source_request_sources.values()
        },
    }


def _types(fields: Iterable[Any]) -> dict[str, str]:
    return {field.name: str(field.dtype) for field in fields}


def _fingerprint(meant: Any) -> str:
    return hashlib.sha256(json.dumps(meant, sort_keys=True).encode()).hexdigest()[:16]


def _historical(rows: pd.DataFrame, service: Any) -> Any:
    """Feast's job for rows with their moments, which are also what a request's time is taken to be."""
    return feature_store().get_historical_features(
        entity_df=rows.assign(**{REQUEST_TIME: rows[MOMENT]}),
        features=service,
        full_feature_names=True,
    )


class OfflineFeatures:
    """Features from the warehouse as they were known at `moment`, or at each row's own moment.

    Args:
        moment: UTC; None if the rows carry their own in the column `event_timestamp`.
    """

    def __init__(self, moment: datetime | None = None) -> None:
        self.moment = moment

    def table(self, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
        return pd.DataFrame(columns)

    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame:
        wanted = _service(service)
        columns = [*rows.columns, *_fields(wanted)]
        if rows.empty:
            return rows.reindex(columns=columns)
        # To open the warehouse takes as long as a small join: while it is open, Feast finds it so.
        with reading():
            return self._asked(rows, wanted).to_df().set_axis(rows.index)[columns]

    def read_exactly(self, rows: pd.DataFrame, service: str) -> pa.Table:
        """The same without the columns of `rows`, in the types of `service_schema`: pandas has none
        for whole numbers with gaps."""
        schema = service_schema(service)
        if rows.empty:
            return schema.empty_table()
        with reading():
            found = self._asked(rows, _service(service)).to_arrow()
        return found.select(schema.names).cast(schema)

    def _asked(self, rows: pd.DataFrame, service: Any) -> Any:
        moment = rows[MOMENT] if self.moment is None else pd.Timestamp(self.moment)
        return _historical(rows.assign(**{MOMENT: moment}), service)


@dataclass(frozen=True)
class _Read:
    """What a service needs of one view of the online store."""

    view: str
    keys: tuple[str, ...]
    numbers: tuple[str, ...]
    others: tuple[str, ...]
    """Its features that are texts, moments and lists."""
    events: str = ""
    """The list with the moments of its events, the newest first, if it keeps events."""


@dataclass(frozen=True)
class Plan:
    """How a service is read online."""

    fields: dict[str, str]
    reads: tuple[_Read, ...]
    computed: tuple["_Computed", ...]
    """The on-demand views."""


class _Computed(NamedTuple):
    """An on-demand view: it is called `name`, `function` takes and gives columns, and `inputs` are
    (name, column `view__feature`) of what it is made of."""

    name: str
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    inputs: tuple[tuple[str, str], ...]


def plan_of(service: str) -> Plan:
    """How a service is read: planned once for what is registered now.

    Raises:
        FeatureError: there is no such service.
    """
    store = feature_store()
    return _plan(places.home(), service, store.registry.cached_registry_proto.version_id)


@lru_cache(maxsize=64)
def _plan(home: Path, name: str, registry: str) -> Plan:
    """`registry` is the version of what is registered."""
    from feature_repo.stores.lmdb_online_store import events_of

    store, service = feature_store(), _service(name)
    computed = {view.name: view for view in store.list_on_demand_feature_views()}
    wanted: dict[str, dict[str, bool]] = {}
    on_demand = []
    for projection in service.feature_view_projections:
        sources = [projection]
        if projection.name in computed:
            view = computed[projection.name]
            on_demand.append(view)
            sources = view.source_feature_view_projections.values()
        for source in sources:
            wanted.setdefault(source.name, {}).update(
                (f.name, str(f.dtype) in ("Float64", "Int64")) for f in source.features
            )
    reads = []
    for name, features in wanted.items():
        view = store.get_feature_view(name)
        events = events_of(view)
        reads.append(
            _Read(
                name,
                tuple(view.join_keys),
                tuple(feature for feature, is_number in features.items() if is_number),
                tuple(feature for feature, is_number in features.items() if not is_number),
                events.order[0] if events and events.order[0] in features else "",
            )
        )
    return Plan(_fields(service), tuple(reads), tuple(map(_computed_view, on_demand)))


class OnlineFeatures:
    """Features from the online store, as they are now: all views at the same state of the store.

    One request uses one of these. Its moment is never earlier than an event that it has seen: a
    customer who has just clicked is asked about after the click.

    Args:
        moment: what the request's time is taken to be; the clock if None. Made-up and past shops
            are asked at the end of their data, so that "days since" means what it did in training.
        warm: what is held of the store in memory, if anything is (`warm_rows`).
        given: {view__feature: what the request says of it}, where the store says nothing.
    """

    def __init__(
        self,
        moment: datetime | None = None,
        warm: WarmRows | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.moment = moment
        self.warm = warm
        self.given = given or {}

    def table(self, columns: Mapping[str, np.ndarray]) -> Columns:
        return Columns(columns)

    def at(self, moment: datetime) -> "OnlineFeatures":
        """The same for another request."""
        return OnlineFeatures(moment, self.warm, self.given)

    @overload
    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame: ...

    @overload
    def read(self, rows: Columns, service: str) -> Columns: ...

    def read(self, rows: Table, service: str) -> Table:
        from feature_repo.stores.lmdb_online_store import LMDBOnlineStoreConfig

        store, plan = feature_store(), plan_of(service)
        if rows.empty:
            if isinstance(rows, Columns):
                return rows.assign(**dict.fromkeys(plan.fields, np.array([], dtype=object)))
            return rows.reindex(columns=[*rows.columns, *plan.fields])
        for read in plan.reads:
            missing = [key for key in read.keys if key not in rows]
            if missing:
                raise FeatureError(f"View {read.view!r} is by {missing[0]}: the rows must have it.")
        ours = isinstance(store.config.online_store, LMDBOnlineStoreConfig)
        columns = _read_rows(rows, plan, self.warm) if ours else _read_through_feast(rows, plan)
        for name, value in self.given.items():
            if name in columns:
                column = decoded(columns[name])
                columns[name] = np.where(pd.isna(column), value, column)
        moment = max([self.moment or datetime.now(UTC), *_newest_events(columns, plan)])
        self.moment = moment if self.moment else None
        columns |= computed(plan, columns, moment, len(rows))
        if isinstance(rows, Columns):
            typed = {name: _as_column(columns[name], kind) for name, kind in plan.fields.items()}
            return rows.assign(**typed)
        plain = {name: decoded(columns[name]) for name in plan.fields}
        found = {name: _typed(plain[name], kind) for name, kind in plan.fields.items()}
        return pd.concat([rows, pd.DataFrame(found, rows.index)], axis=1)


def computed(plan: Plan, columns: Mapping[str, Any], moment: datetime, size: int) -> dict[str, Any]:
    """{view__feature: values (R,)} of the plan's on-demand views, as of one moment.

    Args:
        columns: {view__feature: values} of all that they are made of.
        size: R.
    """
    found: dict[str, Any] = {}
    now = np.full(size, np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us"))
    for view, function, sources in plan.computed:
        made = function({REQUEST_TIME: now} | {name: columns[column] for name, column in sources})
        found |= {f"{view}__{name}": made[name] for name in made}
    return found


def _computed_view(view: Any) -> _Computed:
    """An on-demand view of Feast's, with its function of `moment_features` if it has one: Feast's own takes a
    data frame, which costs more than what is computed."""

    def function(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        ours = getattr(moment_features, view.name, None)
        if (
            ours is not None
            and f"moment_features.{view.name}(" in view.feature_transformation.udf_string
        ):
            return ours(inputs)
        plain = {name: decoded(values) for name, values in inputs.items()}
        made = view.feature_transformation.udf(pd.DataFrame(plain))
        return {name: made[name] for name in made}

    sources = view.source_feature_view_projections.values()
    inputs = ((f.name, f"{source.name}__{f.name}") for source in sources for f in source.features)
    return _Computed(view.name, function, tuple(inputs))


def stored_reads(
    service: str,
) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """(view, its name in our online store, its numbers, its other features) of what a service reads by article."""
    from feature_repo.stores.lmdb_online_store import view_name

    project = feature_store().config.project
    return [
        (read.view, view_name(project, read.view), read.numbers, read.others)
        for read in plan_of(service).reads
        if read.keys == (WARM_KEY,)
    ]


def warm_up(warm: WarmRows, services: Iterable[str]) -> None:
    """Hold in memory what these services read of articles, as far as it is not held as it is now.

    Raises:
        OnlineStoreError: the store cannot be read.
    """
    from feature_repo.stores.lmdb_online_store import LMDBOnlineStoreConfig, online_rows

    config = feature_store().config
    if not isinstance(config.online_store, LMDBOnlineStoreConfig):
        return
    for _, name, numbers, others in [
        read for service in services for read in stored_reads(service)
    ]:
        # A snapshot for each, as one that is open for long keeps pages from being used again.
        with online_rows(config).reading(name) as snapshot:
            warm.fill(snapshot, name, numbers, others)


def _read_rows(rows: Table, plan: Plan, warm: WarmRows | None = None) -> dict[str, Any]:
    """{view__feature: values} of what our online store holds: numbers as float64."""
    from feature_repo.stores.lmdb_online_store import online_rows, view_name

    config = feature_store().config
    names = {read.view: view_name(config.project, read.view) for read in plan.reads}
    columns: dict[str, Any] = {}
    places = None
    if warm is not None and WARM_KEY in rows:
        places = warm.places(rows)
    with online_rows(config).reading(*names.values()) as snapshot:
        for read in plan.reads:
            if warm is not None and places is not None and read.keys == (WARM_KEY,):
                held = warm.read(snapshot, names[read.view], read.numbers, read.others, places)
                if held is not None:
                    columns |= zip(
                        (f"{read.view}__{n}" for n in read.numbers), held[0], strict=True
                    )
                    columns |= {f"{read.view}__{name}": of for name, of in held[1].items()}
                    continue
            if (own := _own_rows(snapshot, names[read.view], rows, read)) is not None:
                columns |= {f"{read.view}__{name}": values for name, values in own.items()}
                continue
            keys, places_of = _distinct(rows, read.keys)
            matrix = snapshot.read_matrix(names[read.view], keys, read.numbers)
            # One array for all numbers of a view: pandas takes its time over every column.
            if len(matrix) == 1:
                numbers = np.broadcast_to(matrix.values.T, (len(read.numbers), len(rows)))
            else:
                numbers = matrix.values.T[:, places_of]
            columns |= zip((f"{read.view}__{n}" for n in read.numbers), numbers, strict=True)
            for name in read.others:
                values = matrix.objects(name)
                one_key = len(matrix) == 1 and values.dtype == object and len(rows) > 1
                columns[f"{read.view}__{name}"] = (
                    Coded.of(values, places_of) if one_key else values[places_of]
                )
    return columns


def _own_rows(
    snapshot: "Snapshot", view: str, rows: Table, read: _Read
) -> dict[str, np.ndarray] | None:
    """A view by one customer and many articles: {feature: values (R,)}, of which few are there; None if it is no such
    read, or looking up each pair is quicker."""
    if len(read.keys) != 2:
        return None
    one, many = (coded(rows, key) for key in read.keys)
    if one is None or many is None or not one.is_one or one.names[0] is None:
        return None
    found = snapshot.beginning_with(view, read.keys[0], str(one.names[0]), len(rows))
    if found is None:
        return None
    wanted = rows[read.keys[1]].tolist()
    hits = [place for place, text in enumerate(wanted) if text and text.encode() in found]
    matrix = snapshot.matrix_of(view, read.numbers, [found[wanted[hit].encode()] for hit in hits])
    columns: dict[str, np.ndarray] = {}
    for name, values in zip(read.numbers, matrix.values.T, strict=True):
        columns[name] = np.full(len(wanted), np.nan)
        columns[name][hits] = values
    for name in read.others:
        values = matrix.objects(name)
        moments = values.dtype.kind == "M"
        missing = np.datetime64("NaT", "us") if moments else None
        columns[name] = np.full(len(wanted), missing, values.dtype if moments else object)
        columns[name][hits] = values
    return columns


def _read_through_feast(rows: Table, plan: Plan) -> dict[str, Any]:
    """The same of an online store of Feast's, such as Redis, value by value."""
    columns: dict[str, Any] = {}
    for read in plan.reads:
        # Feast has no null keys; an empty one is not found, which is the same answer.
        given = {name: map(_key, rows[name]) for name in read.keys}
        keys = {name: ["" if k is None else str(k) for k in of] for name, of in given.items()}
        references = [f"{read.view}:{name}" for name in (*read.numbers, *read.others)]
        found = feature_store().get_online_features(references, keys).to_dict()
        for name in read.numbers:
            columns[f"{read.view}__{name}"] = np.array(found[name], dtype="float64")
        for name in read.others:
            values = np.empty(len(rows), dtype=object)
            values[:] = [np.array(v) if isinstance(v, list) else v for v in found[name]]
            columns[f"{read.view}__{name}"] = values
    return columns


def _newest_events(columns: dict[str, Any], plan: Plan) -> list[datetime]:
    """The newest event of each row that has any."""
    found = [columns[f"{read.view}__{read.events}"] for read in plan.reads if read.events]
    lists = [values.names if isinstance(values, Coded) else values for values in found]
    return [
        from_microseconds(int(moments[0]))
        for of_rows in lists
        for moments in of_rows
        if moments is not None and len(moments)
    ]


def _typed(values: Any, kind: str) -> Any:
    """Numbers as float64, for whole numbers may have gaps, and moments in UTC."""
    if kind in ("Float64", "Int64"):
        if isinstance(values, np.ndarray):
            return values.astype("float64", copy=False)
        return values.to_numpy(dtype="float64", na_value=np.nan)
    if kind == "UnixTimestamp":
        return pd.to_datetime(values, utc=True).as_unit("us")
    return values


def _as_column(values: Any, kind: str) -> np.ndarray | Coded:
    """The same without what only pandas has: moments are UTC without a zone."""
    if isinstance(values, Coded) or (type(values) is np.ndarray and values.dtype == _FLOAT):
        return values
    if kind == "UnixTimestamp" and isinstance(values, np.ndarray):
        return values
    return np.asarray(_typed(values, kind))


def _distinct(rows: Table, keys: tuple[str, ...]) -> tuple[dict[str, list[Any]], np.ndarray]:
    """The values of the keys, each combination once, and for each row its place among them."""
    known = coded(rows, keys[0]) if len(keys) == 1 else None
    if known is not None and known.is_one:
        return {keys[0]: [_key(known.names[0])]}, known.codes
    if len(keys) == 1:
        places_of, found = pd.factorize(rows[keys[0]], use_na_sentinel=False)
        return {keys[0]: list(map(_key, found))}, places_of
    return {name: list(map(_key, rows[name])) for name in keys}, np.arange(len(rows))


def _key(value: Any) -> Any:
    """None for every way in which pandas says that there is no key."""
    return None if value is None or value != value else value


def require_built(moment: datetime) -> None:
    """Refuse a moment at which the feature tables, built day by day, are out of date.

    Raises:
        FeatureError: it lies a day or more after the end of the last day built.
    """
    end = moment_of(latest_build().end)
    if moment >= end + timedelta(days=1):
        raise FeatureError(
            f"Features are built up to {end:%Y-%m-%d} 00:00 UTC, and {moment:%Y-%m-%d %H:%M} is later: "
            "give an earlier moment, or load later purchases and run `lookbook features build`."
        )


@dataclass(frozen=True)
class Joined:
    """What a join wrote, and how many rows asked for a key that the shop does not have."""

    rows: int
    columns: list[str]
    unknown: dict[str, tuple[int, str]]
    """{key column: (rows, an example)}."""
    empty: dict[str, int]
    """{key column: rows without it}."""


def join(rows: pd.DataFrame, service: str, out: Path) -> Joined:
    """Features of rows at their own moments as a Parquet file, for analysts.

    A service that needs a postal code or product group gets that of the customer or the article, where
    the rows do not bring one.

    Args:
        rows: keys as text and `event_timestamp` (UTC).
        out: the file, with the columns of the rows and then `view__feature`, in its declared type.

    Raises:
        FeatureError: a moment lies after the feature tables, or the service is unknown.
        InputError: a key of the service is missing.
    """
    require_built(rows[MOMENT].max().to_pydatetime())
    wanted = rows
    for name, (key, giver, column) in _GIVEN_BY.items():
        if name not in rows and key in rows:
            profiles = OfflineFeatures().read(rows[[key, MOMENT]], giver)
            wanted = wanted.assign(**{name: profiles[column]})
    registered = _service(service)
    columns = [*rows.columns, *_fields(registered)]
    count = _historical(wanted, registered).to_parquet(out, columns)
    unknown, empty = {}, {}
    with reading() as con:
        for key, table in (("customer_id", "customers"), ("article_id", "articles")):
            if key in rows:
                none = rows[key].isna() | rows[key].eq("")
                if none.any():
                    empty[key] = int(none.sum())
                asked = pd.DataFrame({key: rows[key][~none].unique()}, dtype=object)
                con.register("asked", asked)
                strange = con.execute(
                    f"SELECT {key} FROM asked ANTI JOIN staging.{table} USING ({key}) ORDER BY ALL"
                ).fetchall()
                if strange:
                    names = {row[0] for row in strange}
                    unknown[key] = (int(rows[key].isin(names).sum()), strange[0][0])
    return Joined(count, columns, unknown, empty)


def declared_features() -> dict[str, dict[str, str]]:
    """{view: {feature: type}} of everything that is declared."""
    return {
        view.name: {field.name: str(field.dtype) for field in view.features}
        for view in _declared_views()
    }


def _declared_views() -> list[Any]:
    return sorted(_declared("projection"), key=lambda view: view.name)


def _declared(attribute: str) -> list[Any]:
    """Everything in definitions.py that has the attribute: views have a projection, services several."""
    _quiet_feast()
    from feature_repo import definitions

    declared = (getattr(definitions, name) for name in definitions.__all__)
    return [found for found in declared if hasattr(found, attribute)]


def catalogue() -> str:
    """Every view and on-demand view that is declared, as Markdown: the page docs/features.md."""
    lines = [
        "# Features",
        "",
        "Every view with its features: the output of `lookbook features list`, and a test holds this",
        "page to the declarations. A model sees a feature as `view__feature`.",
        "",
    ]
    for view in _declared_views():
        grain = view.tags.get("grain")
        lines += [f"## {view.name}", "", view.description, ""]
        if grain:
            lines += [f"One history for each {grain}; changes {view.tags['changes']}.", ""]
        lines += ["| feature | type | unit | |", "|---|---|---|---|"]
        lines += [
            f"| `{field.name}` | {field.dtype} | {field.tags.get('unit', '')} | {field.description} |"
            for field in view.features
        ]
        lines.append("")
    services = _declared("feature_view_projections")
    lines += ["## Feature services", "", "| service | |", "|---|---|"]
    lines += [f"| `{found.name}` | {found.description} |" for found in services]
    return "\n".join(lines) + "\n"


def read_entities(file: Path, moment: str = MOMENT) -> pd.DataFrame:
    """Rows with keys and moments, from CSV or Parquet: keys as text and moments in UTC.

    Args:
        moment: the column with the moments.

    Raises:
        FeatureError: the file cannot be read, has no such column, or one is not a moment.
    """
    if (suffix := file.suffix.lower()) not in (".csv", ".parquet"):
        raise FeatureError(f"{file}: rows are read from a .csv or a .parquet file.")
    reader = "read_parquet($file)"
    given: dict[str, Any] = {"file": str(file)}
    if suffix == ".csv":
        reader = (
            "read_csv($file, auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', "
            "columns = $columns)"
        )
        given["columns"] = dict.fromkeys(_header(file), "VARCHAR")
    try:
        with scratch() as con:
            rows = con.execute(f"SELECT * FROM {reader}", given).df()
    except duckdb.Error as error:
        what = "Parquet" if suffix == ".parquet" else "CSV"
        said = "; ".join(
            line for line in str(error).splitlines()[:3] if line[:4] not in ("", "LINE")
        )
        raise FeatureError(f"{file} cannot be read as {what}: {said}") from error
    if moment not in rows:
        raise FeatureError(
            f"{file} has no column {moment}: add the moment (UTC) of each row. "
            f"It has: {', '.join(rows.columns)}."
        )
    moments = pd.to_datetime(rows[moment], utc=True, errors="coerce", format="ISO8601")
    if moments.isna().any():
        row = int(moments.isna().to_numpy().argmax())
        raise FeatureError(
            f"{file}, row {row + 1}: {moment} is {rows[moment].iloc[row] or 'empty'!r}; write it as 2020-09-16 "
            "or 2020-09-16T12:00:00."
        )
    for name in KEYS:
        if name in rows and not pd.api.types.is_string_dtype(rows[name].dropna().astype(object)):
            raise FeatureError(
                f"{file}: {name} does not hold text, and ids are text with leading zeros: write the "
                "column as text."
            )
    return rows.assign(**{moment: moments})


def _header(file: Path) -> list[str]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            names = next(csv.reader(lines), [])
    except UnicodeDecodeError as error:
        raise FeatureError(f"{file} is not UTF-8: save it so.") from error
    if twice := [name for name in names if names.count(name) > 1]:
        raise FeatureError(f"{file} has two columns {twice[0]!r}: rename one.")
    if not names:
        raise FeatureError(f"{file} is empty: its first line must name the columns.")
    return names


def apply() -> None:
    """`feast apply`: register what definitions.py declares."""
    _quiet_feast()
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    # Feast imports definitions.py by its bare name from the folder it changes into.
    before = Path.cwd()
    sys.path.insert(0, str(REPO))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            apply_total(load_repo_config(REPO, REPO / "feature_store.yaml"), REPO, True)
    finally:
        sys.path.remove(str(REPO))
        sys.modules.pop("definitions", None)
        os.chdir(before)
    _open_store.cache_clear()
