"""What moved a score is said only where the features bear it out."""

import pytest

from pipelines.reasons import moved_by

ROW = {
    "article_activity__u_customers_7d": 12.0,
    "article_activity__trend": 0.9,
    "article_activity__discount": 0.2,
    "article_profile__colour_group_name": "Black",
    "taste_match__colour_group_share": 0.42,
    "customer_article_now__price_to_typical": -1.5,
    "customer_article_now__age_difference": 9.0,
    "customer_article_now__gap_ratio": 1.1,
    "customer_article__days_bought": 3.0,
    "recency__days_since_first_sold": 5.5,
}


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("article_activity__u_customers_7d", "12 customers bought it in 7 days."),
        ("article_activity__trend", "12 customers bought it in 7 days."),
        ("article_activity__discount", "Reduced by 20%."),
        ("taste_match__colour_group_share", "42% of what you bought is Black."),
        ("customer_article_now__price_to_typical", "Costs less than you usually pay."),
        ("customer_article_now__age_difference", None),
        ("customer_article_now__gap_ratio", "You bought it about as long ago as you usually wait."),
        ("customer_article__days_bought", "You bought it on 3 days."),
        ("recency__days_since_first_sold", "New: first sold 5 days ago."),
        ("ease__score", None),
    ],
)
def test_a_driver_says_what_its_value_bears_out(driver: str, said: str | None) -> None:
    assert moved_by(ROW, [driver]) == said


def test_the_strongest_that_says_something_and_nothing_twice() -> None:
    drivers = ["ease__score", "taste_match__colour_group_share", "article_activity__discount"]
    first = moved_by(ROW, drivers)
    assert first == "42% of what you bought is Black."
    assert moved_by(ROW, drivers, {first}) == "Reduced by 20%."


@pytest.mark.parametrize("driver", [*ROW])
def test_what_is_missing_is_not_talked_about(driver: str) -> None:
    assert moved_by({}, [driver]) is None
    assert moved_by(dict.fromkeys(ROW, float("nan")), [driver]) is None
