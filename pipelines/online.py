"""What is online: events pushed into it, what it holds, and all of it made anew."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from feature_repo.errors import InputError
from feature_repo.raw_tables import INTERACTIONS
from pipelines.feature_tables import latest_build
from pipelines.features import apply, feature_store, materialize

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


def state() -> dict[str, ViewState]:
    """What the online store holds of each registered view.

    Raises:
        OnlineStoreError: it is damaged.
    """
    from feature_repo.stores.lmdb_online_store import moment_of, online_rows, view_name

    store = feature_store()
    names = {view.name: view_name(store.project, view.name) for view in store.list_feature_views()}
    found = {}
    with online_rows(store.config).reading(*names.values()) as snapshot:
        for view, name in sorted(names.items()):
            known = snapshot.find(name)
            if known is None:
                found[view] = ViewState(0, 0, None, None)
                continue
            whole = known.brought_to if known.bringing_to is None else None
            found[view] = ViewState(
                snapshot.entries(known),
                snapshot.bytes_used(known),
                None if whole is None else moment_of(whole),
                None if known.brought_at is None else moment_of(known.brought_at),
            )
    return found


def rebuild(progress: Callable[[str], None] = lambda text: None) -> None:
    """Make the online store anew from the feature tables, through the last day built. What was pushed
    and is not in the warehouse is gone. A store that cannot be read is put aside, in its own folder.

    Raises:
        WarehouseError: no features are built.
    """
    from feature_repo.stores.lmdb_online_store import online_rows
    from feature_repo.stores.lmdb_rows import OnlineStoreError

    built = latest_build()
    rows = online_rows(feature_store().config)
    file = rows.folder / "data.mdb"
    try:
        with rows.reading():
            pass
    except OnlineStoreError as error:
        aside = file.with_name(f"damaged-{time.strftime('%Y%m%dT%H%M%S')}.mdb")
        file.rename(aside)
        progress(f"{error} Put aside as {aside}")
    rows.remove()
    apply()
    materialize(built.through)


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
        WarehouseError: another process is using the warehouse; what was pushed is online, and may be
            pushed again.
    """
    from feast.data_source import PushMode

    moments = _checked_moments(events)
    kept = events.assign(moment=moments)[events["kind"] != IMPRESSION]
    if kept.empty:
        return 0
    lists = kept.assign(time=kept["moment"].astype("int64")).groupby("customer_id", sort=False)
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
    feature_store().push(
        PUSH_SOURCE, rows, to=PushMode.ONLINE_AND_OFFLINE if warehouse else PushMode.ONLINE
    )
    return len(kept)


def _checked_moments(events: pd.DataFrame) -> pd.Series:
    """The events' moments, UTC, in microseconds."""
    for name in EVENT_COLUMNS:
        if name not in events:
            raise InputError(
                f"The events have no column {name}: they need {', '.join(EVENT_COLUMNS)}."
            )
    moments = pd.to_datetime(events[EVENT_TIME], utc=True, errors="coerce", format="ISO8601")
    wrong = {EVENT_TIME: moments.isna() | (moments > pd.Timestamp.now(UTC) + pd.Timedelta(days=1))}
    for name in EVENT_COLUMNS[1:]:
        column = _COLUMNS[name]
        values = events[name].astype("string")
        wrong[name] = values.isna() | values.eq("")
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
