"""Views by customer and article, or what the article is one of."""

from feature_repo.entities import article, customer, product
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

customer_product = view(
    "customer_product",
    [customer, product],
    "What the customer has had to do with the article's product, in any colour.",
    [
        feature("product_times_bought", Int64, "lines bought of the product", "lines"),
        feature("product_days_bought", Int64, "days on which it was bought", "days"),
        feature("product_articles_bought", Int64, "distinct articles bought of it", "articles"),
        feature("product_last_bought", UnixTimestamp, "last day bought"),
    ],
    freshness="on the day after a purchase of the product",
)
