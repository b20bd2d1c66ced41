"""Groups of customers that are looked at apart."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd

from pipelines.data.split import Week

SEGMENTS = {"cold": 0, "1-4": 1, "5-19": 5, "20+": 20}
"""Customers by purchases (lines) before the week: the fewest of each."""
AGES = ("under 20", "20-24", "25-29", "30-39", "40-49", "50-59", "60 and over")
UNKNOWN = "unknown"
HISTORY, AGE = "history", "age"
ORDER = {HISTORY: tuple(SEGMENTS), AGE: (*AGES, UNKNOWN)}
"""Kinds of groups -> the groups of each, in the order in which they are told."""


def described(
    con: duckdb.DuckDBPyConnection, week: Week, customers: Sequence[str] | np.ndarray
) -> pd.DataFrame:
    """What group each customer belonged to when the week began.

    Returns:
        a row for each in the order given: customer_id, history (`SEGMENTS`) and age (of `AGES`, or
        unknown; the files have no dates of it).
    """
    asked = pd.DataFrame({"customer_id": customers}, dtype=object)
    con.register("asked", asked.drop_duplicates())
    found = con.execute(
        """
        WITH bought AS (
            SELECT customer_id, CAST(sum(line_count) AS BIGINT) AS lines
            FROM staging.purchases
            SEMI JOIN asked USING (customer_id)
            WHERE day < ?
            GROUP BY customer_id
        )

        SELECT customer_id, coalesce(lines, 0) AS lines, coalesce(age_bucket, ?) AS age
        FROM asked
        LEFT JOIN bought USING (customer_id)
        LEFT JOIN staging.customers USING (customer_id)
        """,
        [week.start, UNKNOWN],
    ).df()
    con.unregister("asked")
    found = asked.merge(found, on="customer_id", how="left")
    segment = np.searchsorted(list(SEGMENTS.values()), found["lines"], side="right") - 1
    names = np.array(list(SEGMENTS), dtype=object)
    return pd.DataFrame(
        {"customer_id": asked["customer_id"], HISTORY: names[segment], AGE: found["age"]}
    )
