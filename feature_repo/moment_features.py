"""The functions behind the on-demand views: what depends on the moment of asking.

Each is pure and vectorised, and is the only implementation of its features: training rows, online
reads and updates within a session all call it. It has the name of its view, and goes from columns to
columns: inputs are a data frame or arrays by name, a row for each question, and a dictionary of arrays
comes out. A missing input gives a missing output.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
import pandas as pd

from feature_repo.coded import Coded, decoded
from feature_repo.feature_sql import TASTES
from feature_repo.windows import DECAY_DAYS

CROSSES = 2**20
"""Numbers that a cross of attributes is hashed to."""
SEASONS = ("winter", "spring", "summer", "autumn")
SECONDS_IN_DAY = 86_400
SHARED = 4
"""So many rows to a list, and it is worth a table of its own."""

Values = pd.Series | np.ndarray | Coded
Inputs = pd.DataFrame | Mapping[str, Values]
Outputs = dict[str, Any]
"""Arrays (R,), of pandas' own kind where whole numbers have gaps."""


def _moments(given: Values) -> np.ndarray:
    """UTC, without a zone (R,) datetime64."""
    values = decoded(given)
    if values.dtype.kind == "M":
        # `values` of moments with a zone are those in UTC, and no copy.
        return np.asarray(values if isinstance(values, np.ndarray) else values.values)
    return np.asarray(pd.Series(pd.to_datetime(values, utc=True, cache=False)).values)


def _days_between(later: Values, earlier: Values) -> np.ndarray:
    """Days from `earlier` to `later` (R,), with fractions."""
    # Feast carries moments online in whole seconds: what is finer must not count offline either.
    between = _moments(later).astype("datetime64[s]") - _moments(earlier).astype("datetime64[s]")
    days: np.ndarray = between.astype("int64") / SECONDS_IN_DAY
    return np.where(np.isnat(between), np.nan, days)


def _numbers(given: Values) -> np.ndarray:
    """(R,) float64, missing as NaN."""
    values = decoded(given)
    if isinstance(values, np.ndarray) and values.dtype == "float64":
        return values
    return pd.Series(values).to_numpy("float64", na_value=np.nan)


def _whole(values: np.ndarray, missing: np.ndarray) -> np.ndarray | pd.arrays.IntegerArray:
    """Whole numbers (R,), of pandas' own kind where there are gaps."""
    numbers = values.astype("int64")
    return pd.arrays.IntegerArray(numbers, missing) if missing.any() else numbers


