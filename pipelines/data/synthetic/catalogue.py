"""The catalogue: what is on sale on which day, at what price, and how strongly it draws."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.designs import (
    INDEX_GROUP,
    Flags,
    Floats,
    Ints,
    draw_designs,
    label,
    runs,
)

# fmt: off
PRICE_LADDER = np.array([
    299, 399, 499, 599, 799, 999, 1299, 1499, 1799, 1999,
    2499, 2999, 3499, 3999, 4999, 5999, 6999, 7999, 9999, 12999,
])
# fmt: on
_ROUND = {999: 0.1, 1499: 0.15, 1999: 0.18, 2499: 0.15, 2999: 0.15, 3999: 0.1}
"""How far (log) a price is moved to reach a round one."""
MAX_ARTICLES = 400_000
AFTERWARDS = 28
STYLE_DIMENSIONS = len(shop.STYLES)

BUZZ = 0.7
"""Spread (log) of the weekly ups and downs of an article's draw, beside that of its appeal."""
_BUZZ_WEEKS = np.array([1.0, 0.7, 0.4])
"""How much this week's chance and that of the two weeks before count."""

STOCK = 150.0
"""The draw that no article exceeds, in units of a usual article's."""
LEFT_OVER = 0.004
"""What an article that is no longer in fashion draws until its last day, beside a new one."""

_BASIC = 1.3
"""Product types with at least this much `again` are basics: long on sale, seldom marked down."""
_AGAIN = np.array([t.again for t in shop.PRODUCT_TYPES])
_PEAK = np.array([t.peak for t in shop.PRODUCT_TYPES])
_SWING = np.array([t.swing for t in shop.PRODUCT_TYPES])
GROUP_OF_TYPE = np.array([t.group for t in shop.PRODUCT_TYPES])
"""The product group of each product type."""


def season(day: date) -> Floats:
    """How much each product type is wanted on that day of the year; 1 on yearly average."""
    angle = 2 * np.pi * (day.timetuple().tm_yday - _PEAK) / 365.25
    return np.exp(_SWING * np.cos(angle)) / np.i0(_SWING)


