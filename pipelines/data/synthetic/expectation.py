"""What a visit is expected to buy: the probabilities of `behaviour`, summed instead of drawn.

For a customer and a day, every way in which `Shopping.visit` comes to an article is followed: both
channels, the first article and those beside it, shelves and memory, other colours, shoppers who
give up. One thing is left out: the further articles of a basket lean towards the product group and
style of its first, so they repeat each other more than by chance (an article picked twice is one
purchase). The sum is therefore a little too high: by 1 to 3% for most customers, more for the
largest baskets and where a handful of articles is on sale.
"""

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy.stats import norm

from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.behaviour import (
    BASKET_SPREAD,
    GLANCES,
    LARGEST_BASKET,
    OTHER_COLOUR_OF_FIRST,
    OTHER_COLOUR_OF_REMEMBERED,
    Remembered,
    wardrobe_factor,
)
from pipelines.data.synthetic.calendar import online_share
from pipelines.data.synthetic.catalogue import GROUP_OF_TYPE
from pipelines.data.synthetic.customers import Customers
from pipelines.data.synthetic.designs import Floats, Ints
from pipelines.data.synthetic.response import steps
from pipelines.data.synthetic.shelves import NOBODY, ONLINE, STORE, TYPES_OF, Day

_INDEXES, _GROUPS = len(shop.INDEX_GROUPS), len(shop.PRODUCT_GROUPS)
_LOOKS = len(shop.STYLES)


def expected_purchases(customers: Customers, day: Day, customer: int, known: Remembered) -> Floats:
    """The probability that a visit of the customer on that day buys each article.

    Args:
        known: what this one customer remembers, 1 x REMEMBERED.

    Returns:
        one value per article of the catalogue; 0 for those not on sale.
    """
    catalogue = day.catalogue
    again, repeats = _repeats(day, known)
    on_shelf = _within_shelf(customers, day, customer, known)
    share = float(online_share(customers.tastes.online[[customer]], day.date)[0])
    sizes = _basket_sizes(float(customers.tastes.basket[customer]))
    total = np.zeros(len(catalogue))
    for channel, weight in ((STORE, 1 - share), (ONLINE, share)):
        groups = _Groups(customers, day, customer, channel)
        shelf = groups.shelves(groups.first())
        first = (1 - again) * _spread(day, shelf, on_shelf[0]) + again * repeats
        # Who finds no first article leaves; the others of a basket go with the first one.
        total += weight * first
        outfit = _outfits(day, first)
        for index_group in range(_INDEXES):
            chance = outfit[index_group].sum()
            if chance == 0:
                continue
            begun = np.where(catalogue.index_group == index_group, first, 0.0) / chance
            others = np.zeros(len(catalogue))
            for look in range(_LOOKS):
                same = np.zeros_like(outfit[:, :, look])
                same[index_group] = outfit[index_group, :, look] / chance
                shelf = groups.shelves(groups.beside(same))
                others += _spread(day, shelf, on_shelf[1 + look])
            others = (1 - again) * others + again * repeats
            others += OTHER_COLOUR_OF_FIRST * (_other_colours(day, begun) - others)
            later = 1 - polyval(1 - others, sizes)
            total += weight * chance * (1 - begun) * later
    return np.where(day.on_sale, total, 0.0)


def _basket_sizes(median: float) -> Floats:
    """Probability of 0, 1, 2 ... articles in a basket beyond the first."""
    size = np.arange(1, LARGEST_BASKET)
    larger = norm.sf(np.log(size / median) / BASKET_SPREAD)
    return np.asarray(-np.diff(np.r_[1.0, larger, 0.0]))


def _repeats(day: Day, known: Remembered) -> tuple[float, Floats]:
    """Probability that a pick is from memory, and then of each article."""
    found = np.zeros(len(day.catalogue))
    pull = known.pull[0].astype(np.float64)
    if pull.sum() == 0:
        return 0.0, found
    np.add.at(found, known.article[0], pull / pull.sum())
    recoloured = _other_colours(day, found)
    found += OTHER_COLOUR_OF_REMEMBERED * (recoloured - found)
    return float(known.again[0]), found


def _other_colours(day: Day, picked: Floats) -> Floats:
    """Where picks of articles go when another colour is taken, or the same if it is off sale."""
    catalogue = day.catalogue
    start, variants = catalogue.product_start, catalogue.variants
    others = np.maximum(variants - 1, 1)
    of_others = np.bincount(start, picked, len(catalogue))[start] - picked
    there = np.bincount(start, day.on_sale, len(catalogue))[start] - day.on_sale
    return np.where(day.on_sale, of_others / others, 0.0) + picked * (1 - there / others)


