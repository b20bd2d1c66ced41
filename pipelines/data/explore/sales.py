"""Sections on sales as a whole: how much, when, and through which channel."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from pipelines.data.explore.shop import LoadedShop, channel_name
from pipelines.reports import Cell, Section, plots
from pipelines.reports.words import amount, many, said_day, said_share

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
GROUPS = 15
"""Product groups whose seasons are shown."""


def the_shop(shop: LoadedShop, section: Section) -> dict[str, Any]:
    per_day = shop.pieces / shop.days
    never, unsold = shop.customers - shop.buyers, shop.articles - shop.sold
    section.lead = (
        f"In {many(shop.days, 'day')} the shop sold {many(round(per_day), 'piece')} a day. "
        f"{many(shop.customers, 'customer')} {'is' if shop.customers == 1 else 'are'} on file"
        + (f", {never:,} of them without a purchase. " if never else ", and all have bought. ")
        + f"The catalogue has {many(shop.articles, 'article')}"
        + (f", {unsold:,} of them never sold." if unsold else ".")
    )
    section.numbers(
        [
            ("customers who bought", f"{shop.buyers:,}"),
            ("articles sold", f"{shop.sold:,}"),
            ("pieces", f"{shop.pieces:,}"),
            ("baskets", f"{shop.baskets:,}"),
            ("days", f"{shop.days:,}"),
            ("revenue", amount(shop.revenue * shop.tag)),
            ("mean price", shop.price(shop.revenue / shop.pieces)),
            ("pieces per basket", f"{shop.pieces / shop.baskets:,.2f}"),
        ]
    )
    section.text(
        "Money is in the unit of the shop's files."
        if shop.tag == 1
        else f"Times {shop.tag:.0f} the prices of these files are whole cents, as H&M's are. This page "
        "shows all money so: as on the price tag.",
        note=True,
    )
    return {
        "customers": shop.customers,
        "buyers": shop.buyers,
        "articles": shop.articles,
        "sold": shop.sold,
        "pieces": shop.pieces,
        "baskets": shop.baskets,
        "days": shop.days,
        "revenue": shop.revenue,
    }


def seasons(shop: LoadedShop, section: Section) -> dict[str, Any]:
    days = dict(shop.rows("SELECT day, sum(pieces) FROM article_days GROUP BY day"))
    every = [shop.first + timedelta(days=n) for n in range(shop.days)]
    pieces = [int(days.get(day, 0)) for day in every]
    mean = shop.pieces / shop.days
    peak = max(range(shop.days), key=lambda n: pieces[n])
    by_weekday = [
        [p for day, p in zip(every, pieces, strict=True) if day.weekday() == n] for n in range(7)
    ]
    levels = [sum(found) / len(found) / mean if found else 0.0 for found in by_weekday]
    months: dict[date, list[int]] = {}
    for day, p in zip(every, pieces, strict=True):
        months.setdefault(day.replace(day=1), []).append(p)
    # A month that is cut at either end says little of a month.
    whole = {m: sum(v) / len(v) for m, v in months.items() if len(v) >= 28}
    lead = ""
    if len(whole) > 1:
        best = max(whole, key=lambda m: (whole[m], m))
        worst = min(whole, key=lambda m: (whole[m], m))
        lead = (
            f"{best:%B %Y} was the strongest month, with {whole[best] / mean:.2f} times the pieces "
            f"of a mean day, {worst:%B %Y} the weakest with {whole[worst] / mean:.2f}. "
        )
    if shop.days >= 7:
        top = max(range(7), key=lambda n: levels[n])
        low = min(range(7), key=lambda n: levels[n])
        lead += f"{WEEKDAYS[top]}s sell {levels[top]:.2f} times a mean day, {WEEKDAYS[low]}s "
        lead += f"{levels[low]:.2f}. " if levels[low] else "nothing. "
    section.lead = lead + (
        f"The busiest day was {said_day(every[peak])} with {many(pieces[peak], 'piece')}, "
        f"{pieces[peak] / mean:.1f} times a mean day."
    )
    weeks = shop.days // 7
    if weeks > 1:
        starts = [shop.start(week) for week in reversed(range(weeks))]
        offset = shop.days - 7 * weeks
        sums = [sum(pieces[offset + 7 * n : offset + 7 * n + 7]) for n in range(weeks)]
        section.figure(
            plots.lines({"pieces": (starts, sums)}, wide=True, filled=True, y="pieces"),
            "Pieces sold in each week",
            f"Between {min(sums):,} and {max(sums):,} pieces a week.",
        )
    if shop.days >= 7:
        section.figure(
            plots.bars(
                [name[:3] for name in WEEKDAYS],
                {"pieces": levels},
                said=lambda v: f"{v:.2f}",
                line=1.0,
                y="times a mean day",
            ),
            "Week days",
            ", ".join(f"{d}: {v:.2f}" for d, v in zip(WEEKDAYS, levels, strict=True)),
        )
    if len(whole) > 1:
        section.figure(
            plots.bars(
                [f"{m:%b %y}" for m in whole],
                {"pieces": [v / mean for v in whole.values()]},
                said=lambda v: f"{v:.2g}",
                line=1.0,
                y="times a mean day",
                values=False,
            ),
            "Months",
            ", ".join(f"{m:%b %Y}: {v / mean:.2f}" for m, v in whole.items()),
        )
    _heat_of_groups(shop, section, list(whole))
    return {
        "peak_day": every[peak],
        "peak_pieces": pieces[peak],
        **{name.lower(): level for name, level in zip(WEEKDAYS, levels, strict=True)},
    }


def _heat_of_groups(shop: LoadedShop, section: Section, months: list[date]) -> None:
    if "product_group_name" not in shop.known:
        section.text(
            "The data of this shop do not tell an article's product group, so seasons are not shown "
            "by group.",
            note=True,
        )
        return
    if len(months) < 2:
        section.text("These days are too few to compare months by product group.", note=True)
        return
    yearly = shop.days >= 360
    key = "month(day)" if yearly else "CAST(date_trunc('month', day) AS DATE)"
    columns: list[Any] = sorted({m.month for m in months}) if yearly else months
    lengths = Counter(
        (shop.first + timedelta(days=n)).month
        if yearly
        else (shop.first + timedelta(days=n)).replace(day=1)
        for n in range(shop.days)
    )
    found: dict[str, dict[Any, float]] = {}
    for group, month, pieces in shop.rows(
        f"""SELECT product_group_name, {key} AS month, sum(pieces)
        FROM article_days JOIN articles USING (article) WHERE product_group_name IS NOT NULL
        GROUP BY product_group_name, month"""
    ):
        found.setdefault(group, {})[month] = int(pieces) / lengths[month]
    largest = sorted(found, key=lambda group: (-sum(found[group].values()), group))[:GROUPS]
    # Of a group with a piece a week a month says nothing.
    largest = [group for group in largest if sum(found[group].values()) / len(columns) >= 0.5]
    if not largest:
        return
    table = []
    for group in largest:
        mean = sum(found[group].get(c, 0.0) for c in columns) / len(columns)
        table.append([found[group].get(c, 0.0) / mean if mean else None for c in columns])
    names = [MONTHS[c - 1] if yearly else f"{c:%b %y}" for c in columns]
    strong = [
        f"{group} in {names[max(range(len(row)), key=lambda n: row[n] or 0.0)]}"
        for group, row in zip(largest, table, strict=True)
    ]
    section.figure(
        plots.heat(
            largest,
            names,
            table,
            middle=1.0,
            said=lambda v: f"{v:.1f}",
            written=True,
        ),
        "Seasons of the product groups: pieces a day, beside the group's own mean month",
        f"The strongest month of each group: {'; '.join(strong)}.",
    )


def channels(shop: LoadedShop, section: Section) -> dict[str, Any]:
    rows = shop.rows(
        """WITH lots AS (
            SELECT channel, customer, day, sum(pieces) AS pieces, sum(price * pieces) AS value
            FROM purchases GROUP BY channel, customer, day)
        SELECT channel, sum(pieces), count(*), count(DISTINCT customer), sum(value)
        FROM lots GROUP BY channel ORDER BY channel"""
    )
    if len(rows) == 1:
        section.lead = (
            f"All purchases of this shop are marked as one channel ({channel_name(rows[0][0])}), so there "
            "is nothing to compare."
        )
        return {"channels": 1}
    both = shop.one(
        """SELECT count(*) AS n FROM (
            SELECT customer FROM purchases GROUP BY customer HAVING count(DISTINCT channel) > 1)"""
    )["n"]
    share = {c: int(p) / shop.pieces for c, p, *_ in rows}
    top = max(share, key=lambda c: share[c])
    section.lead = (
        f"{said_share(share[top])} of the pieces are sold {_where(top)}; {said_share(both / shop.buyers)} of "
        "the customers have used more than one channel."
    )
    section.table(
        ["channel", "pieces", "share", "baskets", "pieces per basket", "mean price", "customers"],
        [
            [
                channel_name(c),
                int(p),
                Cell(said_share(share[c]), bar=share[c]),
                b,
                f"{int(p) / b:.2f}",
                shop.price(v / p),
                n,
            ]
            for c, p, b, n, v in rows
        ],
        align="nrlrrrr",
    )
    weeks = shop.rows(
        f"""SELECT week, online FROM (
            SELECT (DATE '{shop.last}' - day) // 7 AS week,
                coalesce(sum(pieces) FILTER (channel = 2), 0) / sum(pieces) AS online
            FROM purchases GROUP BY week) WHERE week < {shop.days // 7} ORDER BY week DESC"""
    )
    if len(weeks) > 2:
        values = [float(v) for _, v in weeks]
        section.figure(
            plots.lines(
                {"online": ([shop.start(w) for w, _ in weeks], values)},
                said=plots.percent,
                wide=True,
                filled=True,
            ),
            "Share of the pieces sold online, by week",
            f"Between {said_share(min(values))} and {said_share(max(values))}.",
        )
    return {"channels": len(rows), "online": share.get(2, 0.0), "both": both / shop.buyers}


def _where(channel: int) -> str:
    return {1: "in the store", 2: "online"}.get(channel, f"through channel {channel}")
