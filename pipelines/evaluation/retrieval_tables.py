"""The figures of `judge_retrievers` as tables for a terminal."""

from collections.abc import Callable, Sequence

from rich.console import Group
from rich.table import Table

from pipelines.evaluation.retrieval import DEPTHS, MAIN, PRECISION, RetrievalReport
from pipelines.reports.words import many

Cells = Callable[[str], Sequence[str | None]]
"""What stands in the row of a name."""


def in_tables(report: RetrievalReport) -> Group:
    """What each finds, what it adds, for whom, and what it costs; narrow ones, for terminals are."""
    everything = [*report.together, *report.retrievers]
    weeks = f"{many(len(report.weeks), 'week')} from {report.weeks[0]}"

    def table(title: str, headings: Sequence[str], cells: Cells, names: Sequence[str]) -> Table:
        # Folded rather than cut where there is no room.
        made = Table(title=title, title_justify="left")
        made.add_column("retriever", overflow="fold")
        for heading in headings:
            made.add_column(heading, justify="right", overflow="fold")
        for name in names:
            row = [cell or "" for cell in cells(name)]
            made.add_row(name, *row, style="bold" if name in report.together else "")
        return made

    def finds(name: str) -> list[str | None]:
        judged, reached = report.judged[name], dict(report.reached(name))
        recall = [_number(reached.get(k), 3) for k in DEPTHS]
        precision = _number(judged.metrics[PRECISION]["mean"], 3)
        return [*recall, precision, _number(judged.candidates, 0)]

    def adds(name: str) -> list[str | None]:
        judged = report.judged[name]
        shares = [None if of is None else f"{of:.1%}" for of in (judged.named, judged.alone)]
        return [*shares, _number((judged.cost or {}).get("mean"), 4)]

    def for_whom(name: str) -> list[str | None]:
        segments = report.judged[name].segments
        return [_number(segments[of][MAIN]["mean"], 3) for of in report.segments]

    def costs(name: str) -> list[str | None]:
        judged = report.judged[name]
        return [
            _number(judged.fit_seconds, 1),
            _number(judged.seconds_per_1000, 2),
            _number(judged.megabytes_saved, 1),
            _number(judged.megabytes_held, 1),
            _number((judged.milliseconds or {}).get("p50"), 2),
        ]

    return Group(
        table(
            f"Recall at k: {many(report.customers, 'customer')}, {weeks}",
            [*(f"@{k}" for k in DEPTHS), PRECISION, "candidates"],
            finds,
            everything,
        ),
        table(
            "Of the purchases among the union's candidates",
            ["names", "only it names", "lost without it"],
            adds,
            report.retrievers,
        ),
        table(
            f"{MAIN} by purchases (lines) before the week",
            [f"{name}\n({of['customers']:,})" for name, of in report.segments.items()],
            for_whom,
            everything,
        ),
        table(
            "Costs", ["fit s", "s per 1,000", "MB saved", "MB held", "p50 ms"], costs, everything
        ),
        f"The union is of {report.per_source} candidates of each, a single retriever may name "
        f"{DEPTHS[-1]}; candidates: per customer. lost without it: by how much the union's {MAIN} falls. "
        "MB held: arrays in memory without the list of articles. (N): customers, each once for every week. "
        "Intervals are on the page.",
    )


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"
