"""The shop's calendar: how busy each day is, and when the stores are closed.

Levels follow H&M's units of 2018-09-20 to 2020-09-22: the early summer is high, winter and August
are low, a members' day in September 2019 sold 4.6 times the usual, and in March 2020 the stores
closed for three weeks.
"""

from datetime import date, timedelta

import numpy as np

from pipelines.data.synthetic.designs import Floats

# fmt: off
_MONTH = np.array([0.94, 0.95, 0.96, 1.14, 1.18, 1.41, 1.18, 0.93, 1.00, 1.03, 1.01, 0.845])
"""January to December, units of a usual day."""
_WEEKDAY = np.array([0.98, 0.97, 1.00, 1.01, 1.01, 1.07, 0.93])
"""Monday to Sunday."""
# fmt: on
_EVENTS = {
    (9, 28): (4.4, 2019),
    (4, 11): (2.6, None),
    (11, 29): (2.4, None),
    (6, 22): (1.5, None),
    (12, 26): (1.6, None),
}
"""Month and day of the members' and sales days, how much more is sold, and in which year only."""

LOCKDOWN = date(2020, 3, 11)
"""From here demand falls; the stores close five days later."""
CLOSED_FROM, CLOSED_TO = date(2020, 3, 16), date(2020, 4, 6)
REOPENED = date(2020, 6, 1)
"""Until here people come back to the stores."""


def demand_by_day(first_date: date, days: int, rng: np.random.Generator) -> Floats:
    """Visits to expect on each day, relative to each other."""
    dates = [first_date + timedelta(days=d) for d in range(days)]
    level = _MONTH[[d.month - 1 for d in dates]] * _WEEKDAY[[d.weekday() for d in dates]]
    for number, day in enumerate(dates):
        factor, year = _EVENTS.get((day.month, day.day), (1.0, None))
        if year is None or year == day.year:
            level[number] *= factor
        if LOCKDOWN <= day < CLOSED_TO:
            level[number] *= 0.72
    return np.asarray(level * np.exp(rng.normal(0.0, 0.08, days)))


def online_share(usual: Floats, day: date) -> Floats:
    """Probability that a visit is online for customers who usually go online with `usual`."""
    if CLOSED_FROM <= day < CLOSED_TO:
        return np.asarray(1 - 0.02 * (1 - usual))
    if CLOSED_TO <= day < REOPENED:
        return np.asarray(1 - 0.7 * (1 - usual))
    return usual
