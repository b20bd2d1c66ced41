"""The things that have features."""

from feast import Entity, ValueType

customer = Entity(
    name="customer",
    join_keys=["customer_id"],
    value_type=ValueType.STRING,
    description="A customer of the shop.",
)
article = Entity(
    name="article",
    join_keys=["article_id"],
    value_type=ValueType.STRING,
    description="An article: a product in one colour and pattern.",
)
postal_code = Entity(
    name="postal_code",
    join_keys=["postal_code"],
    value_type=ValueType.STRING,
    description="A postal code, shared by the customers who live there.",
)
product = Entity(
    name="product",
    join_keys=["product"],
    value_type=ValueType.STRING,
    description="A product: the articles of one product_code, which differ in colour and pattern.",
)
product_group = Entity(
    name="product_group",
    join_keys=["product_group"],
    value_type=ValueType.STRING,
    description="A product group, such as Garment Upper body.",
)
