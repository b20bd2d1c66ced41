"""The customers: who they are on paper, and what they like in truth."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.raw_tables import CUSTOMERS
from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.catalogue import STYLE_DIMENSIONS, Floats

HM_DAYS = 734
_CUSTOMERS_PER_POSTAL_CODE = 3.9
_COMMON_POSTAL_CODE_SHARE = 0.09


@dataclass(frozen=True)
class Tastes:
    """What each customer likes, one row per customer; log factors on what the shop offers."""

    index_group: Floats
    """Customers x index groups, log."""
    product_type: Floats
    """Customers x product types, log; types of one product group go together."""
    colour: Floats
    """Customers x main colours, log."""
    style: Floats
    """Customers x STYLE_DIMENSIONS, unit length."""
    price_level: Floats
    """Log of the price wanted over the usual price of the product type."""
    online: Floats
    """Probability that a visit is online."""
    loyalty: Floats
    """Factor on how readily the customer buys the same article again."""


@dataclass(frozen=True)
class Customers:
    """The customers, sorted by customer_id, and the truth behind them."""

    frame: pd.DataFrame
    tastes: Tastes
    visits: NDArray[np.int64]
    """Visits with a purchase in all the days of the shop."""
    gap_days: Floats
    """Median of the gap between two visits."""

    def __len__(self) -> int:
        return len(self.visits)


def draw_customers(customers: int, days: int, rng: np.random.Generator) -> Customers:
    ages = np.where(
        rng.random(customers) < 0.6,
        rng.gamma(4.0, 2.4, customers) + 17,
        rng.normal(49.0, 8.5, customers),
    )
    ages = np.clip(np.rint(ages), 16, 99).astype(np.int64)
    postal_code, wealth = _postal_codes(customers, rng)

    # Most customers come a few times, some come every week. In a shorter time fewer of a
    # customer's visits are seen, but more than in proportion: who is not seen at all is not listed.
    spread = 1.25
    mean = 7.5 * (days / HM_DAYS) ** 0.5
    visits = np.exp(rng.normal(np.log(mean) - spread**2 / 2, spread, customers))
    visits *= np.exp(0.15 * wealth)
    visits = np.clip(np.ceil(visits - rng.random(customers)), 1, max(1, days)).astype(np.int64)

    news = rng.random(customers) < 0.348
    blank = np.full(customers, "", dtype=object)
    known_age = rng.random(customers) >= 0.0116
    club = np.where(rng.random(customers) < 0.07, "PRE-CREATE", "ACTIVE").astype(object)
    club[rng.random(customers) < 0.0004] = "LEFT CLUB"
    club[rng.random(customers) < 0.0044] = ""
    frequency = np.where(news, "Regularly", "NONE").astype(object)
    frequency[rng.random(customers) < 0.0006] = "Monthly"
    frequency[rng.random(customers) < 0.0117] = ""
    frame = pd.DataFrame(
        {
            "customer_id": _hex_ids(customers, rng),
            "FN": np.where(news, "1.0", blank),
            "Active": np.where(news & (rng.random(customers) < 0.971), "1.0", blank),
            "club_member_status": club,
            "fashion_news_frequency": frequency,
            "age": np.where(known_age, ages.astype(str).astype(object), blank),
            "postal_code": postal_code,
        },
        columns=CUSTOMERS.column_names,
    )
    return Customers(
        frame=frame,
        tastes=_tastes(ages, wealth, rng),
        visits=visits,
        gap_days=np.exp(rng.normal(np.log(14.0), 0.4, customers)),
    )


def _tastes(ages: NDArray[np.int64], wealth: Floats, rng: np.random.Generator) -> Tastes:
    customers = len(ages)
    man = rng.random(customers) < 0.09
    young = 1 / (1 + np.exp((ages - 29) / 4))
    parent = (rng.random(customers) < 0.25) & (ages > 26) & (ages < 47)

    group = np.tile(np.log(shop.INDEX_GROUP_SALES), (customers, 1))
    group += rng.normal(0.0, 0.7, group.shape)
    group[:, shop.DIVIDED] += 1.6 * young - 0.9
    group[:, shop.MEN] += np.where(man, 3.2, -1.2)
    group[:, [shop.LADIES, shop.DIVIDED]] -= np.where(man, 1.6, 0.0)[:, None]
    group[:, shop.CHILDREN] += np.where(parent, 1.6, -1.6)

    style = rng.normal(size=(customers, STYLE_DIMENSIONS))
    of_group = rng.normal(0.0, 0.8, (customers, len(shop.PRODUCT_GROUPS)))
    colour = rng.normal(0.0, 0.9, (customers, len(shop.COLOUR_MASTERS)))
    return Tastes(
        index_group=group,
        product_type=of_group[:, [t.group for t in shop.PRODUCT_TYPES]]
        + rng.normal(0.0, 0.7, (customers, len(shop.PRODUCT_TYPES))),
        colour=colour,
        style=style / np.linalg.norm(style, axis=1, keepdims=True),
        price_level=rng.normal(0.0, 0.25, customers) + 0.15 * wealth - 0.15 * young,
        online=rng.beta(1.6, 0.65, customers),
        loyalty=np.exp(rng.normal(0.0, 0.7, customers)),
    )


def _postal_codes(customers: int, rng: np.random.Generator) -> tuple[NDArray[np.object_], Floats]:
    """A postal code and its wealth (standard normal) for each customer; one code is common."""
    codes = 1 + int(customers / _CUSTOMERS_PER_POSTAL_CODE)
    names, wealth = _hex_ids(codes, rng), rng.normal(size=codes)
    which = rng.integers(0, codes, customers)
    # No wealth can be told from a code that stands for "not given".
    wealth[0] = 0.0
    which[rng.random(customers) < _COMMON_POSTAL_CODE_SHARE] = 0
    return names[which], wealth[which]


def _hex_ids(count: int, rng: np.random.Generator) -> NDArray[np.object_]:
    """Sorted ids of 64 hexadecimal digits."""
    text = rng.bytes(32 * count).hex()
    return np.array(sorted(text[i : i + 64] for i in range(0, 64 * count, 64)), dtype=object)