def _within_shelf(customers: Customers, day: Day, customer: int, known: Remembered) -> Floats:
    """Probability of finding each article given its shelf: (1 + looks) x articles on sale."""
    article = day.article[None, :]
    one = np.array([customer])
    accepts = steps(customers, day, one, article, customers.likes(one, "colour")).acceptance
    accepts = accepts * wardrobe_factor(day.catalogue, article, known.article)
    weight = day.strength * accepts.astype(np.float64)
    accepted = np.add.reduceat(weight, day.start, axis=1)
    glance = accepted / np.add.reduceat(day.strength, day.start, axis=1)
    found = np.divide(
        1 - (1 - glance) ** GLANCES, accepted, out=np.zeros_like(glance), where=accepted > 0
    )
    return weight * np.repeat(found, day.size, axis=1)


def _spread(day: Day, shelf: Floats, within: Floats) -> Floats:
    """Probabilities of shelves onto their articles, for the whole catalogue."""
    found = np.zeros(len(day.catalogue))
    found[day.article] = np.repeat(shelf, day.size) * within
    return found


def _outfits(day: Day, first: Floats) -> Floats:
    """First articles by index group, product group and look."""
    catalogue = day.catalogue
    cell = (catalogue.index_group * _GROUPS + catalogue.product_group) * _LOOKS + catalogue.look
    found = np.bincount(cell, first, _INDEXES * _GROUPS * _LOOKS)
    return np.asarray(found.reshape(_INDEXES, _GROUPS, _LOOKS))


class _Groups:
    """The levels above the shelf for one customer and channel, as probabilities.

    An outfit stands for all articles of its index group and product group; the first of the
    catalogue is as good as any.
    """

    def __init__(self, customers: Customers, day: Day, customer: int, channel: int) -> None:
        self._day = day
        catalogue = day.catalogue
        indexes, groups = np.arange(_INDEXES), np.arange(_GROUPS)

        def some(values: Ints, wanted: Ints) -> Ints:
            """A position in the catalogue for each wanted value, NOBODY where there is none."""
            present, where = np.unique(values, return_index=True)
            place = np.full(max(len(wanted), present[-1] + 1), NOBODY)
            place[present] = where
            return place[wanted]

        def share(liking: Floats) -> Floats:
            best = liking.max(axis=-1, keepdims=True)
            weight = np.exp(liking - np.where(np.isfinite(best), best, 0.0), dtype=np.float64)
            whole = weight.sum(axis=-1, keepdims=True)
            return np.divide(weight, whole, out=np.zeros_like(weight), where=whole > 0)

        def same(count: int) -> Ints:
            return np.full(count, customer)

        outfit_index = np.r_[NOBODY, some(catalogue.index_group, indexes)]
        outfit_group = np.r_[NOBODY, some(catalogue.product_group, groups)]
        liking = day.index_group_liking(customers, same(1 + _INDEXES), outfit_index)
        self._index_group = share(liking)
        """(1 + outfits' index groups) x index groups."""
        count = (1 + _GROUPS) * _INDEXES
        liking = day.product_group_liking(
            customers,
            same(count),
            np.full(count, channel),
            np.repeat(indexes, 1 + _GROUPS),
            np.tile(outfit_group, _INDEXES),
        )
        self._product_group = share(liking).reshape(_INDEXES, 1 + _GROUPS, _GROUPS)
        """Index groups x (1 + outfits' product groups) x product groups."""
        self._product_type = np.zeros((_INDEXES, len(shop.PRODUCT_TYPES)))
        """Of its product group, index groups x product types."""
        for group, types in enumerate(TYPES_OF):
            if len(types):
                liking = day.product_type_liking(
                    customers, same(_INDEXES), np.full(_INDEXES, channel), indexes, group
                )
                self._product_type[:, types] = share(liking)

    def first(self) -> Floats:
        """Probability of index group x product group for a first article."""
        return self._index_group[0][:, None] * self._product_group[:, 0]

    def beside(self, outfit: Floats) -> Floats:
        """The same beside first articles, given as index groups x product groups."""
        moved = self._index_group[1:].T @ outfit
        return np.asarray(np.einsum("io,iog->ig", moved, self._product_group[:, 1:]))

    def shelves(self, groups: Floats) -> Floats:
        """Index groups x product groups onto the day's shelves."""
        index_group, kind = self._day.shelves()
        of_group = groups[index_group, GROUP_OF_TYPE[kind]]
        return of_group * self._product_type[index_group, kind]
