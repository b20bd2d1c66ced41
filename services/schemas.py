"""What the service takes and gives; the OpenAPI document is made from these."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipelines.content.search import MOST_CHARACTERS

MOST_CUSTOMERS = 100
MOST_ARTICLES = 100
MOST_EVENTS = 500

Text = Annotated[str, Field(min_length=1, max_length=128)]
CustomerId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        description="A customer of the shop; unknown ones are welcome.",
        examples=["12346"],
    ),
]
ArticleId = Annotated[
    str,
    Field(pattern=r"^[0-9]{10}$", description="Ten digits.", examples=["0108775015"]),
]
CustomerIds = Annotated[list[CustomerId], Field(min_length=1, max_length=MOST_CUSTOMERS)]
ArticleIds = Annotated[list[ArticleId], Field(min_length=1, max_length=MOST_ARTICLES)]
Query = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MOST_CHARACTERS,
        description="Words of name, kind, colour or description; the last may be half written. Or an article's id.",
        examples=["red dress"],
    ),
]
HowMany = Annotated[int, Field(ge=1, le=100, description="At most so many recommendations.")]
Each = Annotated[int, Field(ge=1, le=24, description="At most so many articles in each carousel.")]

Weights = Annotated[
    dict[Literal["purchase", "cart", "view"], Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    Field(
        description="What counts for how much; purchases alone if left out. What the release's ranker has not "
        "learnt is refused.",
        examples=[{"purchase": 1.0, "cart": 0.2}],
    ),
]
Variants = Annotated[
    dict[Text, Text],
    Field(
        max_length=20,
        description="Experiments whose variant is chosen by hand, to look at it: {experiment: variant}. Wants the "
        "token; such answers are logged as forced.",
    ),
]
Values = Annotated[list[Text], Field(max_length=50)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class _Strict(BaseModel):
    """A part of a question: a name that is not known is an error, and no slip of the pen is passed over."""

    model_config = ConfigDict(extra="forbid")


class Filters(_Strict):
    """What may be among the answers; of several values of one kind any is right."""

    product_type: Values = Field(default=[], examples=[["Dress", "Skirt"]])
    product_group: Values = []
    colour: Values = Field(default=[], examples=[["Black"]])
    department: Values = []
    price_min: Price | None = Field(default=None, description="In the shop's own unit.")
    price_max: Price | None = None
    exclude: Annotated[list[ArticleId], Field(max_length=1000)] = Field(
        default=[], description="Articles that may not come."
    )

    @model_validator(mode="after")
    def _prices_in_order(self) -> Self:
        if None not in (self.price_min, self.price_max) and self.price_min > self.price_max:  # type: ignore[operator]
            raise ValueError("price_min is above price_max, so nothing can be right")
        return self


class Context(_Strict):
    """What the caller knows of a customer of whom the shop knows nothing; what the shop knows counts more."""

    age: Annotated[int, Field(ge=0, le=120, strict=True)] | None = None
    postal_code: Text | None = None


class Driver(BaseModel):
    """A column that moved a score, and by how much."""

    feature: str
    effect: float


class Article(BaseModel):
    """What a page shows of an article; attributes a shop lacks are null."""

    article_id: str
    name: str | None
    product_type: str | None
    product_group: str | None
    colour: str | None
    department: str | None
    description: str | None
    price: float | None = Field(description="Latest price in the shop's own unit.")


class Recommendation(Article):
    """One article and why it is here."""

    rank: int
    score: float
    source: str = Field(description="The retriever that ranked it best.")
    because: str | None = Field(description="The customer's own article that led to it.")
    because_name: str | None
    reason: str
    drivers: list[Driver] = Field(description="What raised the score most.")
    propensity: float = Field(
        default=1.0,
        description="With what probability it was chosen for this place, given those before it; below 1 where an "
        "experiment explores.",
    )


class _Answer(BaseModel):
    """What every answer for a customer says of itself."""

    request_id: str = Field(description="Send it with the events that come of this answer.")
    customer_id: str
    known: bool
    release: str
    moment: datetime = Field(description="What happened before it is known to the answer.")
    fallback: str | None = Field(
        description="Why the answer is simpler than usual, or null: unknown_customer, no_ranker, popular_near_you, "
        "popular."
    )
    trouble: list[str] = Field(
        description="Parts that did not do their work, as rank:slow or candidates.ease:failed."
    )
    variants: dict[str, str] = Field(
        description="The variant of each experiment that it was made by."
    )
    stages_ms: dict[str, float]


class Recommendations(_Answer):
    """The answer for one customer."""

    recommendations: list[Recommendation]


class Carousel(BaseModel):
    """A row of articles with one idea behind it."""

    name: str
    title: str
    about: str | None = Field(description="The article that it is about, if it is about one.")
    articles: list[Recommendation]


class Home(_Answer):
    """A customer's page: carousels in the order in which they stand, no article twice."""

    carousels: list[Carousel]


