"""The raw tables, exactly: columns, types, keys, ranges and references.

The schema is that of Kaggle's H&M competition (2022), with interactions, which Kaggle's files do not
have. Loading checks every row against it, the made-up shop is written in it, and adapters for other
shops map onto it. Columns marked `required=False` may be missing or empty in another shop's data and
are then null, never invented.
"""

from dataclasses import dataclass, field

UNKNOWN_SOURCE = "no file describes it: known from transactions or interactions only"


@dataclass(frozen=True)
class Column:
    """One raw column: its DuckDB type and what its values must satisfy."""

    name: str
    type: str
    description: str
    required: bool = False
    pattern: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """A minimum that is itself not allowed."""
    values: tuple[str, ...] = ()
    """All values that are allowed; empty if any is."""


@dataclass(frozen=True)
class RawTable:
    """One raw table. It has a `key`, which is unique, or its rows are events at a `moment`."""

    name: str
    file: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    moment: str = ""
    """The column that says when an event was: a DATE or a TIMESTAMP."""
    quantities: bool = False
    """Of events: an exact duplicate is one more piece. Else it is the same event told twice."""
    references: dict[str, str] = field(default_factory=dict)
    """Maps a column to the table whose key it names."""
    ours: tuple[Column, ...] = ()
    """Columns that Lookbook adds to the table and that no file needs to have."""
    optional: bool = False
    """A shop may have nothing of it."""

    @property
    def column_names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def create(self) -> str:
        """The statement that makes the table, in the schema `raw`, if it is not there."""
        columns = ", ".join(f'"{c.name}" {c.type}' for c in (*self.columns, *self.ours))
        return f"CREATE TABLE IF NOT EXISTS raw.{self.name} ({columns})"


FROM_TRANSACTIONS = Column("from_transactions", "BOOLEAN", UNKNOWN_SOURCE)
KNOWN_AT = Column(
    "known_at", "TIMESTAMP", "when this row was loaded, UTC: what could be known at a past moment"
)


def _attributes(*names: str) -> list[Column]:
    return [Column(name, "VARCHAR", name.replace("_", " ")) for name in names]


ARTICLES = RawTable(
    name="articles",
    file="articles.csv",
    description="One row per article: a product in one colour and pattern.",
    key=("article_id",),
    columns=(
        Column(
            "article_id",
            "VARCHAR",
            "article, 10 digits with the leading zero, always text",
            required=True,
            pattern=r"\d{10}",
        ),
        Column("product_code", "VARCHAR", "product: the article without colour"),
        Column("prod_name", "VARCHAR", "name of the product"),
        Column("product_type_no", "INTEGER", "product type, -1 where unknown", minimum=-1),
        *_attributes("product_type_name", "product_group_name"),
        Column("graphical_appearance_no", "INTEGER", "pattern, -1 where unknown", minimum=-1),
        *_attributes("graphical_appearance_name"),
        Column("colour_group_code", "INTEGER", "colour group, -1 where unknown", minimum=-1),
        *_attributes("colour_group_name"),
        Column("perceived_colour_value_id", "INTEGER", "lightness of the colour", minimum=-1),
        *_attributes("perceived_colour_value_name"),
        Column("perceived_colour_master_id", "INTEGER", "main colour", minimum=-1),
        *_attributes("perceived_colour_master_name"),
        Column("department_no", "INTEGER", "department", minimum=0),
        *_attributes("department_name", "index_code", "index_name"),
        Column("index_group_no", "INTEGER", "group of indexes: ladies, men, children", minimum=0),
        *_attributes("index_group_name"),
        Column("section_no", "INTEGER", "section", minimum=0),
        *_attributes("section_name"),
        Column("garment_group_no", "INTEGER", "garment group", minimum=0),
        *_attributes("garment_group_name", "detail_desc"),
    ),
    ours=(FROM_TRANSACTIONS,),
)