@dataclass(frozen=True)
class Catalogue:
    """The articles (sorted by article_id) and the truth behind them, one value per article.

    Days count from 0, the first day of the shop; launches before it are negative. Prices are in
    cents. Variants of one product are neighbours: `product_start[a]` is the first of them and
    `variants[a]` how many there are.
    """

    table: pa.Table
    """The columns of articles.csv with their types."""
    first_date: date
    days: int
    """Of the shop; the truth goes on for AFTERWARDS more."""
    seed: int
    """Of the whole shop."""
    product_type: Ints
    product_group: Ints
    index_group: Ints
    look: Ints
    """Position in taxonomy.STYLES of the strongest style."""
    colour: Ints
    """Position in taxonomy.COLOUR_MASTERS."""
    style: Floats
    """Articles x STYLE_DIMENSIONS, unit length."""
    eye: Floats
    """How much its picture catches the eye, log odds."""
    price_level: Floats
    """Log of the base price over what its product type and index group usually cost."""
    base_cents: Ints
    appeal: Floats
    launch: Ints
    last: Ints
    """Last day on sale, inclusive."""
    decay_days: Floats
    markdown_day: Ints
    markdown: Floats
    again: Floats
    product_start: Ints
    variants: Ints

    def __len__(self) -> int:
        return len(self.launch)

    def on_sale(self, day: int) -> Flags:
        return (self.launch <= day) & (day <= self.last)

    def cut(self, day: int) -> Floats:
        """The share by which every article is marked down on that day."""
        return np.where(day >= self.markdown_day, self.markdown, 0.0)

    def price_cents(self, day: int) -> Ints:
        """Price of every article on that day, marked down late in its life."""
        cut = self.cut(day)
        reduced = np.rint(self.base_cents * (1 - cut) / 50).astype(np.int64) * 50 - 1
        return np.where(cut > 0, np.maximum(reduced, 99), self.base_cents)

    def draw(self, day: int) -> Floats:
        """How strongly every article draws on that day, before anybody's taste; 0 if not on sale.

        Appeal, a first week of getting known, decay since launch, season, markdown, the ups and
        downs of the week, and what there is of it.
        """
        age = np.maximum(day - self.launch, 0)
        known = np.minimum(1.0, (age + 3) / 10)
        wanted = season(self.first_date + timedelta(days=day))[self.product_type]
        fresh = np.exp(-((age / self.decay_days) ** 1.6))
        strength = self.appeal * known * (fresh + LEFT_OVER) * np.exp(self.cut(day)) * wanted
        # Weeks end as the shop does, so that a week to predict is one week.
        strength *= self._buzz((self.days - 1 - day) // 7)
        # What everybody wants is soon sold out.
        return np.where(self.on_sale(day), strength / (1 + strength / STOCK), 0.0)

    def _buzz(self, week: int) -> Floats:
        """Of the week that ends so many weeks before the shop does."""
        chance = sum(
            weight
            * np.random.default_rng([self.seed, 5, week + AFTERWARDS + back]).normal(size=len(self))
            for back, weight in enumerate(_BUZZ_WEEKS)
        )
        return np.asarray(
            np.exp(BUZZ * _spread(len(self)) * chance / np.sqrt((_BUZZ_WEEKS**2).sum()))
        )


def draw_catalogue(articles: int, days: int, first_date: date, seed: int) -> Catalogue:
    """Draw products, then their colour variants, until there are `articles` of them."""
    rng = np.random.default_rng([seed, 1])
    designs = draw_designs(articles, rng)
    kind, products = designs.kind, len(designs.kind)
    index_group = INDEX_GROUP[designs.index]

    usual = np.array([t.cents for t in shop.PRODUCT_TYPES])[kind]
    usual = usual * np.array(shop.INDEX_GROUP_PRICE)[index_group]
    wanted = np.log(usual * np.exp(rng.normal(0.0, 0.3, products)))
    pull = np.array([_ROUND.get(price, 0.0) for price in PRICE_LADDER.tolist()])
    steps = np.abs(np.log(PRICE_LADDER)[None, :] - wanted[:, None]) - pull
    base_cents = PRICE_LADDER[steps.argmin(axis=1)]

    launch, life = _lifetimes(products, days, _AGAIN[kind], rng)
    basic = _AGAIN[kind] >= _BASIC
    decay = life * np.where(basic, 0.7, 0.38)
    marked = rng.random(products) < np.where(basic, 0.15, 0.6)
    markdown_day = launch + np.rint(life * rng.uniform(0.4, 0.85, products)).astype(np.int64)
    markdown = np.where(marked, rng.choice([0.2, 0.3, 0.5], products, p=[0.4, 0.35, 0.25]), 0.0)

    again = np.exp(rng.normal(0.0, 0.8, products))
    spread = _spread(articles)
    # Basics never fade, so each starts lower than an article that is the fashion of its month.
    by_product = np.exp(rng.normal(0.0, spread, products)) * np.where(basic, 0.45, 1.0)
    product, variant = designs.product, designs.variant
    appeal = by_product[product] * np.exp(rng.normal(0.0, 0.5 * spread, articles)) * 0.85**variant
    appeal *= np.array([c.appeal for c in shop.COLOURS])[designs.colour]

    later = np.where(variant > 0, rng.integers(0, 30, articles), 0)
    last = (launch + life)[product]
    variant_launch = np.minimum(launch[product] + later, last)
    # A variant that comes late still has to fall into the days of the shop.
    variant_launch = np.minimum(variant_launch, np.maximum(launch[product], days - 1))
    # One evergreen, so that something is on sale on every day of the smallest shop.
    variant_launch[0], last[0] = min(int(variant_launch[0]), -30), days + AFTERWARDS

    table, order = label(designs, launch, rng)
    product = product[order]
    starts, variants = runs(product)
    masters = [shop.COLOUR_MASTERS.index(c.master[1]) for c in shop.COLOURS]
    return Catalogue(
        table=table,
        first_date=first_date,
        days=days,
        seed=seed,
        product_type=kind[product],
        product_group=GROUP_OF_TYPE[kind][product],
        index_group=index_group[product],
        look=designs.look[product],
        colour=np.array(masters)[designs.colour[order]],
        style=designs.style[product].astype(np.float32),
        eye=rng.normal(0.0, 0.8, articles).astype(np.float32),
        price_level=np.log(base_cents / usual)[product].astype(np.float32),
        base_cents=base_cents[product],
        appeal=appeal[order],
        launch=variant_launch[order],
        last=last[order],
        decay_days=decay[product].astype(np.float64),
        markdown_day=markdown_day[product],
        markdown=markdown[product],
        again=(_AGAIN[kind] * again)[product].astype(np.float32),
        product_start=np.repeat(starts, variants),
        variants=np.repeat(variants, variants),
    )


def _spread(articles: int) -> float:
    """Of the log of the appeal, a long tail that is longer in a larger shop.

    With H&M's own spread, the best seller among a few hundred articles would lie in every other
    basket.
    """
    return float(np.clip(0.4 * np.log10(articles) - 0.3, 0.2, 1.4))


def _lifetimes(
    products: int, days: int, again: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Launch day and days on sale of products that are on sale on some day of the shop.

    A product with life L overlaps D days if it was launched in [-L, D): so longer lives are
    seen more often, and the launch is uniform in that range.
    """
    pool = np.exp(rng.normal(np.log(340), 0.55, 4 * products + 16))
    pool = np.clip(np.rint(pool), 14, 900)
    weight = pool + days
    life = rng.choice(pool, products, p=weight / weight.sum())
    life = np.where(again >= _BASIC, life * 1.3, life).astype(np.int64)
    launch = rng.integers(-life, days)
    return launch, life
