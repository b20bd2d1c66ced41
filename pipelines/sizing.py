"""What a shop of a given size needs: parameters, memory, disk, time, machines. Every number is a formula.

Each formula is a function that says where it comes from and in which unit. Constants were measured
on 2 shared cores (x86_64, 24 GB) unless they say otherwise; docs/sizing.md holds formulas against
what was measured. Three kinds of numbers, which a plan keeps apart:

- exact: counts of parameters, bytes of indexes and of rows of numbers;
- by measurement: what grows with purchases, customers or articles, from shops of 1%, 10% and all of
  H&M's size, most of them made up; beyond H&M's size it is extrapolated;
- estimates: all times on a GPU, for none was ever measured.

Bytes are bytes, times are seconds, FLOPs count a multiplication and an addition as two.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from feature_repo.errors import InputError
from feature_repo.windows import RECENT_ARTICLES
from pipelines.model_catalog import RANKERS, RELEASE, RETRIEVERS, ReleaseSettings

NUMBER = 4
"""Bytes of a float32."""
WORD = 8
"""Bytes of a number online, of a sparse matrix's value with its column."""

# --- the shop -------------------------------------------------------------------------------------

HISTORY_DAYS = 734
"""Of H&M's files, 2018-09-20 to 2020-09-22."""
LINES_PER_CUSTOMER_DAY = 32_900_523 / 1_371_980 / HISTORY_DAYS
"""Of H&M's."""
ON_SALE = 45_365 / 105_542
"""Articles sold in 60 days or never: 0.42, 0.44 and 0.43 of made-up shops of 1%, 10% and all of H&M's size."""
SOLD = 9_647 / 10_554
"""Articles with any sale; a tenth of H&M's size."""
PAIRS = 28_205_761 / 32_900_523
"""Distinct customers and articles for each line; made-up, H&M's size (0.844 at a tenth)."""
BASKETS = 1_012_636 / 3_173_589
"""Customers' days with a purchase for each line; a tenth of H&M's size (3.1 lines a basket)."""
BUYERS = 1_361_937 / 1_371_980
"""Customers with a purchase; made-up, H&M's size."""
POSTAL_CODES = 352_899 / 1_371_980
"""Of H&M's customers."""
MOST = {"customers": 10**10, "articles": 10**8, "purchases": 10**12, "days": 36_500, "qps": 10**7}
"""Beyond these a number is a mistake."""


@dataclass(frozen=True)
class Shop:
    """A shop's size.

    Attributes:
        customers: C.
        articles: A, on file.
        purchases: lines, all in all.
        days: from the first to the last of them.
        on_sale: S, articles that may be recommended.
        images: whether articles have pictures.
    """

    customers: int
    articles: int
    purchases: int
    days: int
    on_sale: int
    images: bool = False

    @classmethod
    def of(
        cls,
        customers: int,
        articles: int,
        *,
        purchases: int | None = None,
        days: int = HISTORY_DAYS,
        images: bool = False,
    ) -> "Shop":
        """A shop whose customers buy as much as H&M's, 24 lines in two years, if nothing else is said.

        Raises:
            InputError: a number is out of reason; the text says which.
        """
        for name, value in (
            ("customers", customers),
            ("articles", articles),
            ("days", days),
            ("purchases", purchases),
        ):
            if value is not None and not 1 <= value <= MOST[name]:
                raise InputError(
                    f"A shop with {value:,} {name} cannot be planned: give 1 to {MOST[name]:,}."
                )
        if purchases is None:
            purchases = max(1, round(customers * LINES_PER_CUSTOMER_DAY * days))
        on_sale = max(1, round(ON_SALE * articles))
        return cls(customers, articles, purchases, days, on_sale, images)

    def within(self, days: float) -> float:
        """The share of purchases of the last so many days, as if they came evenly: 0.114 for 12 weeks, of
        which the made-up shop had 0.114."""
        return min(1.0, days / self.days)

    @property
    def buyers(self) -> int:
        """Customers with a purchase."""
        return min(self.purchases, round(BUYERS * self.customers))

    @property
    def pairs(self) -> int:
        """Distinct customers and articles, no more than there can be."""
        return min(round(PAIRS * self.purchases), self.customers * self.articles)

    @property
    def baskets(self) -> int:
        """Customers' days with a purchase, at least one for each who bought."""
        return max(self.buyers, min(round(BASKETS * self.purchases), self.customers * self.days))

    @property
    def postal_codes(self) -> int:
        return max(1, round(POSTAL_CODES * self.customers))


# --- parameters -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fields:
    """What a network must know of encoded rows, in numbers (see `neural.encoding.Spec`).

    Attributes:
        codes: how many codes all columns have together.
        columns: columns of codes.
        numbers: columns of numbers.
        vectors: length of each vector that comes with a row.
    """

    codes: int
    columns: int
    numbers: int = 0
    vectors: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return self.columns + len(self.vectors)


def dense(*sizes: int) -> int:
    """Weights and biases of dense layers one after the other: (in + 1) x out of each."""
    return sum((size + 1) * following for size, following in pairwise(sizes))


def field_parameters(fields: Fields, width: int) -> int:
    """`FeatureEmbedding`: a row of D numbers for each code, a dense layer to D for each vector."""
    return max(1, fields.codes) * width + sum(dense(size, width) for size in fields.vectors)


