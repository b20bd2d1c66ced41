"""What moved a score, as a sentence for the customer: said only where the features themselves bear it out."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

Row = Mapping[Hashable, Any]


def moved_by(row: Row, drivers: Sequence[str], already: Collection[str] = ()) -> str | None:
    """The first of the columns that moved the score most, strongest first, of which something can be said.

    Args:
        row: a recommendation with the columns that the ranker saw.
        drivers: columns that raised its score, the strongest first.
        already: sentences that need not be said again.

    Returns:
        a sentence; None if none of them says anything to a customer.
    """
    for driver in drivers:
        for sentence in _sentences_of(driver):
            if (said := sentence(row)) and said not in already:
                return said
    return None


@lru_cache(maxsize=1_000)
def _sentences_of(column: str) -> tuple[Callable[[Row], str | None], ...]:
    return tuple(sentence for begins, sentence in SENTENCES.items() if column.startswith(begins))


def _value(row: Row, column: str) -> float:
    """A number, NaN where it is missing."""
    value = row.get(column)
    return float(value) if isinstance(value, int | float | np.number) else float("nan")


def _sells(row: Row) -> str | None:
    buyers = _value(row, "article_activity__u_customers_7d")
    return f"{buyers:,.0f} customers bought it in 7 days." if buyers >= 2 else None


def _trend(row: Row) -> str | None:
    trend = _value(row, "article_activity__trend")
    return "It sells more than it did." if trend >= 1.2 else _sells(row)


def _new(row: Row) -> str | None:
    days = _value(row, "recency__days_since_first_sold")
    if not days < 30:
        return None
    return "New today." if days < 1 else f"New: first sold {_days(days)} ago."


def _price(row: Row) -> str | None:
    spreads = _value(row, "customer_article_now__price_to_typical")
    if -1 <= spreads <= 1:
        return "At a price that you usually pay."
    return "Costs less than you usually pay." if spreads < -1 else None


def _reduced(row: Row) -> str | None:
    share = _value(row, "article_activity__discount")
    return f"Reduced by {share:.0%}." if share >= 0.05 else None


def _age(row: Row) -> str | None:
    years = abs(_value(row, "customer_article_now__age_difference"))
    return "Bought by people of about your age." if years <= 5 else None


def _due(row: Row) -> str | None:
    ratio = _value(row, "customer_article_now__gap_ratio")
    return "You bought it about as long ago as you usually wait." if 0.7 <= ratio <= 1.5 else None


def _habit(row: Row) -> str | None:
    days = _value(row, "customer_article__days_bought")
    return f"You bought it on {days:.0f} days." if days >= 2 else None


def _loyal(row: Row) -> str | None:
    share = _value(row, "article_activity__repurchase_rate")
    return "Many who have it buy it again." if share >= 0.1 else None


def _taste(name: str) -> Callable[[Row], str | None]:
    """The share of the customer's lines that is like the article in an attribute."""

    def said(row: Row) -> str | None:
        share = _value(row, f"taste_match__{name}_share")
        value = row.get(f"article_profile__{name}_name")
        if not share >= 0.1 or not isinstance(value, str) or not value:
            return None
        return f"{share:.0%} of what you bought is {value}."

    return said


def _days(days: float) -> str:
    whole = int(days)
    return "a day" if whole == 1 else f"{whole} days"


SENTENCES: dict[str, Callable[[Row], str | None]] = {
    "article_activity__trend": _trend,
    "article_activity__t_purchases_7d": _sells,
    "article_activity__u_customers_7d": _sells,
    "article_activity__discount": _reduced,
    "article_activity__repurchase_rate": _loyal,
    "recency__days_since_first_sold": _new,
    "customer_article_now__price": _price,
    "customer_article_now__age_difference": _age,
    "customer_article_now__gap_ratio": _due,
    "customer_article__": _habit,
    "customer_article_now__share_of_days": _habit,
    **{
        f"taste_match__{name}_share": _taste(name)
        for name in ("colour_group", "product_group", "garment_group", "index_group")
    },
}
"""What a column's name begins with -> what is said of it, None where its value does not bear it out."""
