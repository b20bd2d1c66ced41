"""What customers do: when they come, what they pick, what they buy again.

The model, with every probability drawn from the truth in Tastes and Catalogue:

- a customer's visits follow each other after log-normal gaps, more of them on busy days;
- a visit is one basket in one channel. Its first article sets the outfit;
- an article is picked level by level: a shelf (index group, product group, product type) by the
  customer's tastes, season, channel and what goes with the outfit; then articles of that shelf
  catch the eye one after the other, by their draw that day, until one is accepted (`response`);
- or it is one that the customer has bought before, or another colour of it, or another colour of
  the outfit's first article.

`Shopping` plays it; `expectation` gives the same probabilities in closed form.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

import numpy as np

from pipelines.data.synthetic.calendar import demand_by_day
from pipelines.data.synthetic.catalogue import Catalogue
from pipelines.data.synthetic.customers import Customers
from pipelines.data.synthetic.designs import Flags, Floats, Ints, ranks, runs
from pipelines.data.synthetic.response import OWNED, steps
from pipelines.data.synthetic.shelves import NOBODY, Day, drawn

REMEMBERED = 32
"""Purchases of a customer, the latest ones of the days before, that count as what the customer has:
they may be bought again, and are not found on a shelf."""
GAP_SPREAD = 1.35
"""Of the log of the days between two visits of a customer."""
LATECOMERS = 0.7
"""How far customers are placed so that all their visits fall into the days of the shop."""
LARGEST_BASKET = 20
BASKET_SPREAD = 0.85
AGAIN_DAYS = 7.0
AGAIN_LATER, AGAIN_LATER_DAYS = 0.2, 60.0
"""What was bought pulls again at once, and a part of that for months."""
AGAIN_RESISTANCE, MUCH_TO_CHOOSE_FROM = 75.0, 10_000
"""Sum of the pull of remembered articles at which half of the picks are repeats, in a shop of so
many articles; in a smaller one less is needed."""
OTHER_COLOUR_OF_REMEMBERED = 0.58
OTHER_COLOUR_OF_FIRST = 0.042
PIECE_MORE = 0.095
"""Probability of one more piece of the same article."""
MOST_PIECES = 9
OFFER, OFFERS = 0.2, (0.1, 0.15, 0.2)
"""Share of visits with a personal offer on everything, and how much it takes off."""

_ROUNDS = (8, 16, 32, 64, 120)
"""Glances at a time, so that few are wasted after the one that was accepted."""
GLANCES = sum(_ROUNDS)
"""Articles of a shelf that a shopper looks at before giving up."""
CUSTOMERS_IN_BLOCK = 180_000
"""Customers whose days are played on one random stream: what makes threads change nothing."""


@dataclass(frozen=True)
class Columns:
    """Arrays with the same rows."""

    def only(self, chosen: Flags | Ints | slice) -> Self:
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts (one or more), one after the other."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


@dataclass(frozen=True)
class Picks(Columns):
    """What was bought, one row per customer and article; positions in Catalogue and Customers."""

    customer: Ints
    article: Ints
    pieces: Ints
    cents: Ints
    """Of one piece."""
    channel: Ints
    """STORE or ONLINE."""
    shelf: Ints
    """Where it was found, NOBODY if it was remembered."""
    beside: Ints
    """The style of the basket's first article plus 1, or 0 for a first article."""
    visit: Ints
    """Numbers the visits of the day from 0."""

    def __len__(self) -> int:
        return len(self.article)


class Memory:
    """The latest purchases of every customer, in a ring."""

    def __init__(self, customers: int) -> None:
        self.article = np.full((customers, REMEMBERED), NOBODY, dtype=np.int32)
        self.day = np.zeros((customers, REMEMBERED), dtype=np.int16)
        self._next = np.zeros(customers, dtype=np.int32)

    def add(self, day: int, customer: Ints, article: Ints) -> None:
        """Remember one day's articles; the rows of a customer are neighbours."""
        first, count = runs(customer)
        place = (self._next[customer] + ranks(count)) % REMEMBERED
        self.article[customer, place] = article
        self.day[customer, place] = day
        self._next[customer[first]] += count


@dataclass(frozen=True)
class Remembered:
    """What each of n shoppers remembers, n x REMEMBERED; NOBODY where nothing."""

    article: Ints
    pull: Floats
    """How much each could be bought again; 0 if it is not on sale."""
    again: Floats
    """Probability that a pick is one of these; one value per shopper."""


def remember(
    customers: Customers, memory: Memory, day: Day, customer: Ints, row: Ints | None = None
) -> Remembered:
    """Basics pull most, and what was bought lately more than what was bought long ago.

    Args:
        row: where each customer's purchases are in the memory, if not at the customer's position.
    """
    row = customer if row is None else row
    article = memory.article[row]
    gap = (day.day - memory.day[row]).astype(np.float32)
    fresh = np.exp(gap * np.float32(-1 / AGAIN_DAYS))
    lasting = np.float32(AGAIN_LATER) * np.exp(gap * np.float32(-1 / AGAIN_LATER_DAYS))
    pull = day.catalogue.again[article] * (fresh + lasting)
    pull *= customers.tastes.loyalty[customer][:, None]
    pull = np.where((article >= 0) & day.on_sale[article], pull, np.float32(0))
    choice = min(1.0, len(day.catalogue) / MUCH_TO_CHOOSE_FROM)
    total = pull.sum(axis=1)
    return Remembered(article, pull, total / (total + np.float32(AGAIN_RESISTANCE * choice**0.5)))


