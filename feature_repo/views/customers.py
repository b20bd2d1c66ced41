"""Views by customer."""

from feature_repo.entities import customer
from feature_repo.feature_sql import TASTES
from feature_repo.views.declare import (
    OF_ID,
    Array,
    Float64,
    Int64,
    String,
    UnixTimestamp,
    as_of_view,
    feature,
    view,
    windowed,
)
from feature_repo.windows import DECAY_DAYS, RECENT_ARTICLES, SESSION_EVENTS

customer_profile = view(
    "customer_profile",
    [customer],
    "Who the customer is, as last delivered by the shop.",
    [
        feature("customer_hash", String, "of the id's MD5: the customer in crosses", tag=OF_ID),
        feature("age", Int64, "age", "years"),
        feature("age_bucket", String, "age group"),
        feature("club_member_status", String, "status in the shop's club"),
        feature("fashion_news_frequency", String, "how often the customer wants fashion news"),
        feature("FN", Float64, "1.0 if the customer gets the fashion news"),
        feature("Active", Float64, "1.0 if the customer may be written to"),
        feature("postal_code", String, "where the customer lives"),
    ],
    freshness="with a delivery of customers",
)

customer_activity = view(
    "customer_activity",
    [customer],
    "How much, how often and how variedly the customer buys.",
    [
        *windowed("t_price", Float64, "spend", "currency"),
        *windowed("t_transactions", Int64, "lines bought", "lines"),
        *windowed("u_articles", Int64, "distinct articles bought", "articles"),
        *windowed("u_active_days", Int64, "days with a purchase", "days"),
        *windowed("n_sales_channel", Int64, "channels bought in", "channels"),
        feature("last_purchase", UnixTimestamp, "day of the last purchase"),
        feature("median_gap_days", Float64, "median time between purchase days", "days"),
        feature("basket_size", Float64, "mean lines per purchase day", "lines"),
        feature("mean_price_paid", Float64, "mean price per piece", "currency"),
        feature("bulk_share", Float64, "share of purchases of more than one piece"),
    ],
    freshness="daily, exact at every moment",
)

customer_price = view(
    "customer_price",
    [customer],
    "How dear the customer buys: price sensitivity.",
    [
        feature("typical_price", Float64, "geometric mean of the prices paid", "currency"),
        feature(
            "price_spread",
            Float64,
            "standard deviation of the logarithm of prices: 0.3 means that they differ by some 30%",
        ),
        feature(
            "price_to_product_group",
            Float64,
            "prices paid over the mean price of the product group in the 30 days before, geometric mean",
        ),
        feature(
            "discount_share",
            Float64,
            "share of lines bought at least 1% below the article's highest daily price of 90 days",
        ),
    ],
    freshness="on the day after a purchase",
)

customer_taste = as_of_view(
    "customer_taste",
    [customer],
    "How the customer's purchases are shared over groups of articles, the largest share first; names "
    "and shares go together by position.",
    [
        field
        for name in TASTES
        for field in (
            feature(f"{name}s", Array(String), f"{name.replace('_', ' ')}s bought from"),
            feature(f"{name}_shares", Array(Float64), "share of lines bought from each"),
        )
    ],
    freshness="on the day after a purchase",
)

customer_recent = as_of_view(
    "customer_recent",
    [customer],
    f"The last {RECENT_ARTICLES} distinct articles the customer bought, newest first; the lists "
    "go together by position.",
    [
        feature("recent_articles", Array(String), "article ids"),
        feature("recent_days", Array(Int64), "day each was last bought, since 1970-01-01", "days"),
        feature("recent_times", Array(Int64), "times each was bought", "lines"),
        feature(
            "recent_weights",
            Array(Float64),
            f"lines of each, decayed by exp(-age / {DECAY_DAYS:g} days) to the day it was last bought",
        ),
    ],
    freshness="on the day after a purchase",
)

customer_session = as_of_view(
    "customer_session",
    [customer],
    f"The last {SESSION_EVENTS} events of the customer that are not impressions, newest first, those of one "
    "moment by kind and article from z to a; the lists go together by position. An event that comes twice "
    "is there once.",
    [
        feature("session_articles", Array(String), "article ids"),
        feature("session_kinds", Array(String), "view, cart, purchase or dismiss"),
        # As timestamps, Feast would cut them to seconds on their way to the online store.
        feature(
            "session_moments", Array(Int64), "when each was, since 1970-01-01 UTC", "microseconds"
        ),
    ],
    freshness="with every event, at its moment",
    push="interactions",
    keep=SESSION_EVENTS,
    order=("session_moments", "session_kinds", "session_articles"),
)
