"""What the warehouse offers to plain SQL: point-in-time features as table macros and views.

    FROM features_at('customer_activity', my_table)            -- each row at its own moment
    FROM features.customer_activity_at('2020-03-01')           -- every key at one moment
    FROM features.customer_activity_now                        -- every key after the last day built

They mean what the offline store means (`stores/point_in_time.py`), whatever the session's time zone.
A build makes them last (`pipelines.feature_tables.build`): they are bound to the tables that it
leaves, and it is the one that may write.
"""

from datetime import date

from feature_repo.feature_sql import AS_OF, VIEW_KEYS, render
from feature_repo.stores.connection import HALF_BUILT

# A moment in UTC. A macro's argument has no type until it is used, so each branch casts it to its own.
# Text is in the zone that it names, or UTC. Nanoseconds are cut: a cast rounds up, into the future.
_UTC = """
CREATE OR REPLACE MACRO features.utc(given) AS CASE
    WHEN typeof(given) = 'TIMESTAMP WITH TIME ZONE'
        OR (typeof(given) = 'VARCHAR' AND regexp_matches(CAST(given AS VARCHAR), ':\\d\\d(\\.\\d+)?\\s*[-+A-Za-z]'))
        THEN make_timestamp(epoch_us(CAST(given AS TIMESTAMPTZ)))
    WHEN typeof(given) = 'TIMESTAMP_NS' THEN make_timestamp(epoch_ns(CAST(given AS TIMESTAMP_NS)) // 1000)
    ELSE CAST(given AS TIMESTAMP)
END
"""

# Tables of different days must not be read as if they told of one.
_BUILT = f"""
CREATE OR REPLACE MACRO features.built_through() AS (
    SELECT CASE WHEN count(DISTINCT (through, data_hash)) = 1 THEN min(through)
        ELSE error('{HALF_BUILT}') END
    FROM features.builds
)
"""

_MOMENT = """
CREATE OR REPLACE MACRO features.checked_moment(given) AS CASE
    WHEN features.utc(given) < features.built_through() + 2 THEN features.utc(given)
    WHEN given IS NULL THEN error('A row has no moment: give each one an event_timestamp.')
    ELSE error(format(
        'Features are built through {}, and {} is later: run `lookbook features build`.',
        features.built_through(), features.utc(given)
    ))
END
"""

_KEY = """
CREATE OR REPLACE MACRO features.checked_key(given) AS CASE
    WHEN typeof(given) IN ('VARCHAR', '"NULL"') OR starts_with(typeof(given), 'ENUM')
        THEN CAST(given AS VARCHAR)
    ELSE error(format('A key is {}, and keys are text with leading zeros: read it as VARCHAR.', typeof(given)))
END
"""

_FEATURES_AT = """
CREATE OR REPLACE MACRO features_at(view, rows) AS TABLE
WITH __given AS (FROM query_table(rows)) FROM query('FROM features.' || view || '_of(__given)')
"""

_END = "CAST(features.built_through() + 1 AS TIMESTAMP)"
_TIMES = "valid_from, valid_to, created_at"


def statements() -> list[str]:
    """What makes all macros and views, in order, in a warehouse whose feature tables are built.

    Of each view: `features.VIEW_at(moment)`, `features.VIEW_now`, and `features.VIEW_of(rows)`,
    which `features_at` asks.
    """
    made = [_UTC, _BUILT, _MOMENT, _KEY]
    for view in VIEW_KEYS:
        made += [
            f"CREATE OR REPLACE MACRO features.{view}_at(given) AS TABLE {_at(view)}",
            f"CREATE OR REPLACE VIEW features.{view}_now AS {_now(view)}",
            f"CREATE OR REPLACE MACRO features.{view}_of(rows) AS TABLE {_of(view)}",
        ]
    return [*made, _FEATURES_AT]


def _asked(view: str, relation: str) -> str:
    """The SQL of a view in AS_OF for the keys and moments of a relation."""
    return render("features", view, date.max, asked=relation)


def _everyone(view: str, moment: str) -> str:
    """A view in AS_OF, for all keys at one moment."""
    everyone = _asked(view, f"({AS_OF[view].asked(moment)})")
    return f"SELECT * EXCLUDE (moment, valid_from, created_at) FROM ({everyone})"


def _at(view: str) -> str:
    if view in AS_OF:
        return _everyone(view, "features.checked_moment(given)")
    return (
        f"SELECT * EXCLUDE ({_TIMES}) FROM features.{view} WHERE valid_from <= features.checked_moment(given) "
        "AND (valid_to IS NULL OR features.checked_moment(given) < valid_to)"
    )


def _now(view: str) -> str:
    if view in AS_OF:
        return _everyone(view, _END)
    return f"SELECT * EXCLUDE ({_TIMES}) FROM features.{view} WHERE valid_to IS NULL"


def _of(view: str) -> str:
    # Names with two underscores: no column of the rows has them, nor any table named in `rows`.
    keys = VIEW_KEYS[view]
    named = ", ".join(f"features.checked_key({key}) AS __{key}" for key in keys)
    same = [f"history.{key} = __rows.__{key}" for key in keys]
    if view in AS_OF:
        chosen = ", ".join(f"__{key} AS {key}" for key in keys)
        history = f"({_asked(view, f'(SELECT DISTINCT {chosen}, __moment AS moment FROM __rows)')})"
        same.append("history.moment = __rows.__moment")
        times = "moment, valid_from, created_at"
    else:
        history = f"features.{view}"
        same += [
            "history.valid_from <= __rows.__moment",
            "(history.valid_to IS NULL OR __rows.__moment < history.valid_to)",
        ]
        times = _TIMES
    hidden = ", ".join(f"__{key}" for key in keys)
    return (
        "WITH __rows AS MATERIALIZED (SELECT *, row_number() OVER () AS __row, "
        f"features.checked_moment(event_timestamp) AS __moment, {named} FROM query_table(rows)) "
        f"SELECT __rows.* EXCLUDE (__row, __moment, {hidden}), "
        f"COLUMNS(history.* EXCLUDE ({', '.join(keys)}, {times})) AS '{view}__\\0' "
        f"FROM __rows LEFT JOIN {history} AS history ON {' AND '.join(same)} ORDER BY __row"
    )