def tower_parameters(fields: tuple[Fields, Fields, Fields], size: Any, top: str = "dot") -> int:
    """`two_tower`: the table of hashed ids, fields of content as wide as a vector, those of sales and
    customer narrow, a perceptron with one hidden layer for each tower, three weights of habit and one
    temperature; and the perceptron on top if there is one.

    Args:
        fields: of customers, content and sales.
        size: `retrievers.two_tower.Size`.
    """
    customer, content, sales = fields
    width, pools = size.dimension, 3
    return (
        size.buckets * width
        + field_parameters(content, width)
        + field_parameters(sales, size.field)
        + dense(width + sales.count * size.field + sales.numbers, size.hidden, width)
        + field_parameters(customer, size.field)
        + dense(
            pools * (width + 1) + customer.count * size.field + customer.numbers, size.hidden, width
        )
        + pools
        + 1
        + (dense(3 * width, size.hidden, 1) if top == "mlp" else 0)
    )


def autoencoder_parameters(articles: int, width: int) -> int:
    """`variational_autoencoder`: V x D in, V x D and V biases out, D for the shift, three dense layers D to D,
    and the two numbers of `Own`."""
    return 2 * articles * width + articles + width + 3 * dense(width, width) + 2


def neu_mf_parameters(articles: int, width: int) -> int:
    """`neu_mf`: V x 2D of customers' and of articles' sides, V of popularity, D of the product, D x D of the
    customer's part, a dense layer of the article's, the perceptron D, D / 2, 1, and the two of `Own`."""
    tables = 4 * articles * width + articles
    return tables + width + width * width + dense(width, width) + dense(width, width // 2, 1) + 2


@dataclass(frozen=True)
class RankerRows:
    """What a neural ranker must know of its rows, in numbers (see `rankers.neural.Sizes`).

    Attributes:
        numbers: how many columns are numbers.
        text_codes, texts: how many codes the columns of texts have together, and how many these are.
        articles: articles with a vector of their own.
        objectives: O, things to tell the chance of.
    """

    numbers: int
    text_codes: int
    texts: int
    articles: int
    objectives: int = 1


def ranking_parameters(name: str, rows: RankerRows, settings: Mapping[str, Any]) -> int:
    """A neural ranker: D + 1 numbers for each code of a text, for each article, and one that stands for any
    other; attention over the history, 16 (3 D + 2) numbers; a bias for each objective; and what it has of its
    own: a linear model over numbers, each compared to `KNOTS` places and missing or not, vectors of
    these, perceptrons.

    Args:
        name: of the catalogue.
        settings: all of its settings.

    Raises:
        InputError: there is no formula for it.
    """
    from pipelines.rankers.neural import KNOTS

    linear = rows.numbers * (KNOTS + 1)
    if name == "logistic_regression":
        return max(1, rows.text_codes) + linear + rows.objectives
    width = settings["width"]
    fields = rows.texts + 2
    vectors = (max(1, rows.text_codes) + rows.articles + 1) * (width + 1)
    shared = vectors + 16 * (3 * width + 2) + rows.objectives
    deep = linear + (fields + 1) * width
    if name == "factorization_machine":
        return shared + linear + linear * width
    if name == "wide_and_deep":
        return shared + linear + dense(deep, *settings["hidden"], 1)
    if name == "deep_fm":
        return shared + linear + linear * width + dense(deep, *settings["hidden"], 1)
    if name == "dlrm":
        pairs = (fields + 1) * fields // 2
        bottom = dense(linear, *settings["bottom"], width)
        return shared + bottom + dense(width + pairs, *settings["top"], 1)
    if name == "multi_task":
        experts, size = settings["experts"], settings["expert"]
        towers = rows.objectives * dense(size, *settings["tower"], 1)
        return shared + dense(deep, experts * size + rows.objectives * experts) + towers
    raise InputError(f"There is no formula for the ranker {name!r}: add it to pipelines/sizing.py.")


def tree_parameters(trees: int, leaves: int) -> int:
    """Trees with so many leaves each at most: a value for each leaf and a threshold for each split."""
    return trees * (2 * leaves - 1)


# --- how large models are on a shop -------------------------------------------------------------------

VOCABULARY = 2_000
"""Texts of a column with a code of their own, `FeatureEncoder`."""
CUSTOMER_FIELDS = Fields(codes=693 + 3 * 5 + 13, columns=45, numbers=42)
"""`customer_state` of a made-up shop of a tenth of H&M's size, but for the postal codes."""
CONTENT_FIELDS = Fields(codes=620 + 11 * 5, columns=11, vectors=(65,))
"""`article_content` of the same but for product codes and names, with vectors of words; another 65 with pictures."""
SALES_FIELDS = Fields(codes=437, columns=21, numbers=21)
"""`article_sales` of the same."""
PRODUCTS = 47_224 / 105_542
"""Product codes for each of H&M's articles; names are about as many (45,875)."""
RANKER_ROWS = RankerRows(numbers=99, text_codes=222, texts=8, articles=0)
"""Rows of a release's candidates with the service `ranking`; a tenth of H&M's size."""


def text_codes(distinct: float) -> int:
    """Codes of a column of texts: one for none, one for each text, 4 for others; or, if there are more texts than
    2,000, as many again for the others, by their hash."""
    known = min(round(distinct), VOCABULARY)
    return 1 + known + (4 if distinct <= VOCABULARY else VOCABULARY)


def tower_fields(shop: Shop) -> tuple[Fields, Fields, Fields]:
    """Of customers, content and sales, as a shop with H&M's columns has them."""
    products = text_codes(PRODUCTS * shop.articles)
    customer = Fields(
        CUSTOMER_FIELDS.codes + text_codes(shop.postal_codes),
        CUSTOMER_FIELDS.columns + 1,
        CUSTOMER_FIELDS.numbers,
    )
    content = Fields(
        CONTENT_FIELDS.codes + 2 * products,
        CONTENT_FIELDS.columns + 2,
        vectors=CONTENT_FIELDS.vectors * (2 if shop.images else 1),
    )
    return customer, content, SALES_FIELDS


def tower_examples(shop: Shop, settings: Mapping[str, Any]) -> int:
    """Purchases of the last `weeks`, at most `purchases`: 327,783 at a tenth of H&M's size, where the formula
    gives 323,000."""
    recent = PAIRS_A_DAY * shop.purchases * shop.within(7 * settings["weeks"])
    return max(1, min(settings["purchases"], round(recent)))


PAIRS_A_DAY = 2_871_665 / 3_173_589
"""Distinct customers, articles and days for each line; a tenth of H&M's size."""
WEEKS_OF_EXAMPLES = 270_931 / 3_101_205
"""Customers' weeks of the last 40 with something before them, for each line; a tenth of H&M's size."""
BOUGHT_IN_A_WEEK = 1_071_012 / 303_995
"""Articles that a customer buys in a week with a purchase; a tenth of H&M's size."""
SOLD_IN_40_WEEKS = 5_493 / 10_554
"""Articles; a tenth of H&M's size."""


def next_week_examples(shop: Shop, settings: Mapping[str, Any]) -> int:
    """Customers' weeks that `variational_autoencoder` and `neu_mf` learn from, at most `examples`."""
    share = shop.within(7 * settings["weeks"]) / min(1.0, 280 / HISTORY_DAYS)
    weeks = WEEKS_OF_EXAMPLES * shop.purchases * share
    return max(1, min(settings["examples"], round(weeks)))


def next_week_shape(shop: Shop, settings: Mapping[str, Any]) -> tuple[int, int]:
    """V, the articles that it knows, and D: twice the width for eight times the purchases, 16 to 128."""
    bought = next_week_examples(shop, settings) * BOUGHT_IN_A_WEEK
    width = 2.0 ** round(1 + math.log2(max(1.0, bought)) / 3)
    known = min(settings["articles"], round(SOLD_IN_40_WEEKS * shop.articles))
    return max(1, known), int(min(128, max(16, width)))


# --- bytes of models --------------------------------------------------------------------------------

FILE = 1_000
"""Bytes of a Parquet file beside its rows."""
ASSORTMENT = 6.3
"""Bytes on disk of an article in the list of articles that each retriever keeps; made-up, H&M's size."""
EXACT_BELOW = 20_000
"""`nearest.Index` compares with every vector of smaller catalogues."""


def index_bytes(kind: str, vectors: int, dimension: int) -> int:
    """A FAISS index as it is saved, and about as it is held.

    Exact: 4 bytes a number and a header of 45. Cells (about 2 sqrt(A), at least 8 vectors each): an id of
    8 bytes for each vector; a centre and a size for each cell. Graph with 32 links: 64 links of 4 bytes on the
    lowest level, 32 on each of the levels above, where one of 32 vectors comes to the next; 12 bytes to
    find them.
    """
    flat = NUMBER * vectors * dimension
    if kind == "exact":
        return flat + 45
    if kind == "ivf":
        cells = max(1, min(int(2 * math.sqrt(vectors)), vectors // 8))
        return flat + WORD * vectors + cells * (NUMBER * dimension + WORD) + 139
    if kind == "hnsw":
        return flat + round(vectors * (NUMBER * (64 + 32 / 31) + 12)) + 580
    raise KeyError(f"There is no index of the kind {kind!r}.")


def planned_index_bytes(vectors: int, dimension: int) -> int:
    """The largest that may come of it: exact in small catalogues, else a graph."""
    return index_bytes("exact" if vectors < EXACT_BELOW else "hnsw", vectors, dimension)


def sparse_bytes(rows: int, entries: float, index: int = 4) -> int:
    """A sparse matrix by rows: a float32 and a column for each entry, a start for each row."""
    return round(entries * (NUMBER + index) + index * (rows + 1))


NEIGHBOURS = {
    "co_purchase": 78,
    "item_knn": 136,
    "in_session": 24.5,
    "similar_by_transactions": 56,
    "similar_by_metadata": 100,
    "similar_by_text": 100,
    "similar_by_image": 100,
    "similar": 100,
}
"""How many like articles are kept of each on average, of those allowed: by the saved sizes at H&M's size
(docs/benchmarks.md), where it is less than what the settings allow because few articles share a customer."""
KNN_BUYERS = 84_479 / 136_204
"""Buyers with a purchase in the last year; a tenth of H&M's size."""
KNN_BUSY = 0.53
"""Those who bought last bought more: the last 24% of a year's buyers have 46% = 0.24^0.53 of its purchases; H&M's size."""
POSTAL_ROWS = 209_398 / (3_173_589 * 60 / HISTORY_DAYS)
"""Postal codes with each of their articles for each line of 60 days; a tenth of H&M's size."""
POSTAL_BYTES = 11.0
"""On disk for each of them; made-up, H&M's size."""
POPULAR_BYTES = 3.4
"""On disk for each article of a kind; a tenth of H&M's size."""


# --- time of training -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Seconds of a fit on 2 cores: fixed, for each million lines, and for each thousand million pairs of an
    article and an article on sale. Found by least squares of relative errors from what docs/benchmarks.md
    says of 1%, 10% and all of H&M's size, which they give back to within a quarter."""

    fixed: float
    lines: float = 0.0
    pairs: float = 0.0

    def seconds(self, shop: Shop) -> float:
        pairs = shop.articles * shop.on_sale / 1e9
        return self.fixed + self.lines * shop.purchases / 1e6 + self.pairs * pairs


FITS = {
    "popular": Cost(0.09, 0.039),
    "popular_by_age": Cost(0.09, 0.041),
    "popular_by_postal_code": Cost(0.07, 0.14),
    "popular_by_product_group": Cost(0.09, 0.034),
    "repurchase": Cost(0.09, 0.034),
    "co_purchase": Cost(0.07, 0.53),
    "item_knn": Cost(0.0, 0.79, 2.8),
    "customer_knn": Cost(0.08, 0.48),
    "matrix_factorization": Cost(0.0, 4.5),
    "pure_svd": Cost(1.3, 1.02),
    "ease": Cost(0.26, 0.55),
    "in_session": Cost(0.06, 0.16),
    "similar_by_transactions": Cost(1.3, 0.55, 5.0),
    "similar_by_metadata": Cost(7.8, 0.0, 2.1),
    "similar_by_text": Cost(7.3, 0.37),
    "similar_by_image": Cost(7.0, 0.0, 0.13),
    "similar": Cost(7.5, 0.0, 4.8),
}
INVERSE = 0.03e-9
"""Seconds of `ease` for each cubed article: 3.7 s for 5,000, by the same fit."""
CPU_RATE = {
    "two_tower": 15.6e9,
    "variational_autoencoder": 46e9,
    "neu_mf": 7.7e9,
}
"""FLOPs a second that training reached on 2 cores, by the examples a second of docs/benchmarks.md."""
PREPARING = {"two_tower": 65e-6, "variational_autoencoder": 30e-6, "neu_mf": 105e-6}
"""Seconds for each example before training: features are joined (65 s a million), negatives drawn."""
GPU_PEAK = 312e12
"""FLOPs a second, NVIDIA A100, bfloat16 without sparsity, as published (A100 datasheet)."""
GPU_UTILISATION = 0.05
"""Assumed: networks this small wait for memory more than they multiply."""
GPU_STEP = 5e-3
"""Assumed: seconds that a step takes at least, some hundred kernels and a batch from the CPU."""
GPU_MEMORY = 40e9
"""Bytes of the smaller A100, of which 0.8 are taken to be of use."""
TRAINING_HOURS = 2.0
"""What networks may take of a night before more machines are asked for."""


def tower_flops(fields: tuple[Fields, Fields, Fields], size: Any, negatives: float = 1.0) -> float:
    """Of one purchase, forwards and backwards (three times forwards): the customer's tower, the article's for
    what was bought and for each negative, vectors of content, and the products with the whole batch."""
    customer, content, sales = fields
    width = size.dimension
    of_customer = dense(
        3 * (width + 1) + customer.count * size.field + customer.numbers, size.hidden, width
    )
    of_article = dense(width + sales.count * size.field + sales.numbers, size.hidden, width)
    of_content = sum(dense(length, width) for length in content.vectors)
    products = (1 + negatives) * size.batch_size * width
    return 6.0 * (of_customer + (1 + negatives) * (of_article + of_content) + products)


def autoencoder_flops(articles: int, width: int) -> float:
    """Of one week: three layers D x D and the product with all V articles, three times for backwards."""
    return 6.0 * (3 * width * width + articles * width)


def neu_mf_flops(width: int, shown: int) -> float:
    """Of one week: for each article shown a product, a D x D layer and the perceptron, three times."""
    return 6.0 * shown * (width + width * width + dense(width, width // 2, 1))


def gpu_seconds(flops: float, steps: float) -> float:
    """An ESTIMATE: FLOPs by what a GPU is taken to reach, or the steps if they take longer."""
    return max(flops / (GPU_PEAK * GPU_UTILISATION), steps * GPU_STEP)


def training_bytes(parameters: int) -> int:
    """Weights, gradients and the two moments of AdamW, float32."""
    return 4 * NUMBER * parameters


def gpus(memory: float, seconds: float, hours: float = TRAINING_HOURS) -> int:
    """How many hold the largest network and are done in time.

    Args:
        memory: `training_bytes` of the largest.
        seconds: of all networks on one GPU.
    """
    return max(1, math.ceil(memory / (0.8 * GPU_MEMORY)), math.ceil(seconds / 3600 / hours))


# --- each model of the catalogue ------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelPlan:
    """What one model needs.

    Attributes:
        name: of the catalogue.
        parameters: numbers that it learns; of one that counts, the counts that it keeps.
        embedding_bytes: of those, tables of vectors as they are served.
        index_bytes: of FAISS, 0 without one.
        disk_bytes: of its version, and about what it holds in memory.
        cpu_seconds: of training on 2 cores.
        gpu_seconds: of training on one GPU, an estimate; None where it would not use one.
    """

    name: str
    parameters: int
    embedding_bytes: int
    index_bytes: int
    disk_bytes: int
    cpu_seconds: float
    gpu_seconds: float | None = None


def model(name: str, shop: Shop, release: ReleaseSettings = RELEASE) -> ModelPlan:
    """A model of the catalogue, with its settings there.

    Args:
        release: of whose candidates a ranker learns.

    Raises:
        InputError: the catalogue has no such model.
    """
    if name in RETRIEVERS:
        settings = RETRIEVERS[name].settings_in_full()
        if name in _NETWORKS:
            return _NETWORKS[name](name, shop, settings)
        return _counted(name, shop, settings)
    if name in RANKERS:
        return _ranker(name, shop, RANKERS[name].settings_in_full(), release)
    raise InputError(
        f"No model is called {name!r}; there are: {', '.join([*RETRIEVERS, *RANKERS])}."
    )


def _counted(name: str, shop: Shop, settings: Mapping[str, Any]) -> ModelPlan:
    """A retriever without a network."""
    articles, listed = shop.articles, ASSORTMENT * shop.articles
    seconds = FITS[name].seconds(shop)
    index = embedding = 0
    if name in ("matrix_factorization", "pure_svd"):
        width = min(settings["dimensions"], articles, shop.customers)
        parameters = articles * width
        embedding = NUMBER * parameters
        index = planned_index_bytes(shop.on_sale, width)
        disk = embedding + NUMBER * articles + index
    elif name == "ease":
        known = min(settings["articles"], shop.on_sale)
        seconds += INVERSE * known**3
        parameters = known * min(settings["neighbours"], known)
        disk = sparse_bytes(articles, parameters)
    elif name in NEIGHBOURS:
        kept = min(settings["neighbours"], NEIGHBOURS[name], shop.on_sale)
        parameters = round(articles * kept) if shop.images or name != "similar_by_image" else 0
        # What is put together of several kinds has columns of 8 bytes where A x A is beyond 32 bits.
        wide = name == "similar" and articles**2 > 2**31
        disk = sparse_bytes(articles, parameters, 8 if wide else 4)
    elif name == "customer_knn":
        lately = max(1.0, KNN_BUYERS * shop.buyers * min(1.0, shop.within(365) / 0.497))
        share = min(1.0, settings["customers"] / lately)
        customers = round(share * lately)
        parameters = round(shop.pairs * shop.within(365) * share**KNN_BUSY)
        disk = sparse_bytes(customers, parameters) + NUMBER * articles
    elif name == "popular_by_postal_code":
        rows = POSTAL_ROWS * shop.purchases * shop.within(settings["days"])
        parameters = round(min(rows, shop.postal_codes * shop.on_sale))
        parameters += min(settings["keep"], shop.on_sale)
        disk = round(FILE + POSTAL_BYTES * parameters)
    elif name == "repurchase":
        parameters, disk = articles, NUMBER * articles
    else:
        kinds = {"popular": 1, "popular_by_age": 7, "popular_by_product_group": 19}[name]
        parameters = kinds * min(settings["keep"], shop.on_sale)
        parameters = min(parameters, max(1, round(shop.purchases * shop.within(settings["days"]))))
        disk = round(FILE + POPULAR_BYTES * parameters)
        disk += NUMBER * articles * (name == "popular_by_product_group")
    return ModelPlan(name, parameters, embedding, index, round(FILE + listed + disk), seconds)


def _two_tower(name: str, shop: Shop, settings: Mapping[str, Any]) -> ModelPlan:
    from pipelines.retrievers.two_tower import size_for

    examples = tower_examples(shop, settings)
    fields = tower_fields(shop)
    size = size_for(examples, shop.articles)
    parameters = tower_parameters(fields, size, settings["top"])
    customer, content, sales = fields
    tables = (size.buckets + content.codes) * size.dimension
    tables += (customer.codes + sales.codes) * size.field
    vectors = 2 * NUMBER * shop.articles * size.dimension
    index = planned_index_bytes(shop.on_sale, size.dimension)
    flops = tower_flops(fields, size, settings["negatives"]) * examples * size.epochs
    preparing = PREPARING[name] * examples
    return ModelPlan(
        name,
        parameters,
        NUMBER * tables + vectors,
        index,
        round(FILE + NUMBER * parameters + vectors + index + ASSORTMENT * shop.articles),
        preparing + flops / CPU_RATE[name],
        preparing + gpu_seconds(flops, examples * size.epochs / size.batch_size),
    )


def _next_week(name: str, shop: Shop, settings: Mapping[str, Any]) -> ModelPlan:
    examples = next_week_examples(shop, settings)
    known, width = next_week_shape(shop, settings)
    steps = math.ceil(examples / settings["batch_size"])
    epochs = min(60, max(4, settings["steps"] // steps))
    if name == "neu_mf":
        width = min(width, 32)
        parameters, tables = neu_mf_parameters(known, width), known * (4 * width + 1)
        flops = neu_mf_flops(width, settings["positives"] * (1 + settings["negatives"]))
    else:
        parameters, tables = autoencoder_parameters(known, width), known * (2 * width + 1)
        flops = autoencoder_flops(known, width)
    flops *= examples * epochs
    preparing = PREPARING[name] * examples
    return ModelPlan(
        name,
        parameters,
        NUMBER * tables,
        0,
        round(FILE + NUMBER * parameters + 16 * known + ASSORTMENT * shop.articles),
        preparing + flops / CPU_RATE[name],
        preparing + gpu_seconds(flops, steps * epochs),
    )


_NETWORKS: dict[str, Callable[[str, Shop, Mapping[str, Any]], ModelPlan]] = {
    "two_tower": _two_tower,
    "variational_autoencoder": _next_week,
    "neu_mf": _next_week,
}

CANDIDATES = 227
"""Of a customer in a release, whose retrievers name 450, many of them the same; a tenth of H&M's size."""
BUYERS_A_WEEK = 7_244 / 3_173_589
"""For each line of two years; a tenth of H&M's size, the week from 2020-09-09."""
ROWS_A_BUYER = 672_700 / 4_000
"""Candidates of each buyer that a ranker learns from: those without a hit among them are left out; a mean of eight
weeks, a tenth of H&M's size."""
MAKING = 75e-6
"""CPU seconds for each candidate with its features that is written for rankers to learn from, without the fits of
retrievers: 10,906 rows a second with them, a tenth of H&M's size (`python benchmarks/ranking.py`)."""
MADE_ROW = 63
"""Bytes of it on disk."""
TREES = 0.5e-6
"""Seconds for each row and tree of `gradient_boosting`, 150 columns; 5.4M rows, beside other work."""
HISTORY_LENGTH = 20
"""Articles of a customer's history that a neural ranker reads."""
SHOWN, SHOWN_LINEAR = 150e-6, 55e-6
"""CPU seconds of a row that a neural ranker is shown, with its gradients: between 100 and 310 for networks with a
history, and without one; 15 steps of 1,700 rows with 99 numbers, beside other work."""
TREE_BYTES = 2_150
"""On disk for each tree."""


def taught_weeks(shop: Shop, release: ReleaseSettings) -> int:
    """The weeks that a ranker learns from."""
    return min(release.training_weeks, max(1, shop.days // 7))


def taught_buyers(shop: Shop, release: ReleaseSettings) -> float:
    """The buyers of all those weeks that it learns from, at most so many of each."""
    weekly = BUYERS_A_WEEK * shop.purchases * HISTORY_DAYS / shop.days
    return taught_weeks(shop, release) * min(release.training_customers, weekly)


def made_rows(shop: Shop, release: ReleaseSettings) -> int:
    """The candidates of those buyers, which are written with their features for all rankers."""
    return max(1, round(taught_buyers(shop, release) * min(CANDIDATES, shop.on_sale)))


def ranker_rows(shop: Shop, release: ReleaseSettings) -> int:
    """Those that `gradient_boosting` learns from."""
    return max(1, round(taught_buyers(shop, release) * min(ROWS_A_BUYER, shop.on_sale)))


def making_seconds(shop: Shop, release: ReleaseSettings) -> float:
    """CPU seconds of a night's rows: retrievers are fitted anew for each week, on what came before it."""
    fits = sum(model(name, shop, release).cpu_seconds for name in release.retrievers)
    return taught_weeks(shop, release) * fits + MAKING * made_rows(shop, release)


def _ranker(
    name: str, shop: Shop, settings: Mapping[str, Any], release: ReleaseSettings
) -> ModelPlan:
    if name == "blend":
        trees, network = (
            _ranker(part, shop, RANKERS[part].settings_in_full(), release)
            for part in ("gradient_boosting", "deep_fm")
        )
        return replace(
            network,
            name=name,
            parameters=trees.parameters + network.parameters,
            disk_bytes=trees.disk_bytes + network.disk_bytes,
            cpu_seconds=trees.cpu_seconds + network.cpu_seconds,
        )
    if name == "gradient_boosting":
        rows = ranker_rows(shop, release)
        parameters = tree_parameters(settings["trees"], settings["leaves"])
        seconds = rows * TREES * settings["trees"]
        disk = TREE_BYTES * settings["trees"]
        return ModelPlan(name, parameters, 0, 0, disk, seconds)
    known = RankerRows(**{**asdict(RANKER_ROWS), "articles": shop.on_sale})
    parameters = ranking_parameters(name, known, settings)
    width = settings.get("width", 0)
    tables = (known.text_codes + (known.articles if width else 0)) * (width + 1)
    # Every weight that is in no table meets every row, and each place of the history the attention.
    attention = 16 * 3 * width * HISTORY_LENGTH
    per_row = 6.0 * (parameters - tables + attention)
    customers = max(1.0, taught_buyers(shop, release))
    shown = customers * min(settings["negatives"], CANDIDATES)
    flops = per_row * shown * settings["epochs"]
    steps = customers / settings["batch_size"] * settings["epochs"]
    return ModelPlan(
        name,
        parameters,
        NUMBER * tables,
        0,
        NUMBER * parameters,
        shown * settings["epochs"] * (SHOWN if width else SHOWN_LINEAR),
        gpu_seconds(flops, steps),
    )


# --- tables and the online store -----------------------------------------------------------------------


@dataclass(frozen=True)
class TablePlan:
    """Rows and bytes of a table of the warehouse, or of a view online."""

    name: str
    rows: int
    bytes: int


ROW_BYTES = {
    "raw.transactions": 20.4,
    "raw.customers": 66.9,
    "raw.articles": 99.4,
    "raw.article_content": 273.2,
    "staging.purchases": 17.0,
    "staging.customers": 66.9,
    "staging.articles": 322.9,
    "staging.prices": 17.5,
    "features.customer_profile": 78.3,
    "features.article_profile": 322.9,
    "features.customer_article": 27.4,
    "features.customer_product": 21.3,
    "features.customer_activity": 63.5,
    "features.customer_price": 47.1,
    "features.article_activity": 53.0,
    "features.postal_code_activity": 29.8,
    "features.product_group_activity": 57.3,
}
"""On disk, DuckDB, compressed; a tenth of H&M's size."""
INTERACTION_BYTES = 30.0
"""Of an event of the log in `raw.interactions` and, but for impressions, in `staging.actions`; the same."""


def warehouse(shop: Shop) -> list[TablePlan]:
    """Tables of the warehouse, without interactions.

    A view by windows has a row where a purchase enters and where it leaves one, 4.6 for each basket; what is by
    article or product group has at most a row a day, for an article on a quarter of the days.
    """
    purchases = PAIRS_A_DAY * shop.purchases
    by_article = min(2_011_958 / (10_554 * HISTORY_DAYS) * shop.articles * shop.days, 6 * purchases)
    rows = {
        "raw.transactions": shop.purchases,
        "raw.customers": shop.customers,
        "raw.articles": shop.articles,
        "raw.article_content": shop.articles,
        "staging.purchases": purchases,
        "staging.customers": shop.customers,
        "staging.articles": shop.articles,
        "staging.prices": 807_537 / 2_871_665 * purchases,
        "features.customer_profile": shop.customers,
        "features.article_profile": shop.articles,
        "features.customer_article": purchases,
        "features.customer_product": 2_750_081 / 2_871_665 * purchases,
        "features.customer_activity": 4_666_969 / 1_012_636 * shop.baskets,
        "features.customer_price": shop.baskets,
        "features.article_activity": by_article,
        "features.postal_code_activity": 2_598_197 / 1_012_636 * shop.baskets,
        "features.product_group_activity": 9_153 / HISTORY_DAYS * shop.days,
    }
    return [TablePlan(name, round(n), round(n * ROW_BYTES[name])) for name, n in rows.items()]


PAGE = 4096
PAGE_HEADER = 16
ID_BYTES = {"customer": 66, "article": 12, "product": 9, "postal_code": 66, "product_group": 20}
"""Of a key online: Kaggle's ids and two bytes."""


def row_words(features: int) -> int:
    """64-bit words of a packed row's fixed part: two times, a schema, a bit and a slot for each feature."""
    return 3 + -(-features // 64) + features


def lmdb_bytes(rows: int, key: int, row: float) -> int:
    """A view online, of rows of one length, brought in the order of its keys.

    A row takes its key, its bytes, 8 of LMDB's and 2 for its place in the page, on even addresses; a page of 4,096
    has 16 of its own. Pages are full but for what no further row fits into. Branch pages hold a key and 10
    bytes for each page below. Rows beyond half a page stand alone on pages of their own.
    """
    if not rows:
        return 0

    def each_page(node: float) -> float:
        return max(1.0, (PAGE - PAGE_HEADER) // (2 * math.ceil(node / 2) + 2))

    if row + key + 8 > (PAGE - PAGE_HEADER) / 2:
        pages = math.ceil(rows / each_page(key + 16))
        whole = rows * math.ceil((row + PAGE_HEADER) / PAGE) + pages
    else:
        pages = math.ceil(rows / each_page(row + key + 8))
        whole = pages
    while pages > 1:
        pages = math.ceil(pages / each_page(key + 8))
        whole += pages
    return whole * PAGE


TEXTS = {"customer_profile": 85, "article_profile": 385}
"""Bytes of a row's texts; made-up shops with H&M's columns."""
VECTOR_BYTES = 64 * NUMBER
RECENT_ENTRY = 38
"""An article of `customer_recent`: an id of 10 letters with its length, and three numbers."""
RECENT_FILL = 1.24
"""How many bytes `customer_recent` takes for each of its rows', some of which are longer than half a page: 1.23 at
H&M's size, 1.25 at a tenth."""
TASTE = (207.0, 0.456)
"""`customer_taste`: 207 n^0.456 bytes of lists for n articles; by 5.3 articles (647 bytes a row in all) and
20.7 (1,028, H&M's size). Tastes repeat, so they grow with less than n."""


def online(shop: Shop) -> list[TablePlan]:
    """Views of the online store: a row for each key, as of one moment."""
    from feature_repo import definitions

    slots = {
        found.name: [str(f.dtype) for f in found.features]
        for found in (getattr(definitions, name) for name in definitions.__all__)
        if hasattr(found, "batch_source") and hasattr(found, "features")
    }

    def view(
        name: str, rows: float, keys: Sequence[str], more: float = 0.0, fill: float = 0.0
    ) -> TablePlan:
        """`fill` where rows are of many lengths: what all take for each byte that they have."""
        row = WORD * row_words(len(slots[name])) + more
        key = sum(ID_BYTES[one] for one in keys)
        found = rows * (row + key + 10) * fill if fill else lmdb_bytes(round(rows), key, row)
        return TablePlan(name, round(rows), round(found))

    bought = shop.pairs / shop.buyers
    recent = min(bought, RECENT_ARTICLES)
    vectors = VECTOR_BYTES * (2 if shop.images else 1)
    products = 0.95 * shop.pairs
    return [
        view("customer_profile", shop.customers, ["customer"], TEXTS["customer_profile"]),
        view("customer_activity", shop.buyers, ["customer"]),
        view("customer_price", shop.buyers, ["customer"]),
        view("customer_taste", shop.buyers, ["customer"], TASTE[0] * bought ** TASTE[1], 1.0),
        view("customer_recent", shop.buyers, ["customer"], 4 + RECENT_ENTRY * recent, RECENT_FILL),
        view("customer_article", shop.pairs, ["customer", "article"]),
        view("customer_product", products, ["customer", "product"]),
        view(
            "article_profile", shop.articles, ["article"], TEXTS["article_profile"] + vectors, 1.0
        ),
        view("article_activity", SOLD * shop.articles, ["article"]),
        view("postal_code_activity", shop.postal_codes, ["postal_code"]),
        view("product_group_activity", 19, ["product_group"]),
    ]


MATERIALISED = 35e-6
"""Seconds for each customer, all views of a customer together (47.8 s at H&M's size, docs/benchmarks.md)."""
MATERIALISED_PAIR = 1.65e-6
"""Seconds for each customer and article (46.4 s for 28.2M); as much again for each customer and product."""


# --- the service -----------------------------------------------------------------------------------------

PROCESS = 500e6
"""Bytes of a process of the service without models: Python, Feast, BentoML, pandas, LightGBM."""
HELD = 2.2
"""How many bytes a process holds for each byte of a release on disk (63 MB for 28 MB)."""
ANSWER = 0.085
"""CPU seconds of an answer, everything in it: state, candidates, features, rank, reasons; 90 ms at a tenth of H&M's
size, 83 ms in a tiny shop, with eight other processes on the same two cores: on a core of its own it is less."""
SPREAD = 0.1
"""Variance of that over its square, beside other work."""
SLOWEST = 2.4
"""Its 99th percentile by its mean, beside other work."""
BUSY = 0.5
"""The share of its time for which a process may answer: the rest is headroom for the 99th percentile."""


def replicas(qps: float, seconds: float = ANSWER, busy: float = BUSY) -> int:
    """Processes, each with a core of its own, that answer so many requests a second while they are busy only for
    the given share; and one more, so that one may be down or load a new release."""
    return math.ceil(qps * seconds / busy) + 1


def p99_seconds(qps: float, processes: int, seconds: float = ANSWER) -> float:
    """The 99th percentile from a request's coming to its answer.

    The slowest answers, and the wait before them, of a queue for each process: with load r the chance to
    wait longer than t falls as r exp(-2 (1 - r) t / (s (1 + c))), c being variance over squared mean of an answer
    (Kingman's exponent for arrivals by chance; Kingman, 1962).
    """
    load = qps * seconds / processes
    if load >= 1:
        return math.inf
    wait = seconds * (1 + SPREAD) / (2 * (1 - load)) * math.log(max(1.0, 100 * load))
    return SLOWEST * seconds + wait


# --- the night -------------------------------------------------------------------------------------------

BUILD = (0.0, 17e-6)
"""Seconds of a whole build: fixed, and for each line (6 s, 51 s, 555 s for 0.25, 3.2 and 32.9 million)."""
ONE_DAY = (0.5, 0.8e-6)
"""Of one more day (0.8, 3.0 and 26.7 s)."""
SCORING = 36e-6
"""CPU seconds for each pair of the file: candidates, features, rank (34e-6; 5,000 customers of a tenth of H&M's size,
beside other work, `python benchmarks/whole_file.py`), and the rules of a page (0.35 ms a customer)."""
FILE_HOURS = 6.0
"""What the file may take of a night."""


@dataclass(frozen=True)
class Plan:
    """What a shop needs. Bytes and seconds.

    Attributes:
        models: every model asked for.
        released: names of those that are trained each night and served.
        tables: of the warehouse.
        views: of the online store.
        gpus: to train the networks among the released within `TRAINING_HOURS`; 0 where the CPU does it.
        process_bytes: memory of one process of the service, without the pages of the online store.
        replicas: processes for the requests asked for.
        p99: of a request with so many.
        night: seconds of each step of a night.
        file_processes: how many write the file for all customers within `FILE_HOURS`, each some of them.
        first_build: seconds of the first build of all features.
        training_bytes: of the rows that rankers learn from, as long as they are kept; each night makes new ones.
        estimates: which numbers are no more than that, and why.
    """

    shop: Shop
    qps: float
    models: list[ModelPlan]
    released: tuple[str, ...]
    tables: list[TablePlan]
    views: list[TablePlan]
    gpus: int
    process_bytes: float
    replicas: int
    p99: float
    night: dict[str, float]
    file_processes: int
    first_build: float
    training_bytes: int
    estimates: list[str]

    @property
    def warehouse_bytes(self) -> int:
        return sum(table.bytes for table in self.tables)

    @property
    def online_bytes(self) -> int:
        return sum(view.bytes for view in self.views)

    @property
    def service_bytes(self) -> float:
        """Of all processes, and of the online store's pages, which they share on one machine."""
        return self.replicas * self.process_bytes + self.online_bytes

    def to_dict(self) -> dict[str, Any]:
        totals = ("warehouse_bytes", "online_bytes", "service_bytes")
        return {**asdict(self), **{name: getattr(self, name) for name in totals}}


def plan(
    shop: Shop,
    qps: float = 10.0,
    models: Sequence[str] | None = None,
    release: ReleaseSettings = RELEASE,
) -> Plan:
    """What a shop of this size needs.

    Args:
        qps: requests a second at the busiest time.
        models: what is trained and served; all of the catalogue are told of, and the release's served, if
            None.

    Raises:
        InputError: a name is not in the catalogue, or the requests are out of reason.
    """
    if not 0 < qps <= MOST["qps"]:
        raise InputError(
            f"{qps:,} requests a second cannot be planned: give more than 0 and at most {MOST['qps']:,}."
        )
    if models is not None and not models:
        raise InputError("No model is named: give one at least.")
    names = list(dict.fromkeys([*RETRIEVERS, *RANKERS] if models is None else models))
    released = tuple(names) if models is not None else (*release.retrievers, release.ranker)
    found = {name: model(name, shop, release) for name in names}
    served = [found[name] for name in released]
    networks = [one for one in served if one.gpu_seconds is not None]
    by_cpu = sum(one.cpu_seconds for one in networks)
    on_gpu = sum(one.gpu_seconds or 0.0 for one in networks)
    wanted = 0
    if by_cpu > 3600 * TRAINING_HOURS:
        wanted = gpus(max(training_bytes(one.parameters) for one in networks), on_gpu)
    processes = replicas(qps)
    train = sum(one.cpu_seconds for one in served if one.gpu_seconds is None)
    train += on_gpu / wanted if wanted else by_cpu
    ranked = any(name in RANKERS for name in released)
    # Here alone, for the rest of a plan needs no warehouse.
    from pipelines.training import KEEP_DAYS

    pairs = shop.customers * min(CANDIDATES, shop.on_sale)
    products = 0.95 * shop.pairs
    night = {
        "build": ONE_DAY[0] + ONE_DAY[1] * shop.purchases,
        "materialize": MATERIALISED * shop.customers + MATERIALISED_PAIR * (shop.pairs + products),
        **({"training rows": making_seconds(shop, release)} if ranked else {}),
        "train": train,
        "file for all customers": SCORING * pairs,
    }
    return Plan(
        shop,
        qps,
        list(found.values()),
        released,
        warehouse(shop),
        online(shop),
        wanted,
        PROCESS + HELD * sum(one.disk_bytes for one in served),
        processes,
        p99_seconds(qps, processes),
        night,
        math.ceil(night["file for all customers"] / 3600 / FILE_HOURS),
        BUILD[0] + BUILD[1] * shop.purchases,
        KEEP_DAYS * MADE_ROW * made_rows(shop, release) if ranked else 0,
        _estimates(shop, any(one.gpu_seconds is not None for one in found.values())),
    )


def _estimates(shop: Shop, networks: bool) -> list[str]:
    """What was not measured, as sentences."""
    found = [
        "Times are of two cores (x86_64) as docs/benchmarks.md has them, answers and the file of cores that other "
        "work shared."
    ]
    if networks:
        found.append(
            "GPU times are estimates, for no GPU was measured: FLOPs at "
            f"{GPU_UTILISATION:.0%} of the {GPU_PEAK / 1e12:.0f} TFLOP/s that NVIDIA publishes of an A100, or "
            f"{1e3 * GPU_STEP:.0f} ms a step."
        )
    if shop.purchases > 33e6 or shop.customers > 1.4e6 or shop.articles > 110_000:
        found.append(
            "The shop is larger than H&M's, the largest measured: all but exact counts is extrapolated."
        )
    return found
