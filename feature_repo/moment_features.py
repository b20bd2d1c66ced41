"""The functions behind the on-demand views: what depends on the moment of asking.

Each is pure and vectorised, and is the only implementation of its features: training rows, online
reads and updates within a session all call it. Inputs and outputs are data frames with one row per
request; a missing input gives a missing output.
"""

import numpy as np
import pandas as pd

from feature_repo.feature_sql import TASTES
from feature_repo.windows import DECAY_DAYS

CROSSES = 2**20
"""Numbers that a cross of attributes is hashed to."""
SEASONS = ("winter", "spring", "summer", "autumn")


def _days_between(later: pd.Series, earlier: pd.Series) -> pd.Series:
    """Days from `earlier` to `later`, with fractions."""
    # Feast carries moments online in whole seconds: what is finer must not count offline either.
    between = _utc(later).dt.as_unit("s") - _utc(earlier).dt.as_unit("s")
    return between / pd.Timedelta(days=1)


def _utc(moments: pd.Series) -> pd.Series:
    # The cache of what repeats is looked for one moment after the other, in Python.
    return pd.to_datetime(moments, utc=True, cache=False)


def calendar(inputs: pd.DataFrame) -> pd.DataFrame:
    """weekday (Monday is 0), weekend, week_of_year (ISO 8601), month, days_to_month_end, season."""
    moment = _utc(inputs["request_time"])
    return pd.DataFrame(
        {
            "weekday": moment.dt.weekday.astype("Int64"),
            "weekend": (moment.dt.weekday >= 5).astype("Int64").where(moment.notna()),
            "week_of_year": moment.dt.isocalendar().week.astype("Int64"),
            "month": moment.dt.month.astype("Int64"),
            "days_to_month_end": (moment.dt.days_in_month - moment.dt.day).astype("Int64"),
            "season": (moment.dt.month % 12 // 3).map(dict(enumerate(SEASONS))),
        }
    )


def recency(inputs: pd.DataFrame) -> pd.DataFrame:
    """Days since the customer's last purchase, also against their usual gap, and since the
    article's first and last sale."""
    now = inputs["request_time"]
    days_since = _days_between(now, inputs["last_purchase"])
    usual = inputs["median_gap_days"].astype("float64")
    return pd.DataFrame(
        {
            "days_since_last_purchase": days_since,
            "overdue": days_since / usual,
            "days_since_first_sold": _days_between(now, inputs["first_sold"]),
            "days_since_last_sold": _days_between(now, inputs["last_sold"]),
        }
    )


def customer_article_now(inputs: pd.DataFrame) -> pd.DataFrame:
    """What the customer and the article have to do with each other, at this moment."""
    days_since = _days_between(inputs["request_time"], inputs["last_bought"])
    gaps = inputs["days_bought"].astype("float64") - 1
    mean_gap = _days_between(inputs["last_bought"], inputs["first_bought"]) / gaps.where(gaps > 0)
    weight = inputs["purchase_weight"].astype("float64")
    paid = inputs["mean_price_paid"].astype("float64")
    age = inputs["age"].astype("float64")
    price = inputs["latest_price"].astype("float64")
    typical = inputs["typical_price"].astype("float64")
    spread = inputs["price_spread"].astype("float64")
    return pd.DataFrame(
        {
            "days_since_bought": days_since,
            "purchase_weight_now": weight * np.exp(-days_since / DECAY_DAYS),
            "gap_ratio": days_since / mean_gap,
            "share_of_days": inputs["days_bought"].astype("float64")
            / inputs["u_active_days_lifetime"].astype("float64"),
            "age_difference": age - inputs["median_age_buyers"].astype("float64"),
            "price_ratio": price / paid.where(paid > 0),
            "price_to_typical": np.log((price / typical).where(price > 0)) / spread.clip(lower=0.1),
        }
    )


def taste_match(inputs: pd.DataFrame) -> pd.DataFrame:
    """The share of the customer's lines in the group of the article, for each of TASTES."""
    return pd.DataFrame(
        {
            f"{name}_share": _share_of(inputs[f"{name}s"], inputs[f"{name}_shares"], inputs[column])
            for name, column in TASTES.items()
        },
        index=inputs.index,
    )


def _share_of(names: pd.Series, shares: pd.Series, wanted: pd.Series) -> np.ndarray:
    """The share beside each row's wanted name in its list of names; 0 if it is not there."""
    known = (names.notna() & wanted.notna()).to_numpy()
    found = np.where(known, 0.0, np.nan)
    rows = np.flatnonzero(known)
    if not len(rows):
        return found
    lists = names.to_numpy()[rows]
    row = np.repeat(rows, [len(one) for one in lists])
    hit = np.concatenate(lists) == wanted.to_numpy(dtype=object)[row]
    found[row[hit]] = np.concatenate(shares.to_numpy()[rows])[hit]
    return found


def crosses(inputs: pd.DataFrame) -> pd.DataFrame:
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
    return pd.DataFrame(
        {name: _cross(inputs[one], inputs[other]) for name, (one, other) in pairs.items()},
        index=inputs.index,
    )


def _cross(one: pd.Series, other: pd.Series) -> pd.Series:
    # Each value is hashed for itself: ("1", "23") and ("12", "3") must not be the same text.
    def hashed(values: pd.Series) -> np.ndarray:
        codes, distinct = pd.factorize(values)
        of_each = pd.util.hash_array(np.asarray(distinct, dtype=object), categorize=False)
        return np.append(of_each, np.uint64(0))[codes]

    mixed = hashed(one) * np.uint64(0x9E3779B97F4A7C15) + hashed(other)
    numbers = ((mixed ^ (mixed >> np.uint64(29))) % np.uint64(CROSSES)).astype("int64")
    both = one.notna().to_numpy() & other.notna().to_numpy()
    return pd.Series(numbers, index=one.index, dtype="Int64").where(both)