class Shopping:
    """The shop day by day: it remembers, so days are played in order."""

    def __init__(self, catalogue: Catalogue, customers: Customers) -> None:
        self.catalogue = catalogue
        self.customers = customers
        self.memory = Memory(len(customers))

    def visit(
        self, day: Day, visitors: Ints, rng: np.random.Generator, *, in_vain: bool = False
    ) -> Picks:
        """What the visitors (sorted positions of customers) buy on that day.

        Args:
            in_vain: also give where somebody found nothing on a shelf; the article is NOBODY.
        """
        visits = len(visitors)
        channel = day.channels(self.customers, visitors, rng)
        median = self.customers.tastes.basket[visitors]
        size = np.ceil(median * np.exp(rng.normal(0.0, BASKET_SPREAD, visits))).astype(np.int64)
        size = np.minimum(size, LARGEST_BASKET)

        nobody = np.full(visits, NOBODY)
        first, first_shelf = self._pick(day, visitors, channel, nobody, rng)
        more = np.repeat(np.arange(visits), np.where(first >= 0, size - 1, 0))
        others, others_shelf = self._pick(day, visitors[more], channel[more], first[more], rng)
        article, shelf = np.r_[first, others], np.r_[first_shelf, others_shelf]
        beside = np.r_[np.zeros_like(first), self.catalogue.look[first[more]] + 1]
        visit = np.r_[np.arange(visits), more]

        # An article that was picked twice in one basket is one choice; pieces are drawn apart.
        found = np.flatnonzero(article >= 0)
        key = visit[found] * len(self.catalogue) + article[found]
        found = found[np.unique(key, return_index=True)[1]]
        if in_vain:
            found = np.sort(np.r_[found, np.flatnonzero(article < 0)])
        article, shelf, beside, visit = article[found], shelf[found], beside[found], visit[found]

        offer = np.where(rng.random(visits) < OFFER, rng.choice(OFFERS, visits), 0.0)
        pieces = np.minimum(rng.geometric(1 - PIECE_MORE, len(article)), MOST_PIECES)
        return Picks(
            customer=visitors[visit],
            article=article,
            pieces=pieces,
            cents=np.rint(day.cents[article] * (1 - offer[visit])).astype(np.int64),
            channel=channel[visit],
            shelf=shelf,
            beside=beside,
            visit=visit,
        )

    def _pick(
        self, day: Day, customer: Ints, channel: Ints, outfit: Ints, rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """An article for each shopper, NOBODY where none is found, and the shelf, if from one."""
        known = remember(self.customers, self.memory, day, customer)
        by_shelf = rng.random(len(customer)) >= known.again
        beside = (outfit >= 0) & (rng.random(len(customer)) < OTHER_COLOUR_OF_FIRST)
        by_shelf &= ~beside

        place = drawn(known.pull, rng.random(len(customer), dtype=np.float32))
        place = np.minimum(place, REMEMBERED - 1)
        again = known.article[np.arange(len(customer)), place].astype(np.int64)
        recolour = beside | (rng.random(len(customer)) < OTHER_COLOUR_OF_REMEMBERED)
        again = np.where(beside, outfit, again)
        again = np.where(recolour, self._other_colour(day, again, rng), again)

        article, shelf = again, np.full(len(customer), NOBODY)
        those = np.flatnonzero(by_shelf)
        article[those], shelf[those] = self._from_shelf(
            day, customer[those], channel[those], outfit[those], known.article[those], rng
        )
        return article, shelf

    def _from_shelf(
        self,
        day: Day,
        customer: Ints,
        channel: Ints,
        outfit: Ints,
        owned: Ints,
        rng: np.random.Generator,
    ) -> tuple[Ints, Ints]:
        """The first article of a shelf that each shopper accepts, and the shelf."""
        shelf = day.find_shelf(self.customers, customer, channel, outfit, rng)
        beside = np.where(outfit >= 0, self.catalogue.look[outfit] + 1, 0)
        colours = self.customers.likes(customer, "colour")
        taken = np.full(len(customer), NOBODY)
        left = np.arange(len(customer))
        for glances in _ROUNDS:
            if not len(left):
                break
            seen = day.catch_the_eye(shelf[left], beside[left], glances, rng)
            accepts = steps(self.customers, day, customer[left], seen, colours[left]).acceptance
            yes = rng.random(seen.shape, dtype=np.float32) < accepts
            while len(row := np.flatnonzero(yes.any(axis=1) & (taken[left] < 0))):
                place = yes[row].argmax(axis=1)
                article = seen[row, place]
                # Asked of the accepted one alone, which is the same as asking it of every one.
                factor = wardrobe_factor(self.catalogue, article[:, None], owned[left[row]])
                keep = rng.random(len(row)) < factor.ravel()
                taken[left[row[keep]]] = article[keep]
                yes[row, place] = False
            left = left[taken[left] < 0]
        return taken, shelf

    def _other_colour(self, day: Day, article: Ints, rng: np.random.Generator) -> Ints:
        """Another variant of the same product that is on sale, else the article itself."""
        start, count = self.catalogue.product_start[article], self.catalogue.variants[article]
        step = 1 + rng.integers(0, np.maximum(count - 1, 1))
        variant = start + (article - start + step) % count
        return np.where(day.on_sale[variant], variant, article)


def wardrobe_factor(catalogue: Catalogue, article: Ints, owned: Ints) -> Floats:
    """How acceptable articles (n x k) of a shelf stay beside those owned (n x REMEMBERED).

    What one remembers to have is not looked for on a shelf (it is bought again from memory), and
    another colour of it seldom is.
    """
    owned_product = np.where(owned >= 0, catalogue.product_start[owned], NOBODY)
    same = (owned[:, None, :] == article[:, :, None]).any(axis=2)
    product = (owned_product[:, None, :] == catalogue.product_start[article][:, :, None]).any(
        axis=2
    )
    return np.where(same, 0, np.where(product, OWNED, 1)).astype(np.float32)


def draw_visits(
    customers: Customers, demand: Floats, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """(day, customer) of every visit, sorted, one a day at most.

    Each customer's visits are a chain with log-normal gaps, placed anywhere in the days of the
    shop; one that is too long for them is squeezed, and what lies behind their end is not seen.
    Then time runs faster where demand is higher.
    """
    days = len(demand)
    who = np.repeat(np.arange(len(customers)), customers.visits)
    gaps = customers.gap_days[who] * np.exp(rng.normal(0.0, GAP_SPREAD, len(who)))
    first = np.r_[0, np.cumsum(customers.visits)[:-1]]
    total = np.cumsum(gaps)
    since_first = (total - total[first[who]]) / days
    length = since_first[first + customers.visits - 1]
    squeeze = np.minimum(1.0, 0.98 / np.maximum(length, 1e-9))
    # Who comes late in these days is seen only until their end.
    start = rng.random(len(customers)) * (1 - LATECOMERS * length * squeeze)
    moment = start[who] + since_first * squeeze[who]
    seen = np.flatnonzero(moment < 1)
    seen = seen[np.argsort(moment[seen], kind="stable")]
    # Each day gets the visits that its demand asks for.
    clock = np.cumsum(demand) / demand.sum()
    day = np.searchsorted(clock, (np.arange(len(seen)) + 0.5) / len(seen))
    key = np.unique(day * len(customers) + who[seen])
    return key // len(customers), key % len(customers)


def _blocks(customers: int) -> Ints:
    """Where customers are cut into blocks, each played on random streams of its own; ends too."""
    count = -(-customers // CUSTOMERS_IN_BLOCK)
    return np.linspace(0, customers, count + 1).astype(int)


class ShopDays:
    """All the days of a shop, played in order on several threads."""

    def __init__(self, catalogue: Catalogue, customers: Customers, threads: int) -> None:
        self._threads = threads
        self.shopping = Shopping(catalogue, customers)
        rng = np.random.default_rng([catalogue.seed, 3])
        demand = demand_by_day(catalogue.first_date, catalogue.days, rng)
        self.day_of_visit, self.visitor = draw_visits(customers, demand, rng)

    def __iter__(self) -> Iterator[tuple[Day, Picks]]:
        """Each day with its purchases in order of customers. They are remembered when the next
        day is asked for."""
        catalogue = self.shopping.catalogue
        cuts = _blocks(len(self.shopping.customers))
        bounds = np.searchsorted(self.day_of_visit, np.arange(catalogue.days + 1))
        with ThreadPoolExecutor(self._threads) as pool:
            coming = pool.submit(Day, catalogue, 0)
            for number in range(catalogue.days):
                day = coming.result()
                if number + 1 < catalogue.days:
                    coming = pool.submit(Day, catalogue, number + 1)
                visitors = self.visitor[bounds[number] : bounds[number + 1]]
                starts = np.searchsorted(visitors, cuts)
                played = [
                    pool.submit(
                        self.shopping.visit,
                        day,
                        visitors[slice(*part)],
                        np.random.default_rng([catalogue.seed, 4, number, block]),
                    )
                    for block, part in enumerate(pairwise(starts))
                ]
                blocks = [block.result() for block in played]
                # Each block has numbered its own visits from 0.
                picks = Picks.joined(
                    [
                        replace(block, visit=block.visit + start)
                        for block, start in zip(blocks, starts, strict=False)
                    ]
                )
                yield day, picks
                self.shopping.memory.add(number, picks.customer, picks.article)
