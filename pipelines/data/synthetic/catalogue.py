"""The catalogue: what is on sale on which day, at what price, and how strongly it draws."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.raw_tables import ARTICLES
from pipelines.data.synthetic import taxonomy as shop

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# fmt: off
PRICE_LADDER = np.array([
    299, 399, 499, 599, 799, 999, 1299, 1499, 1799, 1999,
    2499, 2999, 3499, 3999, 4999, 5999, 6999, 7999, 9999, 12999,
])
# fmt: on
_FIRST_CODE, _LAST_CODE = 108_775, 959_461
MAX_ARTICLES = 400_000
STYLE_DIMENSIONS = len(shop.STYLES)

_BASIC = 1.3
"""Product types with at least this much `again` are basics: long on sale, seldom marked down."""
_AGAIN = np.array([t.again for t in shop.PRODUCT_TYPES])
_PEAK = np.array([t.peak for t in shop.PRODUCT_TYPES])
_SWING = np.array([t.swing for t in shop.PRODUCT_TYPES])
_GROUP = np.array([t.group for t in shop.PRODUCT_TYPES])


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

    frame: pd.DataFrame
    first_date: date
    product_type: Ints
    product_group: Ints
    index_group: Ints
    colour: Ints
    """Position in taxonomy.COLOUR_MASTERS."""
    style: Floats
    """Articles x STYLE_DIMENSIONS, unit length."""
    base_cents: Ints
    price_level: Floats
    """Log of the base price over what its product type and index group usually cost."""
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

    def price_cents(self, day: int) -> Ints:
        """Price of every article on that day, marked down late in its life."""
        cut = np.where(day >= self.markdown_day, self.markdown, 0.0)
        reduced = np.rint(self.base_cents * (1 - cut) / 50).astype(np.int64) * 50 - 1
        return np.where(cut > 0, np.maximum(reduced, 99), self.base_cents)

    def draw(self, day: int) -> Floats:
        """How strongly every article draws on that day, before anybody's taste; 0 if not on sale.

        Appeal, a first week of getting known, decay since launch, season and markdown.
        """
        age = np.maximum(day - self.launch, 0)
        known = np.minimum(1.0, (age + 3) / 10)
        cut = np.where(day >= self.markdown_day, self.markdown, 0.0)
        wanted = season(self.first_date + timedelta(days=day))[self.product_type]
        strength = self.appeal * known * np.exp(-age / self.decay_days + 1.5 * cut) * wanted
        return np.where(self.on_sale(day), strength, 0.0)


def draw_catalogue(
    articles: int, days: int, first_date: date, rng: np.random.Generator
) -> Catalogue:
    """Draw products, then their colour variants, until there are `articles` of them."""
    product, variant_of = _variants(articles, rng)
    products = int(product[-1]) + 1
    index, kind = _index_and_type(products, rng)
    group = _GROUP[kind]
    index_group = np.array([i.group for i in shop.INDEXES])[index]
    style = rng.normal(size=(products, STYLE_DIMENSIONS))
    style /= np.linalg.norm(style, axis=1, keepdims=True)
    look = style.argmax(axis=1)

    usual = np.array([t.cents for t in shop.PRODUCT_TYPES])[kind]
    usual = usual * np.array(shop.INDEX_GROUP_PRICE)[index_group]
    quality = rng.normal(0.0, 0.3, products)
    steps = np.abs(np.log(PRICE_LADDER)[None, :] - np.log(usual * np.exp(quality))[:, None])
    base_cents = PRICE_LADDER[steps.argmin(axis=1)]

    launch, life = _lifetimes(products, days, _AGAIN[kind], rng)
    basic = _AGAIN[kind] >= _BASIC
    decay = life * np.where(basic, 1.5, 0.45)
    marked = rng.random(products) < np.where(basic, 0.15, 0.6)
    markdown_day = launch + np.rint(life * rng.uniform(0.5, 0.85, products)).astype(np.int64)
    markdown = np.where(marked, rng.choice([0.2, 0.3, 0.5], products, p=[0.4, 0.35, 0.25]), 0.0)

    # A long tail that is longer in a larger shop: with H&M's own spread, the best seller among a
    # few hundred articles would lie in every other basket.
    spread = np.clip(0.4 * np.log10(articles) - 0.75, 0.2, 1.3)
    # Basics never fade, so each starts lower than an article that is the fashion of its month.
    appeal = (np.exp(rng.normal(0.0, spread, products)) * np.where(basic, 0.45, 1.0))[product]
    appeal *= np.exp(rng.normal(0.0, 0.3, articles)) * 0.85**variant_of
    colour, pattern = _colours_and_patterns(product, kind, look, rng)
    appeal *= np.array([c.appeal for c in shop.COLOURS])[colour]

    later = np.where(variant_of > 0, rng.integers(0, 30, articles), 0)
    last = (launch + life)[product]
    variant_launch = np.minimum(launch[product] + later, last)
    # A variant that comes late still has to fall into the days of the shop.
    variant_launch = np.minimum(variant_launch, np.maximum(launch[product], days - 1))
    # One evergreen, so that something is on sale on every day of the smallest shop.
    variant_launch[0], last[0] = min(int(variant_launch[0]), -30), days

    frame = _frame(product, index, kind, colour, pattern, look, launch, rng)
    order = np.argsort(frame["article_id"].to_numpy(dtype=str), kind="stable")
    product = product[order]
    first = np.r_[True, product[1:] != product[:-1]]
    starts = np.flatnonzero(first)
    run = np.cumsum(first) - 1
    masters = [shop.COLOUR_MASTERS.index(c.master[1]) for c in shop.COLOURS]
    return Catalogue(
        frame=frame.iloc[order].reset_index(drop=True),
        first_date=first_date,
        product_type=kind[product],
        product_group=group[product],
        index_group=index_group[product],
        colour=np.array(masters)[colour[order]],
        style=style[product],
        base_cents=base_cents[product],
        price_level=np.log(base_cents / usual)[product],
        appeal=appeal[order],
        launch=variant_launch[order],
        last=last[order],
        decay_days=decay[product].astype(np.float64),
        markdown_day=markdown_day[product],
        markdown=markdown[product],
        again=_AGAIN[kind][product],
        product_start=starts[run],
        variants=np.diff(np.r_[starts, articles])[run],
    )


def _variants(articles: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """The product of each article, and which of its product's variants it is (from 0).

    Median 1 and mean 2.2 variants, with a long tail, as in H&M's catalogue.
    """
    sizes = np.minimum(np.ceil(np.exp(rng.normal(0.1, 0.95, articles))), 60).astype(np.int64)
    product = np.repeat(np.arange(articles), sizes)[:articles]
    starts = np.flatnonzero(np.r_[True, product[1:] != product[:-1]])
    return product, np.arange(articles) - starts[product]


def _index_and_type(products: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """An index for each product, and one of the product types that this index sells."""
    supply = np.array([i.supply for i in shop.INDEXES])
    index = rng.choice(len(shop.INDEXES), products, p=supply / supply.sum())
    share = np.array(
        [
            [t.supply if i.code in t.indexes else 0.0 for t in shop.PRODUCT_TYPES]
            for i in shop.INDEXES
        ]
    )
    cumulative = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    point = rng.random(products) * (1 - 1e-12)
    kind = (cumulative[index] <= point[:, None]).sum(axis=1)
    return index, np.minimum(kind, len(shop.PRODUCT_TYPES) - 1)


def _lifetimes(
    products: int, days: int, again: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Launch day and days on sale of products that are on sale on some day of the shop.

    A product with life L overlaps D days if it was launched in [-L, D): so longer lives are
    seen more often, and the launch is uniform in that range.
    """
    pool = np.exp(rng.normal(np.log(170), 0.85, 4 * products + 16))
    pool = np.clip(np.rint(pool), 14, 900)
    weight = pool + days
    life = rng.choice(pool, products, p=weight / weight.sum())
    life = np.where(again >= _BASIC, life * 2, life).astype(np.int64)
    launch = rng.integers(-life, days)
    return launch, life


