"""The customers: who they are on paper, and what they like in truth."""

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from pipelines.data import hm_figures
from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.catalogue import STYLE_DIMENSIONS
from pipelines.data.synthetic.designs import Floats, Ints

TASTE_FACTORS = 8
"""Latent factors behind the tastes for product groups, product types and colours."""
_CUSTOMERS_PER_POSTAL_CODE = 3.9
_COMMON_POSTAL_CODE_SHARE = 0.09
_VISITS_MEAN, _VISITS_SPREAD = 9.4, 1.34
_NEVER_BUYS = 0.007
"""Share of customers without a purchase, as H&M has them; in a small shop everybody has one."""
_NO_ADDRESS = 0.15
"""How often those without a postal code come, beside the others."""


@dataclass(frozen=True)
class Leanings:
    """How the taste factors turn into tastes; one for the whole shop. Log, per unit of a factor."""

    product_group: Floats
    """TASTE_FACTORS x product groups."""
    product_type: Floats
    """TASTE_FACTORS x product types."""
    colour: Floats
    """TASTE_FACTORS x main colours."""


@dataclass(frozen=True)
class Tastes:
    """What each customer likes, one row per customer."""

    factors: Floats
    """Customers x TASTE_FACTORS, standard normal."""
    index_group: Floats
    """Customers x index groups, log."""
    style: Floats
    """Customers x STYLE_DIMENSIONS, unit length."""
    price_level: Floats
    """Log of the price wanted over the usual price of the product type."""
    online: Floats
    """Probability that a visit is online, when the stores are open."""
    loyalty: Floats
    """Factor on how readily the customer buys the same article again."""
    basket: Floats
    """Median number of different articles in a basket."""


@dataclass(frozen=True)
class Customers:
    """The customers, sorted by customer_id, and the truth behind them."""

    table: pa.Table
    """The columns of customers.csv with their types."""
    tastes: Tastes
    leanings: Leanings
    visits: Ints
    """Visits with a purchase in all the days of the shop."""
    gap_days: Floats
    """Median of the gap between two visits."""

    def __len__(self) -> int:
        return len(self.visits)

    def likes(self, customer: Ints, what: str, only: Ints | None = None) -> Floats:
        """Tastes (log) for every product_group, product_type or colour, or `only` some of them;
        one row per customer."""
        leaning = getattr(self.leanings, what)
        leaning = leaning if only is None else leaning[:, only]
        return np.asarray(np.einsum("nf,ft->nt", self.tastes.factors[customer], leaning))


def draw_customers(customers: int, days: int, rng: np.random.Generator) -> Customers:
    """Draw who comes to a shop of so many days."""
    ages = np.where(
        rng.random(customers) < 0.6,
        rng.gamma(3.6, 2.2, customers) + 17.5,
        rng.normal(50.0, 8.0, customers),
    )
    ages = np.where(rng.random(customers) < 0.002, rng.uniform(70, 100, customers), ages)
    ages = np.clip(np.rint(ages), 16, 99).astype(np.int32)
    postal_code, wealth = _postal_codes(customers, rng)
    table = _table(_hex_ids(customers, rng), ages, postal_code, rng)

    # Most customers come a few times, some come every week. In a shorter time fewer of a
    # customer's visits are seen, but more than in proportion: who is not seen at all is not listed.
    mean = _VISITS_MEAN * (days / hm_figures.DAYS) ** 0.5
    visits = np.exp(rng.normal(np.log(mean) - _VISITS_SPREAD**2 / 2, _VISITS_SPREAD, customers))
    visits *= np.exp(0.15 * wealth) * np.where(wealth == 0, _NO_ADDRESS, 1.0)
    whole = np.clip(np.ceil(visits - rng.random(customers)), 1, max(1, days)).astype(np.int64)
    if customers >= 1000:
        whole[rng.random(customers) < _NEVER_BUYS] = 0
    return Customers(
        table=table,
        tastes=_tastes(ages, wealth, rng),
        leanings=_leanings(rng),
        visits=whole,
        gap_days=np.exp(rng.normal(np.log(17.0), 0.5, customers)).astype(np.float32),
    )


