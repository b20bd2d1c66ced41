"""Feast's online store over packed rows in LMDB (see `lmdb_rows` and `packed_rows`).

Differences from Feast's SQLite store: the time to live is honoured, an older event never replaces a
newer one, a batch is seen whole or not at all, rows take a tenth of the space, and `read_matrix` gives
the features of hundreds of keys as one array, without a protobuf for each value.

A view with the tag `online: append` keeps events in lists that go together by position: what is written
to it is added to those that are there, in the order of the lists that the tag `order` names, the greatest
first, each event once; the tag `keep` says how many stay.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from feast import Entity, FeatureView
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.type_map import PROTO_VALUE_TO_VALUE_TYPE_MAP, VALUE_TYPE_TO_PROTO_VALUE_MAP
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.stores.duckdb_source import DuckDBSource
from feature_repo.stores.lmdb_environment import DamagedStoreError, is_there
from feature_repo.stores.lmdb_rows import (
    MAP_SIZE,
    Keys,
    OnlineRows,
    Snapshot,
    Transaction,
    View,
    encode_keys,
    headers,
    newer,
    newest_first,
)
from feature_repo.stores.packed_rows import (
    EXPIRED,
    MISSING,
    PRESENT,
    Matrix,
    arrow_type,
    from_microseconds,
    is_message,
    pack,
    to_microseconds,
)

Row = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]

_STATUS = {
    PRESENT: FieldStatus.PRESENT,
    MISSING: FieldStatus.NOT_FOUND,
    EXPIRED: FieldStatus.OUTSIDE_MAX_AGE,
}


class LMDBOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in `feature_store.yaml`."""

    type: Literal["feature_repo.stores.lmdb_online_store.LMDBOnlineStore"] = (
        "feature_repo.stores.lmdb_online_store.LMDBOnlineStore"
    )
    path: str = "online"
    """The folder; a relative path is below LOOKBOOK_HOME."""
    map_size: int = MAP_SIZE
    """Bytes of address space (not of disk) to begin with; it grows by itself."""


def view_name(project: str, view: str) -> str:
    """What the rows of a project's view are kept under."""
    return f"{project}/{view}"


def online_rows(config: RepoConfig) -> OnlineRows:
    """The rows that a Feast configuration's online store keeps; they need no Feast to be read."""
    settings = config.online_store
    return _rows_at(os.environ.get("LOOKBOOK_HOME"), settings.path, settings.map_size)


@lru_cache(maxsize=64)
def _rows_at(home: str | None, path: str, map_size: int) -> OnlineRows:
    return OnlineRows(places.resolve(path), map_size)


