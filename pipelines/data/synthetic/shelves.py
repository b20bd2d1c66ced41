"""One day of the shop: which articles lie on which shelf, and how they draw the eye.

A shelf is an index group x product type. A shopper finds it level by level (a nested logit, Train,
"Discrete Choice Methods with Simulation", chapter 4): the index group, the product group, the
product type; then articles of the shelf catch the eye in proportion to their draw.
"""

from datetime import date, timedelta

import numpy as np

from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.calendar import online_share
from pipelines.data.synthetic.catalogue import GROUP_OF_TYPE, Catalogue
from pipelines.data.synthetic.customers import Customers
from pipelines.data.synthetic.designs import Flags, Floats, Ints, runs

STORE, ONLINE = 0, 1
_STORE_CHEAPER = np.array([-0.75, 0.25])
"""How much (log, per log price) dearer product types are sought in the store and online."""
SAME_INDEX_GROUP = 1.5
"""How much likelier (log) a basket stays within the index group of its first article."""
OTHER_LOOK = 0.5
"""How much an article draws beside a first article of another style."""
NOBODY = -1
POSITIONS = 12
"""Articles on one page or slate, at most."""
SHORTEST_PAGE = 6
"""Unless the shelf has fewer articles."""

_TYPES = len(shop.PRODUCT_TYPES)
_GROUPS = len(shop.PRODUCT_GROUPS)
_INDEXES = len(shop.INDEX_GROUPS)
_LOOKS = len(shop.STYLES)
TYPES_OF = [np.flatnonzero(np.equal(GROUP_OF_TYPE, group)) for group in range(_GROUPS)]
"""The product types of each product group."""
_SLOPE = _STORE_CHEAPER[:, None] * np.log([t.cents / 2000 for t in shop.PRODUCT_TYPES])
_GOES_WITH = np.log(np.array(shop.GOES_WITH)).astype(np.float32)


