"""Views computed when they are asked for: the calendar, and what depends on the moment.

Feast keeps the source text of a view's function in its registry and runs that text alone, so each
imports what it calls. It also refuses descriptions on the fields of such a view: they stand in the
view's own.
"""

import pandas as pd
from feast import Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String, UnixTimestamp

from feature_repo.feature_sql import TASTES
from feature_repo.views.articles import article_activity, article_profile
from feature_repo.views.customer_articles import customer_article
from feature_repo.views.customers import (
    customer_activity,
    customer_price,
    customer_profile,
    customer_taste,
)
from feature_repo.views.declare import OWNER

request_time = RequestSource(
    name="request_time",
    schema=[Field(name="request_time", dtype=UnixTimestamp)],
    description="The moment for which features are asked, UTC.",
    owner=OWNER,
)


@on_demand_feature_view(
    sources=[request_time],
    schema=[
        Field(name="weekday", dtype=Int64),
        Field(name="weekend", dtype=Int64),
        Field(name="week_of_year", dtype=Int64),
        Field(name="month", dtype=Int64),
        Field(name="days_to_month_end", dtype=Int64),
        Field(name="season", dtype=String),
    ],
    mode="pandas",
    description="The calendar at the moment of the request: weekday from Monday = 0, weekend 1 or 0, "
    "ISO 8601 week, month from January = 1, days_to_month_end 0 on the last day, and season, where "
    "winter is December to February.",
    owner=OWNER,
)
def calendar(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo import moment_features

    return pd.DataFrame(moment_features.calendar(inputs), index=inputs.index)


@on_demand_feature_view(
    sources=[
        request_time,
        customer_activity[["last_purchase", "median_gap_days"]],
        article_activity[["first_sold", "last_sold"]],
    ],
    schema=[
        Field(name="days_since_last_purchase", dtype=Float64),
        Field(name="overdue", dtype=Float64),
        Field(name="days_since_first_sold", dtype=Float64),
        Field(name="days_since_last_sold", dtype=Float64),
    ],
    mode="pandas",
    description="Days (with fractions) from an event to the request: since the customer's last "
    "purchase, and since the article's first and last sale; overdue, the time since the customer's last "
    "purchase over the median gap between their purchase days.",
    owner=OWNER,
)
def recency(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo import moment_features

    return pd.DataFrame(moment_features.recency(inputs), index=inputs.index)


@on_demand_feature_view(
    sources=[
        request_time,
        customer_article[["days_bought", "first_bought", "last_bought", "purchase_weight"]],
        customer_activity[["u_active_days_lifetime", "mean_price_paid"]],
        customer_price[["typical_price", "price_spread"]],
        customer_profile[["age"]],
        article_activity[["median_age_buyers", "latest_price"]],
    ],
    schema=[
        Field(name="days_since_bought", dtype=Float64),
        Field(name="purchase_weight_now", dtype=Float64),
        Field(name="gap_ratio", dtype=Float64),
        Field(name="share_of_days", dtype=Float64),
        Field(name="age_difference", dtype=Float64),
        Field(name="price_ratio", dtype=Float64),
        Field(name="price_to_typical", dtype=Float64),
    ],
    mode="pandas",
    description="The customer and the article at the moment of the request: days_since_bought; "
    "purchase_weight_now, the purchases decayed to now; gap_ratio, days since bought over the "
    "customer's mean gap between purchases of it; share_of_days, the share of the customer's "
    "purchase days on which it was bought; age_difference, the customer's age less the median "
    "age of the article's buyers (years); price_ratio, the article's price over the mean price the "
    "customer pays; price_to_typical, the logarithm of the article's price over the typical price the "
    "customer pays, in units of how much those differ (a spread below 0.1 counts as that).",
    owner=OWNER,
)
def customer_article_now(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo import moment_features

    return pd.DataFrame(moment_features.customer_article_now(inputs), index=inputs.index)


@on_demand_feature_view(
    sources=[customer_taste, article_profile[[*TASTES.values()]]],
    schema=[
        Field(name="colour_group_share", dtype=Float64),
        Field(name="product_group_share", dtype=Float64),
        Field(name="index_group_share", dtype=Float64),
        Field(name="garment_group_share", dtype=Float64),
        Field(name="section_share", dtype=Float64),
        Field(name="visual_cluster_share", dtype=Float64),
    ],
    mode="pandas",
    description="How much of what the customer bought is like the article: the share of lines of the "
    "article's colour group, product group, index group, garment group, section and visual cluster; 0 if "
    "the customer bought others only, missing if nothing is known of the customer or the article.",
    owner=OWNER,
)
def taste_match(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo import moment_features

    return pd.DataFrame(moment_features.taste_match(inputs), index=inputs.index)


@on_demand_feature_view(
    sources=[
        customer_profile[["customer_hash", "age_bucket"]],
        article_profile[
            [
                "article_hash",
                "product_type_name",
                "colour_group_name",
                "section_name",
                "product_code",
            ]
        ],
    ],
    schema=[
        Field(name="age_bucket_x_product_type", dtype=Int64),
        Field(name="age_bucket_x_colour_group", dtype=Int64),
        Field(name="age_bucket_x_section", dtype=Int64),
        Field(name="age_bucket_x_product_code", dtype=Int64),
        Field(name="customer_x_article", dtype=Int64),
        Field(name="customer_x_product_code", dtype=Int64),
        Field(name="customer_x_colour_group", dtype=Int64),
    ],
    mode="pandas",
    description="Crosses of what the customer and the article are, hashed to a number below 2^20: equal "
    "pairs get equal numbers, on every machine. For models that learn a weight or a vector for each.",
    owner=OWNER,
)
def crosses(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo import moment_features

    return pd.DataFrame(moment_features.crosses(inputs), index=inputs.index)
