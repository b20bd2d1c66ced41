"""Sections on customers: who buys much and little, who comes back, with what, and who they are."""

import math
from datetime import timedelta
from typing import Any

from pipelines.data.compact import VARIANT_BASKETS, repeats
from pipelines.data.explore.shop import (
    LoadedShop,
    concentration,
    draw_lorenz,
    quantile,
)
from pipelines.reports import Cell, Section, plots
from pipelines.reports.words import many, said_day, said_share, said_tick

TOP = 10
"""Rows of a table of the largest."""
RECENT = 90
"""Days of baskets in which pairs are counted."""


def bulk_buyers(shop: LoadedShop, section: Section) -> dict[str, Any]:
    found = concentration(shop, "buyers")
    most = shop.rows(
        f"""SELECT customer_id, pieces, days, largest, value FROM buyers JOIN customers USING (customer)
        ORDER BY pieces DESC, customer_id LIMIT {TOP}"""
    )
    largest = shop.rows(
        f"""SELECT customer_id, day, pieces, articles, value
        FROM baskets JOIN customers USING (customer)
        ORDER BY pieces DESC, customer_id, day LIMIT {TOP}"""
    )
    heavy = math.ceil(shop.buyers / 100)
    section.lead = (
        f"The 1% of customers who buy most ({heavy:,}) took {said_share(found['top_1'])} of all pieces, "
        f"the first 10% took {said_share(found['top_10'])}. The largest buyer took "
        f"{many(most[0][1], 'piece')} on {many(most[0][2], 'day')}; the most on one day were "
        f"{many(largest[0][2], 'piece')}, on {said_day(largest[0][1])}."
    )
    draw_lorenz(section, found, "customers")
    shares = {"1%": "top_1", "5%": "top_5", "10%": "top_10", "50%": "top_50"}
    section.figure(
        plots.bars(
            [f"top {name}" for name in shares],
            {"share": [found[key] for key in shares.values()]},
            said=said_share,
            y="share of the pieces",
            height=3.0,
        ),
        "What the customers who buy most take",
        ", ".join(f"top {name}: {said_share(found[key])}" for name, key in shares.items()),
    )
    section.table(
        ["customer", "pieces", "days", "largest day", "spent"],
        [[c, p, d, m, shop.price(v)] for c, p, d, m, v in most],
        align="crrrr",
        caption="Most pieces in all",
        half=True,
    )
    section.table(
        ["customer", "day", "pieces", "articles", "spent"],
        [[c, d.isoformat(), p, a, shop.price(v)] for c, d, p, a, v in largest],
        align="cnrrr",
        caption="Most pieces on one day",
        half=True,
    )
    return {
        "top_1_percent": found["top_1"],
        "top_10_percent": found["top_10"],
        "gini": found["gini"],
        "most_pieces": most[0][1],
        "most_pieces_on_a_day": largest[0][2],
    }


def small_buyers(shop: LoadedShop, section: Section) -> dict[str, Any]:
    by_days, by_pieces = shop.spread("buyers", "days"), shop.spread("buyers", "pieces")
    found = shop.one(
        """SELECT count(*) FILTER (days = 1) / count(*) AS one_day,
            count(*) FILTER (pieces = 1) / count(*) AS one_piece,
            count(*) FILTER (weeks = 1) / count(*) AS one_week,
            coalesce(sum(pieces) FILTER (days = 1), 0) / sum(pieces) AS pieces_of_one_day
        FROM buyers"""
    )
    never = shop.customers - shop.buyers
    section.lead = (
        f"{said_share(found['one_day'])} of the customers bought on a single day, "
        f"{said_share(found['one_piece'])} a single piece; {said_share(found['one_week'])} were "
        "active in one week only. Those with a single day took "
        f"{said_share(found['pieces_of_one_day'])} of the pieces."
    )
    if never:
        section.lead += f" {many(never, 'customer')} on file never bought."
    for caption, spread in (
        ("Customers by number of days with a purchase", by_days),
        ("Customers by number of pieces", by_pieces),
    ):
        shares = [customers / shop.buyers for customers, _ in spread.values()]
        section.figure(
            plots.bars(list(spread), {"customers": shares}, said=said_tick, y="share of customers"),
            caption,
            ", ".join(f"{name}: {said_share(s)}" for name, s in zip(spread, shares, strict=True)),
        )
    section.table(
        ["days with a purchase", "customers", "share of customers", "pieces", "share of pieces"],
        [
            [
                name,
                customers,
                Cell(said_share(customers / shop.buyers), bar=customers / shop.buyers),
                pieces,
                Cell(said_share(pieces / shop.pieces), bar=pieces / shop.pieces),
            ]
            for name, (customers, pieces) in by_days.items()
        ],
        align="nrlrl",
    )
    return found


