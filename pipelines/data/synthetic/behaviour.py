"""What customers do: when they come, what they pick, what they buy again.

The model, with every probability drawn from the truth in Tastes and Catalogue:

- a customer's visits follow each other after log-normal gaps, more of them on busy days;
- a visit is one basket in one channel. Its first article sets the outfit;
- an article is picked on two levels: a shelf (index group x product type) by the customer's
  tastes, season and what goes with the outfit; then, of the few articles on that shelf that catch
  the eye (by their draw that day), one by colour, style and price;
- or it is one that the customer has bought before, or another colour of it, or another colour of
  the outfit's first article.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from pipelines.data.synthetic import taxonomy as shop
from pipelines.data.synthetic.catalogue import Catalogue, Flags, Floats, Ints
from pipelines.data.synthetic.customers import Customers

REMEMBERED = 32
"""Purchases that a customer may buy again: the latest ones."""
LARGEST_BASKET = 20
SEEN_ON_SHELF = 10
"""Articles that a shopper looks at before picking one."""
AGAIN_MEMORY_DAYS = 25.0
AGAIN_RESISTANCE = 30.0
"""Sum of the pull of remembered articles at which half of the picks are repeats."""
OTHER_COLOUR_OF_REMEMBERED = 0.45
OTHER_COLOUR_OF_FIRST = 0.04
OWNED_ALREADY = 3.5
"""How much less (log) an article draws whose product the shopper has already."""
PIECE_MORE = 0.10
"""Probability of one more piece of the same article."""
OFFER = 0.12
"""Share of visits with a personal offer on everything."""

_GOES_WITH = np.log(np.array(shop.GOES_WITH))


@dataclass(frozen=True)
class Purchases:
    """One day's purchases, one row per piece; positions in Catalogue and Customers."""

    day: int
    customer: Ints
    article: Ints
    cents: Ints
    channel: Ints


def demand_by_day(catalogue: Catalogue, days: int, rng: np.random.Generator) -> Floats:
    """Visits to expect on each day, relative: year, week day, growth, weather and sales."""
    dates = [catalogue.first_date + timedelta(days=d) for d in range(days)]
    of_year = np.array([d.timetuple().tm_yday for d in dates])
    year = 1 + 0.22 * np.cos(2 * np.pi * (of_year - 172) / 365.25)
    week = np.array([0.97, 0.97, 1.0, 1.0, 1.03, 1.11, 0.95])[[d.weekday() for d in dates]]
    growth = 1 + 0.1 * np.arange(days) / max(days, 365)
    sale = np.where(rng.random(days) < 0.01, 2.0, 1.0)
    return year * week * growth * sale * np.exp(rng.normal(0.0, 0.08, days))


