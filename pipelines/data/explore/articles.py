"""Sections on articles: which sell and which do not, at what price, and for how long."""

import math
from datetime import timedelta
from typing import Any

from pipelines.data.compact import marked_down
from pipelines.data.explore.shop import (
    LoadedShop,
    channel_name,
    concentration,
    draw_lorenz,
    quantile,
)
from pipelines.reports import Section, plots
from pipelines.reports.words import many, said_share, said_tick

TOP = 10
"""Rows of a table of the first and of the last."""
NAMES = {"prod_name": "name", "product_type_name": "type", "colour_group_name": "colour"}

LAUNCH_SEEN = 28
"""An article first sold later than this many days after the first day was launched in the data."""
LAUNCH_WEEKS = 26
"""How many weeks after its launch an article is followed."""


def sellers(shop: LoadedShop, section: Section) -> dict[str, Any]:
    found = concentration(shop, "sold")
    given = [name for name in NAMES if name in shop.known]
    columns = ", ".join(["article_id", *given])
    most = shop.rows(
        f"""SELECT {columns}, pieces, first FROM sold JOIN articles USING (article)
        ORDER BY pieces DESC, article_id LIMIT {TOP}"""
    )
    # What was launched just now has had no time to sell.
    old = shop.last - timedelta(days=LAUNCH_SEEN)
    least = shop.rows(
        f"""SELECT {columns}, pieces, first FROM sold JOIN articles USING (article)
        WHERE first <= $1 ORDER BY pieces, first, article_id LIMIT {TOP}""",
        [old],
    )
    once = shop.one("SELECT count(*) FILTER (pieces = 1) AS once FROM sold")["once"]
    never = shop.articles - shop.sold
    section.lead = (
        f"The best-selling 1% of the articles ({math.ceil(shop.sold / 100):,}) make "
        f"{said_share(found['top_1'])} of the pieces, the best 10% {said_share(found['top_10'])}. "
        f"{many(once, 'article')} sold a single piece, "
        + (f"and {never:,} of the catalogue never sold." if never else "and every article sold.")
    )
    draw_lorenz(section, found, "articles")
    bands = shop.rows(
        """SELECT CAST(floor(log10(pieces)) AS INTEGER) AS band, count(*), sum(pieces)
        FROM sold GROUP BY band ORDER BY band"""
    )
    section.figure(
        plots.bars(
            [f"{10**b:,} to {10 ** (b + 1) - 1:,}" for b, _, _ in bands],
            {
                "of articles": [n / shop.sold for _, n, _ in bands],
                "of pieces": [int(p) / shop.pieces for _, _, p in bands],
            },
            said=plots.percent,
            flat=True,
            values=True,
            height=3.0,
        ),
        "Articles by how many pieces they sold: shares",
        "; ".join(
            f"{10**b:,} to {10 ** (b + 1) - 1:,} pieces: {said_share(n / shop.sold)} of the articles, "
            f"{said_share(int(p) / shop.pieces)} of the pieces"
            for b, n, p in bands
        ),
    )
    for caption, rows in (
        ("Most pieces", most),
        (f"Fewest pieces, among those on sale for {LAUNCH_SEEN} days or more", least),
    ):
        section.table(
            ["article", *(NAMES[name] for name in given), "pieces", "first sold"],
            [[*row[:-1], row[-1].isoformat()] for row in rows],
            align="c" + "l" * len(given) + "rn",
            caption=caption,
            half=len(given) < 3,
        )
    if missing := [word for name, word in NAMES.items() if name not in shop.known]:
        section.text(
            f"The data of this shop do not tell an article's {' or '.join(missing)}.", note=True
        )
    return {
        "gini": found["gini"],
        "top_1_percent": found["top_1"],
        "top_10_percent": found["top_10"],
        "sold_once": once,
        "never_sold": never,
    }


