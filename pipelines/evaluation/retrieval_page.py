"""The figures of `judge_retrievers` as one page for people who choose the mix."""

from pathlib import Path

from pipelines.evaluation.retrieval import (
    DEPTHS,
    MAIN,
    NEW_ARTICLES,
    PRECISION,
    UNION,
    Interval,
    RetrievalReport,
)
from pipelines.reports import Cell, Page, plots
from pipelines.reports.words import many, said_day, said_share

CURVES = 5
"""Retrievers whose curves are drawn beside the union's: more lines than colours cannot be told apart."""


def write_page(report: RetrievalReport, out: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: `out` cannot be written.
    """
    union = report.judged[UNION].metrics[MAIN]
    weeks = f"{many(len(report.weeks), 'week')} from {said_day(report.weeks[0])}"
    page = Page(
        "What the retrievers find",
        f"{many(len(report.retrievers), 'retriever')}, judged on {many(report.customers, 'customer')} "
        f"who bought in {weeks}. All together have {said_share(union['mean'])} of what a customer buys "
        f"among their first 100 candidates ({_between(union)}). Who buys in several weeks is asked about in "
        f"each: {sum(of['customers'] for s, of in report.segments.items() if s != NEW_ARTICLES):,} times in all.",
        footer="Made by: lookbook evaluate --retrievers",
    )
    _found(page, report)
    _alone(page, report)
    _segments(page, report)
    _costs(page, report)
    page.write(out)


def _found(page: Page, report: RetrievalReport) -> None:
    section = page.section(
        "What each finds",
        "The share of the articles that a customer buys in the week that are among the first k "
        "candidates, a mean over customers. Everybody who buys counts, also who never bought before.",
    )
    shown = [*report.together, *report.retrievers[:CURVES]][: len(plots.COLOURS)]
    curves = {}
    for name in shown:
        reached = report.reached(name)
        curves[name] = ([k for k, _ in reached], [recall for _, recall in reached])
    section.figure(
        plots.lines(curves, x="candidates", y="recall", said=plots.percent, dots=True, wide=True),
        f"Recall by the number of candidates: together, and the best at {MAIN}",
        "A line for each retriever that rises with the number of candidates.",
    )
    names = [*report.together, *report.retrievers]
    section.table(
        ["retriever", *(f"recall@{k}" for k in DEPTHS), f"95% of {MAIN}", PRECISION, "candidates"],
        [
            [
                name,
                *(
                    _percent(dict(report.reached(name)).get(k), bar=f"recall@{k}" == MAIN)
                    for k in DEPTHS
                ),
                _between(report.judged[name].metrics[MAIN]),
                f"{report.judged[name].metrics[PRECISION]['mean']:.4f}",
                f"{report.judged[name].candidates:.0f}",
            ]
            for name in names
        ],
        align="n" + "r" * (len(DEPTHS) + 3),
    )
    section.text(
        f"For the union each names at most {report.per_source} candidates, put in order by the sum of "
        "1 / (60 + rank); “merged” is the mix of the release. Candidates are per customer; a single retriever "
        f"may name {DEPTHS[-1]}, and of candidates together there are no more than were named.",
        note=True,
    )


def _alone(page: Page, report: RetrievalReport) -> None:
    section = page.section(
        "What each adds",
        "Of the purchases among the candidates of the union: the share that the retriever names, and "
        "the share that no other names; and by how much the union's recall@100 falls without it.",
    )
    judged = [(name, report.judged[name]) for name in report.retrievers]
    alone = [100 * (found.alone or 0) for _, found in judged]
    shared = [100 * ((found.named or 0) - (found.alone or 0)) for _, found in judged]
    section.figure(
        plots.bars(
            [name for name, _ in judged],
            {"it alone": alone, "it and others": shared},
            flat=True,
            wide=True,
            values=True,
            said=lambda percent: f"{percent:.1f}%",
        ),
        "Purchases among the union's candidates, by who names them",
        "Two bars for each retriever: what it alone names, and what others name too.",
    )
    section.table(
        ["retriever", "names", "only it names", "recall@100 without it", "lost without it", "95%"],
        [
            [
                name,
                _percent(found.named),
                _percent(found.alone, bar=True),
                _percent((found.without or {}).get(MAIN)),
                _signed(found.cost),
                _between(found.cost),
            ]
            for name, found in judged
        ],
        align="nrrrrr",
    )
    section.text(
        "A loss below zero says that its candidates push better ones back in the order: a ranker may "
        "still use them.",
        note=True,
    )


def _segments(page: Page, report: RetrievalReport) -> None:
    section = page.section(
        "For whom",
        "Customers by the purchases (lines) that they had made before the week, and purchases of "
        "articles that nobody had bought before it.",
    )
    there = list(report.segments)
    section.numbers(
        (name, f"{many(of['customers'], 'customer')}") for name, of in report.segments.items()
    )
    names = [*report.together, *report.retrievers]
    section.figure(
        plots.heat(
            names,
            there,
            [
                [report.judged[name].segments[segment][MAIN]["mean"] for segment in there]
                for name in names
            ],
            written=True,
        ),
        f"{MAIN} by segment",
        "A map of retrievers by segments, darker where more is found.",
    )
    section.table(
        ["retriever", *(f"{segment}: 95%" for segment in there)],
        [
            [name, *(_between(report.judged[name].segments[segment][MAIN]) for segment in there)]
            for name in names
        ],
        align="n" + "r" * len(there),
    )


def _costs(page: Page, report: RetrievalReport) -> None:
    section = page.section(
        "What each costs",
        f"Seconds to fit and to name {max(DEPTHS)} candidates for 1,000 customers in batches; megabytes "
        "of what is saved, and of arrays in memory without the list of articles, which all share; "
        "milliseconds of a single request from memory.",
    )
    rows = []
    for name in [*report.together, *report.retrievers]:
        found = report.judged[name]
        times = found.milliseconds or {}
        rows.append(
            [
                name,
                _number(found.fit_seconds, 1),
                _number(found.seconds_per_1000, 2),
                _number(found.megabytes_saved, 1),
                _number(found.megabytes_held, 1),
                _number(times.get("p50"), 2),
                _number(times.get("p99"), 2),
            ]
        )
    section.table(
        ["retriever", "fit s", "s per 1,000", "MB saved", "MB held", "p50 ms", "p99 ms"],
        rows,
        align="nrrrrrr",
    )
    if report.shared_milliseconds:
        section.text(
            f"Unpacking what the customer bought and did takes {report.shared_milliseconds['p50']:.2f} ms "
            "(p50) once for all retrievers; the rows of several together are whole requests.",
            note=True,
        )


def _percent(value: float | None, bar: bool = False) -> Cell:
    if value is None:
        return Cell("-")
    return Cell(f"{100 * value:.1f}%", bar=value if bar else None)


def _signed(interval: Interval | None) -> Cell:
    if interval is None:
        return Cell("-")
    said = f"{100 * interval['mean']:+.2f}%"
    if interval["low"] > 0:
        return Cell(said, "good")
    return Cell(said, "bad" if interval["high"] < 0 else "quiet")


def _between(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{100 * interval['low']:.1f}% to {100 * interval['high']:.1f}%"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
