"""Training: retrievers on everything before a day, the ranker on the weeks that lead up to it.

What a ranker learns from is written to disk part by part: weeks are shared by the folds of an evaluation and by
the next training, no more than a part is ever in memory as a frame, and what a killed run has written is not made
again.
"""

import hashlib
import json
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import places
from pipelines import feature_tables
from pipelines.data.split import Week, buyers, first_day, weeks_before
from pipelines.features import schema_hash
from pipelines.model_catalog import (
    RELEASE,
    ReleaseSettings,
    make_ranker,
    make_retriever,
)
from pipelines.negatives import NEGATIVES
from pipelines.rankers.base import HISTORY, KEPT, LABELS, Parts, Ranker, learnable, told
from pipelines.recommender import POSTAL_CODE, Recommender, customer_state, with_history
from pipelines.retrievers.base import STATE_SERVICE, Past, Retriever
from pipelines.steady_features import SteadyFeatures

CANDIDATES = "candidates"
"""The strategy that draws negatives among the customer's own candidates."""
PART_CUSTOMERS = 1_000
HISTORY_DAYS = 28
"""Days of purchases before a week from which a ranker learns, at least."""
KEEP_DAYS = 14
"""Training rows that nobody has used for so long are let go."""
_DONE, _ROWS, _CUSTOMERS = "done.json", "rows", "customers"
_ELSEWHERE = (
    *("cli", "evaluation", "model_registry", "monitoring", "releases", "reports"),
    *("data/synthetic", "data/explore"),
)
"""Rooms of `pipelines` that no row depends on."""


def fit_retrievers(
    con: duckdb.DuckDBPyConnection,
    cutoff: date,
    names: Sequence[str],
    settings: ReleaseSettings = RELEASE,
) -> dict[str, Retriever]:
    """The named retrievers, made as a release declares them and fitted on days before `cutoff`."""
    past = Past.at(con, cutoff)
    return {name: make_retriever(name, settings.settings_of(name)).fit(past) for name in names}


def fit_unranked(
    con: duckdb.DuckDBPyConnection, cutoff: date, settings: ReleaseSettings = RELEASE
) -> Recommender:
    """The recommender of the settings before it has a ranker, fitted on days before `cutoff`."""
    retrievers = fit_retrievers(con, cutoff, settings.retrievers, settings)
    return Recommender(retrievers, settings.per_source, weights=settings.weights)


@dataclass(frozen=True)
class TrainingSet(Sequence[pd.DataFrame]):
    """The candidates of past weeks' buyers with their features and what came of them, on disk.

    Retrievers are fitted on days before each week and features are as of its start, so the rows are
    what serving would have seen. Iterating gives a frame for each part: customer_id, article_id, week,
    `LABELS` (of views and carts where there are interactions), `KEPT`, and the columns that a ranker may
    learn from. A part holds whole customers of one week.

    Attributes:
        folders: of the weeks, oldest first.
        with_history: whether frames get the lists of `HISTORY` too.
        without: columns with any of these beginnings are left out.
    """

    folders: tuple[Path, ...]
    with_history: bool = False
    without: tuple[str, ...] = ()

    @cached_property
    def _files(self) -> list[Path]:
        return [file for folder in self.folders for file in sorted(folder.glob(f"{_ROWS}-*"))]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: Any) -> Any:
        file = self._files[place]
        names = [n for n in pq.read_schema(file).names if not n.startswith(self.without or "\0")]
        rows = pq.read_table(file, columns=names).to_pandas(types_mapper=_TEXTS.get)
        if self.with_history:
            rows = with_history(rows, pq.read_table(_customers_of(file)).to_pandas())
        return rows

    @property
    def rows(self) -> int:
        return sum(pq.read_metadata(file).num_rows for file in self._files)

    def of(self, ranker: Ranker) -> "TrainingSet":
        """The same, with what this ranker reads."""
        return replace(self, with_history=ranker.reads_history)


_TEXTS = dict.fromkeys((pa.string(), pa.large_string()), pd.StringDtype("pyarrow"))


def training_set(
    con: duckdb.DuckDBPyConnection,
    weeks: Sequence[Week],
    settings: ReleaseSettings = RELEASE,
    progress: Callable[[str], None] = lambda text: None,
    *,
    anew: bool = False,
) -> TrainingSet:
    """Make the rows of the weeks, or take those that are there unless they are to be made `anew`.

    Of a customer's candidates that were not bought, at most `settings.negatives["candidates"]` stay, chosen
    by a hash of the pair, and `KEPT` says of how large a share of such rows each is a sample; of other strategies
    each gives so many articles for each that was bought, which have no source and count once.

    Raises:
        NegativesError: a strategy lacks what it draws from.
    """
    _forget_old()
    folders = []
    for week in weeks:
        folder = _folder(con, week, settings)
        if anew:
            shutil.rmtree(folder, ignore_errors=True)
        if (folder / _DONE).exists():
            (folder / _DONE).touch()
        else:
            rows = _write_week(con, week, settings, folder)
            progress(f"training rows of the week from {week.start}: {rows:,}")
        folders.append(folder)
    return TrainingSet(tuple(folders))


