"""The section on what customers are shown, and what comes of it."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from pipelines.data.explore.shop import LoadedShop
from pipelines.reports import Cell, Section, plots
from pipelines.reports.words import many, said_day, said_share, said_tick

KINDS = {
    "impression": "shown",
    "view": "opened",
    "cart": "in the cart",
    "purchase": "bought",
    "dismiss": "dismissed",
}
STEPS = ("impression", "view", "cart", "purchase")
POSITIONS = 24
"""The last position that is drawn."""
SURFACES = 12
"""Rows of the table of surfaces."""


def shown(shop: LoadedShop, section: Section) -> dict[str, Any]:
    # `answers` counts what is held against what was shown: two pieces of an article on a page, or
    # two looks at it, are one answer to one impression.
    shop.con.execute(
        """CREATE OR REPLACE TEMP TABLE events AS
        SELECT CAST(event_time AS DATE) AS day, coalesce(surface, 'not told') AS surface, position,
            kind, count(*) AS n,
            count(DISTINCT (request_id, article_id))
                    FILTER (kind <> 'impression' AND request_id IS NOT NULL)
                + count(*) FILTER (kind = 'impression' OR request_id IS NULL) AS answers
        FROM raw.interactions GROUP BY ALL"""
    )
    days, surfaces = _counts(shop, "day"), _counts(shop, "surface")
    answers = _counts(shop, "surface", "answers")
    # What is bought where nothing is shown, as at a till, comes of nothing that was shown.
    funnel: Counter[str] = sum((c for c in answers.values() if c["impression"]), Counter())
    totals: Counter[str] = sum(surfaces.values(), Counter())
    rates = {
        word.replace(" ", "_"): funnel[kind] / funnel["impression"]
        for kind, word in KINDS.items()
        if funnel and kind != "impression"
    }
    first, last = min(days), max(days)
    section.lead = (
        f"The log has {many(totals.total(), 'event')} from {said_day(first)} to {said_day(last)}. "
        + (
            f"Articles were shown {many(funnel['impression'], 'time')}: {said_share(rates['opened'])} "
            f"of these were opened, {said_share(rates['in_the_cart'])} came into the cart and "
            f"{said_share(rates['bought'])} were bought; {said_share(rates['dismissed'])} were "
            "dismissed."
            if rates
            else "It does not tell what was shown, so there is nothing to compare it with."
        )
    )
    if first < last:
        _by_day(section, days, totals)
    if rates:
        _funnel(section, funnel)
        _by_position(shop, section)
    _by_surface(section, surfaces, answers, totals)
    shop.con.execute("DROP TABLE events")
    return {"first_day": first, "last_day": last, **{k: totals[k] for k in KINDS}, **rates}


def _counts(shop: LoadedShop, column: str, what: str = "n") -> dict[Any, Counter[str]]:
    """How many events (or answers) of each kind there are for each value of a column, in its order."""
    found: dict[Any, Counter[str]] = {}
    for value, kind, n in shop.rows(
        f"""SELECT {column}, kind, CAST(sum({what}) AS BIGINT) FROM events WHERE {column} IS NOT NULL
        GROUP BY {column}, kind ORDER BY {column}"""
    ):
        found.setdefault(value, Counter())[kind] = n
    return found


def _by_day(section: Section, days: dict[date, Counter[str]], totals: Counter[str]) -> None:
    first, length = min(days), (max(days) - min(days)).days + 1
    every = [first + timedelta(days=n) for n in range(length)]
    kinds = [kind for kind in KINDS if totals[kind]]
    busiest = {kind: max(days, key=lambda day: days[day][kind]) for kind in kinds}
    section.figure(
        plots.lines(
            {
                KINDS[kind]: (
                    every,
                    [days.get(day, Counter())[kind] * length / totals[kind] for day in every],
                )
                for kind in kinds
            },
            y="times a mean day",
            wide=True,
        ),
        "Events by day, each kind beside its own mean day",
        "; ".join(
            f"{KINDS[kind]}: most on {said_day(day)}, {days[day][kind]:,}"
            for kind, day in busiest.items()
        ),
    )


def _funnel(section: Section, funnel: Counter[str]) -> None:
    counts = {KINDS[kind]: funnel[kind] for kind in STEPS}
    section.figure(
        plots.bars(list(counts), {"impressions": list(counts.values())}, flat=True),
        "Each step on the way, where articles are shown",
        ", ".join(f"{name}: {n:,}" for name, n in counts.items()),
    )
    section.table(
        ["step", "impressions", "of those before", "of those shown"],
        [
            [name, n, _rate(n, before), _rate(n, funnel["impression"])]
            for (name, n), before in zip(counts.items(), [0, *counts.values()], strict=False)
        ],
        align="nrll",
        caption="How many go on",
        half=True,
    )


def _by_position(shop: LoadedShop, section: Section) -> None:
    positions = {
        str(place): counts
        for place, counts in _counts(shop, "position", "answers").items()
        if place <= POSITIONS and counts["impression"]
    }
    if len(positions) < 2:
        return
    for kind in ("view", "purchase"):
        shares = [counts[kind] / counts["impression"] for counts in positions.values()]
        section.figure(
            plots.bars(
                list(positions),
                {"share": shares},
                said=said_tick,
                x="position",
                y="share of what was shown there",
            ),
            f"{KINDS[kind].capitalize()}, by position",
            ", ".join(f"{p}: {said_share(s)}" for p, s in zip(positions, shares, strict=True)),
        )
    section.text(
        "Further down less is looked at, and other articles stand there: these shares tell both "
        "together.",
        note=True,
    )


def _by_surface(
    section: Section,
    surfaces: dict[str, Counter[str]],
    answers: dict[str, Counter[str]],
    totals: Counter[str],
) -> None:
    def row(name: str, counts: Counter[str], answered: Counter[str]) -> list[Any]:
        rates = [_rate(answered[kind], answered["impression"]) for kind in ("view", "purchase")]
        return [name, *(counts[kind] for kind in KINDS), *rates]

    most = sorted(surfaces.items(), key=lambda item: (-item[1].total(), item[0]))[:SURFACES]
    section.table(
        ["surface", *KINDS.values(), "opened of shown", "bought of shown"],
        [
            *(row(name, counts, answers[name]) for name, counts in most),
            # Shares of all would hold what was not shown against what was.
            row("all", totals, Counter()),
        ],
        align="n" + "r" * len(KINDS) + "ll",
        caption="Surfaces: where customers met the articles",
    )
    if any(surfaces[name][kind] > n for name, c in answers.items() for kind, n in c.items()):
        section.text(
            "The shares count an article on a page once, however many pieces of it are bought.",
            note=True,
        )
    silent = [name for name, counts in surfaces.items() if not counts["impression"]]
    if 0 < len(silent) < len(surfaces):
        section.text(
            f"On {many(len(silent), 'surface')} nothing is shown (a search, a till): what is bought "
            "there is in no share above.",
            note=True,
        )


def _rate(n: int, of: int) -> Cell | None:
    return Cell(said_share(n / of), bar=n / of) if of else None