class Day:
    """What the shop offers on one day. Positions of articles are those of the catalogue.

    Attributes:
        on_sale: articles, whether on sale.
        cents: articles, the price.
        face: articles x (STYLE_DIMENSIONS + 2): style, eye, and today's price level (log).
        article: those on sale in order of shelves; shelf s starts at `start[s]` and has `size[s]`.
        strength: (1 + styles) x `article`, how they draw the eye for a first article, and beside a
            first article of each style.
    """

    def __init__(self, catalogue: Catalogue, day: int) -> None:
        self.catalogue, self.day = catalogue, day
        self.on_sale: Flags = catalogue.on_sale(day)
        self.cents: Ints = catalogue.price_cents(day)
        price = catalogue.price_level + np.log1p(-catalogue.cut(day))
        self.face: Floats = np.column_stack([catalogue.style, catalogue.eye, price]).astype(
            np.float32
        )
        self._lay_out(catalogue.draw(day))
        self._pull_of_groups()

    @property
    def date(self) -> date:
        return self.catalogue.first_date + timedelta(days=self.day)

    def _lay_out(self, draw: Floats) -> None:
        catalogue = self.catalogue
        cell = catalogue.index_group * _TYPES + catalogue.product_type
        live = np.flatnonzero(self.on_sale)
        self.article = live[np.argsort(cell[live], kind="stable")]
        self._place_of = np.full(len(catalogue), -1)
        self._place_of[self.article] = np.arange(len(live))
        self.start, self.size = runs(cell[self.article])
        self._cell = cell[self.article[self.start]]
        self._shelf_of = np.full(_INDEXES * _TYPES, -1)
        self._shelf_of[self._cell] = np.arange(len(self._cell))
        self.strength: Floats = np.empty((1 + _LOOKS, len(self.article)))
        self.strength[0] = draw[self.article]
        for look in range(_LOOKS):
            other = catalogue.look[self.article] != look
            self.strength[1 + look] = self.strength[0] * np.where(other, OTHER_LOOK, 1.0)
        self.strength = _fitted_to_a_page(self.strength, self.start, self.size)
        self._strength = self.strength.ravel()
        self._running = np.cumsum(self._strength)
        self._strongest = np.maximum.reduceat(self.strength, self.start, axis=1)
        self._first = len(self.article) * np.arange(1 + _LOOKS)[:, None] + self.start
        self._last = self._first + self.size - 1
        self._low = np.r_[0.0, self._running][self._first]
        self._high = self._running[self._last]

    def _pull_of_groups(self) -> None:
        """How index groups, product groups and product types draw, log; -inf where empty."""
        total = np.zeros(_INDEXES * _TYPES)
        total[self._cell] = self._high[0] - self._low[0]
        by_type = total.reshape(_INDEXES, _TYPES) * np.exp(_SLOPE)[:, None, :]
        by_group = np.stack([by_type[:, :, types].sum(axis=2) for types in TYPES_OF], axis=2)
        with np.errstate(divide="ignore"):
            self._type_pull = np.log(by_type).astype(np.float32)
            self._group_pull = np.log(by_group).astype(np.float32)
        self._empty = np.where(by_group[0].sum(axis=1) > 0, 0.0, -np.inf).astype(np.float32)

    def index_group_liking(self, customers: Customers, customer: Ints, outfit: Ints) -> Floats:
        """Log weights, n x index groups; `outfit` is the basket's first article or NOBODY."""
        liking = customers.tastes.index_group[customer] + self._empty
        groups = self.catalogue.index_group[outfit]
        matched = np.where(outfit >= 0, np.float32(SAME_INDEX_GROUP), np.float32(0))
        liking[np.arange(len(liking)), groups] += matched
        return liking

    def product_group_liking(
        self, customers: Customers, customer: Ints, channel: Ints, index_group: Ints, outfit: Ints
    ) -> Floats:
        """Log weights, n x product groups, within an index group."""
        liking = customers.likes(customer, "product_group")
        liking += self._group_pull[channel, index_group]
        goes = _GOES_WITH[self.catalogue.product_group[outfit]]
        liking += np.where((outfit >= 0)[:, None], goes, np.float32(0))
        return liking

    def product_type_liking(
        self,
        customers: Customers,
        customer: Ints,
        channel: Ints,
        index_group: Ints,
        product_group: int,
    ) -> Floats:
        """Log weights, n x TYPES_OF[product_group], within index group and product group."""
        types = TYPES_OF[product_group]
        liking = customers.likes(customer, "product_type", types)
        return np.asarray(liking + self._type_pull[channel, index_group][:, types])

    def find_shelf(
        self,
        customers: Customers,
        customer: Ints,
        channel: Ints,
        outfit: Ints,
        rng: np.random.Generator,
    ) -> Ints:
        """The shelf that each shopper goes to."""
        index_group = pick(self.index_group_liking(customers, customer, outfit), rng)
        liking = self.product_group_liking(customers, customer, channel, index_group, outfit)
        group = pick(liking, rng)
        kind = np.zeros(len(customer), dtype=np.int64)
        order = np.argsort(group, kind="stable")
        bounds = np.searchsorted(group[order], np.arange(_GROUPS + 1))
        chance = rng.random(len(customer), dtype=np.float32)
        for number, types in enumerate(TYPES_OF):
            those = order[bounds[number] : bounds[number + 1]]
            if len(those):
                liking = self.product_type_liking(
                    customers, customer[those], channel[those], index_group[those], number
                )
                kind[those] = types[_chosen(liking, chance[those])]
        return self._shelf_of[index_group * _TYPES + kind]

    def shelves(self) -> tuple[Ints, Ints]:
        """(index group, product type) of every shelf."""
        return np.divmod(self._cell, _TYPES)

    def catch_the_eye(
        self, shelf: Ints, beside: Ints, count: int, rng: np.random.Generator
    ) -> Ints:
        """n x count articles of each shelf, each drawn for itself in proportion to its draw.

        Args:
            beside: the style of the basket's first article plus 1, or 0.
        """
        return self._at(shelf, beside, rng.random((len(shelf), count), dtype=np.float32))

    def lay_page(
        self, shelf: Ints, beside: Ints, positions: int, rng: np.random.Generator
    ) -> tuple[Ints, Floats, Ints]:
        """n x positions articles of each shelf for a page, the probability of each, and how many
        positions each page has.

        Systematic sampling (Madow 1949): no article twice, and every position shows an article
        with a probability in proportion to how it draws the eye. A page is shorter (NOBODY behind its
        end) where an article would have to be on it twice for that.
        """
        low, high = self._low[beside, shelf], self._high[beside, shelf]
        most = (high - low) / self._strongest[beside, shelf]
        length = np.clip(np.floor(most + 1e-6).astype(np.int64), 1, positions)
        behind = np.arange(positions) >= length[:, None]
        slot = np.argsort(rng.random((len(shelf), positions)) + behind)
        point = (slot + rng.random((len(shelf), 1))) / length[:, None]
        shown = ~behind
        place = self._place(shelf, beside, np.where(shown, point, 0.0))
        chance = self._strength[place] / (high - low)[:, None]
        article = self.article[place % len(self.article)]
        chance = np.where(shown, chance, 0).astype(np.float32)
        return np.where(shown, article, NOBODY), chance, length

    def chance(self, shelf: Ints, beside: Ints, article: Ints) -> Floats:
        """The probability that a position of a page shows this article of the shelf."""
        place = self._place_of[article] + beside * len(self.article)
        whole = self._high[beside, shelf] - self._low[beside, shelf]
        return (self._strength[place] / whole).astype(np.float32)

    def _at(self, shelf: Ints, beside: Ints, point: Floats) -> Ints:
        return self.article[self._place(shelf, beside, point) % len(self.article)]

    def _place(self, shelf: Ints, beside: Ints, point: Floats) -> Ints:
        """Where points of 0 to 1 (n x k) fall in the running sums of the shelves."""
        low, high = self._low[beside, shelf][:, None], self._high[beside, shelf][:, None]
        place = np.searchsorted(self._running, low + point * (high - low), side="right")
        first, last = self._first[beside, shelf][:, None], self._last[beside, shelf][:, None]
        return np.clip(place, first, last)

    def channels(self, customers: Customers, customer: Ints, rng: np.random.Generator) -> Ints:
        """STORE or ONLINE for each visit."""
        share = online_share(customers.tastes.online[customer], self.date)
        return np.where(rng.random(len(customer)) < share, ONLINE, STORE)


