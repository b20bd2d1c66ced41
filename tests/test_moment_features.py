"""Functions of the moment: what is computed when features are asked for."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo import feature_sql
from feature_repo import moment_features as on_columns


class _Frames:
    """The functions on data frames, each held against itself on arrays."""

    CROSSES = on_columns.CROSSES
    _share_of = staticmethod(on_columns._share_of)

    def __getattr__(self, name):
        def framed(inputs):
            found = pd.DataFrame(getattr(on_columns, name)(inputs), index=inputs.index)
            arrays = {column: as_arrays(inputs[column]) for column in inputs}
            alone = pd.DataFrame(getattr(on_columns, name)(arrays), index=inputs.index)
            pd.testing.assert_frame_equal(alone, found)
            return found

        return framed


def as_arrays(values):
    """As the online store gives them: moments in UTC without a zone, numbers as float64."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.to_numpy(dtype="datetime64[us]")
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy("float64", na_value=np.nan)
    return values.to_numpy()


moment_features = _Frames()


def moments(*texts: str | None) -> pd.Series:
    return pd.Series(pd.to_datetime(list(texts), utc=True, format="ISO8601"))


@pytest.mark.parametrize(
    ("moment", "values"),
    [
        ("2020-02-28 23:59:59.999999", (4, 0, 9, 2, 1, "winter")),
        ("2020-02-29 00:00", (5, 1, 9, 2, 0, "winter")),
        ("2021-02-28", (6, 1, 8, 2, 0, "winter")),
        ("2020-12-31", (3, 0, 53, 12, 0, "winter")),
        ("2021-01-01", (4, 0, 53, 1, 30, "winter")),
        ("2021-01-04", (0, 0, 1, 1, 27, "winter")),
        ("2020-03-01", (6, 1, 9, 3, 30, "spring")),
        ("2020-06-01", (0, 0, 23, 6, 29, "summer")),
        ("2020-09-30T23:00-02:00", (3, 0, 40, 10, 30, "autumn")),
    ],
)
def test_calendar(moment, values):
    found = moment_features.calendar(pd.DataFrame({"request_time": moments(moment)}))

    assert list(found.columns) == [
        "weekday",
        "weekend",
        "week_of_year",
        "month",
        "days_to_month_end",
        "season",
    ]
    assert tuple(found.iloc[0]) == values


def test_recency():
    inputs = pd.DataFrame(
        {
            "request_time": moments("2020-03-01 12:00", "2020-03-01"),
            "last_purchase": moments("2020-02-28", None),
            "median_gap_days": [5.0, None],
            "first_sold": moments("2020-02-01", None),
            "last_sold": moments("2020-02-29", "2020-02-29"),
        }
    )

    found = moment_features.recency(inputs)

    assert found.iloc[0].tolist() == [2.5, 0.5, 29.5, 1.5]
    assert found.iloc[1].isna().tolist() == [True, True, True, False]


def pair(**values: Any) -> pd.DataFrame:
    known = {
        "request_time": moments("2020-01-31"),
        "first_bought": moments("2020-01-01"),
        "last_bought": moments("2020-01-21"),
        "days_bought": [3],
        "purchase_weight": [2.0],
        "u_active_days_lifetime": [6],
        "age": [30],
        "median_age_buyers": [42.5],
        "latest_price": [5.0],
        "mean_price_paid": [20.0],
        "typical_price": [5.0 * math.e],
        "price_spread": [0.5],
    }
    return pd.DataFrame(known | values)


def test_customer_article_now():
    found = moment_features.customer_article_now(pair()).iloc[0]

    assert found.to_dict() == {
        "days_since_bought": 10.0,
        "purchase_weight_now": 2.0 * math.exp(-10 / 30),
        "gap_ratio": 1.0,
        "share_of_days": 0.5,
        "age_difference": -12.5,
        "price_ratio": 0.25,
        "price_to_typical": pytest.approx(-2.0),
    }


@pytest.mark.parametrize(
    ("missing", "unknown"),
    [
        ("last_bought", {"days_since_bought", "purchase_weight_now", "gap_ratio"}),
        ("first_bought", {"gap_ratio"}),
        ("days_bought", {"gap_ratio", "share_of_days"}),
        ("purchase_weight", {"purchase_weight_now"}),
        ("u_active_days_lifetime", {"share_of_days"}),
        ("age", {"age_difference"}),
        ("median_age_buyers", {"age_difference"}),
        ("latest_price", {"price_ratio", "price_to_typical"}),
        ("typical_price", {"price_to_typical"}),
        ("price_spread", {"price_to_typical"}),
        ("mean_price_paid", {"price_ratio"}),
    ],
)
@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_missing_input_leaves_what_needs_it_unknown(missing, unknown, nothing):
    # Online answers are objects with None, offline ones floats with NaN.
    value = moments(None) if missing.endswith("bought") and "days" not in missing else [nothing]
    found = moment_features.customer_article_now(pair(**{missing: value})).iloc[0]

    assert set(found.index[found.isna()]) == unknown


