"""Popular at your age: what sold most to customers of the same age bucket in the last days."""

from collections.abc import Hashable, Mapping
from typing import Any

from scipy import sparse

from pipelines.retrievers.base import Asked
from pipelines.retrievers.popular import PopularInKind


class PopularByAge(PopularInKind):
    """By age bucket; a customer whose age is unknown gets nothing."""

    name = "popular_by_age"
    kind = "age_bucket"
    joined = "INNER JOIN staging.customers USING (customer_id)"

    def shares(self, asked: Asked) -> sparse.csr_matrix:
        return self.one_kind(asked.state["customer_profile__age_bucket"])

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Popular with customers of your age."