def _fitted_to_a_page(strength: Floats, start: Ints, size: Ints) -> Floats:
    """How articles draw the eye when a page of their shelf shows each at most once.

    No article has more than its place on every page: 1 / SHORTEST_PAGE of the shelf, or an equal
    share of a smaller one. What is above that goes to the others, in proportion to their draw.

    Args:
        strength: k x articles in order of shelves, above 0.
        start, size: of each shelf.
    """
    most = np.repeat(1 / np.minimum(size, SHORTEST_PAGE), size)

    def of_shelf(values: Floats) -> Floats:
        return np.repeat(np.add.reduceat(values, start, axis=1), size, axis=1)

    total = of_shelf(strength)
    share = strength / total
    full = np.zeros(share.shape, dtype=bool)
    # Each round fills at least one more article of a shelf that is not done.
    for _ in range(SHORTEST_PAGE):
        full |= share >= most * (1 - 1e-9)
        left = 1 - of_shelf(np.where(full, most, 0.0))
        free = of_shelf(np.where(full, 0.0, share))
        scale = np.divide(left, free, out=np.zeros_like(free), where=free > 0)
        share = np.where(full, most, share * scale)
    return np.asarray(np.minimum(share, most) * total)


def pick(liking: Floats, rng: np.random.Generator) -> Ints:
    """One column of each row, with a probability in proportion to exp(liking)."""
    return _chosen(liking, rng.random(len(liking), dtype=np.float32))


def _chosen(liking: Floats, chance: Floats) -> Ints:
    return drawn(np.exp(liking - liking.max(axis=1, keepdims=True)), chance)


def drawn(weight: Floats, chance: Floats) -> Ints:
    """The column of each row on which `chance` (0 to 1) falls, in proportion to the weights."""
    running = np.cumsum(weight, axis=1)
    point = chance * np.float32(1 - 1e-6) * running[:, -1]
    return (running <= point[:, None]).sum(axis=1)
