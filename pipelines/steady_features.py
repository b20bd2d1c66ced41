"""Features of very many rows at one moment: what is by a key is read once for each of its values.

The file for everybody asks for some hundred rows of each customer, and for the same articles again in
every batch. A join of these rows would look up each customer a hundred times.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from pipelines.features import MOMENT, OfflineFeatures, computed, feature_store, plan_of
from pipelines.warehouse import reading

KEPT = ("article_id",)
"""The keys of which what was read is kept for later batches: there are not many articles."""


class SteadyFeatures:
    """The same values as `OfflineFeatures(moment)` gives, sooner; whole numbers may come as float64.

    Args:
        moment: UTC.
    """

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self._kept: dict[str, pd.DataFrame] = {}

    def table(self, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
        return pd.DataFrame(columns)

    def read(self, rows: pd.DataFrame, service: str) -> pd.DataFrame:
        """One row per row of `rows`, in its order: its columns, then `view__feature`."""
        plan = plan_of(service)
        if rows.empty or not plan.computed:
            return OfflineFeatures(self.moment).read(rows, service)
        by_keys: dict[tuple[str, ...], list[str]] = {}
        for read in plan.reads:
            names = (f"{read.view}:{feature}" for feature in (*read.numbers, *read.others))
            by_keys.setdefault(read.keys, []).extend(names)
        columns: dict[str, Any] = {}
        # Opened once for all reads.
        with reading():
            for keys, references in by_keys.items():
                found, place = self._found(rows, keys, references, service)
                for name in found.columns:
                    if name not in keys:
                        columns[name] = found[name].array.take(place)
        given = {name: pd.Series(values) for name, values in columns.items()}
        made = computed(plan, given, self.moment, len(rows))
        columns |= {name: _plain(values) for name, values in made.items()}
        answer = pd.DataFrame({name: columns[name] for name in plan.fields}, rows.index, copy=False)
        return pd.concat([rows, answer], axis=1)

    def _found(
        self, rows: pd.DataFrame, keys: tuple[str, ...], references: list[str], service: str
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """What was read for each value of the keys, and for each row its place there."""
        if len(keys) > 1:
            asked = rows[list(keys)].reset_index(drop=True)
            return self._read(asked, references), np.arange(len(rows))
        (key,) = keys
        place, values = pd.factorize(rows[key], use_na_sentinel=False)
        asked = pd.DataFrame({key: values}, dtype=object)
        if keys != KEPT:
            return self._read(asked, references), place
        kept = self._kept.get(service)
        new = asked if kept is None else asked[~asked[key].isin(kept[key])]
        if len(new):
            read = self._read(new.reset_index(drop=True), references)
            kept = read if kept is None else pd.concat([kept, read], ignore_index=True)
            self._kept[service] = kept
        assert kept is not None
        return kept, pd.Index(kept[key]).get_indexer(values)[place]

    def _read(self, asked: pd.DataFrame, references: list[str]) -> pd.DataFrame:
        keys = list(asked.columns)
        found = (
            feature_store()
            .get_historical_features(
                entity_df=asked.assign(**{MOMENT: pd.Timestamp(self.moment)}),
                features=references,
                full_feature_names=True,
            )
            .to_df()
        )
        names = [reference.replace(":", "__", 1) for reference in references]
        return found[[*keys, *names]]


def _plain(values: Any) -> Any:
    """Whole numbers as float64, for they may have gaps."""
    if isinstance(values, np.ndarray):
        return values.astype("float64", copy=False) if values.dtype.kind == "i" else values
    column = pd.Series(values)
    return column.array if column.dtype != "Int64" else column.to_numpy("float64", na_value=np.nan)