def draw_visits(
    customers: Customers, demand: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """(day, customer) of every visit, sorted, one a day at most.

    Each customer's visits are a chain with log-normal gaps that goes round the time of the shop
    as on a ring. It starts anywhere, a little less often late, when most visits are of customers
    who came before. Time then runs faster where demand is higher.
    """
    days = len(demand)
    who = np.repeat(np.arange(len(customers)), customers.visits)
    gaps = customers.gap_days[who] * np.exp(rng.normal(0.0, 1.2, len(who)))
    first = np.r_[0, np.cumsum(customers.visits)[:-1]]
    total = np.cumsum(gaps)
    since_first = total - total[first][who]
    # Density 1.25 at the first day, falling to 0.75 at the last.
    start = 2 * (1.25 - np.sqrt(1.25**2 - rng.random(len(customers))))
    moment = (since_first / days + start[who]) % 1.0
    clock = np.cumsum(demand) / demand.sum()
    day = np.minimum(np.searchsorted(clock, moment, side="right"), days - 1)
    key = np.unique(day.astype(np.int64) * len(customers) + who)
    return key // len(customers), key % len(customers)


class _Memory:
    """The latest purchases of every customer, in a ring."""

    def __init__(self, customers: int) -> None:
        self.article = np.full((customers, REMEMBERED), -1, dtype=np.int32)
        self.day = np.zeros((customers, REMEMBERED), dtype=np.int32)
        self._next = np.zeros(customers, dtype=np.int64)

    def add(self, day: int, customer: Ints, article: Ints) -> None:
        """Remember one day's articles; the rows of a customer are neighbours."""
        first = np.flatnonzero(np.r_[True, customer[1:] != customer[:-1]])
        count = np.diff(np.r_[first, len(customer)])
        rank = np.arange(len(customer)) - np.repeat(first, count)
        place = (self._next[customer] + rank) % REMEMBERED
        self.article[customer, place] = article
        self.day[customer, place] = day
        self._next[customer[first]] += count


class _Shelves:
    """The articles on sale on one day, in shelves of one index group and product type."""

    def __init__(self, catalogue: Catalogue, day: int) -> None:
        self.on_sale = catalogue.on_sale(day)
        kinds = len(shop.PRODUCT_TYPES)
        shelf = catalogue.index_group * kinds + catalogue.product_type
        live = np.flatnonzero(self.on_sale)
        self.article = live[np.argsort(shelf[live], kind="stable")]
        shelves, self._start = np.unique(shelf[self.article], return_index=True)
        self._end = np.r_[self._start[1:], len(self.article)]
        self._cumulative = np.cumsum(catalogue.draw(day)[self.article])
        self._low = np.r_[0.0, self._cumulative][self._start]
        self._high = self._cumulative[self._end - 1]
        self.index_group = shelves // kinds
        self.product_type = shelves % kinds
        self.product_group = catalogue.product_group[self.article[self._start]]
        # The pull of a shelf within its index group: what share each index group sells is a
        # matter of its customers, not of how many articles it lists.
        weight = self._high - self._low
        total = np.bincount(self.index_group, weight, len(shop.INDEX_GROUPS))
        self.pull = np.log(weight / total[self.index_group])

    def catch_the_eye(self, shelf: Ints, rng: np.random.Generator) -> Ints:
        """Picks x SEEN_ON_SHELF articles of each shelf, the strong ones more often."""
        point = rng.random((len(shelf), SEEN_ON_SHELF))
        low, high = self._low[shelf][:, None], self._high[shelf][:, None]
        place = np.searchsorted(self._cumulative, low + point * (high - low), side="right")
        last = self._end[shelf][:, None] - 1
        return self.article[np.clip(place, self._start[shelf][:, None], last)]


def _pick(weight: Floats, rng: np.random.Generator) -> Ints:
    """One column of each row, with a probability in proportion to its weight."""
    cumulative = np.cumsum(weight, axis=1)
    point = rng.random(len(weight)) * (1 - 1e-12) * cumulative[:, -1]
    return (cumulative <= point[:, None]).sum(axis=1)


class Shopping:
    """The shop day by day. `open_day` must be called for day 0, 1, 2, ...: it remembers."""

    def __init__(self, catalogue: Catalogue, customers: Customers) -> None:
        self.catalogue = catalogue
        self.customers = customers
        self._memory = _Memory(len(customers))

    def open_day(self, day: int, visitors: Ints, rng: np.random.Generator) -> Purchases:
        """What the visitors (sorted positions of customers, each once) buy on that day."""
        if len(visitors) == 0:
            empty = np.empty(0, dtype=np.int64)
            return Purchases(day, empty, empty, empty, empty)
        catalogue, visits = self.catalogue, len(visitors)
        shelves = _Shelves(catalogue, day)
        online = rng.random(visits) < self.customers.tastes.online[visitors]
        size = np.ceil(np.exp(rng.normal(np.log(1.7), 0.85, visits))).astype(np.int64)
        size = np.minimum(size, LARGEST_BASKET)

        nobody = np.full(visits, -1, dtype=np.int64)
        first = self._articles(day, visitors, online, nobody, shelves, rng)
        more = np.repeat(np.arange(visits), size - 1)
        others = self._articles(day, visitors[more], online[more], first[more], shelves, rng)

        # An article that was picked twice in one basket is one choice; pieces are drawn apart.
        picked = np.r_[np.arange(visits), more] * len(catalogue) + np.r_[first, others]
        visit, article = np.divmod(np.unique(picked), len(catalogue))
        self._memory.add(day, visitors[visit], article)

        pieces = np.minimum(rng.geometric(1 - PIECE_MORE, len(article)), 9)
        offer = np.where(rng.random(visits) < OFFER, rng.choice([0.1, 0.15, 0.2], visits), 0.0)
        cents = np.rint(catalogue.price_cents(day)[article] * (1 - offer[visit])).astype(np.int64)
        row = np.repeat(np.arange(len(article)), pieces)
        return Purchases(
            day, visitors[visit][row], article[row], cents[row], np.where(online, 2, 1)[visit][row]
        )

    def _articles(
        self,
        day: int,
        customer: Ints,
        online: Flags,
        outfit: Ints,
        shelves: _Shelves,
        rng: np.random.Generator,
    ) -> Ints:
        """One article for each pick; `outfit` is the first article of the basket, or -1."""
        article = self._from_shelf(day, customer, online, outfit, shelves, rng)
        again, is_again = self._remembered(day, customer, shelves.on_sale, rng)
        recolour = rng.random(len(customer)) < OTHER_COLOUR_OF_REMEMBERED
        again = np.where(recolour, self._other_colour(again, shelves.on_sale, rng), again)
        article = np.where(is_again, again, article)
        beside = (outfit >= 0) & (rng.random(len(customer)) < OTHER_COLOUR_OF_FIRST)
        return np.where(beside, self._other_colour(outfit, shelves.on_sale, rng), article)

    def _from_shelf(
        self,
        day: int,
        customer: Ints,
        online: Flags,
        outfit: Ints,
        shelves: _Shelves,
        rng: np.random.Generator,
    ) -> Ints:
        catalogue, tastes = self.catalogue, self.customers.tastes
        liking = shelves.pull + tastes.index_group[customer][:, shelves.index_group]
        liking += tastes.product_type[customer][:, shelves.product_type]
        matched = (outfit >= 0)[:, None]
        goes = _GOES_WITH[catalogue.product_group[outfit]][:, shelves.product_group]
        same = catalogue.index_group[outfit][:, None] == shelves.index_group
        liking += np.where(matched, goes + 1.5 * same, 0.0)
        seen = shelves.catch_the_eye(_pick(np.exp(liking), rng), rng)

        wanted_price = tastes.price_level[customer] + np.where(online, 0.1, -0.2)
        like = 2.0 * np.einsum("nkd,nd->nk", catalogue.style[seen], tastes.style[customer])
        like += tastes.colour[customer[:, None], catalogue.colour[seen]]
        like -= 2.0 * np.abs(catalogue.price_level[seen] - wanted_price[:, None])
        outfit_style = np.where(matched, catalogue.style[outfit], 0.0)
        like += 1.5 * np.einsum("nkd,nd->nk", catalogue.style[seen], outfit_style)
        # What already hangs in the wardrobe, or lies in the basket, is seldom picked anew.
        product = catalogue.product_start[seen]
        owned = self._memory.article[customer]
        owned = np.where(owned >= 0, catalogue.product_start[owned], -1)
        have = (product[:, :, None] == owned[:, None, :]).any(axis=2)
        have |= matched & (product == catalogue.product_start[outfit][:, None])
        like -= np.where(have, OWNED_ALREADY, 0.0)
        return seen[np.arange(len(seen)), _pick(np.exp(like), rng)]

    def _remembered(
        self, day: int, customer: Ints, on_sale: Flags, rng: np.random.Generator
    ) -> tuple[Ints, Flags]:
        """An article bought before and still on sale for each pick, and whether it is taken.

        Basics pull most, and what was bought lately more than what was bought long ago.
        """
        article = self._memory.article[customer]
        gap = day - self._memory.day[customer]
        pull = self.catalogue.again[article] * np.exp(-gap / AGAIN_MEMORY_DAYS)
        pull = np.where((article >= 0) & on_sale[article], pull, 0.0)
        total = pull.sum(axis=1) * self.customers.tastes.loyalty[customer]
        taken = rng.random(len(customer)) < total / (total + AGAIN_RESISTANCE)
        place = np.minimum(_pick(pull, rng), REMEMBERED - 1)
        return article[np.arange(len(article)), place].astype(np.int64), taken

    def _other_colour(self, article: Ints, on_sale: Flags, rng: np.random.Generator) -> Ints:
        """A variant of the same product that is on sale, else the article itself."""
        start, count = self.catalogue.product_start[article], self.catalogue.variants[article]
        variant = start + rng.integers(0, count)
        return np.where(on_sale[variant], variant, article)


def shop_days(
    catalogue: Catalogue, customers: Customers, days: int, seed: int
) -> Iterator[Purchases]:
    """All purchases, day by day. Every day has its own random stream."""
    rng = np.random.default_rng([seed, 3])
    day_of_visit, visitor = draw_visits(customers, demand_by_day(catalogue, days, rng), rng)
    bounds = np.searchsorted(day_of_visit, np.arange(days + 1))
    shopping = Shopping(catalogue, customers)
    for day in range(days):
        visitors = visitor[bounds[day] : bounds[day + 1]]
        yield shopping.open_day(day, visitors, np.random.default_rng([seed, 4, day]))