def coming_back(shop: LoadedShop, section: Section) -> dict[str, Any]:
    things = {
        "article": "article",
        **({"product": "product"} if "product_code" in shop.known else {}),
        **({"product type": "product_type_name"} if "product_type_name" in shop.known else {}),
    }
    shares = {name: shop.one(repeats(column))["again"] for name, column in things.items()}
    gaps = dict(shop.rows("SELECT gap, count(*) FROM gaps GROUP BY gap ORDER BY gap"))
    said = ", ".join(f"the same {name} {said_share(value)}" for name, value in shares.items())
    section.lead = f"Purchases that repeat what the customer bought on an earlier day: {said}."
    numbers: dict[str, Any] = {f"same_{k.replace(' ', '_')}": v for k, v in shares.items()}
    if len(shares) > 1:
        section.figure(
            plots.bars(
                [f"same {name}" for name in shares],
                {"share": list(shares.values())},
                said=said_share,
                flat=True,
                height=2.6,
            ),
            "Bought again on a later day: share of purchases",
            said,
        )
    if not gaps:
        section.lead += " No customer bought on a second day."
        return numbers
    levels = list(gaps.items())
    quarter, half, most = (quantile(levels, q) for q in (0.25, 0.5, 0.75))
    numbers |= {"gap_p25": quarter, "gap_p50": half, "gap_p75": most}
    section.lead += (
        f" From one day with a purchase to the customer's next it is {many(half, 'day')} or less half "
        f"of the time; in a quarter of the cases more than {most}."
    )
    total = sum(gaps.values())
    reach = list(range(1, 61))
    section.figure(
        plots.lines(
            {"gap": (reach, [gaps.get(day, 0) / total for day in reach])},
            x="days until the next purchase",
            said=plots.percent,
            filled=True,
        ),
        "Days until a customer buys again, up to 60",
        f"Quartiles: {quarter}, {half} and {most} days.",
    )
    _cohorts(shop, section)
    return numbers


def _cohorts(shop: LoadedShop, section: Section) -> None:
    rows = shop.rows(
        """WITH months AS (
            SELECT DISTINCT customer, CAST(date_trunc('month', first) AS DATE) AS cohort,
                date_diff('month', first, day) AS later
            FROM baskets JOIN buyers USING (customer))
        SELECT cohort, later, count(*) FROM months GROUP BY cohort, later"""
    )
    sizes = {cohort: n for cohort, later, n in rows if later == 0}
    end = shop.last.replace(day=1)
    spans = {c: (end.year - c.year) * 12 + end.month - c.month for c in sizes}
    # The last month may be cut, so what it shows of a cohort is too low.
    if (shop.last + timedelta(days=1)).day != 1:
        spans = {c: n - 1 for c, n in spans.items()}
    cohorts = sorted(c for c, n in spans.items() if n >= 1)
    if len(cohorts) < 3:
        section.text("These days are too few to follow customers from month to month.", note=True)
        return
    found = {(cohort, later): n for cohort, later, n in rows}
    reach = max(spans.values())
    table = [
        [
            found.get((c, later), 0) / sizes[c] if later <= spans[c] else None
            for later in range(1, reach + 1)
        ]
        for c in cohorts
    ]
    after = [row[0] for row in table if row[0] is not None]
    section.figure(
        plots.heat(
            [f"{c:%b %Y} ({plots.count(sizes[c])})" for c in cohorts],
            [str(later) for later in range(1, reach + 1)],
            table,
            x="months after the first purchase",
            legend="share who bought",
        ),
        "Customers by month of their first purchase: the share who buy in each month after",
        f"In the month after the first purchase between {said_share(min(after))} and {said_share(max(after))} "
        "buy again.",
    )