def prices(shop: LoadedShop, section: Section) -> dict[str, Any]:
    shop.con.execute("CREATE OR REPLACE TEMP TABLE marked AS FROM markdowns")
    below = f"{marked_down('weekly')}, {marked_down('ever')}"
    found = shop.one(f"SELECT {below} FROM marked")
    levels = shop.rows("SELECT price, sum(pieces) AS n FROM marked GROUP BY price ORDER BY price")
    at = [quantile(levels, q) for q in (0.25, 0.5, 0.75, 0.99)]
    common = sorted(levels, key=lambda level: (-level[1], level[0]))[:12]
    section.lead = (
        f"Half of the pieces cost between {shop.price(at[0])} and {shop.price(at[2])}; the most "
        f"common price is {shop.price(common[0][0])} ({said_share(int(common[0][1]) / shop.pieces)} of "
        f"the pieces). {said_share(found['weekly'])} were sold below the article's highest price of the "
        "same week"
        + (f", by {said_share(found['weekly_depth'])} on average" if found["weekly"] else "")
        + f"; {said_share(found['ever'])} below its highest price ever"
        + (f", by {said_share(found['ever_depth'])}." if found["ever"] else ".")
    )
    width = _nice(float(at[3]) * shop.tag / 10)
    steps = range(math.ceil(float(at[3]) * shop.tag / width))
    bins: dict[int, dict[int, int]] = {}
    for channel, step, n in shop.rows(
        """SELECT channel, least(CAST(floor(price * $1 / $2) AS INTEGER), $3) AS step, sum(pieces)
        FROM marked GROUP BY channel, step ORDER BY channel, step""",
        [shop.tag, width, len(steps) - 1],
    ):
        bins.setdefault(channel, {})[step] = int(n)
    bands = [f"{n * width:g}-{(n + 1) * width:g}" for n in steps[:-1]] + [f"{steps[-1] * width:g}+"]
    section.figure(
        plots.bars(
            bands,
            {
                channel_name(channel): [counts.get(n, 0) / sum(counts.values()) for n in steps]
                for channel, counts in bins.items()
            },
            said=said_tick,
            y="share of pieces",
            values=False,
            height=2.9,
        ),
        "Prices of the pieces sold" + (", each channel for itself" if len(bins) > 1 else ""),
        f"Median {shop.price(at[1])}; 99% cost at most {shop.price(at[3])}.",
    )
    section.figure(
        plots.bars(
            [shop.price(price) for price, _ in common],
            {"share": [int(n) / shop.pieces for _, n in common]},
            said=said_share,
            flat=True,
            height=2.9,
        ),
        "The most common prices: share of pieces",
        ", ".join(f"{shop.price(p)}: {said_share(int(n) / shop.pieces)}" for p, n in common),
    )
    weeks = shop.rows(
        f"""SELECT week, weekly, ever FROM (
            SELECT week, {below} FROM marked WHERE week < {shop.days // 7} GROUP BY week)
        ORDER BY week DESC"""
    )
    if len(weeks) > 2:
        starts = [shop.start(week) for week, _, _ in weeks]
        section.figure(
            plots.lines(
                {
                    "below the week's highest": (starts, [share for _, share, _ in weeks]),
                    "below the highest ever": (starts, [share for _, _, share in weeks]),
                },
                said=plots.percent,
                y="share of pieces",
            ),
            "Pieces sold below the article's own price, by week",
            "A line for pieces below the week's highest price, one for those below the highest ever.",
        )
    depths = dict(
        shop.rows(
            """SELECT least(CAST(floor(ever * 10) AS INTEGER), 9), sum(pieces) FROM marked
            WHERE ever > 0 GROUP BY 1"""
        )
    )
    if depths:
        names = [f"{10 * n + 10}%" for n in range(10)]
        shares = [int(depths.get(n, 0)) / shop.pieces for n in range(10)]
        section.figure(
            plots.bars(
                names, {"share": shares}, said=said_tick, y="share of pieces", x="below by up to"
            ),
            "How far below the highest price ever",
            ", ".join(f"{name}: {said_share(s)}" for name, s in zip(names, shares, strict=True)),
        )
    shop.con.execute("DROP TABLE marked")
    return {**found, "median": at[1], "most_common": common[0][0]}


def _nice(width: float) -> float:
    """A round step of about this width."""
    if width <= 0:
        return 1.0
    scale = 10 ** math.floor(math.log10(width))
    return scale * next(step for step in (1, 2, 5, 10) if step * scale >= width)


def lifetimes(shop: LoadedShop, section: Section) -> dict[str, Any]:
    found = shop.one(
        """SELECT quantile_cont(last - first, 0.25) AS p25, quantile_cont(last - first, 0.5) AS p50,
            quantile_cont(last - first, 0.75) AS p75, quantile_cont(days, 0.5) AS active FROM sold"""
    )
    section.lead = (
        f"From first sale to last, half of the articles live {many(round(found['p50']), 'day')} or "
        f"less, the middle half between {found['p25']:.0f} and {found['p75']:.0f}. Half of them sold "
        f"on {many(round(found['active']), 'day')} or fewer."
    )
    step = 28 if shop.days > 300 else 7
    spans = dict(shop.rows(f"SELECT (last - first) // {step}, count(*) FROM sold GROUP BY 1"))
    reach = range(max(spans) + 1)
    section.figure(
        plots.lines(
            {"articles": ([n * step for n in reach], [spans.get(n, 0) / shop.sold for n in reach])},
            x="days from first sale to last",
            said=plots.percent,
            filled=True,
        ),
        f"How long articles sell, in steps of {step} days: share of articles",
        f"Quartiles: {found['p25']:.0f}, {found['p50']:.0f} and {found['p75']:.0f} days.",
    )
    curve = shop.rows(
        f"""WITH launched AS (
            SELECT article, first FROM sold WHERE first >= $1 AND first <= $2),
        weeks AS (
            SELECT (day - first) // 7 AS since, sum(pieces) AS pieces
            FROM article_days JOIN launched USING (article)
            WHERE (day - first) // 7 < {LAUNCH_WEEKS} GROUP BY since)
        SELECT since, pieces / sum(pieces) OVER (), (SELECT count(*) FROM launched)
        FROM weeks ORDER BY since""",
        [
            shop.first + timedelta(days=LAUNCH_SEEN),
            shop.last - timedelta(days=7 * LAUNCH_WEEKS - 1),
        ],
    )
    if not curve:
        section.text(
            f"No article was launched after the first {LAUNCH_SEEN} days and followed for "
            f"{LAUNCH_WEEKS} weeks, so sales since the launch are not shown.",
            note=True,
        )
        return found
    so_far, half = 0.0, 0
    for week, share, _ in curve:
        so_far += share
        half = week + 1
        if so_far >= 0.5:
            break
    section.lead += (
        f" Of what new articles sell in their first half-year, half is sold within "
        f"{many(half, 'week')}."
    )
    section.figure(
        plots.lines(
            {"share": ([w + 1 for w, _, _ in curve], [float(s) for _, s, _ in curve])},
            x="week since the first sale",
            said=plots.percent,
            filled=True,
        ),
        f"Sales since the launch: share of the first {LAUNCH_WEEKS} weeks, "
        f"{many(curve[0][2], 'new article')}",
        f"Half is sold within {many(half, 'week')}.",
    )
    return {**found, "half_within_weeks": half}
