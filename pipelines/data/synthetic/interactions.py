"""What the shop's own log would hold of its last days: what was shown, viewed, bought, dismissed.

Online, a shopper in front of a shelf gets page after page of it (surface `shelf`) until something
is bought. Every impression is answered with the probabilities of `response`, and the page's articles
come up with the probability that the log gives as `propensity`: that of this article at this
position, whatever stands at the others. Who buys goes to pay, so a page ends where something is
bought. What is bought from memory is looked up (surface `search`), and what is bought in a store is
known from the till (surface `store`). Each row of the transactions has one event of the kind
`purchase` on its day, and the other way round.

Most visits end without a purchase. For every visit with one, the log has on average one more, on a
day near by, whose pages are those that a shopper turns before buying. So impressions and purchases
stand in the proportion that the probabilities say: in all, by position and by day, but for single
customers only on average (who has just bought comes more often).
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.raw_tables import INTERACTIONS
from pipelines.data.synthetic.behaviour import (
    GLANCES,
    MOST_PIECES,
    Columns,
    Picks,
    ShopDays,
    Shopping,
    wardrobe_factor,
)
from pipelines.data.synthetic.designs import Flags, Floats, Ints, ranks, runs
from pipelines.data.synthetic.response import (
    BUY,
    CART,
    VIEW,
    Response,
    examination,
    respond,
    steps,
)
from pipelines.data.synthetic.shelves import NOBODY, ONLINE, POSITIONS, STORE, Day, drawn

KINDS = ("impression", "view", "cart", "purchase", "dismiss")
IMPRESSION, VIEWED, CARTED, PURCHASED, DISMISSED = range(5)
SURFACES = ("shelf", "search", "store")
SHELF, SEARCH, TILL = range(3)
VARIANT = "control"

_APART_DAYS = 10.0
"""Mean of the days between a visit with a purchase and the one without."""
_PAGES_AT_A_TIME = 4_000
PATIENCE = VIEW * CART * BUY
"""Glances of the model of the purchases that a position that is looked at stands for."""
_POSITION = np.arange(1, POSITIONS + 1)
_SECOND = 1_000_000
_HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 11, 12, 11, 10, 10, 11, 12, 14, 17, 19, 16, 9, 3]
)


def others(shop: ShopDays, first_day: int, rng: np.random.Generator) -> dict[int, Ints]:
    """Days from `first_day` on: the customers with a visit without a purchase, sorted; some more
    than once."""
    days = shop.shopping.catalogue.days
    near = shop.day_of_visit >= first_day - 10 * _APART_DAYS
    day, customer = shop.day_of_visit[near], shop.visitor[near]
    apart = rng.geometric(1 / (1 + _APART_DAYS), len(day)) - 1
    # Days outside the shop's are mirrored into them.
    place = (day + apart * rng.choice([-1, 1], len(day))) % (2 * days)
    place = np.minimum(place, 2 * days - 1 - place)
    # As many on each day as there are visits: busy days are busy in this too.
    customer = customer[np.lexsort((rng.random(len(place)), place))]
    order = np.lexsort((customer, day))
    bounds = np.searchsorted(day[order], np.arange(first_day, days + 1))
    return {
        first_day + number: customer[order[slice(*bound)]]
        for number, bound in enumerate(pairwise(bounds))
    }


@dataclass(frozen=True)
class _Pages(Columns):
    """Pages in front of shoppers: one row per page, one column per position."""

    pick: Ints
    """The row in Picks that the page belongs to."""
    number: Ints
    """Of the page within its pick, from 0."""
    article: Ints
    """NOBODY behind the page's end."""
    chance: Floats
    """Probability with which this article came up at this position."""
    step: Ints
    """The furthest that it came: IMPRESSION, VIEWED, CARTED, PURCHASED or DISMISSED."""


