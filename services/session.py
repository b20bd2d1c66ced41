"""What customers do now: events come in, and the next answer knows them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd

from feature_repo.errors import InputError
from pipelines.monitoring.answer_log import AnswerLog
from pipelines.monitoring.answer_log import Event as Happened
from pipelines.online import IMPRESSION, push
from services.schemas import Event

PAST = timedelta(days=2)
"""A shop whose data ends longer ago than this is one of the past: its clock goes on from there."""


OLDEST = timedelta(days=90)
"""What happened longer ago is none of a session's: it is loaded, not sent."""


def shop_now(moment: datetime, brought_at: datetime | None) -> datetime:
    """The shop's present (UTC): the clock's, or in a made-up or past shop the end of its data and the time since it was
    brought online, so that "days since" means what it did in training.

    Args:
        moment: the end of the data in the online store.
        brought_at: by the clock, when it was brought there.
    """
    now = datetime.now(UTC)
    if now - moment < PAST or brought_at is None:
        return now
    return moment + max(now - brought_at, timedelta(0))


def accept(events: Sequence[Event], now: datetime, log: AnswerLog) -> int:
    """Remember events, and bring them into the sessions of their customers.

    Args:
        now: the shop's present, for events that bring no time.

    Returns:
        how many are in a session.

    Raises:
        InputError: an event is of the future or long past, or not one that can be loaded; the text says which.
        AnswerLogError: they cannot be remembered; nothing was taken.
        OnlineStoreError: they are remembered, and the online store cannot be written.
    """
    timed = [
        event if event.event_time else event.model_copy(update={"event_time": now})
        for event in events
    ]
    # Clocks differ by minutes; what is of tomorrow no store takes.
    today = datetime.now(UTC)
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    latest = min(max(now, today) + timedelta(minutes=5), midnight - timedelta(microseconds=1))
    for number, event in enumerate(timed):
        if event.event_time is not None and event.event_time > latest:
            raise InputError(
                f"events[{number}].event_time is {event.event_time.isoformat()}, which is yet to come: send when it "
                "was, or leave it out."
            )
        if event.event_time is not None and event.event_time < now - OLDEST:
            raise InputError(
                f"events[{number}].event_time is {event.event_time.isoformat()}, more than {OLDEST.days} days ago: "
                "send what happens now, and load the past with lookbook data load."
            )
    # What is on disk twice counts once, so whoever is told of trouble may send it again, if it brings its time.
    log.happened([Happened(**event.model_dump(include=set(Happened._fields))) for event in timed])
    acted = [event for event in timed if event.kind != IMPRESSION]
    if not acted:
        return 0
    frame = pd.DataFrame(
        {
            name: [getattr(event, name) for event in acted]
            for name in ("event_time", "customer_id", "article_id", "kind")
        }
    )
    frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True)
    return push(frame)