def _colours_and_patterns(
    product: Ints, kind: Ints, look: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Colour and pattern of each article. Patterns suit the style and the product type."""
    supply = np.array([c.supply for c in shop.COLOURS])
    colour = rng.choice(len(shop.COLOURS), len(product), p=supply / supply.sum())
    share = np.array([p[2] for p in shop.PATTERNS])
    suits = np.array(
        [
            [2.0 if p[3] == s else (1.0 if p[3] is None else 0.6) for p in shop.PATTERNS]
            for s in range(4)
        ]
    )
    weight = (share * suits)[look]
    names = np.array([t.name for t in shop.PRODUCT_TYPES])[kind]
    group = _GROUP[kind]
    denim = np.isin(names, ["Trousers", "Shorts", "Jacket", "Skirt"])
    weight[:, shop.DENIM] *= np.where(denim, 3.0, 0.0)
    weight[:, shop.LACE] *= np.where(
        np.isin(group, [shop.UNDERWEAR, shop.UPPER, shop.FULL]), 1.5, 0.0
    )
    weight[:, shop.FRONT_PRINT] *= np.where(
        np.isin(names, ["T-shirt", "Hoodie", "Sweater"]), 3.0, 0.0
    )
    cumulative = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    point = rng.random(len(cumulative)) * (1 - 1e-12)
    of_product = np.minimum((cumulative <= point[:, None]).sum(axis=1), len(shop.PATTERNS) - 1)
    pattern = of_product[product]
    # Denim is blue, black or grey.
    blue = np.array(
        [i for i, c in enumerate(shop.COLOURS) if c.master[1] in ("Blue", "Black", "Grey")]
    )
    colour = np.where(pattern == shop.DENIM, blue[rng.integers(0, len(blue), len(product))], colour)
    return colour, pattern


def _frame(
    product: Ints,
    index: Ints,
    kind: Ints,
    colour: Ints,
    pattern: Ints,
    look: Ints,
    launch: Ints,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The 25 columns of articles.csv as text."""
    products = len(index)
    # Codes grow with the launch day: a newer product has a larger number.
    codes = np.sort(rng.choice(_LAST_CODE - _FIRST_CODE, products, replace=False)) + _FIRST_CODE
    code = np.empty(products, dtype=np.int64)
    code[np.argsort(launch, kind="stable")] = codes
    departments = _departments()
    first = rng.integers(0, len(shop.FIRST_NAMES), products)
    words = rng.integers(0, 4, (products, 3))
    empty = rng.random(products) < 0.004

    rows = []
    numbers = np.arange(len(product)) - np.searchsorted(product, product) + 1
    for p, number, c, g in zip(
        product.tolist(), numbers.tolist(), colour.tolist(), pattern.tolist(), strict=True
    ):
        what, where = shop.PRODUCT_TYPES[kind[p]], shop.INDEXES[index[p]]
        shade, look_of = shop.COLOURS[c], shop.PATTERNS[g]
        jeans = g == shop.DENIM and what.name == "Trousers"
        garment = 1016 if jeans else _garment(where, what)
        section = _section(where, what, int(look[p]))
        short = "Jeans" if jeans else what.name.split("/")[0]
        feel, fabric, detail = words[p]
        noun = "jeans" if jeans else what.name.lower()
        description = (
            f"{shop.STYLE_WORDS[look[p]][feel].capitalize()} {noun} in "
            f"{'denim' if g == shop.DENIM else shop.FABRICS[what.group][fabric]} with "
            f"{shop.DETAILS[what.group][detail]}, for a {shop.STYLES[look[p]]} look."
        )
        group_no, group_name = shop.INDEX_GROUPS[where.group]
        rows.append(
            (
                f"{code[p]:07d}{number:03d}",
                f"{code[p]:07d}",
                f"{shop.FIRST_NAMES[first[p]]} {short}",
                str(what.number),
                what.name,
                shop.PRODUCT_GROUPS[what.group],
                str(look_of[0]),
                look_of[1],
                f"{shade.code:02d}",
                shade.name,
                str(shade.value[0]),
                shade.value[1],
                str(shade.master[0]),
                shade.master[1],
                str(departments[section, garment]),
                f"{shop.GARMENT_GROUPS[garment]} {section[1].split()[0]}",
                where.code,
                where.name,
                str(group_no),
                group_name,
                str(section[0]),
                section[1],
                str(garment),
                shop.GARMENT_GROUPS[garment],
                "" if empty[p] else description,
            )
        )
    return pd.DataFrame(rows, columns=ARTICLES.column_names)


def _garment(index: shop.Index, kind: shop.ProductType) -> int:
    """The garment group; girls' dresses and skirts share one."""
    girls = index.group == shop.CHILDREN and kind.garment in shop.GIRLS_ONLY
    return shop.GIRLS_DRESSES if girls else kind.garment


def _section(index: shop.Index, kind: shop.ProductType, look: int) -> tuple[int, str]:
    for of_group, number, name in index.group_sections:
        if of_group == kind.group:
            return number, name
    # The children's sections alternate between girls and boys.
    girls = _garment(index, kind) == shop.GIRLS_DRESSES
    return index.sections[look - look % 2 if girls else look]


def _departments() -> dict[tuple[tuple[int, str], int], int]:
    """A department number for every section and garment group, the same in every shop."""
    pairs = {
        (_section(index, kind, look), garment)
        for index in shop.INDEXES
        for kind in shop.PRODUCT_TYPES
        if index.code in kind.indexes
        for garment in {_garment(index, kind)} | ({1016} if kind.name == "Trousers" else set())
        for look in range(STYLE_DIMENSIONS)
    }
    return {pair: 1201 + 7 * number for number, pair in enumerate(sorted(pairs))}
