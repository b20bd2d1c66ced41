"""What `feast apply` registers. The only file it reads, with absolute imports, so that each object
exists once."""

from feature_repo.entities import article, customer, postal_code, product, product_group
from feature_repo.feature_services import (
    article_content,
    article_display,
    article_sales,
    customer_state,
    everything,
    ranking,
)
from feature_repo.on_demand import calendar, crosses, customer_article_now, recency, taste_match
from feature_repo.views.articles import article_activity, article_profile
from feature_repo.views.customer_articles import customer_article, customer_product
from feature_repo.views.customers import (
    customer_activity,
    customer_price,
    customer_profile,
    customer_recent,
    customer_session,
    customer_taste,
)
from feature_repo.views.postal_codes import postal_code_activity
from feature_repo.views.product_groups import product_group_activity

__all__ = [
    "article",
    "article_activity",
    "article_content",
    "article_display",
    "article_profile",
    "article_sales",
    "calendar",
    "crosses",
    "customer",
    "customer_activity",
    "customer_article",
    "customer_article_now",
    "customer_price",
    "customer_product",
    "customer_profile",
    "customer_recent",
    "customer_session",
    "customer_state",
    "customer_taste",
    "everything",
    "postal_code",
    "postal_code_activity",
    "product",
    "product_group",
    "product_group_activity",
    "ranking",
    "recency",
    "taste_match",
]
