"""The only door to Feast: features as they were at a moment, and as they are online.

Both doors take the same rows (keys) and a feature service, and give the same columns: the keys, then
`view__feature` for every feature of the service. Training and evaluation use `OfflineFeatures`,
serving uses `OnlineFeatures`; the recommender does not know which it has.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from feature_repo import places
from feature_repo.errors import LookbookError

if TYPE_CHECKING:
    from feast import FeatureStore

REPO = Path(places.__file__).parent
MOMENT = "event_timestamp"
REQUEST_TIME = "request_time"
KEYS = ("customer_id", "article_id", "postal_code")


class FeatureError(LookbookError):
    """Features cannot be given; the text says what to do."""


def moment_of(day: date) -> datetime:
    """The start of a day, at which everything up to the day before is known."""
    return datetime.combine(day, time(), tzinfo=UTC)


class Features(Protocol):
    """Features of rows at one moment."""

    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame:
        """One row per row of `rows`, in its order: its columns, then `view__feature`."""
        ...


@lru_cache(maxsize=8)
def _open_store(home: Path) -> "FeatureStore":
    # Importing feast takes seconds, so only those who need features pay.
    from feast import FeatureStore

    # Feast turns its warnings on when it is imported, so ours comes after.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="feast")
    logging.getLogger("feast").setLevel(logging.ERROR)
    return FeatureStore(repo_path=str(REPO))


def feature_store() -> "FeatureStore":
    """Feast's store of this home."""
    return _open_store(places.home())


def _service(name: str) -> Any:
    from feast.errors import FeastObjectNotFoundException, FeatureServiceNotFoundException

    try:
        return feature_store().get_feature_service(name)
    except (FeatureServiceNotFoundException, FeastObjectNotFoundException, FileNotFoundError) as e:
        raise FeatureError(
            f"Feature service {name!r} is not registered: run `feast -c feature_repo apply`."
        ) from e


def service_fields(name: str) -> dict[str, str]:
    """The columns `view__feature` of a service with Feast's type names, in order."""
    return {
        f"{projection.name_to_use()}__{field.name}": str(field.dtype)
        for projection in _service(name).feature_view_projections
        for field in projection.features
    }


def schema_hash(name: str) -> str:
    """A fingerprint of a service's columns and types: models remember what they were trained on."""
    return hashlib.sha256(json.dumps(service_fields(name)).encode()).hexdigest()[:16]


class OfflineFeatures:
    """Features from the warehouse as they were known at `moment`, or at each row's own moment.

    Args:
        moment: UTC; None if the rows carry their own in the column `event_timestamp`.
    """

    def __init__(self, moment: datetime | None = None) -> None:
        self.moment = moment

    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame:
        if self.moment is not None:
            rows = rows.assign(**{MOMENT: pd.Timestamp(self.moment)})
        if rows.empty:
            return rows.reindex(columns=[*rows.columns, *service_fields(service)])
        rows = rows.assign(**{REQUEST_TIME: rows[MOMENT]})
        job = feature_store().get_historical_features(
            entity_df=rows, features=_service(service), full_feature_names=True
        )
        found = job.to_df().set_axis(rows.index)
        given = [name for name in rows.columns if name != REQUEST_TIME]
        return found[[*given, *service_fields(service)]]


class OnlineFeatures:
    """Features from the online store, as they are now.

    Args:
        moment: what the request's time is taken to be; the clock if None. Made-up and past shops
            are asked at the end of their data, so that "days since" means what it did in training.
    """

    def __init__(self, moment: datetime | None = None) -> None:
        self.moment = moment

    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame:
        fields = service_fields(service)
        if rows.empty:
            return rows.reindex(columns=[*rows.columns, *fields])
        moment = self.moment or datetime.now(UTC)
        keys = {
            # Feast has no null keys; an empty one is not found, which is the same answer.
            name: rows[name].fillna("").astype(str).tolist()
            for name in KEYS
            if name in rows.columns
        }
        wanted = _service(service)
        asked = {**keys, REQUEST_TIME: [moment] * len(rows)}
        found = feature_store().get_online_features(
            features=wanted, entity_rows=asked, full_feature_names=True
        )
        values = found.to_df().reindex(columns=list(fields))
        values.index = rows.index
        return pd.concat([rows, _typed(values, fields)], axis=1)


