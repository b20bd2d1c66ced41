"""How time is cut: weeks to test on, and the weeks before them to train on."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pandas as pd

from feature_repo.errors import InputError
from pipelines.features import moment_of

DAYS_IN_WEEK = 7


@dataclass(frozen=True, order=True)
class Week:
    """Seven days from `start`; asked about at `start` 00:00 UTC, when the day before is known."""

    start: date

    @property
    def end(self) -> date:
        """The first day after the week."""
        return self.start + timedelta(days=DAYS_IN_WEEK)

    @property
    def moment(self) -> datetime:
        return moment_of(self.start)


def weeks_before(day: date, weeks: int) -> list[Week]:
    """The whole weeks that end just before `day`, oldest first."""
    return [Week(day - timedelta(days=DAYS_IN_WEEK * n)) for n in range(weeks, 0, -1)]


def first_day(con: duckdb.DuckDBPyConnection) -> date | None:
    """The first day with a purchase, None if there is none."""
    ((day,),) = con.execute("SELECT min(day) FROM staging.purchases").fetchall()
    return day if isinstance(day, date) else None


def buyers(con: duckdb.DuckDBPyConnection, week: Week) -> pd.DataFrame:
    """Who bought what in the week: distinct customer_id, article_id, and `price`, what was paid for all
    pieces of it, in order."""
    return con.execute(
        "SELECT customer_id, article_id, CAST(sum(spend) AS DOUBLE) AS price FROM staging.purchases "
        "WHERE day >= ? AND day < ? GROUP BY ALL ORDER BY customer_id, article_id",
        [week.start, week.end],
    ).df()


TEST_WEEKS = 7
SPLITS = ("development", "test", "last")


def split_weeks(name: str, last_day: date, weeks: int | None = None) -> tuple[date, int]:
    """The last day of a named split, and how many weeks it has.

    With H&M's files, which end on 2020-09-22, a week ends on the Tuesday of the ISO week that names it:
    `development` ends in week 32 of 2020, `test` are weeks 33 to 39, and `last` is the week that Kaggle asks
    for. Choices are made on development; what is reported is of test or last.

    Args:
        last_day: of the purchases.
        weeks: of development, 4 if None; the others have theirs.

    Raises:
        InputError: there is no such split, or weeks are given for one that has its own.
    """
    if name not in SPLITS:
        raise InputError(f"There is no split {name!r}; there are: {', '.join(SPLITS)}.")
    if name == "development":
        return last_day - timedelta(days=DAYS_IN_WEEK * TEST_WEEKS), weeks or 4
    if weeks is not None:
        raise InputError(f"The split {name} has weeks of its own: leave their number out.")
    return last_day, TEST_WEEKS if name == "test" else 1
