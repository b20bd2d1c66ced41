"""Views by postal code."""

from feature_repo.entities import postal_code
from feature_repo.views.declare import Float64, Int64, feature, view, windowed
from feature_repo.windows import SHORT_WINDOWS

postal_code_activity = view(
    "postal_code_activity",
    [postal_code],
    "How much the customers of a postal code buy.",
    [
        *windowed("t_purchases", Int64, "lines bought", "lines", SHORT_WINDOWS),
        *windowed("t_price", Float64, "spend", "currency", SHORT_WINDOWS),
        feature("u_customers_lifetime", Int64, "customers who ever bought", "customers"),
        feature(
            "spend_per_customer", Float64, "spend per customer ever, a proxy of wealth", "currency"
        ),
    ],
    freshness="daily, exact at every moment",
)
