"""Popular at your age: what sold most to customers of the same age bucket in the last days."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from pipelines.retrievers.base import Asked
from pipelines.retrievers.popular import PopularInOneKind


class PopularByAge(PopularInOneKind):
    """By age bucket; a customer whose age is unknown gets nothing."""

    name = "popular_by_age"
    kind = "age_bucket"
    joined = "INNER JOIN staging.customers USING (customer_id)"

    def kind_of(self, asked: Asked) -> Sequence[object]:
        found: list[object] = asked.state["customer_profile__age_bucket"].tolist()
        return found

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Popular with customers of your age."