def _table(ids: pa.Array, ages: Ints, postal_code: pa.Array, rng: np.random.Generator) -> pa.Table:
    """What the shop knows of its customers, with H&M's shares of empty fields."""
    customers = len(ids)
    news = rng.random(customers) < 0.348
    active = news & (rng.random(customers) < 0.971)
    club = np.where(rng.random(customers) < 0.07, 1, 0)
    club[rng.random(customers) < 0.0004] = 2
    frequency = np.where(news, 1, 0)
    frequency[rng.random(customers) < 0.0006] = 2

    def words(names: list[str], which: Ints, empty: float) -> pa.Array:
        codes = pa.array(which, pa.int8(), mask=rng.random(customers) < empty)
        return pa.DictionaryArray.from_arrays(codes, names).cast(pa.string())

    ones = np.ones(customers)
    return pa.table(
        {
            "customer_id": ids,
            "FN": pa.array(ones, mask=~news),
            "Active": pa.array(ones, mask=~active),
            "club_member_status": words(["ACTIVE", "PRE-CREATE", "LEFT CLUB"], club, 0.0044),
            "fashion_news_frequency": words(["NONE", "Regularly", "Monthly"], frequency, 0.0117),
            "age": pa.array(ages, pa.int32(), mask=rng.random(customers) < 0.0116),
            "postal_code": postal_code,
        }
    )


def _leanings(rng: np.random.Generator) -> Leanings:
    def toward(count: int, spread: float) -> Floats:
        scale = spread / np.sqrt(TASTE_FACTORS)
        return rng.normal(0.0, scale, (TASTE_FACTORS, count)).astype(np.float32)

    return Leanings(
        product_group=toward(len(shop.PRODUCT_GROUPS), 0.9),
        product_type=toward(len(shop.PRODUCT_TYPES), 1.1),
        colour=toward(len(shop.COLOUR_MASTERS), 0.9),
    )


def _tastes(ages: Ints, wealth: Floats, rng: np.random.Generator) -> Tastes:
    customers = len(ages)
    man = rng.random(customers) < 0.065
    young = 1 / (1 + np.exp((ages - 29) / 4))
    parent = (rng.random(customers) < 0.25) & (ages > 26) & (ages < 47)

    group = np.tile(np.log(shop.INDEX_GROUP_SALES), (customers, 1))
    group += rng.normal(0.0, 0.7, group.shape)
    group[:, shop.DIVIDED] += 1.6 * young - 0.9
    group[:, shop.MEN] += np.where(man, 3.2, -1.6)
    group[:, [shop.LADIES, shop.DIVIDED]] -= np.where(man, 1.6, 0.0)[:, None]
    group[:, shop.CHILDREN] += np.where(parent, 2.1, -1.3)

    style = rng.normal(size=(customers, STYLE_DIMENSIONS))
    style /= np.linalg.norm(style, axis=1, keepdims=True)
    drawn = {
        "factors": rng.normal(size=(customers, TASTE_FACTORS)),
        "index_group": group,
        "style": style,
        "price_level": rng.normal(0.0, 0.25, customers) + 0.15 * wealth - 0.15 * young,
        "online": rng.beta(1.6, 0.65, customers),
        "loyalty": np.exp(rng.normal(0.0, 1.2, customers)),
        "basket": 1.7 * np.exp(rng.normal(0.0, 0.3, customers)),
    }
    assert set(drawn) == {field.name for field in fields(Tastes)}
    return Tastes(**{name: values.astype(np.float32) for name, values in drawn.items()})


def _postal_codes(customers: int, rng: np.random.Generator) -> tuple[pa.Array, Floats]:
    """A postal code and its wealth (standard normal) for each customer; one code is common."""
    codes = 1 + int(customers / _CUSTOMERS_PER_POSTAL_CODE)
    names, wealth = _hex_ids(codes, rng), rng.normal(size=codes)
    which = rng.integers(0, codes, customers)
    # No wealth can be told from a code that stands for "not given".
    wealth[0] = 0.0
    which[rng.random(customers) < _COMMON_POSTAL_CODE_SHARE] = 0
    return names.take(pa.array(which)), wealth[which]


def _hex_ids(count: int, rng: np.random.Generator) -> pa.Array:
    """Sorted ids of 64 hexadecimal digits."""
    digits = np.frombuffer(rng.bytes(32 * count).hex().encode("ascii"), dtype="S64")
    text = np.sort(digits)
    offsets = np.arange(0, 64 * (count + 1), 64, dtype=np.int32 if count < 2**24 else np.int64)
    kind = pa.string() if count < 2**24 else pa.large_string()
    return pa.Array.from_buffers(
        kind, count, [None, pa.py_buffer(offsets), pa.py_buffer(text.tobytes())]
    )
