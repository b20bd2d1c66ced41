"""The online store: brought to a moment, pushed to, looked at and made anew."""

import contextlib
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from feature_repo import places
from feature_repo.errors import InputError
from feature_repo.raw_tables import INTERACTIONS
from feature_repo.stores.packed_rows import from_microseconds
from pipelines.feature_tables import latest_build
from pipelines.features import FeatureError, apply, feature_store, moment_of
from pipelines.warehouse import reading

if TYPE_CHECKING:
    from feature_repo.stores.lmdb_rows import View

EVENT_TIME = "event_time"
EVENT_COLUMNS = (EVENT_TIME, "customer_id", "article_id", "kind")
IMPRESSION = "impression"
PUSH_SOURCE = "interactions"
_COLUMNS = {column.name: column for column in INTERACTIONS.columns}


@dataclass(frozen=True)
class ViewState:
    """What the online store holds of a view."""

    rows: int
    bytes: int
    through: datetime | None
    """The moment up to which it was brought; None if it never was, or not to the end."""
    brought_at: datetime | None
    """When, by the clock."""


def materialize(through: date, progress: Callable[[str], None] = lambda text: None) -> None:
    """`feast materialize`: bring the rows that hold after `through` into the online store.

    Going back in time empties it first: what was brought for a later day is not known then.

    Raises:
        WarehouseError: features are not built through that day.
        FeatureError: nothing is registered.
        OnlineStoreError: the store cannot be written.
    """
    end, store = moment_of(through + timedelta(days=1)), feature_store()
    views = _registered()
    if not views:
        raise FeatureError("No features are registered: run `feast -c feature_repo apply`.")
    if _is_ours():
        known = [known for known in _views().values() if known]
        times = [_time(at) for view in known for at in (view.brought_to, view.bringing_to)]
        if any(at and at > end for at in times):
            store._get_provider().online_store.clear(store.config, store.list_feature_views())
    # To open the warehouse takes longer than to read most views: it stays open for all of them.
    with reading():
        for number, name in enumerate(views, start=1):
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                store.materialize(datetime(1970, 1, 1, tzinfo=UTC), end, feature_views=[name])
            # With a bar on the screen, or a store of Feast's, nothing is said of the rows.
            line = said.getvalue().splitlines()[-1].strip()
            progress(f"{number}/{len(views)} {line if line.startswith(f'{name}: ') else name}")


def _registered() -> list[str]:
    """The names of the views that are registered."""
    try:
        return sorted(view.name for view in feature_store().list_feature_views())
    except FileNotFoundError:
        return []


def online_moment(refresh: bool = False) -> datetime:
    """The moment up to which the online store has been brought: the end of the last `materialize`.

    Args:
        refresh: look for what another process has registered.

    Raises:
        FeatureError: nothing has been materialised, or not every view.
        OnlineStoreError: the store is damaged.
    """
    store = feature_store()
    if refresh:
        store.refresh_registry()
    if _is_ours():
        ends = [_time(known.brought_to) if known else None for known in _views().values()]
    else:
        intervals = [view.materialization_intervals for view in store.list_feature_views()]
        ends = [of_view[-1][1].astimezone(UTC) if of_view else None for of_view in intervals]
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        what = "lacks views" if known else "is empty"
        raise FeatureError(
            f"The online store {what}: run `feast -c feature_repo materialize START END`."
        )
    return min(known)


def materialized_at(settled: bool = False) -> dict[str, datetime]:
    """The time by the clock (UTC) at which each view was last brought into the online store: what was
    written into the warehouse later is not in it.

    Args:
        settled: none while a view is being brought, or views are there as of different moments.
    """
    if not _is_ours():
        return {
            view.name: view.last_updated_timestamp.replace(tzinfo=UTC)
            for view in feature_store().list_feature_views()
            if view.materialization_intervals and view.last_updated_timestamp
        }
    views = {name: known for name, known in _views().items() if known is not None}
    states = {(known.brought_to, known.bringing_to) for known in views.values()}
    if settled and (len(states) > 1 or any(coming is not None for _, coming in states)):
        return {}
    times = {name: _time(known.brought_at) for name, known in views.items()}
    return {name: at for name, at in times.items() if at is not None}


def _is_ours() -> bool:
    """Whether the online store is that of `feature_repo.stores`, not one of Feast's."""
    from feature_repo.stores.lmdb_online_store import LMDBOnlineStoreConfig

    return isinstance(feature_store().config.online_store, LMDBOnlineStoreConfig)