@dataclass(frozen=True)
class _Events(Columns):
    """Events in columns; 0 or NaN where there is no request, position or chance."""

    time: Ints
    """Microseconds of the day."""
    customer: Ints
    article: Ints
    kind: Ints
    request: Ints
    position: Ints
    surface: Ints
    chance: Floats


def day_of_log(
    shopping: Shopping, day: Day, picks: Picks, lookers: Ints, rng: np.random.Generator
) -> pa.Table:
    """The columns of INTERACTIONS for one day in order of time.

    Args:
        picks: the day's purchases, not yet remembered.
        lookers: customers with a visit that ends without a purchase (`others`).
    """
    bought = picks.only(picks.channel == ONLINE)
    looked = shopping.visit(day, lookers, rng, in_vain=True)
    looked = looked.only((looked.channel == ONLINE) & (looked.shelf >= 0))
    last_page = _page_of_purchase(shopping, day, bought, rng)
    before = _pages_before_purchase(shopping, day, looked, rng)
    events = [
        *_online(bought, last_page, 0, rng),
        *_online(looked, before, len(bought), rng),
        _till(picks.only(picks.channel == STORE), rng),
    ]
    return _table(shopping, day, _Events.joined(events))


def _responses(
    shopping: Shopping, day: Day, customer: Ints, article: Ints
) -> tuple[Ints, Response]:
    """What is shown of the pages, NOBODY where a place stays empty, and how it is answered where
    it is not."""
    kept = wardrobe_factor(shopping.catalogue, article, shopping.memory.article[customer])
    colours = shopping.customers.likes(customer, "colour")
    taken = steps(shopping.customers, day, customer, article, colours)
    # What the shopper remembers to have is not shown on a shelf; its place stays empty.
    return np.where(kept == 0, NOBODY, article), respond(taken, _POSITION, kept < 1)


def _answer(response: Response, chance: Floats) -> Ints:
    """The furthest step of each impression, from numbers that are uniform on 0 to 1."""
    step = np.full(chance.shape, IMPRESSION)
    step[chance < response.view + response.dismiss] = DISMISSED
    step[chance < response.view] = VIEWED
    step[chance < response.cart] = CARTED
    step[chance < response.purchase] = PURCHASED
    return step


def _page_of_purchase(
    shopping: Shopping, day: Day, bought: Picks, rng: np.random.Generator
) -> _Pages:
    """The page on which each pick from a shelf was found: it ends with that article."""
    pick = np.flatnonzero(bought.shelf >= 0)
    found = bought.only(pick)
    article, chance, length = day.lay_page(found.shelf, found.beside, POSITIONS, rng)
    there = article == found.article[:, None]
    weight = _found_at(*_responses(shopping, day, found.customer, article), there)
    weight[length[:, None] < _POSITION] = 0
    position = drawn(weight, rng.random(len(pick)))
    # The article changes places with what lies there, or takes its place.
    row = np.arange(len(pick))
    elsewhere = np.where(there.any(axis=1), there.argmax(axis=1), position)
    for values in (article, chance):
        values[row, elsewhere] = values[row, position]
    article[row, position] = found.article
    chance[row, position] = day.chance(found.shelf, found.beside, found.article)

    article, response = _responses(shopping, day, found.customer, article)
    # Nothing before it was bought.
    unbought = rng.random(article.shape, dtype=np.float32) * (1 - response.purchase)
    step = _answer(response, response.purchase + unbought)
    step[row, position] = PURCHASED
    article[position[:, None] < _POSITION - 1] = NOBODY
    return _Pages(pick, np.zeros_like(pick), article, chance, step)


def _found_at(shown: Ints, response: Response, there: Flags) -> Floats:
    """Weights of the positions (n x POSITIONS) at which an article is bought from a page: that the
    shopper looks there, and that nothing before it is bought.

    Args:
        there: where the article lies on the page; put at another position, it changes places.
    """
    seen = examination(_POSITION)
    buys = np.where(shown == NOBODY, 0, response.purchase)
    before = np.cumprod(np.c_[np.ones(len(buys)), 1 - buys[:, :-1]], axis=1)
    # Where it has come from further up, what lies at the new position is now there in its stead.
    old = there.argmax(axis=1)[:, None]
    moved = buys * (seen[old] / seen)
    stead = (1 - moved) / (1 - np.take_along_axis(buys, old, axis=1))
    below = there.any(axis=1, keepdims=True) & (old < _POSITION - 1)
    return np.asarray(seen * before * np.where(below, stead, 1))


