"""What models and pages ask for: a model names a feature service and never lists columns."""

from feast import FeatureService

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
from feature_repo.views.declare import OF_ID, OWNER
from feature_repo.views.postal_codes import postal_code_activity
from feature_repo.views.product_groups import product_group_activity

EMBEDDINGS = ("text_embedding", "image_embedding")

customer_state = FeatureService(
    name="customer_state",
    features=[
        customer_recent,
        customer_session,
        customer_profile[[f.name for f in customer_profile.features if OF_ID not in f.tags]],
        customer_activity,
        customer_price,
    ],
    description="What retrieval needs to know of a customer.",
    owner=OWNER,
)

ranking = FeatureService(
    name="ranking",
    features=[
        customer_activity,
        customer_price,
        customer_profile[["age", "FN", "Active", "club_member_status", "fashion_news_frequency"]],
        article_activity,
        article_profile[
            [
                "product_type_name",
                "product_group_name",
                "graphical_appearance_name",
                "colour_group_name",
                "index_name",
                "garment_group_name",
            ]
        ],
        postal_code_activity,
        customer_article,
        calendar,
        recency,
        customer_article_now,
        taste_match,
    ],
    description="Everything the ranker sees of a customer, an article, a place and a moment.",
    owner=OWNER,
)

article_content = FeatureService(
    name="article_content",
    features=[
        article_profile[
            [
                "product_code",
                "prod_name",
                "product_type_name",
                "product_group_name",
                "graphical_appearance_name",
                "colour_group_name",
                "perceived_colour_value_name",
                "perceived_colour_master_name",
                "department_name",
                "index_name",
                "index_group_name",
                "section_name",
                "garment_group_name",
                "visual_cluster",
                *EMBEDDINGS,
            ]
        ]
    ],
    description="What is known of an article before anybody has bought it.",
    owner=OWNER,
)

article_sales = FeatureService(
    name="article_sales",
    features=[article_activity],
    description="How an article sells: what retrieval needs to know of it beside its content.",
    owner=OWNER,
)

article_display = FeatureService(
    name="article_display",
    features=[
        article_profile[[f.name for f in article_profile.features if f.name not in EMBEDDINGS]],
        article_activity[["latest_price", "discount", "t_purchases_7d"]],
    ],
    description="What a page shows of an article.",
    owner=OWNER,
)

everything = FeatureService(
    name="everything",
    features=[
        customer_profile,
        customer_activity,
        customer_price,
        customer_taste,
        customer_recent,
        customer_session,
        postal_code_activity,
        article_profile,
        article_activity,
        product_group_activity,
        customer_article,
        customer_product,
        calendar,
        recency,
        customer_article_now,
        taste_match,
        crosses,
    ],
    description="Every feature that there is, for analysts and for checks.",
    owner=OWNER,
)