class SimilarArticle(Article):
    """An article that is like another, or goes with it."""

    rank: int
    score: float
    reason: str


class SimilarArticles(BaseModel):
    """The articles that are like one, or go with it."""

    article_id: str
    known: bool
    release: str
    articles: list[SimilarArticle]


class FoundArticles(BaseModel):
    """What a search found, the best first."""

    request_id: str = Field(description="Send it with the events that come of this answer.")
    release: str
    articles: list[SimilarArticle]


def _as_written(value: Any) -> Any:
    """A number is no moment here: nobody could tell seconds from milliseconds."""
    if not isinstance(value, str | datetime):
        raise ValueError("write it as 2020-09-23T12:00:00Z")
    return value


class Event(_Strict):
    """Something that a customer did with an article."""

    customer_id: CustomerId
    article_id: ArticleId
    kind: Literal["impression", "view", "cart", "purchase", "dismiss"]
    event_time: Annotated[AwareDatetime, BeforeValidator(_as_written)] | None = Field(
        default=None,
        description="When, with its zone; the shop's present if left out. What is sent again with the same "
        "time, after an error, counts once; without one it may count twice.",
    )
    request_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        default=None, description="The answer that showed the article."
    )
    position: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = Field(
        default=None, description="Its place in the list, from 1."
    )
    surface: Text | None = Field(default=None, description="The page or carousel it stood in.")


Events = Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


class Accepted(BaseModel):
    """Events that were taken: they are on disk, and the next answer knows them."""

    accepted: int
    in_session: int = Field(description="Those that are in sessions now: all but impressions.")
    moment: datetime = Field(description="The shop's present, at which events without a time were.")


class Purchase(BaseModel):
    """An article that the customer bought."""

    article_id: str
    name: str | None
    product_type: str | None
    colour: str | None
    price: float | None
    last_bought: date
    times: int


class Done(BaseModel):
    """What the customer did in this session."""

    article_id: str
    name: str | None
    product_type: str | None
    colour: str | None
    kind: str
    at: datetime


class Customer(BaseModel):
    """What is known of a customer."""

    customer_id: str
    known: bool
    age: int | None
    age_bucket: str | None
    postal_code: str | None
    club_member_status: str | None
    purchases: list[Purchase]
    session: list[Done] = Field(description="The newest first.")


class SampleCustomer(BaseModel):
    """A customer that a page may offer to look at."""

    customer_id: str
    label: str


class NamedBy(BaseModel):
    """A retriever that named an article."""

    source: str
    rank: int
    score: float


class Explanation(BaseModel):
    """Why an article stands where it stands for a customer, or why it does not."""

    customer_id: str
    article: Article
    release: str
    moment: datetime
    candidate: bool = Field(description="Whether any retriever named it.")
    shown: bool = Field(description="Whether the shop's rules leave it on the page.")
    rank: int | None = Field(description="Its place among all candidates that may be shown.")
    candidates: int
    score: float | None
    chance: float | None = Field(description="Of a purchase within a week, if the ranker says so.")
    named_by: list[NamedBy]
    drivers: list[Driver] = Field(description="What moved its score most, up or down.")
    features: dict[str, float | str | None] = Field(description="What the ranker saw.")
    reason: str


class Gate(BaseModel):
    """What one gate said of the release before it came into production."""

    gate: str
    passed: bool
    figure: str
    needed: str


class ReleaseInfo(BaseModel):
    """What is being served."""

    release: str
    alias: str
    created: datetime
    data_cutoff: date
    moment: datetime
    parts: dict[str, str]
    metrics: dict[str, Any]
    gates: list[Gate] = Field(description="Those that were asked when it was promoted.")
    pictures: bool = Field(
        default=False, description="Whether /pictures/ARTICLE.jpg has pictures of articles."
    )


class ShadowReport(BaseModel):
    """How the release under the alias `shadow` answers a copy of the traffic, beside the one in production; of this
    process since it was loaded."""

    release: str | None = Field(description="None if nothing stands under the alias.")
    production: str
    requests: int
    failed: int
    skipped: int = Field(description="Copies that were dropped, for too many were waiting.")
    same_first: float | None = Field(description="Share of answers with the same first article.")
    overlap: float | None = Field(description="Mean share of articles that both show.")
    rank_overlap: float | None = Field(
        description="Mean rank-biased overlap with p = 0.9 (Webber et al., TOIS 2010)."
    )
    milliseconds: dict[str, float] = Field(description="p50 and p99 of each.")


class VariantInfo(BaseModel):
    """An arm of an experiment."""

    name: str
    share: float
    changes: list[str]


class ExperimentInfo(BaseModel):
    """An experiment that is declared."""

    name: str
    layer: str
    share: float = Field(description="Of all customers.")
    variants: list[VariantInfo]


class ExperimentsInfo(BaseModel):
    """What is being tried, and what of it a customer gets."""

    experiments: list[ExperimentInfo]
    assigned: dict[str, str]
