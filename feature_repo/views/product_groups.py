"""Views by product group."""

from feature_repo.entities import product_group
from feature_repo.views.declare import Float64, Int64, feature, view, windowed
from feature_repo.windows import SHORT_WINDOWS

product_group_activity = view(
    "product_group_activity",
    [product_group],
    "How the product group sells.",
    [
        *windowed("t_purchases", Int64, "lines sold", "lines", SHORT_WINDOWS),
        feature("trend", Float64, "sales per day of the last 7 days over those of the last 30"),
        feature("mean_price_30d", Float64, "mean price in the last 30 days", "currency"),
    ],
    freshness="daily, exact at every moment",
)