def _time(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


def _views() -> "dict[str, View | None]":
    """What the online store knows of each registered view."""
    from feature_repo.stores.lmdb_online_store import online_rows, view_name

    store = feature_store()
    with online_rows(store.config).reading() as snapshot:
        known = snapshot.views()
    names = sorted(view.name for view in store.list_feature_views())
    return {name: known.get(view_name(store.project, name)) for name in names}


def state() -> dict[str, ViewState]:
    """What the online store holds of each registered view.

    Raises:
        OnlineStoreError: it is damaged.
        FeatureError: it is one of Feast's own.
    """
    from feature_repo.stores.lmdb_online_store import online_rows

    _require_ours()
    views = _views()
    found = {}
    names = [known.name for known in views.values() if known]
    with online_rows(feature_store().config).reading(*names) as snapshot:
        for name, known in views.items():
            if known is None:
                found[name] = ViewState(0, 0, None, None)
                continue
            found[name] = ViewState(
                snapshot.entries(known),
                snapshot.bytes_used(known),
                _time(known.brought_to) if known.bringing_to is None else None,
                _time(known.brought_at),
            )
    return found


def _require_ours() -> None:
    if not _is_ours():
        kind = feature_store().config.online_store.type
        raise FeatureError(
            f"The online store is {kind}, which has its own tools: this is for Lookbook's."
        )


def rebuild(progress: Callable[[str], None] = lambda text: None) -> None:
    """Make the online store anew from the feature tables, through the last day built. What was pushed
    and is not in the warehouse is gone. Readers have the old one until the new one is whole; files that
    cannot be read are put aside at once.

    Raises:
        WarehouseError: no features are built.
        OnlineStoreError: the store's files cannot be moved.
        FeatureError: the store is one of Feast's own.
    """
    from feature_repo.stores.lmdb_environment import DamagedStoreError, cannot, replaced
    from feature_repo.stores.lmdb_online_store import online_rows

    _require_ours()
    built = latest_build()
    rows = online_rows(feature_store().config)
    path = feature_store().config.online_store.path
    beside, aside = rows.folder.with_name(f"{rows.folder.name}.new"), replaced(rows.folder)
    try:
        for left in (beside, aside):
            shutil.rmtree(left, ignore_errors=True)
        try:
            # What cannot be read says so in one of them.
            state()
            apply()
        except DamagedStoreError as error:
            old = rows.folder.with_name(f"{rows.folder.name}.old-{time.strftime('%Y%m%dT%H%M%S')}")
            rows.close()
            rows.folder.rename(old)
            progress(f"{error.what} Put aside as {old}, which may be deleted.")
            apply()
        settings = feature_store().config.online_store
        settings.path = str(beside)
        try:
            materialize(built.through, progress)
            online_rows(feature_store().config).close()
        finally:
            settings.path = path
        rows.close()
        if rows.folder.exists():
            rows.folder.rename(aside)
        beside.rename(rows.folder)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise cannot(rows.folder, "made anew", error) from error


def push(events: pd.DataFrame, *, warehouse: bool = False) -> int:
    """Make events of customers known at once: the next request sees them in `customer_session`.

    An event that comes twice is there once. Impressions are no part of a session and are left out.

    Args:
        events: event_time (UTC), customer_id, article_id and kind, one row for each event.
        warehouse: append them to the warehouse too, so that training sees them as serving did; else
            load them later with `lookbook data load`.

    Returns:
        the number of events pushed.

    Raises:
        InputError: a column is missing, or a value is not of its kind; the text has the row.
        FeatureError: nothing is registered.
        WarehouseError: another process is using the warehouse; nothing was pushed.
    """
    from feast.data_source import PushMode
    from feast.errors import PushSourceNotFoundException

    moments = _checked_moments(events)
    kept = events.assign(moment=moments)[events["kind"] != IMPRESSION]
    if kept.empty:
        return 0
    lists = kept.assign(time=kept["moment"].astype("int64")).groupby(
        "customer_id", sort=False, observed=True
    )
    newest = lists["moment"].max()
    rows = pd.DataFrame(
        {
            "customer_id": newest.index,
            "valid_from": newest.to_numpy(),
            "created_at": pd.Timestamp(datetime.now(UTC)).as_unit("us").tz_localize(None),
            "session_articles": lists["article_id"].agg(list).to_numpy(),
            "session_kinds": lists["kind"].agg(list).to_numpy(),
            "session_moments": lists["time"].agg(list).to_numpy(),
        }
    )
    store = feature_store()
    try:
        # The warehouse first: what it refuses is not online either.
        if warehouse:
            store.push(PUSH_SOURCE, rows, to=PushMode.OFFLINE)
        # As `store.push` does it, which reads the whole registry for every push: three times as long as the rest.
        version = store.registry.cached_registry_proto.version_id
        for view in _pushed_views(places.home(), version):
            store._get_provider().ingest_df(view, rows)
    except PushSourceNotFoundException as error:
        raise FeatureError(
            "Nothing is registered that takes events: run `feast -c feature_repo apply`."
        ) from error
    return len(kept)


@lru_cache(maxsize=8)
def _pushed_views(home: Path, registry: str) -> list[Any]:
    """The views that take events.

    Args:
        registry: the version of what is registered.
    """
    found: list[Any] = feature_store()._fvs_for_push_source_or_raise(PUSH_SOURCE, True)
    return found


def _checked_moments(events: pd.DataFrame) -> pd.Series:
    """The events' moments, UTC, in microseconds."""
    for name in EVENT_COLUMNS:
        if name not in events:
            raise InputError(
                f"The events have no column {name}: they need {', '.join(EVENT_COLUMNS)}."
            )
    moments = pd.to_datetime(events[EVENT_TIME], utc=True, errors="coerce", format="ISO8601")
    tomorrow = pd.Timestamp.now(UTC).normalize() + pd.Timedelta(days=1)
    wrong = {EVENT_TIME: moments.isna() | (moments >= tomorrow)}
    for name in EVENT_COLUMNS[1:]:
        column = _COLUMNS[name]
        wrong[name] = ~events[name].map(
            lambda value: isinstance(value, str) and value != ""
        ).astype(bool)
        values = events[name].astype("string")
        if column.pattern:
            wrong[name] |= ~values.str.fullmatch(column.pattern).fillna(False)
        if column.values:
            wrong[name] |= ~values.isin(column.values)
    must = {
        EVENT_TIME: "a moment (UTC) that has been",
        "customer_id": "an id",
        "article_id": "ten digits, as text",
        "kind": f"one of {', '.join(_COLUMNS['kind'].values)}",
    }
    for name, rows in wrong.items():
        if rows.any():
            row = int(rows.to_numpy().argmax())
            value = events[name].iloc[row]
            raise InputError(f"Event {row + 1}: {name} is {value!r}, and must be {must[name]}.")
    return moments.dt.as_unit("us")