def test_bought_on_one_day_only_has_no_gap_and_a_free_article_no_ratio():
    found = moment_features.customer_article_now(pair(days_bought=[1], mean_price_paid=[0.0]))

    assert found[["gap_ratio", "price_ratio"]].isna().all(axis=None)
    assert not np.isinf(found.to_numpy(dtype=float)).any()


def test_functions_of_the_moment_see_whole_seconds_whatever_the_resolution_of_timestamps():
    asked = moments(*(f"2020-01-31 07:{n:02}:13.{n:06}" for n in range(60)))
    inputs = pair().loc[[0] * len(asked)].reset_index(drop=True).assign(request_time=asked)
    coarse = inputs.apply(lambda c: c.dt.as_unit("us") if c.dtype.kind == "M" else c)
    fine = inputs.apply(lambda c: c.dt.as_unit("ns") if c.dtype.kind == "M" else c)
    whole = inputs.assign(request_time=asked.dt.floor("s"))

    # Online, Feast carries the request's time in whole seconds.
    exact = moment_features.customer_article_now(whole)
    for frame in (coarse, fine):
        found = moment_features.customer_article_now(frame)
        pd.testing.assert_frame_equal(found, exact, check_exact=True)


def test_functions_of_the_moment_are_pure_and_take_no_rows():
    inputs = pair()
    before = inputs.copy(deep=True)
    moment_features.customer_article_now(inputs)
    pd.testing.assert_frame_equal(inputs, before)

    assert moment_features.customer_article_now(inputs.iloc[:0]).empty
    assert moment_features.calendar(inputs.iloc[:0]).empty


def months() -> Iterator[datetime]:
    for year in (2019, 2020):
        for month in range(1, 13):
            yield datetime(year, month, 1, tzinfo=UTC) - timedelta(days=1)


def test_the_last_day_of_every_month_has_no_days_left():
    found = moment_features.calendar(pd.DataFrame({"request_time": list(months())}))

    assert set(found["days_to_month_end"]) == {0}


def test_taste_match_is_the_share_of_the_articles_own_group():
    taste = pd.DataFrame(
        {
            "colour_groups": [["Red", "Blue"], ["Red"], None, ["Red"], np.array(["Blue"])],
            "colour_group_shares": [[0.75, 0.25], [1.0], None, [1.0], np.array([1.0])],
            "colour_group_name": ["Blue", "Green", "Red", None, "Blue"],
        }
    )
    others = {
        name: [None] * 5
        for group, column in feature_sql.TASTES.items()
        if group != "colour_group"
        for name in (f"{group}s", f"{group}_shares", column)
    }

    found = moment_features.taste_match(taste.assign(**others))

    np.testing.assert_array_equal(found["colour_group_share"], [0.25, 0, np.nan, np.nan, 1])
    assert found.drop(columns="colour_group_share").isna().all(axis=None)


def test_rows_that_share_their_lists_get_what_each_would_get_alone():
    rng = np.random.default_rng(3)
    lists = [(np.array(list("abcd")[:n], dtype=object), rng.random(n)) for n in (1, 2, 4)]
    whose = rng.integers(len(lists), size=60)
    rows = pd.DataFrame(
        {
            "names": pd.Series([lists[n][0] if n else None for n in whose]),
            "shares": pd.Series([lists[n][1] if n else None for n in whose]),
            "wanted": pd.Series(rng.choice(["a", "c", "d", "z", None], 60), dtype=object),
        }
    )
    together = moment_features._share_of(rows["names"], rows["shares"], rows["wanted"])
    alone = [
        moment_features._share_of(row["names"], row["shares"], row["wanted"])[0]
        for row in (rows.iloc[[place]] for place in range(len(rows)))
    ]
    np.testing.assert_array_equal(together, alone)
    assert np.isnan(together).any()
    assert (together > 0).any()


def cross_inputs(**values: list[Any]) -> pd.DataFrame:
    size = len(next(iter(values.values())))
    names = ("customer_hash", "age_bucket", "article_hash", "product_type_name", "colour_group_name", "section_name", "product_code")  # fmt: skip
    return pd.DataFrame({name: values.get(name, [None] * size) for name in names}, dtype=object)


def test_crosses_tell_pairs_apart_and_are_the_same_everywhere():
    inputs = cross_inputs(
        age_bucket=["1", "12", "1", None], colour_group_name=["23", "3", "23", "3"]
    )

    found = moment_features.crosses(inputs)["age_bucket_x_colour_group"]

    assert found[0] != found[1]
    assert found[0] == found[2]
    assert found.isna().tolist() == [False, False, False, True]
    # What a model learnt of a number must hold on another machine and day.
    assert found[:2].tolist() == [654_815, 125_004]
    assert moment_features.crosses(inputs.iloc[[1]])["age_bucket_x_colour_group"].item() == found[1]


def test_crosses_rarely_collide():
    many = [f"value {n}" for n in range(300)]
    inputs = cross_inputs(
        age_bucket=[one for one in many for _ in many], product_code=many * len(many)
    )

    numbers = moment_features.crosses(inputs)["age_bucket_x_product_code"]

    # 90,000 pairs in 2^20 numbers: about 4% share one by chance alone.
    assert numbers.between(0, moment_features.CROSSES - 1).all()
    assert 0.94 * len(numbers) < numbers.nunique() < 0.98 * len(numbers)
