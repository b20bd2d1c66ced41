"""The designs of the made-up shop: what each article is, and how the catalogue labels it.

`draw_designs` draws products (index, product type, style) and their variants (colour, pattern);
`label` writes them as the 25 columns of articles.csv. Shares are fitted to those of taxonomy.py by
iterative proportional fitting (Deming and Stephan 1940), and quotas are spread by systematic
sampling, so that a catalogue of H&M's size has H&M's breadth, down to its single articles.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.raw_tables import ARTICLES
from pipelines.data import hm_figures
from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic import words

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]

_PLANNED_DAYS = 90
"""Mean of the days between a product's code and its launch."""
MOST_VARIANTS = 75
"""In a catalogue of H&M's size; a product of a smaller one has fewer."""
_SIZE_LOG_MEAN, _SIZE_LOG_SPREAD = 0.0, 1.2
"""Variants of a product: the exponential of a normal number, rounded up."""
_BASICS_IN_COLOURS = 0.25
"""How much more variants (log) a product type has per log unit of its `again`."""
_RARE = 50
"""Product types with fewer articles than this hardly have variants."""
_OTHER_PATTERN = 0.08
"""Share of variants in another pattern than their product's."""
_FIRST_CODE, _LAST_CODE = 108_775, 959_461
_SISTERS = 0.0695
"""Share of products that are described in the words of another; some even have its name."""
_NAMESAKES = 0.0286
_UNDESCRIBED = 416 / hm_figures.ARTICLES
_NAME_SKEW = 1.3
_NAME_SUFFIXED = 0.3

_LINES = tuple(shop.LINES)
_LINE = np.array([_LINES.index(kind.line) for kind in shop.PRODUCT_TYPES])
_JERSEY_BASIC, _JERSEY_FANCY, _TROUSERS, _DENIM = map(
    _LINES.index, ("Jersey Basic", "Jersey Fancy", "Trousers", "Denim")
)
INDEX_GROUP = np.array([index.group for index in shop.INDEXES])
"""Of each index."""
_LADIES, _MEN, _CHILDREN, _SPORT = range(4)
_AUDIENCE = np.array([_LADIES, _LADIES, _MEN, _CHILDREN, _SPORT])[INDEX_GROUP]
"""Each index: for whom its products are named and described."""
_BASIC_PATTERNS = [
    number
    for number, pattern in enumerate(shop.PATTERNS)
    if pattern.name in ("Solid", "Melange", "Slub", "Neps")
]


@dataclass(frozen=True)
class Designs:
    """P products and their N articles; variants of one product are neighbours."""

    index: Ints
    """P: position in taxonomy.INDEXES."""
    kind: Ints
    """P: position in taxonomy.PRODUCT_TYPES."""
    look: Ints
    """P: position in taxonomy.STYLES, the strongest of `style`."""
    style: Floats
    """P x styles, unit length."""
    product: Ints
    """N: position of its product."""
    variant: Ints
    """N: 0, 1, ... within the product."""
    colour: Ints
    """N: position in taxonomy.COLOURS."""
    pattern: Ints
    """N: position in taxonomy.PATTERNS."""


def draw_designs(articles: int, rng: np.random.Generator) -> Designs:
    """Draw the products and variants of a catalogue with `articles` articles, 1 or more."""
    index, kind = _index_and_kind(articles, rng)
    product, variant = _variants(articles, index, kind, rng)
    style = _style(index, kind, rng)
    look = style.argmax(axis=1)
    own, other = (_pattern(index, kind, look, rng) for _ in range(2))
    colour, again = _colours(index, kind, own, product, variant, rng)
    # A colour that comes round again does so in another pattern; jeans stay jeans.
    strays = (rng.random(articles) < _OTHER_PATTERN) & (variant > 0)
    strays &= ((own != shop.DENIM) & (other != shop.DENIM))[product]
    strays &= np.bincount(product)[product] <= len(shop.COLOURS)
    pattern = np.where(strays | again, other[product], own[product])
    same = again & (other == own)[product]
    pattern[same] = np.where(pattern[same] == shop.SOLID, shop.MELANGE, shop.SOLID)
    return Designs(index, kind, look, style, product, variant, colour, pattern)