def baskets(shop: LoadedShop, section: Section) -> dict[str, Any]:
    sizes = shop.spread("baskets", "pieces")
    found = shop.one(
        """SELECT avg(pieces) AS mean, quantile_disc(pieces, 0.5) AS median,
            quantile_disc(pieces, 0.95) AS p95, avg(value) AS value,
            count(*) FILTER (pieces = 1) / count(*) AS single FROM baskets"""
    )
    section.lead = (
        f"A basket, what one customer buys on one day, has {found['mean']:,.2f} pieces on average; "
        f"{said_share(found['single'])} have a single one, and one in twenty has "
        f"{found['p95']:,.0f} or more. It is worth {shop.price(found['value'])} on average."
    )
    numbers = {"mean": found["mean"], "single": found["single"], "value": found["value"]}
    section.figure(
        plots.bars(
            list(sizes),
            {
                "of baskets": [n / shop.baskets for n, _ in sizes.values()],
                "of pieces": [pieces / shop.pieces for _, pieces in sizes.values()],
            },
            said=plots.percent,
            x="pieces in the basket",
            y="share",
        ),
        "Baskets by size",
        ", ".join(f"{name}: {said_share(n / shop.baskets)}" for name, (n, _) in sizes.items()),
    )
    if "product_code" in shop.known:
        numbers["variants"] = shop.one(VARIANT_BASKETS)["variant_baskets"]
        section.lead += (
            f" {said_share(numbers['variants'])} hold two or more variants of one product."
        )
    if "product_type_name" not in shop.known:
        section.text(
            "The data of this shop do not tell product types, so what goes together is not shown.",
            note=True,
        )
        return numbers
    pairs = shop.rows(
        f"""WITH types AS (
            SELECT DISTINCT customer, day, product_type_name AS type
            FROM purchases JOIN articles USING (article)
            WHERE day > DATE '{shop.last}' - {RECENT} AND product_type_name IS NOT NULL),
        n AS (SELECT count(DISTINCT (customer, day)) AS n FROM types),
        singles AS (SELECT type, count(*) AS n FROM types GROUP BY type),
        pairs AS (
            SELECT a.type AS one, b.type AS two, count(*) AS together
            FROM types AS a JOIN types AS b USING (customer, day) WHERE a.type < b.type
            GROUP BY one, two)
        SELECT one, two, together, together * n.n / (x.n * y.n) AS lift
        FROM pairs, n, singles AS x, singles AS y
        WHERE x.type = one AND y.type = two AND together >= greatest(5, n.n * 0.001)
        ORDER BY lift DESC, one, two LIMIT {TOP}"""
    )
    if pairs:
        section.table(
            ["product type", "with", "baskets", "times chance"],
            [[a, b, n, f"{lift:.1f}"] for a, b, n, lift in pairs],
            align="llrr",
            caption=f"What goes together, in the baskets of the last {RECENT} days",
            half=True,
        )
    return numbers


def who(shop: LoadedShop, section: Section) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    said = []
    if "age" in shop.known:
        ages = shop.rows(
            """SELECT age, count(*), coalesce(sum(pieces), 0) FROM customers
            LEFT JOIN buyers USING (customer) WHERE age IS NOT NULL GROUP BY age ORDER BY age"""
        )
        known = sum(n for _, n, _ in ages)
        bought = sum(int(p) for _, _, p in ages)
        levels = [(age, n) for age, n, _ in ages]
        low, median, high = (quantile(levels, q) for q in (0.25, 0.5, 0.75))
        numbers["age_median"] = median
        said.append(
            f"Half of the customers are {median} or younger, the middle half {low} to {high}."
        )
        section.figure(
            plots.lines(
                {
                    "of customers": ([a for a, _, _ in ages], [n / known for _, n, _ in ages]),
                    "of pieces": (
                        [a for a, _, _ in ages],
                        [int(p) / bought if bought else 0.0 for _, _, p in ages],
                    ),
                },
                x="age",
                said=plots.percent,
            ),
            "Customers and what they buy, by age: shares",
            f"Quartiles of the ages: {low}, {median} and {high}.",
        )
        bands: dict[int, list[int]] = {}
        for age, n, p in ages:
            band = bands.setdefault(min(max(age // 10, 1), 7) * 10, [0, 0])
            band[0] += n
            band[1] += int(p)
        names = [f"{b}s" if b < 70 else "70+" for b in bands]
        each = [p / n for n, p in bands.values()]
        section.figure(
            plots.bars(names, {"pieces": each}, said=lambda v: f"{v:.1f}", y="pieces"),
            "Pieces per customer, by age",
            ", ".join(f"{name}: {v:.1f}" for name, v in zip(names, each, strict=True)),
        )
    else:
        said.append("The data of this shop do not tell the age of its customers.")
    if "postal_code" in shop.known:
        codes = shop.rows(
            f"""SELECT postal_code, count(*) AS n, coalesce(sum(pieces), 0), coalesce(sum(value), 0)
            FROM customers LEFT JOIN buyers USING (customer) WHERE postal_code IS NOT NULL
            GROUP BY postal_code ORDER BY n DESC, postal_code LIMIT {TOP}"""
        )
        distinct = shop.one("SELECT count(DISTINCT postal_code) AS n FROM customers")["n"]
        numbers |= {"postal_codes": distinct, "largest_code": codes[0][1] / shop.customers}
        said.append(
            f"There are {many(distinct, 'postal code')}; the most common one holds "
            f"{said_share(codes[0][1] / shop.customers)} of the customers and "
            f"{said_share(int(codes[0][2]) / shop.pieces)} of the pieces."
        )
        section.table(
            ["postal code", "customers", "share", "pieces", "pieces per customer", "spent"],
            [
                [
                    code,
                    n,
                    Cell(said_share(n / shop.customers), bar=n / shop.customers),
                    int(p),
                    f"{int(p) / n:.1f}",
                    shop.price(v),
                ]
                for code, n, p, v in codes
            ],
            align="crlrrr",
            caption="Postal codes with the most customers",
        )
    else:
        said.append("The data of this shop do not tell postal codes.")
    section.lead = " ".join(said)
    return numbers