def fit_ranker(
    rows: Parts,
    settings: ReleaseSettings = RELEASE,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Ranker:
    """The ranker of the settings, fitted on a training set."""
    ranker = make_ranker(settings.ranker, settings.ranker_settings, settings.feature_service)
    if isinstance(rows, TrainingSet):
        rows = rows.of(ranker)
    return ranker.fit(rows, checkpoint=checkpoint, progress=progress)


def training_weeks(
    con: duckdb.DuckDBPyConnection, cutoff: date, settings: ReleaseSettings = RELEASE
) -> list[Week]:
    """The weeks before `cutoff` on which the ranker is trained, oldest first.

    Weeks with less than `HISTORY_DAYS` of purchases before them are left out, for there is little to tell of
    their customers. The last week stays anyhow.
    """
    weeks, first = weeks_before(cutoff, settings.training_weeks), first_day(con)
    if first is None:
        return weeks
    told = [week for week in weeks if (week.start - first).days >= HISTORY_DAYS]
    return told or weeks[-1:]


def sampled(customers: np.ndarray, most: int, purpose: str = "") -> list[str]:
    """At most so many customers, the same ones each time, whoever else there is.

    Args:
        purpose: other purposes have other customers: who is judged is not who was learnt from.
    """
    ordered = sorted(customers, key=lambda one: (zlib.crc32(f"{purpose}{one}".encode()), one))
    return sorted(ordered[:most])


# --- one week -----------------------------------------------------------------------------------


def _write_week(
    con: duckdb.DuckDBPyConnection, week: Week, settings: ReleaseSettings, folder: Path
) -> int:
    """Write the parts that are not there yet; returns the rows of all."""
    # What was paid is known after the week.
    bought = buyers(con, week).drop(columns="price")
    customers = sampled(bought["customer_id"].unique(), settings.training_customers)
    shown = _events(con, week, customers)
    recommender = fit_unranked(con, week.start, settings)
    features = SteadyFeatures(week.moment)
    for start in range(0, len(customers), PART_CUSTOMERS):
        file = folder / f"{_ROWS}-{start // PART_CUSTOMERS:05}.parquet"
        if file.exists():
            continue
        batch = customers[start : start + PART_CUSTOMERS]
        state = customer_state(batch, features)
        found = _labelled(recommender.candidates(state, week.moment), bought, shown)
        named = pd.MultiIndex.from_frame(found[["customer_id", "article_id"]])
        own = settings.negatives.get(CANDIDATES)
        found = found.assign(**{KEPT: 1.0}) if own is None else _fewer(found, own, week)
        theirs = bought[bought["customer_id"].isin(batch)].reset_index(drop=True)
        drawn = _drawn(con, theirs, week, settings.negatives, state)
        if len(drawn):
            # A candidate without its sources would be no row that serving sees.
            strange = ~pd.MultiIndex.from_frame(drawn[["customer_id", "article_id"]]).isin(named)
            found = pd.concat([found, _labelled(drawn[strange], bought, shown)])
        rows = _lean(features.read(found.reset_index(drop=True), settings.feature_service))
        rows = rows.assign(week=week.start.isoformat())
        lists = state[["customer_id", *HISTORY]]
        with places.whole_file(_customers_of(file)) as partial:
            pq.write_table(pa.Table.from_pandas(lists, preserve_index=False), partial)
        with places.whole_file(file) as partial:
            table = pa.Table.from_pandas(rows, preserve_index=False)
            pq.write_table(table, partial, compression="zstd")
    count = TrainingSet((folder,)).rows
    with places.whole_file(folder / _DONE) as partial:
        partial.write_text(json.dumps({"week": week.start.isoformat(), "rows": count}))
    return count


def _events(
    con: duckdb.DuckDBPyConnection, week: Week, customers: Sequence[str]
) -> pd.DataFrame | None:
    """customer_id, article_id, label_view and label_cart of what these customers were shown in the week; None
    where the shop logs no such thing, or not what it shows."""
    con.register("asked", pd.DataFrame({"customer_id": list(customers)}, dtype=object))
    found = con.execute(
        """
        SELECT
            customer_id,
            article_id,
            CAST(bool_or(kind IN ('view', 'cart')) AS TINYINT) AS label_view,
            CAST(bool_or(kind = 'cart') AS TINYINT) AS label_cart,
            bool_or(kind = 'impression') AS shown
        FROM raw.interactions
        SEMI JOIN asked USING (customer_id)
        WHERE event_time >= CAST(? AS TIMESTAMP) AND event_time < CAST(? AS TIMESTAMP)
            AND kind IN ('impression', 'view', 'cart')
        GROUP BY ALL
        """,
        [week.start, week.end],
    ).df()
    con.unregister("asked")
    return found.drop(columns="shown")[found["shown"]] if found["shown"].any() else None


def _labelled(rows: pd.DataFrame, bought: pd.DataFrame, shown: pd.DataFrame | None) -> pd.DataFrame:
    """With what came of each row in the week (`LABELS`)."""
    pair = ["customer_id", "article_id"]
    rows = rows.merge(bought.assign(label=1), on=pair, how="left").fillna({"label": 0})
    if shown is not None:
        rows = rows.merge(shown, on=pair, how="left")
    # Weeks before the log began stand beside weeks with one.
    labels = {n: rows[n] if n in rows else pd.Series(-1, rows.index) for n in LABELS.values()}
    return rows.assign(**{name: found.fillna(-1).astype("int8") for name, found in labels.items()})


def _fewer(rows: pd.DataFrame, most: int, week: Week) -> pd.DataFrame:
    """All that something is told of, and of each customer's others at most so many."""
    plain = ~told(rows)
    customer, _ = pd.factorize(rows["customer_id"])
    # By a hash, so that the choice does not depend on which other customers and articles there are.
    said = (rows["customer_id"] + "\t" + rows["article_id"] + f"\t{week.start}").to_numpy(object)
    chance = pd.util.hash_array(said, categorize=False)
    order = np.lexsort((chance, ~plain, customer))
    starts = np.searchsorted(customer[order], np.arange(customer.max(initial=-1) + 1))
    nth = np.empty(len(rows), dtype="int64")
    nth[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    stays = ~plain | (nth < most)
    count = np.bincount(customer[plain], minlength=customer.max(initial=-1) + 1)
    share = np.minimum(1.0, most / np.maximum(count, 1))[customer]
    return rows.assign(**{KEPT: np.where(plain, share, 1.0)})[stays]


def _drawn(
    con: duckdb.DuckDBPyConnection,
    bought: pd.DataFrame,
    week: Week,
    negatives: Mapping[str, int],
    state: pd.DataFrame,
) -> pd.DataFrame:
    """What the other strategies give of the customers: customer_id, article_id, postal_code and `KEPT`."""
    parts = [
        NEGATIVES[name](n).draw(con, bought.assign(day=week.start))
        for name, n in negatives.items()
        if name != CANDIDATES
    ]
    if not parts:
        return pd.DataFrame()
    drawn = pd.concat(parts).drop_duplicates(["customer_id", "article_id"])
    drawn = drawn.sort_values(["customer_id", "article_id"])
    codes = dict(zip(state["customer_id"], state[POSTAL_CODE], strict=True))
    return pd.DataFrame(
        {
            "customer_id": drawn["customer_id"].to_numpy(dtype=object),
            "article_id": drawn["article_id"].to_numpy(dtype=object),
            "postal_code": drawn["customer_id"].map(codes).to_numpy(dtype=object),
            # They show what is no candidate, and stand for nothing: what no retriever named is not ranked.
            KEPT: 1.0,
        }
    )


def _lean(rows: pd.DataFrame) -> pd.DataFrame:
    """What is learned from, packed."""
    labels = [name for name in LABELS.values() if name in rows]
    kept = rows[["customer_id", "article_id", *labels, KEPT, *learnable(rows)]]
    numbers = kept.select_dtypes("number").columns.difference(labels)
    texts = kept.select_dtypes("object").columns
    return kept.astype(dict.fromkeys(numbers, "float32") | dict.fromkeys(texts, "string[pyarrow]"))


# --- where they are -----------------------------------------------------------------------------


def _root() -> Path:
    return places.home() / "training" / "rows"


def _customers_of(rows: Path) -> Path:
    return rows.with_name(rows.name.replace(_ROWS, _CUSTOMERS, 1))


def _folder(con: duckdb.DuckDBPyConnection, week: Week, settings: ReleaseSettings) -> Path:
    """Of a week's rows: another one for other data, features, settings or code."""
    (content,) = con.execute(
        "SELECT bit_xor(hash(found)) FROM raw.article_content AS found"
    ).fetchall()
    meant: list[Any] = [
        feature_tables.latest_build().data_hash,
        content,
        [schema_hash(name) for name in (STATE_SERVICE, settings.feature_service)],
        {name: settings.settings_of(name) for name in settings.retrievers},
        dict(settings.per_source),
        dict(settings.weights),
        settings.training_customers,
        dict(settings.negatives),
        places.code_hash("pipelines", without=_ELSEWHERE),
    ]
    digest = hashlib.sha256(json.dumps(meant, default=str).encode()).hexdigest()[:16]
    return _root() / f"{week.start}-{digest}"


def _forget_old() -> None:
    """Let go of what nobody has used for long: weeks, finished or not, and trainings that were ended."""
    for folder in _root().glob("*-*"):
        done = folder / _DONE
        used = max(file.stat().st_mtime for file in [folder, *([done] if done.exists() else [])])
        if time.time() - used > KEEP_DAYS * 86_400:
            shutil.rmtree(folder, ignore_errors=True)
    for checkpoint in _root().parent.glob("*.pt"):
        if time.time() - checkpoint.stat().st_mtime > KEEP_DAYS * 86_400:
            checkpoint.unlink(missing_ok=True)
