"""Popular near you: what sold most to customers of the same postal code in the last days."""

from collections.abc import Hashable, Mapping
from typing import Any

from scipy import sparse

from pipelines.retrievers.base import Asked
from pipelines.retrievers.popular import PopularInKind


class PopularByPostalCode(PopularInKind):
    """By postal code. Few people share one, so it looks back further and remembers less of each."""

    name = "popular_by_postal_code"
    kind = "postal_code"
    joined = "INNER JOIN staging.customers USING (customer_id)"

    def __init__(self, days: int = 28, keep: int = 200) -> None:
        super().__init__(days, keep)

    def shares(self, asked: Asked) -> sparse.csr_matrix:
        return self.one_kind(asked.state["customer_profile__postal_code"])

    def reason(self, row: Mapping[Hashable, Any], led_by: str | None) -> str:
        return "Popular near you."
