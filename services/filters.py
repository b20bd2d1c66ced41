"""What a request asks for: which candidates may come, and what comes where retrievers name too little of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.columns import Columns, taken
from pipelines.explaining import article_display
from pipelines.recommender import MATCHING
from services.schemas import Filters
from services.served import Served

MATCHED = 300
"""So many of the articles that a filter asks for are candidates beside those that retrievers name."""
FILTERED = ("product_type", "product_group", "colour", "department")
"""Kinds of attributes that a filter may name: groups of `article_facts`, and shown of an article."""


def excluded(filters: Filters | None) -> Sequence[str]:
    return filters.exclude if filters is not None else ()


def _wishes(filters: Filters | None) -> dict[str, list[str]]:
    """{kind of attribute: the values that are asked for}."""
    found = {kind: getattr(filters, kind) for kind in FILTERED} if filters is not None else {}
    return {kind: values for kind, values in found.items() if values}


def names_something_unknown(filters: Filters | None, served: Served) -> bool:
    """Whether a filter names a value that no article of the shop has."""
    facts = served.recommender.facts
    return facts is not None and any(
        value not in facts.names[kind]
        for kind, values in _wishes(filters).items()
        for value in values
    )


def _priced(filters: Filters | None) -> bool:
    return filters is not None and (filters.price_min, filters.price_max) != (None, None)


def _fits(shown: Mapping[str, Any], filters: Filters | None) -> bool:
    """Whether an article is what is asked for, by what is shown of it."""
    if any(shown[kind] not in values for kind, values in _wishes(filters).items()):
        return False
    if filters is None or not _priced(filters):
        return True
    price = shown["price"]
    return (
        price is not None
        and (filters.price_min is None or price >= filters.price_min)
        and (filters.price_max is None or price <= filters.price_max)
    )


def may_fit(shown: Mapping[str, Any], filters: Filters | None, source: str) -> bool:
    """The same of what memory shows: if it shows nothing, what was chosen as fitting counts as such."""
    unseen = source == MATCHING and all(value is None for value in shown.values())
    return unseen or _fits(shown, filters)


def allowed(rows: Columns, filters: Filters | None, features: Any) -> Columns:
    """The candidates that are what is asked for."""
    if filters is None or not len(rows):
        return rows
    keep = np.ones(len(rows), dtype=bool)
    if filters.exclude:
        gone = set(filters.exclude)
        keep &= np.fromiter((a not in gone for a in rows["article_id"]), bool, len(rows))
    if _wishes(filters) or _priced(filters):
        shown = article_display(rows["article_id"], features)
        keep &= np.fromiter((_fits(shown[a], filters) for a in rows["article_id"]), bool, len(rows))
    return taken(rows, np.flatnonzero(keep))


def _fitting(filters: Filters | None, served: Served) -> np.ndarray | None:
    """Which articles of the facts are what is asked for (A,), on sale or not; None if nothing is asked for, or there
    are no facts."""
    facts = served.recommender.facts
    if facts is None or not (_wishes(filters) or _priced(filters)):
        return None
    fits = np.ones(len(facts.assortment), dtype=bool)
    for kind, values in _wishes(filters).items():
        number = {name: place for place, name in enumerate(facts.names[kind])}
        fits &= np.isin(facts.groups[kind], [number[v] for v in values if v in number])
    if filters is not None and filters.price_min is not None:
        fits &= np.nan_to_num(facts.price, nan=-1.0) >= filters.price_min
    if filters is not None and filters.price_max is not None:
        fits &= np.nan_to_num(facts.price, nan=np.inf) <= filters.price_max
    return fits


def matching_of(filters: Filters | None, served: Served) -> Sequence[str]:
    """What sells best of all that is asked for, as a narrow filter leaves little of what retrievers name."""
    facts, fits = served.recommender.facts, _fitting(filters, served)
    if facts is None or fits is None:
        return ()
    places = np.flatnonzero(fits & facts.assortment.on_sale)
    best = places[np.argsort(-facts.share[places], kind="stable")[:MATCHED]]
    found: list[str] = facts.assortment.ids[best].tolist()
    return found


def allowed_by(filters: Filters | None, served: Served) -> np.ndarray | None:
    """Which articles of the search index the shop's rules and a filter leave (A,); all if None."""
    if served.search is None or (filters is None and not served.barred):
        return None
    ids = served.search.assortment.ids
    allowed = np.ones(len(ids), dtype=bool)
    fits, facts = _fitting(filters, served), served.recommender.facts
    if fits is not None and facts is not None:
        if served.search.assortment is facts.assortment:
            allowed &= fits
        else:
            place = facts.assortment.places(ids)
            allowed &= (place >= 0) & fits[place]
    gone = served.search.assortment.places([*served.barred, *excluded(filters)])
    allowed[gone[gone >= 0]] = False
    return allowed