def _pages_before_purchase(
    shopping: Shopping, day: Day, looked: Picks, rng: np.random.Generator
) -> _Pages:
    """The pages that are turned before the first one with a purchase, or until it is enough."""
    left = np.arange(len(looked))
    spent = np.zeros(len(looked))
    none = np.empty((0, POSITIONS), dtype=np.int64)
    parts = [_Pages(left[:0], left[:0], none, none.astype(np.float32), none)]
    number = 0
    while len(left):
        # Several pages at once for each of a few: numpy is slow at little.
        ahead = int(np.clip(_PAGES_AT_A_TIME // len(left), 1, 64))
        shape = (len(left), ahead)
        pick = np.repeat(left, ahead)
        waiting = looked.only(pick)
        article, chance, length = day.lay_page(waiting.shelf, waiting.beside, POSITIONS, rng)
        article, response = _responses(shopping, day, waiting.customer, article)
        step = _answer(response, rng.random(article.shape, dtype=np.float32))
        bought = ((step == PURCHASED) & (article != NOBODY)).any(axis=1).reshape(shape)
        # As many glances as in the model of the purchases.
        glances = (PATIENCE * np.cumsum(examination(_POSITION))[length - 1]).reshape(shape)
        before = spent[left, None] + np.cumsum(glances, axis=1) - glances
        turned = (np.cumsum(bought, axis=1) - bought == 0) & (before < GLANCES)
        kept = (turned & ~bought).ravel()
        page = np.tile(number + np.arange(ahead), len(left))
        parts.append(_Pages(pick, page, article, chance, step).only(kept))
        spent[left] += glances.sum(axis=1)
        left = left[~(turned & bought).any(axis=1) & (spent[left] < GLANCES)]
        number += ahead
    return _Pages.joined(parts)


def _online(
    picks: Picks, pages: _Pages, first_request: int, rng: np.random.Generator
) -> list[_Events]:
    """The events of the visits of these picks, with their pages."""
    # What has no page was looked up.
    direct = np.flatnonzero(picks.shelf < 0)
    pick = np.r_[pages.pick, direct]
    visit, number = picks.visit[pick], np.r_[pages.number, np.zeros_like(direct)]
    order = np.lexsort((number, pick, visit))
    time, checkout = _clock(visit[order], rng)
    at, end = np.empty_like(time), np.empty_like(time)
    at[order], end[order] = time, checkout
    request = np.empty_like(order)
    request[order] = np.arange(len(order)) + first_request + 1

    row, column = np.nonzero(pages.article != NOBODY)
    step = pages.step[row, column]
    shown = _Events(
        time=at[row] + column * _SECOND,
        customer=picks.customer[pages.pick[row]],
        article=pages.article[row, column],
        kind=np.full(len(row), IMPRESSION),
        request=request[row],
        position=column + 1,
        surface=np.full(len(row), SHELF),
        chance=pages.chance[row, column],
    )
    own = len(pages.pick)
    looked_up = _off_page(picks.only(direct), at[own:], request[own:], SEARCH)
    bought = np.flatnonzero(step == PURCHASED)
    pieces = picks.pieces[pages.pick[row[bought]]]
    return [
        shown,
        _then(shown.only((step >= VIEWED) & (step <= PURCHASED)), VIEWED, 2),
        _then(shown.only((step >= CARTED) & (step <= PURCHASED)), CARTED, 9),
        _then(shown.only(step == DISMISSED), DISMISSED, 3),
        _paid(shown.only(bought), end[row[bought]], pieces),
        _then(looked_up, VIEWED, 2),
        _then(looked_up, CARTED, 9),
        _paid(looked_up, end[own:], picks.pieces[direct]),
    ]


def _then(events: _Events, kind: int, seconds: int | Ints) -> _Events:
    """What follows so many seconds later."""
    kinds = np.full(len(events.time), kind)
    return replace(events, kind=kinds, time=events.time + seconds * _SECOND)


def _paid(events: _Events, time: Ints, pieces: Ints) -> _Events:
    """The purchases that follow, one event per piece."""
    row = np.repeat(np.arange(len(pieces)), pieces)
    return _then(replace(events, time=time).only(row), PURCHASED, ranks(pieces))


def _till(picks: Picks, rng: np.random.Generator) -> _Events:
    """What the stores' tills know: purchases."""
    time, _ = _clock(picks.visit, rng)
    return _paid(_off_page(picks, time, np.zeros_like(time), TILL), time, picks.pieces)


def _off_page(picks: Picks, time: Ints, request: Ints, surface: int) -> _Events:
    """Picks that no page showed, to be made events of a kind."""
    nothing = np.zeros_like(time)
    return _Events(
        time=time,
        customer=picks.customer,
        article=picks.article,
        kind=nothing,
        request=request,
        position=nothing,
        surface=nothing + surface,
        chance=np.full(len(time), np.nan, dtype=np.float32),
    )


def _clock(visit: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """When each page of the visits (sorted) is shown, and when its visit is paid; microseconds.

    Visits start by the usual hours and end on the same day.
    """
    first, count = runs(visit)
    running = np.cumsum(10 + rng.exponential(35.0, len(visit)))
    since = running - np.repeat(running[first], count)
    length = since[first + count - 1] + 120
    # The day has an end, also for who turns hundreds of pages.
    scale = np.minimum(1.0, 80_000 / length)
    hour = rng.choice(24, len(first), p=_HOURS / _HOURS.sum())
    start = np.minimum((hour + rng.random(len(first))) * 3600, 86_000 - length * scale)
    time = np.repeat(start, count) + since * np.repeat(scale, count)
    end = np.repeat(start + length * scale, count)
    # A few seconds for each article that is paid.
    paid = end + 10.0 * ranks(count)
    latest = 86_399 - MOST_PIECES
    return (time * _SECOND).astype(np.int64), (np.minimum(paid, latest) * _SECOND).astype(np.int64)


def _table(shopping: Shopping, day: Day, events: _Events) -> pa.Table:
    midnight = int(np.datetime64(day.date, "us").astype(np.int64))
    order = np.lexsort((events.kind, events.position, events.request, events.time))
    events = events.only(order)
    ids = {"customer_id": shopping.customers.table, "article_id": shopping.catalogue.table}
    names = {}
    for column, positions in (("customer_id", events.customer), ("article_id", events.article)):
        present, code = np.unique(positions, return_inverse=True)
        text = ids[column][column].take(pa.array(present)).combine_chunks()
        names[column] = pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), text)
    request = pa.array(events.request + int(f"{day.date:%Y%m%d}") * 10**9).cast(pa.string())
    none = pa.scalar(None, pa.string())
    asked, online = events.request > 0, events.surface == SHELF
    columns = {
        "event_time": pa.array(midnight + events.time, pa.timestamp("us")),
        **names,
        "kind": pa.DictionaryArray.from_arrays(pa.array(events.kind, pa.int8()), KINDS),
        "request_id": pc.if_else(asked, request, none),
        "position": pa.array(events.position, pa.int32(), mask=events.position == 0),
        "surface": pa.DictionaryArray.from_arrays(pa.array(events.surface, pa.int8()), SURFACES),
        "variant": pc.if_else(online, VARIANT, none),
        "propensity": pa.array(events.chance, pa.float64(), mask=np.isnan(events.chance)),
    }
    return pa.table(columns).select(INTERACTIONS.column_names)