def label(designs: Designs, launch: Ints, rng: np.random.Generator) -> tuple[pa.Table, Ints]:
    """The columns of articles.csv, sorted by article_id, and the article that each row is.

    Args:
        designs: what to label.
        launch: P, the launch day of each product; product codes grow with it, roughly.
        rng: draws codes, sections, names and descriptions.

    Returns:
        A table of N rows with the columns of raw_tables.ARTICLES: ids, names and index codes are
        text, other numbers int32, a missing description null. And N positions in `designs`: row i
        of the table is article `order[i]`.
    """
    products = len(designs.index)
    codes = np.sort(rng.choice(_LAST_CODE - _FIRST_CODE, products, replace=False)) + _FIRST_CODE
    code = np.empty(products, dtype=np.int64)
    # A code is given when a product is planned, not when it comes.
    planned = launch - rng.gamma(2.0, _PLANNED_DAYS / 2, products)
    code[np.argsort(planned, kind="stable")] = codes
    order = np.lexsort((designs.variant, code[designs.product]))
    product, colour, pattern = (
        column[order] for column in (designs.product, designs.colour, designs.pattern)
    )
    starts = np.searchsorted(designs.product, np.arange(products))
    line = _line_of(designs.kind, designs.pattern[starts])
    section = _section(designs.index, line, designs.look, rng)
    department = _department_table()[section, line, designs.look]
    garment = _garment_table()[designs.index, line]
    name, description = _words(designs, line, designs.pattern[starts], rng)

    def of_product(values: pa.Array) -> pa.Array:
        return values.take(pa.array(product))

    def shown(values: list, position: Ints, kind: pa.DataType | None = None) -> pa.Array:
        """`values` (a small table) at each row's `position`."""
        return pa.array(values, kind).take(pa.array(position))

    def listed(values: list, position: Ints, kind: pa.DataType | None = None) -> pa.Array:
        """The same where positions are given by product."""
        return shown(values, position[product], kind)

    number = pa.int32()
    product_code = pc.utf8_lpad(pa.array(code).cast(pa.string()), 7, "0")
    article_id = pa.array(code[product] * 1000 + designs.variant[order] + 1).cast(pa.string())
    groups = [shop.INDEX_GROUPS[index.group] for index in shop.INDEXES]
    garments = list(shop.GARMENT_GROUPS)
    departments = _departments()
    kinds, colours, patterns = shop.PRODUCT_TYPES, shop.COLOURS, shop.PATTERNS
    columns = {
        "article_id": pc.utf8_lpad(article_id, 10, "0"),
        "product_code": of_product(product_code),
        "prod_name": of_product(name),
        "product_type_no": listed([k.number for k in kinds], designs.kind, number),
        "product_type_name": listed([k.name for k in kinds], designs.kind),
        "product_group_name": listed([shop.PRODUCT_GROUPS[k.group] for k in kinds], designs.kind),
        "graphical_appearance_no": shown([p.number for p in patterns], pattern, number),
        "graphical_appearance_name": shown([p.name for p in patterns], pattern),
        "colour_group_code": shown([c.code for c in colours], colour, number),
        "colour_group_name": shown([c.name for c in colours], colour),
        "perceived_colour_value_id": shown([c.value[0] for c in colours], colour, number),
        "perceived_colour_value_name": shown([c.value[1] for c in colours], colour),
        "perceived_colour_master_id": shown([c.master[0] for c in colours], colour, number),
        "perceived_colour_master_name": shown([c.master[1] for c in colours], colour),
        "department_no": listed([d[0] for d in departments], department, number),
        "department_name": listed([d[1] for d in departments], department),
        "index_code": listed([i.code for i in shop.INDEXES], designs.index),
        "index_name": listed([i.name for i in shop.INDEXES], designs.index),
        "index_group_no": listed([g[0] for g in groups], designs.index, number),
        "index_group_name": listed([g[1] for g in groups], designs.index),
        "section_no": listed([s.number for s in shop.SECTIONS], section, number),
        "section_name": listed([s.name for s in shop.SECTIONS], section),
        "garment_group_no": listed(garments, garment, number),
        "garment_group_name": listed([shop.GARMENT_GROUPS[g] for g in garments], garment),
        "detail_desc": of_product(description),
    }
    return pa.table({column: columns[column] for column in ARTICLES.column_names}), order


