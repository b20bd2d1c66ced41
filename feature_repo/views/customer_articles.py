"""Views by customer and article."""

from feature_repo.entities import article, customer
from feature_repo.views.declare import Float64, Int64, UnixTimestamp, feature, view
from feature_repo.windows import DECAY_DAYS

customer_article = view(
    "customer_article",
    [customer, article],
    "What the customer and the article have had to do with each other.",
    [
        feature("times_bought", Int64, "lines bought", "lines"),
        feature("days_bought", Int64, "days on which it was bought", "days"),
        feature("first_bought", UnixTimestamp, "first day bought"),
        feature("last_bought", UnixTimestamp, "last day bought"),
        feature(
            "purchase_weight",
            Float64,
            f"lines, each decayed by exp(-age / {DECAY_DAYS:g} days) to the day last bought",
        ),
    ],
    freshness="on the day after a purchase of the article",
)