CUSTOMERS = RawTable(
    name="customers",
    file="customers.csv",
    description="One row per customer.",
    key=("customer_id",),
    columns=(
        Column("customer_id", "VARCHAR", "customer, 64 hexadecimal digits in H&M's files", True),
        Column("FN", "DOUBLE", "1.0 if the customer gets the fashion news", minimum=0, maximum=1),
        Column("Active", "DOUBLE", "1.0 if the customer may be written to", minimum=0, maximum=1),
        *_attributes("club_member_status", "fashion_news_frequency"),
        Column("age", "INTEGER", "age in years", minimum=0, maximum=130),
        Column("postal_code", "VARCHAR", "postal code, hashed in H&M's files"),
    ),
    ours=(FROM_TRANSACTIONS,),
)

TRANSACTIONS = RawTable(
    name="transactions",
    file="transactions_train.csv",
    description="One row per article bought; an exact duplicate row is a quantity.",
    moment="t_dat",
    quantities=True,
    references={"customer_id": "customers", "article_id": "articles"},
    columns=(
        Column("t_dat", "DATE", "day of the purchase", required=True),
        Column("customer_id", "VARCHAR", "who bought", required=True),
        Column("article_id", "VARCHAR", "what was bought", required=True, pattern=r"\d{10}"),
        Column(
            "price",
            "DOUBLE",
            "price of one piece in the shop's own unit; features keep nine decimals",
            required=True,
            above=0.0,
            maximum=999_999_999,
        ),
        Column("sales_channel_id", "TINYINT", "1 store, 2 online", True, minimum=1, maximum=2),
    ),
    ours=(
        Column("quantity", "INTEGER", "pieces in this row; 1 in H&M's files", minimum=1),
        KNOWN_AT,
    ),
)

INTERACTIONS = RawTable(
    name="interactions",
    file="interactions.csv",
    description="One row per event between a customer and an article that a page or an app saw.",
    moment="event_time",
    references={"customer_id": "customers", "article_id": "articles"},
    columns=(
        Column("event_time", "TIMESTAMP", "when it happened, UTC", required=True),
        Column("customer_id", "VARCHAR", "who was there", required=True),
        Column("article_id", "VARCHAR", "what it was about", required=True, pattern=r"\d{10}"),
        Column(
            "kind",
            "VARCHAR",
            "impression (on the screen, passed unless more follows), view (opened), cart, purchase, "
            "dismiss",
            required=True,
            values=("impression", "view", "cart", "purchase", "dismiss"),
        ),
        Column("request_id", "VARCHAR", "the answer that showed it: the events of one slate agree"),
        Column("position", "INTEGER", "place in the list, from 1; null if in none", minimum=1),
        Column("surface", "VARCHAR", "where it was shown: a page or a carousel"),
        Column("variant", "VARCHAR", "arm of the experiment that chose it"),
        Column(
            "propensity",
            "DOUBLE",
            "probability with which it was chosen for that place; null if unknown",
            above=0.0,
            maximum=1,
        ),
    ),
    ours=(KNOWN_AT,),
    optional=True,
)

ARTICLE_CONTENT = RawTable(
    name="article_content",
    file="",
    description="What texts and pictures say of an article, as vectors of one length each.",
    key=("article_id",),
    columns=(
        Column("article_id", "VARCHAR", "the article", required=True),
        Column("text_embedding", "FLOAT[]", "what its words say: near is alike, by cosine"),
        Column("image_embedding", "FLOAT[]", "what its picture shows: near is alike, by cosine"),
        Column(
            "visual_cluster", "VARCHAR", "which articles of its product group it looks like most"
        ),
    ),
    ours=(
        Column("text_hash", "VARCHAR", "of the words that were encoded"),
        Column("text_encoder", "VARCHAR", "the version that encoded them"),
        Column("picture", "VARCHAR", "size and time of the file that was encoded"),
        Column("picture_encoder", "VARCHAR", "the version that encoded it"),
    ),
    optional=True,
)
"""No file brings it: `pipelines.content` makes it of the articles that are loaded."""

RAW_TABLES: dict[str, RawTable] = {
    t.name: t for t in (ARTICLES, CUSTOMERS, TRANSACTIONS, INTERACTIONS)
}
"""What a shop's files bring."""

READ_TABLES: dict[str, RawTable] = RAW_TABLES | {ARTICLE_CONTENT.name: ARTICLE_CONTENT}
"""All that feature SQL reads."""
