"""What the service takes and gives; the OpenAPI document is made from these."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

CustomerId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        description="A customer of the shop; unknown ones are welcome.",
    ),
]
HowMany = Annotated[int, Field(ge=1, le=100, description="At most so many recommendations.")]

Weights = Annotated[
    dict[Literal["purchase", "cart", "view"], Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    Field(
        description="What counts for how much; purchases alone if left out. What the release's ranker has not "
        "learnt is refused.",
        examples=[{"purchase": 1.0, "cart": 0.2}],
    ),
]


class Driver(BaseModel):
    """A column that moved a score, and by how much."""

    feature: str
    effect: float


class Recommendation(BaseModel):
    """One article, why it is here, and what a page shows of it; attributes a shop lacks are null."""

    article_id: str
    rank: int
    score: float
    source: str = Field(description="The retriever that ranked it best.")
    because: str | None = Field(description="The customer's own article that led to it.")
    because_name: str | None
    reason: str
    drivers: list[Driver] = Field(description="What raised the score most.")
    name: str | None
    product_type: str | None
    product_group: str | None
    colour: str | None
    department: str | None
    description: str | None
    price: float | None = Field(description="Latest price in the shop's own unit.")


class Recommendations(BaseModel):
    """The answer for one customer."""

    customer_id: str
    known: bool
    release: str
    moment: datetime = Field(description="What happened before it is known to the answer.")
    fallback: str | None = Field(description="Why the answer is simpler than usual, or null.")
    stages_ms: dict[str, float]
    recommendations: list[Recommendation]


class Purchase(BaseModel):
    """An article that the customer bought."""

    article_id: str
    name: str | None
    product_type: str | None
    colour: str | None
    price: float | None
    last_bought: date
    times: int


class Customer(BaseModel):
    """What is known of a customer."""

    customer_id: str
    known: bool
    age: int | None
    age_bucket: str | None
    postal_code: str | None
    club_member_status: str | None
    purchases: list[Purchase]


class SampleCustomer(BaseModel):
    """A customer that a page may offer to look at."""

    customer_id: str
    label: str


class ReleaseInfo(BaseModel):
    """What is being served."""

    release: str
    alias: str
    created: datetime
    data_cutoff: date
    moment: datetime
    parts: dict[str, str]
    metrics: dict[str, Any]