class LMDBOnlineStore(OnlineStore):
    """See the module."""

    def read_matrix(
        self,
        config: RepoConfig,
        view: FeatureView | str,
        keys: Keys,
        features: Sequence[str] | None = None,
        now: datetime | None = None,
    ) -> Matrix:
        """Features of many keys, as one matrix.

        Args:
            view: the view or its name.
            keys: of a view with one key its values; else {join key: values}.
            features: all of the view if None.
            now: against which the time to live counts; the clock if None.

        Returns:
            a row for each key, in their order. `.values` is float64 (keys, features) with NaN where
            there is no value, `.status` says which keys are PRESENT, MISSING or EXPIRED, and
            `.column(name)` gives one feature in its own type: texts, lists and moments too.

        Raises:
            OnlineStoreError: nothing was ever applied, or the store is damaged.
            InputError: the view has no such key or feature.
        """
        name = view_name(config.project, view if isinstance(view, str) else view.name)
        at = None if now is None else to_microseconds(now)
        return online_rows(config).read_matrix(name, keys, features, at)

    # What Feast calls

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        def change(store: Transaction) -> None:
            for view in tables_to_delete:
                store.forget(view_name(config.project, view.name))
            for view in tables_to_keep:
                declare(store, config.project, view)

        online_rows(config).write(change)

    def teardown(
        self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]
    ) -> None:
        rows = online_rows(config)

        def change(store: Transaction) -> bool:
            views = store.views()
            ours = [name for name in views if name.startswith(view_name(config.project, ""))]
            for name in ours:
                store.forget(name)
            return len(ours) == len(views)

        try:
            whole = not is_there(rows.folder) or rows.write(change)
        except DamagedStoreError:
            whole = True
        if whole:
            rows.remove()

    def clear(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Take all rows of the views out; who reads meanwhile sees all of them or none."""

        def change(store: Transaction) -> None:
            for view in views:
                store.clear(view_name(config.project, view.name))

        online_rows(config).write(change)

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[Row],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows, all or none of them. A row stays if what is there is of a newer event, or of the
        same and was created later.

        Raises:
            InputError: a value is not of its feature's type.
            OnlineStoreError: the store cannot be written.
        """
        name, events = view_name(config.project, table.name), events_of(table)

        def change(store: Transaction) -> None:
            view = store.find(name) or declare(store, config.project, table, data)
            for keys, packed in _packed(view, data, each_once=events is None) if data else ():
                if events is None:
                    store.put(view, keys, packed, newer)
                else:
                    store.put(view, keys, appended(store, view, keys, packed, events))

        online_rows(config).write(change)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKeyProto],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, ValueProto] | None]]:
        """The event time and values of each key; (None, None) for one that has no row or an expired one."""
        if not entity_keys:
            return []
        matrix = self._read(config, table, _columns_of(entity_keys), requested_features)
        if matrix is None:
            return [(None, None)] * len(entity_keys)
        values = {name: _protos(matrix, name) for name in matrix.features}
        found: list[tuple[datetime | None, dict[str, ValueProto] | None]] = []
        for row, (status, time) in enumerate(
            zip(matrix.status.tolist(), matrix.event_times.tolist(), strict=True)
        ):
            if status == PRESENT:
                found.append(
                    (from_microseconds(time), {name: values[name][row] for name in values})
                )
            else:
                found.append((None, None))
        return found

    def _read(
        self, config: RepoConfig, table: FeatureView, keys: Keys, features: Sequence[str] | None
    ) -> Matrix | None:
        """None if nothing was ever written. Features that the store does not know yet are left out."""
        name = view_name(config.project, table.name)

        def look(snapshot: Snapshot) -> Matrix | None:
            known = snapshot.find(name)
            if known is None:
                return None
            there = known.schema.slots
            asked = [f for f in (there if features is None else features) if f in there]
            return snapshot.read_matrix(name, keys, asked)

        return online_rows(config).read(look, name)

    def _read_features_per_fv(
        self,
        config: RepoConfig,
        grouped_refs: list[Any],
        join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str],
        online_features_response: GetOnlineFeaturesResponse,
        full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:
        """As in Feast, but a view's keys are read at once and become columns, and a value that has
        expired says so."""
        for table, requested in grouped_refs:
            keys = _join_key_columns(table, join_key_values, entity_name_to_join_key_map)
            matrix = self._read(config, table, keys, requested)
            rows = len(next(iter(keys.values()), []))
            shown = table.projection.name_to_use()
            metadata = online_features_response.metadata
            metadata.feature_names.val.extend(
                f"{shown}__{name}" if full_feature_names else name for name in requested
            )
            if include_feature_view_version_metadata:
                alias = table.projection.name_alias or table.projection.name
                if alias not in [found.name for found in metadata.feature_view_metadata]:
                    found = metadata.feature_view_metadata.add()
                    found.name = alias
                    found.version = getattr(table, "current_version_number", 0) or 0
            nothing = [ValueProto()] * rows
            if matrix is None:
                statuses, times = [FieldStatus.NOT_FOUND] * rows, [Timestamp()] * rows
            else:
                statuses = [_STATUS[status] for status in matrix.status.tolist()]
                times = [
                    Timestamp()
                    if status == MISSING
                    else Timestamp(seconds=time // 1_000_000, nanos=time % 1_000_000 * 1000)
                    for status, time in zip(
                        matrix.status.tolist(), matrix.event_times.tolist(), strict=True
                    )
                ]
            for name in requested:
                there = matrix is not None and name in matrix.schema.slots
                online_features_response.results.append(
                    GetOnlineFeaturesResponse.FeatureVector(
                        values=_protos(matrix, name) if matrix is not None and there else nothing,
                        statuses=statuses if there else [FieldStatus.NOT_FOUND] * rows,
                        event_timestamps=times,
                    )
                )


# Views


def declared(view: FeatureView) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """The keys of a Feast view and its features, in its order, with the names of their types."""
    keys = [
        (column.name, column.dtype.to_value_type().name)
        for column in getattr(view, "entity_columns", [])
    ]
    features = [(field.name, field.dtype.to_value_type().name) for field in view.features]
    return tuple(keys), tuple(features)


def declare(store: Transaction, project: str, view: FeatureView, data: Sequence[Row] = ()) -> View:
    """Let the store know a view as Feast has it.

    Args:
        data: rows that are to be written, for the keys of a view that declares none.
    """
    events_of(view)
    keys, features = declared(view)
    if data and {name for name, _ in keys} != set(data[0][0].join_keys):
        # Feast's own views of precomputed vectors declare no keys.
        key = data[0][0]
        keys = tuple(
            (name, PROTO_VALUE_TO_VALUE_TYPE_MAP[value.WhichOneof("val")].name)
            for name, value in zip(key.join_keys, key.entity_values, strict=True)
        )
    if not keys:
        keys = ((DUMMY_ENTITY_ID, ValueType.STRING.name),)
    ttl = getattr(view, "ttl", None) or None
    return store.declare(view_name(project, view.name), keys, features, ttl)


@dataclass(frozen=True)
class Events:
    """How a view of events keeps them."""

    keep: int
    order: tuple[str, ...]
    """The lists by which events are sorted, that of their moments (microseconds since 1970) first."""


def events_of(view: FeatureView) -> Events | None:
    """None if what is written to the view replaces what is there.

    Raises:
        InputError: its tags do not say how many events to keep, in which order.
    """
    tags = getattr(view, "tags", None) or {}
    if tags.get("online") != "append":
        return None
    order = tuple(tags.get("order", "").split())
    kinds = {field.name: field.dtype.to_value_type().name for field in view.features}
    if (
        not tags.get("keep", "").isdigit()
        or not order
        or any(not kinds.get(name, "").endswith("_LIST") for name in [*order, *kinds])
        or kinds[order[0]] != "INT64_LIST"
        or (isinstance(view.batch_source, DuckDBSource) and not view.batch_source.is_state)
    ):
        raise InputError(
            f"View {view.name!r} has the tag online: append, so all its features must be lists, the tag "
            "keep a number, the tag order names of its lists, first one of Int64 with the moments, and its "
            "source must give the lists as of any moment (valid_to_field or as_of)."
        )
    return Events(int(tags["keep"]), order)


# Rows from and to Feast's messages


def _columns_of(keys: Sequence[EntityKeyProto]) -> dict[str, list[Any]]:
    if not keys:
        return {}
    names = list(keys[0].join_keys)
    return {name: [_plain(key.entity_values[at]) for key in keys] for at, name in enumerate(names)}


def _plain(value: ValueProto) -> Any:
    kind = value.WhichOneof("val")
    return None if kind is None else getattr(value, kind)


def _join_key_columns(
    table: FeatureView, values: Mapping[str, Any], join_keys: Mapping[str, str]
) -> dict[str, list[Any]]:
    """The view's keys among the values that were given, where a projection may have renamed them.

    Raises:
        KeyError: a key is missing (as in Feast).
    """
    renamed = table.projection.join_key_map or {}
    columns = {}
    for column in table.entity_columns:
        given = renamed.get(column.name, join_keys.get(column.name, column.name))
        if given not in values:
            raise KeyError(
                f"Missing join key values for keys: {[given]}. Provided join_key_values: {list(values)}"
            )
        columns[column.name] = [_plain(value) for value in values[given]]
    return columns


def _packed(
    view: View, data: Sequence[Row], each_once: bool
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Encoded keys, each once, and their packed rows.

    Args:
        each_once: of several rows for one key only the newest; else the others follow.
    """
    events = np.array([to_microseconds(row[2]) for row in data], dtype=np.int64)
    created = np.array([to_microseconds(row[3]) for row in data], dtype=np.int64)
    keys = encode_keys(view, _columns_of([row[0] for row in data]))
    columns = {
        name: _column([row[1].get(name) for row in data], name, kind)
        for name, kind in view.schema.features
    }
    packed = pack(view.schema, pa.table(columns), events, created)
    if None in keys:
        raise InputError(f"View {view.name!r}: a row has no key.")
    rows = newest_first([key for key in keys if key is not None], packed)
    yield list(rows), [of_key[0] for of_key in rows.values()]
    while not each_once and (
        rows := {key: of_key[1:] for key, of_key in rows.items() if len(of_key) > 1}
    ):
        yield list(rows), [of_key[0] for of_key in rows.values()]


def _column(values: Sequence[ValueProto | None], name: str, kind: str) -> pa.Array:
    wanted = arrow_type(kind)
    if is_message(kind):
        return pa.array(
            [
                None
                if value is None or value.WhichOneof("val") is None
                else value.SerializeToString()
                for value in values
            ],
            wanted,
        )
    field = VALUE_TYPE_TO_PROTO_VALUE_MAP.get(ValueType[kind], "bytes_val")
    plain: list[Any] = []
    for value in values:
        there = None if value is None else value.WhichOneof("val")
        if value is None or there is None:
            plain.append(None)
        elif kind.endswith("_LIST"):
            plain.append(list(getattr(value, there).val))
        else:
            plain.append(getattr(value, there))
        if there not in (None, field):
            raise InputError(f"Feature {name!r} must be {kind}, and a row has a {there}.")
    if "UNIX_TIMESTAMP" in kind:
        # Feast's messages carry whole seconds.
        seconds = pa.timestamp("s", "UTC")
        made = pa.array(plain, pa.list_(pa.int64()) if kind.endswith("_LIST") else pa.int64())
        return made.cast(pa.list_(seconds) if kind.endswith("_LIST") else seconds).cast(wanted)
    return pa.array(plain, wanted)


def _protos(matrix: Matrix, name: str) -> list[ValueProto]:
    """A feature's values as Feast's messages; an empty one where there is none."""
    kind = matrix.schema.types[name]
    values = matrix.column(name)
    if is_message(kind):
        return [
            ValueProto() if value is None else ValueProto.FromString(value)
            for value in values.to_pylist()
        ]
    field = VALUE_TYPE_TO_PROTO_VALUE_MAP.get(ValueType[kind], "bytes_val")
    if "UNIX_TIMESTAMP" in kind:
        of = pa.int64()
        values = values.cast(pa.list_(of) if kind.endswith("_LIST") else of)
    plain = values.to_pylist()
    if kind == "UNIX_TIMESTAMP":
        plain = [value if value is None else value // 1_000_000 for value in plain]
    if kind == "UNIX_TIMESTAMP_LIST":
        plain = [v if v is None else [moment // 1_000_000 for moment in v] for v in plain]
    if kind.endswith("_LIST"):
        message = type(getattr(ValueProto(), field))
        plain = [value if value is None else message(val=value) for value in plain]
    empty = ValueProto()
    return [empty if value is None else ValueProto(**{field: value}) for value in plain]


# Events


def appended(
    store: Transaction,
    view: View,
    keys: Sequence[bytes],
    packed: Sequence[bytes],
    events: Events,
    since: int | None = None,
) -> list[bytes]:
    """The rows of a view of events with what is there already.

    Args:
        keys: encoded, each once.
        packed: rows with the events that are new.
        since: only what is later than this moment counts of what is there (microseconds since 1970);
            all if None.
    """
    found, there = list(packed), store.rows(view, keys)
    at = list(range(len(found)))
    if since is not None:
        at = [row for row in at if (old := there[row]) and headers([old])[0, 0] > since]
    if not at:
        return found
    names = [*events.order, *(name for name in view.schema.slots if name not in events.order)]
    of_rows = [
        Matrix.of_rows(view.by_number, view.schema, tuple(names), [rows[n] for n in at], None, 0)
        for rows in (there, packed)
    ]
    merged: list[list[tuple[Any, ...]]] = []
    for lists in zip(*(m.column(name).to_pylist() for m in of_rows for name in names), strict=True):
        try:
            earlier = _events(lists[: len(names)])
            new = _events(lists[len(names) :])
        except ValueError as error:
            raise InputError(
                f"View {view.name!r}: the lists of a row are not equally long: {', '.join(names)}."
            ) from error
        kept = {event for event in earlier if since is None or event[0] > since}
        merged.append(sorted(kept | new, reverse=True)[: events.keep])
    columns = {
        name: pa.array([[event[n] for event in row] for row in merged], arrow_type(kind))
        for n, name in enumerate(names)
        for kind in [view.schema.types[name]]
    }
    empty = view.schema.empty_row
    times = np.maximum(*(headers([rows[n] or empty for n in at]) for rows in (there, packed)))
    again = pack(view.schema, pa.table(columns), times[:, 0], times[:, 1])
    for n, row in zip(at, again, strict=True):
        found[n] = row
    return found


def _events(lists: Sequence[Sequence[Any] | None]) -> set[tuple[Any, ...]]:
    """The events in lists that go together by position."""
    return set(zip(*(values or [] for values in lists), strict=True))