def calendar(inputs: Inputs) -> Outputs:
    """weekday (Monday is 0), weekend, week_of_year (ISO 8601), month, days_to_month_end, season."""
    day = _moments(inputs["request_time"]).astype("datetime64[D]")
    missing = np.isnat(day)
    day = np.where(missing, np.datetime64(0, "D"), day)
    # 1970-01-01 was a Thursday.
    weekday = (day.astype("int64") + 3) % 7
    month = day.astype("datetime64[M]")
    month_of_year = month.astype("int64") % 12 + 1
    # A week belongs to the year of its Thursday.
    thursday = day + (3 - weekday)
    new_year = thursday.astype("datetime64[Y]").astype("datetime64[D]")
    to_month_end = (month + 1).astype("datetime64[D]") - day
    season = np.array(SEASONS, dtype=object)[month_of_year % 12 // 3]
    return {
        "weekday": _whole(weekday, missing),
        "weekend": _whole(weekday >= 5, missing),
        "week_of_year": _whole((thursday - new_year).astype("int64") // 7 + 1, missing),
        "month": _whole(month_of_year, missing),
        "days_to_month_end": _whole(to_month_end.astype("int64") - 1, missing),
        "season": np.where(missing, np.nan, season),
    }


def recency(inputs: Inputs) -> Outputs:
    """Days since the customer's last purchase, also against their usual gap, and since the
    article's first and last sale."""
    now = inputs["request_time"]
    days_since = _days_between(now, inputs["last_purchase"])
    usual = _numbers(inputs["median_gap_days"])
    with np.errstate(divide="ignore", invalid="ignore"):
        overdue = days_since / usual
    return {
        "days_since_last_purchase": days_since,
        "overdue": overdue,
        "days_since_first_sold": _days_between(now, inputs["first_sold"]),
        "days_since_last_sold": _days_between(now, inputs["last_sold"]),
    }


def customer_article_now(inputs: Inputs) -> Outputs:
    """What the customer and the article have to do with each other, at this moment."""
    days_since = _days_between(inputs["request_time"], inputs["last_bought"])
    between = _days_between(inputs["last_bought"], inputs["first_bought"])
    days_bought = _numbers(inputs["days_bought"])
    paid, price = _numbers(inputs["mean_price_paid"]), _numbers(inputs["latest_price"])
    typical, spread = _numbers(inputs["typical_price"]), _numbers(inputs["price_spread"])
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_gap = between / np.where(days_bought > 1, days_bought - 1, np.nan)
        to_typical = np.log(np.where(price > 0, price / typical, np.nan)) / np.maximum(spread, 0.1)
        return {
            "days_since_bought": days_since,
            "purchase_weight_now": _numbers(inputs["purchase_weight"])
            * np.exp(-days_since / DECAY_DAYS),
            "gap_ratio": days_since / mean_gap,
            "share_of_days": days_bought / _numbers(inputs["u_active_days_lifetime"]),
            "age_difference": _numbers(inputs["age"]) - _numbers(inputs["median_age_buyers"]),
            "price_ratio": price / np.where(paid > 0, paid, np.nan),
            "price_to_typical": to_typical,
        }


def taste_match(inputs: Inputs) -> Outputs:
    """The share of the customer's lines in the group of the article, for each of TASTES."""
    return {
        f"{name}_share": _share_of(inputs[f"{name}s"], inputs[f"{name}_shares"], inputs[column])
        for name, column in TASTES.items()
    }


def _share_of(names: Values, shares: Values, wanted: Values) -> np.ndarray:
    """The share beside each row's wanted name in its list of names; 0 if it is not there."""
    if _is_one(names) and _is_one(shares) and isinstance(wanted, Coded):
        # The rows of one customer share their lists, and there are few names.
        given, share_of = names.names[0], {}
        if given is not None:
            share_of = dict(zip(given, shares.names[0], strict=True))
        return wanted.mapped(
            lambda name: np.nan if given is None or name is None else share_of.get(name, 0.0)
        )
    lists, beside, asked = (
        np.asarray(decoded(values), dtype=object) for values in (names, shares, wanted)
    )
    known = pd.notna(lists) & pd.notna(asked)
    found = np.where(known, 0.0, np.nan)
    rows = np.flatnonzero(known)
    if not len(rows):
        return found
    lists, beside, asked = lists[rows], beside[rows], asked[rows]
    # The rows of a customer share their lists, which are then read once.
    keys = [*zip(map(id, lists), map(id, beside), strict=True)]
    tables = dict(zip(keys, zip(lists, beside, strict=True), strict=True))
    if len(tables) * SHARED <= len(rows):
        share_of = {key: dict(zip(one, of, strict=True)) for key, (one, of) in tables.items()}
        found[rows] = [share_of[key].get(name, 0.0) for key, name in zip(keys, asked, strict=True)]
        return found
    place = np.repeat(np.arange(len(rows)), [len(one) for one in lists])
    hit = np.concatenate(lists) == asked[place]
    found[rows[place[hit]]] = np.concatenate(beside)[hit]
    return found


def _is_one(values: Values) -> TypeGuard[Coded]:
    """Whether every row has the same value."""
    return isinstance(values, Coded) and values.is_one


def crosses(inputs: Inputs) -> Outputs:
    """Pairs of attributes as numbers below CROSSES; missing where either is."""
    pairs = {
        "age_bucket_x_product_type": ("age_bucket", "product_type_name"),
        "age_bucket_x_colour_group": ("age_bucket", "colour_group_name"),
        "age_bucket_x_section": ("age_bucket", "section_name"),
        "age_bucket_x_product_code": ("age_bucket", "product_code"),
        "customer_x_article": ("customer_hash", "article_hash"),
        "customer_x_product_code": ("customer_hash", "product_code"),
        "customer_x_colour_group": ("customer_hash", "colour_group_name"),
    }
    hashed = {name: _hashed(inputs[name]) for name in dict.fromkeys(sum(pairs.values(), ()))}
    return {name: _cross(hashed[one], hashed[other]) for name, (one, other) in pairs.items()}


def _hashed(values: Values) -> tuple[np.ndarray, np.ndarray]:
    """A number for each value, whatever stands beside it (R,) uint64, and where there is none (R,)."""
    codes, distinct = pd.factorize(decoded(values))
    of_each = pd.util.hash_array(np.asarray(distinct, dtype=object), categorize=False)
    return np.append(of_each, np.uint64(0))[codes], codes < 0


def _cross(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> np.ndarray | pd.arrays.IntegerArray:
    # Each value is hashed for itself: ("1", "23") and ("12", "3") must not be the same text.
    mixed = one[0] * np.uint64(0x9E3779B97F4A7C15) + other[0]
    numbers = (mixed ^ (mixed >> np.uint64(29))) % np.uint64(CROSSES)
    return _whole(numbers, one[1] | other[1])