def runs(values: Ints) -> tuple[Ints, Ints]:
    """Where each run of equal neighbours starts, and how long it is."""
    start = np.flatnonzero(np.r_[len(values) > 0, values[1:] != values[:-1]])
    return start, np.diff(np.r_[start, len(values)])


def ranks(count: Ints) -> Ints:
    """0, 1, 2, ... within each of several runs that are `count` long."""
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)


# --- what a product is ---


def fitted(readiness: Floats, rows: Floats, columns: Floats) -> Floats:
    """`readiness` (R x C, 0 where the two never meet) scaled to the totals of rows and columns.

    The rows are met exactly; the columns as nearly as the zeros allow. Totals are relative.
    """
    share = readiness / readiness.sum()
    rows, columns = rows / rows.sum(), columns / columns.sum()
    for _ in range(300):
        total = share.sum(axis=0)
        share = share * np.divide(columns, total, out=np.zeros_like(total), where=total > 0)
        share = share * (rows / share.sum(axis=1))[:, None]
    return share


@cache
def _supply() -> Floats:
    """Index x product type: share of the catalogue's articles."""
    sold = [[i.code in k.indexes for k in shop.PRODUCT_TYPES] for i in shop.INDEXES]
    supply = np.array([k.supply for k in shop.PRODUCT_TYPES], dtype=np.float64)
    indexes = np.array([i.supply for i in shop.INDEXES], dtype=np.float64)
    return fitted(np.array(sold, dtype=np.float64), indexes, supply)


def _usual_size() -> tuple[Floats, Floats]:
    """Of each product type: how its log variants are shifted, and the mean of its variants."""
    again = np.array([k.again for k in shop.PRODUCT_TYPES])
    supply = np.array([k.supply for k in shop.PRODUCT_TYPES])
    shift = np.where(supply < _RARE, -2.0, _BASICS_IN_COLOURS * np.log(again))
    normal = _normal((np.arange(4000) + 0.5) / 4000)
    return shift, _sizes(normal[None, :], shift[:, None]).mean(axis=1)


def _sizes(normal: Floats, shift: Floats) -> Floats:
    sizes = np.ceil(np.exp(_SIZE_LOG_MEAN + shift + _SIZE_LOG_SPREAD * normal))
    return np.minimum(sizes, MOST_VARIANTS)


def _normal(probability: Floats) -> Floats:
    """The normal quantile, by the central part of its distribution function on a fine grid."""
    grid = np.linspace(-6, 6, 24_001)
    density = np.exp(-grid * grid / 2)
    below = np.cumsum(density) - density / 2
    return np.interp(probability, below / density.sum(), grid)