def _typed(values: pd.DataFrame, fields: dict[str, str]) -> pd.DataFrame:
    """Online answers are objects; give them the types that the offline store gives."""
    casts: dict[str, Callable[[pd.Series], pd.Series]] = {
        "Float64": lambda column: pd.to_numeric(column).astype("float64"),
        "Int64": lambda column: pd.to_numeric(column).astype("float64"),
        "UnixTimestamp": lambda column: pd.to_datetime(column, utc=True).astype(
            "datetime64[us, UTC]"
        ),
    }
    return values.assign(
        **{name: casts[kind](values[name]) for name, kind in fields.items() if kind in casts}
    )


def catalogue() -> str:
    """Every view and on-demand view that is declared, as Markdown: what docs/features.md holds."""
    from feature_repo import definitions

    declared = [getattr(definitions, name) for name in definitions.__all__]
    views = [found for found in declared if hasattr(found, "projection")]
    lines = []
    for view in sorted(views, key=lambda found: found.name):
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
    services = [found for found in declared if hasattr(found, "feature_view_projections")]
    lines += ["## Feature services", "", "| service | |", "|---|---|"]
    lines += [f"| `{found.name}` | {found.description} |" for found in services]
    return "\n".join(lines) + "\n"


def read_entities(file: Path) -> pd.DataFrame:
    """Rows to join to, from CSV or Parquet: keys as text and `event_timestamp` in UTC.

    Raises:
        FeatureError: the file cannot be read, has no `event_timestamp`, or one is not a moment.
    """
    import duckdb

    reader = "read_parquet(?)" if file.suffix == ".parquet" else "read_csv(?, all_varchar = true)"
    try:
        with duckdb.connect() as con:
            rows = con.execute(f"SELECT * FROM {reader}", [str(file)]).df()
    except duckdb.Error as error:
        raise FeatureError(
            f"{file} cannot be read as {'Parquet' if file.suffix == '.parquet' else 'CSV'}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if MOMENT not in rows:
        raise FeatureError(
            f"{file} has no column {MOMENT}: add the moment (UTC) at which each row asks. "
            f"It has: {', '.join(rows.columns)}."
        )
    moments = pd.to_datetime(rows[MOMENT], utc=True, errors="coerce", format="ISO8601")
    if moments.isna().any():
        row = int(moments.isna().to_numpy().argmax())
        raise FeatureError(
            f"{file}, row {row + 1}: {MOMENT} is {rows[MOMENT].iloc[row]!r}; write it as 2020-09-16 "
            "or 2020-09-16T12:00:00."
        )
    keys = {name: rows[name].astype(object) for name in KEYS if name in rows}
    return rows.assign(**keys, **{MOMENT: moments})


def apply() -> None:
    """`feast apply`: register what definitions.py declares."""
    _open_store(places.home())
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


def materialize(through: date) -> None:
    """`feast materialize`: bring the rows that hold after `through` into the online store."""
    with contextlib.redirect_stdout(io.StringIO()):
        feature_store().materialize(
            start_date=datetime(1970, 1, 1, tzinfo=UTC),
            end_date=moment_of(through + timedelta(days=1)),
        )


def online_moment(refresh: bool = False) -> datetime:
    """The moment up to which the online store has been brought: the end of the last `materialize`.

    Raises:
        FeatureError: nothing has been materialised.
    """
    store = feature_store()
    if refresh:
        store.refresh_registry()
    ends = [
        end for view in store.list_feature_views() for _, end in view.materialization_intervals[-1:]
    ]
    if not ends:
        raise FeatureError(
            "The online store is empty: run `feast -c feature_repo materialize START END`."
        )
    return min(ends).astimezone(UTC)
