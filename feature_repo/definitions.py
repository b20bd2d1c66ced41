"""What `feast apply` registers. The only file it reads, with absolute imports, so that each object
exists once."""

from feature_repo.entities import article, customer, postal_code
from feature_repo.feature_services import article_display, customer_state, ranking
from feature_repo.on_demand import calendar, customer_article_now, recency
from feature_repo.views.articles import article_activity, article_profile
from feature_repo.views.customer_articles import customer_article
from feature_repo.views.customers import customer_activity, customer_profile, customer_recent
from feature_repo.views.postal_codes import postal_code_activity

__all__ = [
    "article",
    "article_activity",
    "article_display",
    "article_profile",
    "calendar",
    "customer",
    "customer_activity",
    "customer_article",
    "customer_article_now",
    "customer_profile",
    "customer_recent",
    "customer_state",
    "postal_code",
    "postal_code_activity",
    "ranking",
    "recency",
]
