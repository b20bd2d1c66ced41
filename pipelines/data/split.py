"""How time is cut: weeks to test on, and the weeks before them to train on."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pandas as pd

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
    """Who bought what in the week: distinct customer_id, article_id, in order."""
    return con.execute(
        "SELECT DISTINCT customer_id, article_id FROM staging.purchases "
        "WHERE day >= ? AND day < ? ORDER BY customer_id, article_id",
        [week.start, week.end],
    ).df()