def _index_and_kind(articles: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Index and product type of each product, in as many products as `articles` make.

    Systematic sampling: every share of the catalogue gets its number of products, to within one.
    """
    _, size = _usual_size()
    share = _supply() / size
    products = max(1, round(articles * share.sum()))
    # A product type with one article in H&M's catalogue has one product in a shop of that size.
    rare = np.array([k.supply < _RARE for k in shop.PRODUCT_TYPES])
    share = (share / share.sum() * np.where(rare, 1.15, 1.0)).T.ravel()
    point = (np.arange(products) + rng.random()) / products
    cell = np.searchsorted(np.cumsum(share / share.sum()), point, side="right")
    cell = rng.permutation(np.minimum(cell, np.flatnonzero(share)[-1]))
    return cell % len(shop.INDEXES), cell // len(shop.INDEXES)


def _variants(
    articles: int, index: Ints, kind: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """The product of each article, and which of its product's variants it is (from 0).

    Median 1 and mean 2.2 variants with a long tail, more of them in basics.
    """
    products = len(kind)
    shift, _ = _usual_size()
    # Every index and product type has its share of products with few and with many variants.
    cell = index * len(shop.PRODUCT_TYPES) + kind
    order = np.lexsort((rng.random(products), cell))
    count = np.bincount(cell)
    place = np.empty(products)
    place[order] = ranks(count)
    normal = _normal((place + rng.random(products)) / count[cell])
    most = int(np.clip(articles**0.375, 6, MOST_VARIANTS))
    size = np.minimum(_sizes(normal, shift[kind]), most).astype(np.int64)
    while short := articles - int(size.sum()):
        open_to_change = (size < most) if short > 0 else (size > 1)
        if short > 0 and (open_to_change & (size > 1)).any():
            open_to_change &= size > 1
        chosen = rng.permutation(np.flatnonzero(open_to_change))[: abs(short)]
        size[chosen] += np.sign(short)
    product = np.repeat(np.arange(products), size)
    return product, ranks(size)


def _style(index: Ints, kind: Ints, rng: np.random.Generator) -> Floats:
    style = rng.normal(size=(len(kind), len(shop.STYLES)))
    for leaning, (look, strength) in shop.STYLE_LEANINGS.items():
        if leaning in shop.LINES:
            style[_LINE[kind] == _LINES.index(leaning), look] += strength
        else:
            codes = [number for number, i in enumerate(shop.INDEXES) if i.code == leaning]
            style[np.isin(index, codes), look] += strength
    return style / np.linalg.norm(style, axis=1, keepdims=True)


# --- patterns and colours ---


@cache
def _pattern_share() -> Floats:
    """Line x style x pattern: cumulative probability of each pattern."""
    supply = np.bincount(_LINE, [k.supply for k in shop.PRODUCT_TYPES], len(_LINES))
    readiness = np.zeros((len(_LINES), len(shop.STYLES), len(shop.PATTERNS)))
    for number, pattern in enumerate(shop.PATTERNS):
        for line, name in enumerate(_LINES):
            taken = 1.0 if pattern.lines is None else pattern.lines.get(name, 0.0)
            readiness[line, :, number] = taken * (1.0 if pattern.style is None else 0.6)
            if pattern.style is not None:
                readiness[line, pattern.style, number] = taken * 2.0
    # Lines that only a pattern makes (Denim) have no product types of their own.
    rows = np.repeat(np.maximum(supply, 1e-9), len(shop.STYLES))
    columns = np.array([p.supply for p in shop.PATTERNS])
    share = fitted(readiness.reshape(len(rows), -1), rows, columns)
    return np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1).reshape(readiness.shape)


def _pattern(index: Ints, kind: Ints, look: Ints, rng: np.random.Generator) -> Ints:
    """A pattern for each product that suits its line and style; nobody does sport in denim."""
    cumulative = _pattern_share()[_LINE[kind], look]
    point = rng.random(len(kind)) * (1 - 1e-9)
    pattern = (cumulative <= point[:, None]).sum(axis=1)
    sport = INDEX_GROUP[index] == shop.SPORT
    return np.where(sport & (pattern == shop.DENIM), shop.SOLID, pattern)


@cache
def _colour_weight() -> Floats:
    """Palette x colour: log weight of each colour."""
    palettes = list(shop.PALETTES)
    names = [colour.name for colour in shop.COLOURS]
    readiness = np.array(
        [[p.get(name, p["other"]) for name in names] for p in shop.PALETTES.values()]
    )
    supply = _supply()
    rows = np.zeros(len(palettes))
    of_cell = _palette_table()
    np.add.at(rows, of_cell, supply)
    denim = next(p.supply for p in shop.PATTERNS if p.name == "Denim") / 100
    rows *= 1 - denim
    rows[palettes.index("denim")] = denim
    share = fitted(readiness, rows, np.array([c.supply for c in shop.COLOURS]))
    return np.log(np.maximum(_undiluted(share / share.sum(axis=1, keepdims=True)), 1e-12))


def _undiluted(share: Floats) -> Floats:
    """Palette x colour: weights with which draws without replacement give each colour its `share`.

    No product has a colour twice, so common colours must be drawn above their share. A colour of
    weight w is among the first n of a product with probability 1 - exp(-w t), where t makes these
    sum to n (Rosén 1972).
    """
    sizes = np.array([1, 2, 3, 4, 5, 6, 8, 11, 16, 24, 40])
    edges = np.r_[0, (sizes[1:] + sizes[:-1]) / 2, np.inf]
    usual = _sizes(_normal((np.arange(20_000) + 0.5) / 20_000), np.array(-0.15))
    often = np.histogram(usual, edges)[0] * sizes
    weight = share.copy()
    for _ in range(30):
        most = np.minimum(sizes, 0.9 * (weight > 0).sum(axis=1, keepdims=True))
        low, high = np.zeros_like(most), np.full_like(most, 1e4)
        for _ in range(50):
            time = np.sqrt((low + 1e-6) * high)
            among = -np.expm1(-weight[:, None, :] * time[:, :, None])
            low, high = (
                np.where(among.sum(axis=2) < most, time, low),
                np.where(among.sum(axis=2) < most, high, time),
            )
        among[:, 0] = weight
        reached = (among / most[:, :, None] * often[:, None]).sum(axis=1) / often.sum()
        weight = weight * np.divide(share, reached, out=np.ones_like(share), where=reached > 0)
        # Never certain, however much it is wanted.
        weight = np.minimum(weight / weight.sum(axis=1, keepdims=True), 0.5)
    return weight


def _palette_table() -> Ints:
    """Index x product type: position in PALETTES."""
    palettes = list(shop.PALETTES)
    by_index = {shop.MEN: "men", shop.CHILDREN: "children", shop.SPORT: "sport"}
    of_index = [palettes.index(by_index.get(i.group, "plain")) for i in shop.INDEXES]
    table = np.repeat(np.array(of_index)[:, None], len(shop.PRODUCT_TYPES), axis=1)
    table[:, np.array([k.line == "Jewellery" for k in shop.PRODUCT_TYPES])] = palettes.index(
        "metal"
    )
    return table


def _colours(
    index: Ints, kind: Ints, pattern: Ints, product: Ints, variant: Ints, rng: np.random.Generator
) -> tuple[Ints, Flags]:
    """Colour of each article, and whether its product has it already.

    A product's colours are drawn without replacement (Gumbel's trick: Efraimidis and Spirakis
    2006), the likelier ones sooner; after the last they come round again.
    """
    palette = _palette_table()[index, kind]
    palette[pattern == shop.DENIM] = list(shop.PALETTES).index("denim")
    colours = len(shop.COLOURS)
    draw = _colour_weight()[palette] + rng.gumbel(size=(len(kind), colours))
    ranked = np.argsort(-draw, axis=1)
    return ranked[product, variant % colours], variant >= colours


# --- where a product is sold ---


def _line_of(kind: Ints, pattern: Ints) -> Ints:
    """Line of each product, given its main pattern: jeans, and jersey that is not basic."""
    line = _LINE[kind].copy()
    line[(line == _TROUSERS) & (pattern == shop.DENIM)] = _DENIM
    line[(line == _JERSEY_BASIC) & ~np.isin(pattern, _BASIC_PATTERNS)] = _JERSEY_FANCY
    return line


@cache
def _section_share() -> Floats:
    """Index x line x style x section: cumulative probability of each section."""
    share = np.zeros((len(shop.INDEXES), len(_LINES), len(shop.STYLES), len(shop.SECTIONS)))
    codes = [i.code for i in shop.INDEXES]
    for number, section in enumerate(shop.SECTIONS):
        favour = np.full(len(shop.STYLES), 1.0 if section.look is None else 0.5)
        if section.look is not None:
            favour[section.look] = 2.5
        for line in section.lines:
            share[codes.index(section.index), _LINES.index(line), :, number] = (
                section.supply * favour
            )
    for number, section in enumerate(shop.SECTIONS):
        if not section.lines:
            of_index = share[codes.index(section.index)]
            of_index[of_index.sum(axis=(1, 2)) == 0, :, number] = 1.0
    total = share.sum(axis=3, keepdims=True)
    return np.cumsum(np.divide(share, total, out=np.zeros_like(share), where=total > 0), axis=3)


def _section(index: Ints, line: Ints, look: Ints, rng: np.random.Generator) -> Ints:
    """Position in taxonomy.SECTIONS of each product."""
    cumulative = _section_share()[index, line, look]
    point = rng.random(len(index)) * (1 - 1e-9)
    return (cumulative <= point[:, None]).sum(axis=1)


@cache
def _departments() -> list[tuple[int, str]]:
    """Number and name of every department that there can be, the same in every shop."""
    names: dict[str, None] = {}
    for section in range(len(shop.SECTIONS)):
        for line in range(len(_LINES)):
            names.update(dict.fromkeys(_department_names(section, line)))
    return [(1201 + 24 * number, name) for number, name in enumerate(names)]


def _department_names(section: int, line: int) -> tuple[str, ...]:
    """What the section calls the line, in each of STYLES; nothing if it never sells it."""
    where, what = shop.SECTIONS[section], _LINES[line]
    index = [i.code for i in shop.INDEXES].index(where.index)
    if not (np.diff(_section_share()[index, line], axis=1, prepend=0.0)[:, section] > 0).any():
        return ()
    usual = (where.department.format(what),) * len(shop.STYLES)
    return shop.DEPARTMENTS.get((where.number, what), usual)


@cache
def _department_table() -> Ints:
    """Section x line x style: position in _departments(), -1 where the section never sells it."""
    position = {name: number for number, (_, name) in enumerate(_departments())}
    table = np.full((len(shop.SECTIONS), len(_LINES), len(shop.STYLES)), -1)
    for section in range(len(shop.SECTIONS)):
        for line in range(len(_LINES)):
            if names := _department_names(section, line):
                table[section, line] = [position[name] for name in names]
    return table


@cache
def _garment_table() -> Ints:
    """Index x line: position in taxonomy.GARMENT_GROUPS."""
    numbers = list(shop.GARMENT_GROUPS)
    table = np.tile([numbers.index(g) for g in shop.LINES.values()], (len(shop.INDEXES), 1))
    for position, index in enumerate(shop.INDEXES):
        special = shop.CHILDREN_GARMENTS if index.group == shop.CHILDREN else {}
        if index.code == "G":
            special = special | shop.BABY_GARMENTS
        for line, number in special.items():
            table[position, _LINES.index(line)] = numbers.index(number)
    return table


# --- names and descriptions ---


def _pick(choices: list[tuple[str, ...]], of: Ints, point: Floats) -> pa.Array:
    """One text of `choices[of]` for each product, where `point` (0 to 1) says."""
    count = np.array([len(texts) for texts in choices])
    first = np.cumsum(count) - count
    place = first[of] + (point * count[of]).astype(np.int64)
    return pa.array([text for texts in choices for text in texts]).take(pa.array(place))


def _words(
    designs: Designs, line: Ints, pattern: Ints, rng: np.random.Generator
) -> tuple[pa.Array, pa.Array]:
    """Name and description of each product.

    Some products are sisters: of one index, type and pattern, described in the same words and
    at times called by the same name.
    """
    products = len(line)
    kinds = len(shop.PRODUCT_TYPES)
    sister_of = _sisters(designs, pattern, _SISTERS, rng)
    # A table of words for every audience and product type, and one for jeans.
    of = _AUDIENCE[designs.index] * kinds + designs.kind
    of = np.where(line == _DENIM, (_SPORT + 1) * kinds, of)
    nouns = [_nouns(k, audience) for audience in range(4) for k in shop.PRODUCT_TYPES]
    nouns.append(words.NOUNS["Denim"])
    noun = _pick(nouns, of, rng.random(products)[sister_of])
    name = _names(noun, line, sister_of, rng)
    description = _descriptions(noun, designs.look, of, pattern, sister_of, rng)
    silent = np.zeros(products, dtype=bool)
    single = np.flatnonzero(np.bincount(designs.product, minlength=products) == 1)
    missing = round(_UNDESCRIBED * len(designs.product))
    silent[rng.permutation(single)[:missing]] = True
    return name, pc.if_else(pa.array(silent), pa.scalar(None, pa.string()), description)


def _nouns(kind: shop.ProductType, audience: int) -> tuple[str, ...]:
    """What this audience may call the product type."""
    own = {} if audience == _LADIES else words.PLAIN_NOUNS
    if audience == _SPORT:
        own = own | words.SPORT_NOUNS
    usual = (kind.name.lower().split("/")[0],)
    return own.get(kind.name) or words.NOUNS.get(kind.name) or usual


def _vocabulary(kind: shop.ProductType, audience: int) -> words.Vocabulary:
    """In what words the product type is described to this audience."""
    if audience == _SPORT and kind.line in words.SPORT_VOCABULARIES:
        return words.SPORT_VOCABULARIES[kind.line]
    plain = {} if audience == _LADIES else words.PLAIN_VOCABULARIES
    return (
        plain.get(kind.name)
        or words.KIND_VOCABULARIES.get(kind.name)
        or plain.get(kind.line)
        or words.VOCABULARIES[kind.line]
    )


def _sizes_told(vocabulary: words.Vocabulary, audience: int) -> tuple[str, ...]:
    """The sentences on size; garments are shorter for children."""
    text, least, most, step = vocabulary.size
    numbers = np.arange(least, most + step / 2, step)
    if text.startswith(("Length", "Inside leg")):
        fifth = len(numbers) // 5
        numbers = numbers[: -2 * fifth or None] if audience == _CHILDREN else numbers[fifth:]
    return tuple(" " + text.format(f"{number:.4g}") for number in numbers.tolist())


def _sisters(designs: Designs, pattern: Ints, share: float, rng: np.random.Generator) -> Ints:
    """For each product the one in whose words it is described: itself, or an elder sister."""
    products = len(pattern)
    kin = (designs.index * len(shop.PRODUCT_TYPES) + designs.kind) * len(shop.PATTERNS) + pattern
    kin = kin * len(shop.STYLES) + designs.look
    order = np.lexsort((rng.random(products), kin))
    younger = np.flatnonzero(kin[order][1:] == kin[order][:-1]) + 1
    chosen = rng.permutation(younger)[: round(share * products)]
    elder = np.arange(products)
    elder[chosen] = 0
    sister_of = np.empty(products, dtype=np.int64)
    sister_of[order] = order[np.maximum.accumulate(elder)]
    return sister_of


def _names(noun: pa.Array, line: Ints, sister_of: Ints, rng: np.random.Generator) -> pa.Array:
    """A name for each product: `Luna dress`, the next one of that name `Luna dress (1)`."""
    products = len(line)
    firsts = len(words.FIRST_NAMES)
    first = (firsts * rng.random(products) ** _NAME_SKEW).astype(np.int64)[sister_of]
    sisters = np.flatnonzero(sister_of != np.arange(products))
    namesake = np.zeros(products, dtype=bool)
    namesake[rng.permutation(sisters)[: round(_NAMESAKES * products)]] = True

    encoded = noun.dictionary_encode()
    base = encoded.indices.to_numpy().astype(np.int64) * firsts + first
    own = np.flatnonzero(~namesake)
    order = own[np.argsort(base[own], kind="stable")]
    starts, counts = runs(base[order])
    # Each name starts at the plain form, or sometimes at a suffix.
    begin = np.where(rng.random(len(starts)) < _NAME_SUFFIXED, rng.integers(1, 8, len(starts)), 0)
    suffix = np.zeros(products, dtype=np.int64)
    suffix[order] = ranks(counts) + np.repeat(begin, counts)
    suffix[namesake] = suffix[sister_of[namesake]]

    bottoms = np.isin(line, [_LINES.index(b) for b in ("Trousers", "Denim", "Shorts", "Leggings")])
    most = int(suffix.max()) + 1
    texts = [
        tuple(known[n] if n < len(known) else f" ({n})" for n in range(most))
        for known in (words.SUFFIXES, words.BOTTOM_SUFFIXES)
    ]
    ending = _pick(texts, bottoms.astype(np.int64), (suffix + 0.5) / most)
    return pc.binary_join_element_wise(
        pa.array(words.FIRST_NAMES).take(pa.array(first)), " ", noun, ending, ""
    )


def _descriptions(
    noun: pa.Array,
    look: Ints,
    of: Ints,
    pattern: Ints,
    sister_of: Ints,
    rng: np.random.Generator,
) -> pa.Array:
    """One to four short sentences for each product, those of a sister the same."""
    asked = [(k, audience) for audience in range(4) for k in shop.PRODUCT_TYPES]
    tables = [_vocabulary(kind, audience) for kind, audience in asked]
    sizes = [_sizes_told(t, audience) for t, (_, audience) in zip(tables, asked, strict=True)]
    tables.append(words.VOCABULARIES["Denim"])
    sizes.append(_sizes_told(tables[-1], _LADIES))
    # Patterns that are fabrics have a table each after the others.
    fabrics = [t.fabrics for t in tables] + list(words.PATTERN_FABRICS.values())
    woven = np.array(
        [
            len(tables) + list(words.PATTERN_FABRICS).index(p.name)
            if p.name in words.PATTERN_FABRICS
            else -1
            for p in shop.PATTERNS
        ]
    )[pattern]
    point = rng.random((9, len(of)))[:, sister_of]

    def sometimes(number: int, share: float, texts: list[tuple[str, ...]]) -> pa.Array:
        """One of the sentences in `share` of the descriptions, nothing in the others."""
        place = np.minimum(point[number] / share, 1 - 1e-9)
        return pc.if_else(pa.array(point[number] < share), _pick(texts, of, place), "")

    # A cut of its own style, or of the next.
    cut = (2 * look + (3 * point[0]).astype(np.int64)) % 8
    adjectives = [words.PATTERN_WORDS.get(p.name) for p in shop.PATTERNS]
    adjective = pa.array([f" {text}" if text else "" for text in adjectives])
    first = _pick([t.first for t in tables], of, point[2])
    second = _pick([t.second for t in tables], of, point[3])
    third = _pick([t.third for t in tables], of, point[4])
    two = pc.binary_join_element_wise(" and ", second, "")
    three = pc.binary_join_element_wise(", ", second, " and ", third, "")
    return pc.binary_join_element_wise(
        *(_pick([t.cuts for t in tables], of, (cut + 0.5) / 8), adjective.take(pa.array(pattern))),
        *(" ", noun, " in ", _pick(fabrics, np.where(woven < 0, of, woven), point[1])),
        *(" with ", first, pc.if_else(pa.array(point[5] < 0.7), three, two), "."),
        sometimes(6, 0.6, [tuple(f" {text}" for text in t.closings) for t in tables]),
        sometimes(7, 0.45, [tuple(f" {text}" for text in t.finishes) for t in tables]),
        sometimes(8, 0.5, sizes),
        "",
    )
