"""Views by article."""

from feature_repo.entities import article
from feature_repo.raw_tables import ARTICLE_CONTENT, ARTICLES
from feature_repo.views.declare import (
    OF_ID,
    Array,
    Float32,
    Float64,
    Int64,
    String,
    UnixTimestamp,
    feature,
    view,
    windowed,
)

article_profile = view(
    "article_profile",
    [article],
    "What the article is, as last delivered by the shop, and what its text and picture say.",
    [
        feature("article_hash", String, "of the id's MD5: the article in crosses", tag=OF_ID),
        *(
            feature(column.name, Int64 if column.type == "INTEGER" else String, column.description)
            for column in ARTICLES.columns
            if column.name != "article_id"
        ),
        *(
            feature(
                column.name,
                Array(Float32) if column.type == "FLOAT[]" else String,
                column.description,
            )
            for column in ARTICLE_CONTENT.columns
            if column.name != "article_id"
        ),
    ],
    freshness="with a delivery of articles, and when their texts and pictures are embedded",
)

article_activity = view(
    "article_activity",
    [article],
    "How the article sells, to whom and at what price.",
    [
        *windowed("t_purchases", Int64, "lines sold", "lines"),
        *windowed("u_customers", Int64, "distinct customers", "customers"),
        feature("trend", Float64, "sales per day of the last 7 days over those of the last 30"),
        feature("first_sold", UnixTimestamp, "first day with a sale"),
        feature("last_sold", UnixTimestamp, "last day with a sale"),
        feature("article_availability", Int64, "days with a sale", "days"),
        feature("latest_price", Float64, "mean price on the last day with a sale", "currency"),
        feature(
            "discount", Float64, "latest price below the highest of the 90 days to it, as a share"
        ),
        feature(
            "median_age_buyers", Float64, "median age of the customers who ever bought it", "years"
        ),
        feature("online_share", Float64, "share of lines sold online"),
        feature("repurchase_rate", Float64, "share of lines by customers who had it already"),
    ],
    freshness="daily, exact at every moment",
)
