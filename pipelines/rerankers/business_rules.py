"""What the shop has decided: rules that hold whatever the others did, so they come last."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from pipelines.article_facts import GROUPS
from pipelines.rerankers.base import (
    Arranged,
    Brought,
    Reranker,
    RerankerError,
    Slate,
    require_positive,
)

OnBought = Literal["keep", "push_down", "leave_out"]


class BusinessRules(Reranker):
    """Rules in order of their force:

    1. *Not to be had* is left out: blocked, out of stock (here, or told with the request), not on sale, and,
       if so decided, what the customer bought. What the facts do not know counts as on sale.
    2. *An article stands once on a page*, at its best position.
    3. *Pinned articles* stand first, in the order in which they are named. Caps do not hold for them, but
       they count.
    4. *Caps*: at most so many of a group. If they leave places empty, they are given up one by one, the last
       named first, and the best of what they kept back stands at the end of the page. What has no
       group is like none.
    5. *Sponsored slots* go to the sponsored articles in their order (those of the request, then those named
       here). One that is not eligible, by a cap or because it is no candidate, leaves its slot to
       the next; a slot that nobody takes is a place like any other, and one behind the last candidate is none. Where a pinned article stands, the slot is
       the next free place.
    6. *Pushed down*: what was bought stands behind what was not, as far as caps are kept.
    7. Else the order stays.

    A page is shorter than k only where fewer candidates are eligible at all. Pinned and sponsored
    articles must be candidates, to which a `Recommender` sees (`brings`).

    Args:
        on_sale_only: leave out what is not on sale.
        out_of_stock: article ids, beside those of the request.
        blocked: article ids that are never shown.
        bought: what happens to articles that the customer bought: keep (basics are bought again),
            push_down or leave_out.
        bought_days: only if they were bought so many days ago or less; None for ever.
        caps: [kind of `article_facts.GROUPS`, most on a page], the most important first.
        pinned: article ids that open the page.
        sponsored: article ids for the sponsored slots, beside those of the request.
        slots: the page's places, from 1, that are sponsored.
    """

    name = "business_rules"

    def __init__(
        self,
        on_sale_only: bool = True,
        out_of_stock: Sequence[str] = (),
        blocked: Sequence[str] = (),
        bought: OnBought = "keep",
        bought_days: float | None = None,
        caps: Sequence[tuple[str, int]] = (),
        pinned: Sequence[str] = (),
        sponsored: Sequence[str] = (),
        slots: Sequence[int] = (),
    ) -> None:
        if bought not in get_args(OnBought):
            said = ", ".join(get_args(OnBought))
            raise RerankerError(f"What was bought cannot be treated as {bought!r}: say {said}.")
        if bought_days is not None:
            require_positive(self.name, "bought_days", bought_days)
        for what, ids in (
            ("out_of_stock", out_of_stock),
            ("blocked", blocked),
            ("pinned", pinned),
            ("sponsored", sponsored),
        ):
            _require_list(what, ids, str, '["0108775015"]')
        _require_list("slots", slots, int, "[2, 5]")
        _require_list("caps", caps, list | tuple, '[["product", 1]]')
        for cap in caps:
            if len(cap) != 2 or not isinstance(cap[1], int):
                raise RerankerError(
                    f'A cap is a group and a number, as ["product", 1], not {cap!r}.'
                )
        for kind, most in caps:
            if kind not in GROUPS:
                raise RerankerError(
                    f"There are no groups by {kind!r} to cap; there are: {', '.join(GROUPS)}."
                )
            if most < 1:
                raise RerankerError(f"The cap of {kind} is {most}: give 1 or more.")
        if any(slot < 1 for slot in slots):
            raise RerankerError(f"Sponsored slots are places from 1: {list(slots)}.")
        self.on_sale_only = bool(on_sale_only)
        self.out_of_stock = list(out_of_stock)
        self.blocked = list(blocked)
        self.bought: OnBought = bought
        self.bought_days = bought_days
        self.caps = [(str(kind), int(most)) for kind, most in caps]
        self.pinned = list(dict.fromkeys(pinned))
        self.sponsored = list(dict.fromkeys(sponsored))
        self.slots = sorted(set(slots))
        self._never = frozenset((*self.out_of_stock, *self.blocked))

    def order(self, slate: Slate, k: int) -> np.ndarray:
        return self.arranged(slate, k).order

    def brings(self, reason: Brought) -> Sequence[str]:
        return self.pinned if reason == "pinned" else self.sponsored

    def named(self) -> list[str]:
        return [*self.out_of_stock, *self.blocked, *self.pinned, *self.sponsored]

    def left_out(self, slate: Slate) -> np.ndarray:
        found = np.zeros(len(slate), dtype=bool)
        gone = self._never.union(slate.out_of_stock)
        ids = slate.ids.tolist()
        if gone or len(set(ids)) < len(ids):
            seen: set[str] = set()
            for position, article in enumerate(ids):
                found[position] = article in gone or article in seen
                seen.add(article)
        if self.on_sale_only:
            found |= slate.known(slate.facts.assortment.on_sale, 1.0) == 0
        if self.bought == "leave_out":
            found |= self._was_bought(slate)
        return found

    def arranged(self, slate: Slate, k: int) -> Arranged:
        """The page, and what stands on it for which reason."""
        order = np.flatnonzero(~self.left_out(slate))
        if self.bought == "push_down":
            bought = self._was_bought(slate)[order]
            order = np.concatenate([order[~bought], order[bought]])
        k = min(k, len(order))
        left = dict.fromkeys(order.tolist())
        """Positions that have no place yet, in order."""
        position_of = {slate.ids[position]: position for position in left}
        caps = [(slate.groups(kind).tolist(), most) for kind, most in self.caps]
        counts: list[dict[int, int]] = [{} for _ in caps]
        page: dict[int, int] = {}
        """Place on the page, from 0 -> position."""

        def place(at: int, position: int) -> None:
            page[at] = position
            del left[position]
            for (group, _), count in zip(caps, counts, strict=True):
                count[group[position]] = count.get(group[position], 0) + 1

        def fits(position: int, held: int) -> bool:
            return all(
                group[position] < 0 or count.get(group[position], 0) < most
                for (group, most), count in zip(caps[:held], counts, strict=False)
            )

        pinned = [position_of[i] for i in self.pinned if i in position_of][:k]
        for at, position in enumerate(pinned):
            place(at, position)
        wanted = dict.fromkeys((*slate.sponsored, *self.sponsored))
        waiting = [position_of[i] for i in wanted if position_of.get(i) in left]
        sponsored = []
        for slot in self.slots:
            at = next(at for at in range(slot - 1, slot + len(page)) if at not in page)
            chosen = next((p for p in waiting if fits(p, len(caps))), None)
            if at >= k or chosen is None:
                break
            waiting.remove(chosen)
            place(at, chosen)
            sponsored.append(chosen)
        free = [at for at in range(k) if at not in page]
        for held in range(len(caps), -1, -1):
            for position in list(left):
                if not free:
                    break
                if fits(position, held):
                    place(free.pop(0), position)
        return Arranged(
            np.array([*(page[at] for at in range(k)), *left], dtype="int64"),
            np.array(pinned, dtype="int64"),
            np.array(sponsored, dtype="int64"),
        )

    def _was_bought(self, slate: Slate) -> np.ndarray:
        """Which candidates the customer has bought lately enough (C,)."""
        ids = slate.bought.ids
        if self.bought_days is not None:
            ids = ids[slate.bought.age <= self.bought_days]
        own = set(ids)
        return np.fromiter((i in own for i in slate.ids), bool, len(slate))


def _require_list(what: str, values: Any, kind: Any, example: str) -> None:
    """A single text would be taken for a list of its letters.

    Raises:
        RerankerError: it is no list of such values.
    """
    listed = isinstance(values, list | tuple | set | frozenset)
    if not listed or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        raise RerankerError(f"{what} of business_rules is a list as {example}, not {values!r}.")
