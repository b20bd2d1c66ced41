"""An evaluation as one page: who is best and by how much, for whom, and what the lists are like.

Takes the dictionary of `Evaluation.to_dict`, also as it was saved; parts that it lacks are left out.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.evaluation.chances import AUC, BRIER, CALIBRATION, ENTROPY, LOG_LOSS, POOLED
from pipelines.evaluation.evaluation import (
    COVERAGE,
    EXPOSURE,
    MAIN,
    MERGED,
    ORACLE,
    RANKED,
    RELEASE_NAME,
)
from pipelines.evaluation.metrics import ACCURACY, METRICS, NEW_DAYS
from pipelines.evaluation.segments import AGE, HISTORY
from pipelines.model_catalog import RANKERS
from pipelines.reports import Cell, Page, Section, plots
from pipelines.reports.page import Value
from pipelines.reports.words import many, said_day, said_share

LINES = len(plots.COLOURS)
"""Models whose lines are drawn: more than colours cannot be told apart."""
LISTS = (COVERAGE, EXPOSURE, *(name for name, metric in METRICS.items() if metric.needs))
"""Metrics of what lists are like."""
LOWER_IS_BETTER = frozenset({EXPOSURE, ENTROPY, LOG_LOSS, BRIER})
NEITHER = frozenset({"days_on_sale@12"})
KINDS = {
    HISTORY: "By purchases (lines) before the week",
    AGE: "By age",
    "popularity": "By how much they sell",
    "product_group": "By product group",
}
ABLATIONS = {
    "views": "Without the features of a view",
    "retrievers": "Without a retriever",
    "negatives": "With other negatives",
}
BOUGHT_AT = {
    "diversity@12": "mean distance of two articles",
    COVERAGE: "share of the articles on sale that are shown",
    EXPOSURE: "Gini of exposure",
    "freshness@12": "share of new articles",
    "novelty@12": "novelty, bits",
    "revenue@12": "revenue from hits",
}
"""What a re-ranker may be used for -> what the axis of its price says."""
MEANING = {
    MAIN: "mean average precision: how far up those of 12 articles stand that are bought",
    "recall@12": "the share of what a customer buys that is among 12",
    "recall@100": "the same among 100",
    "NDCG@12": "hits, worth less the further down, over those of the best possible list",
    "hit_rate@12": "customers with any hit among 12",
    "precision@12": "the share of 12 places that are hits",
    "MRR@12": "1 / place of the first hit",
    "revenue@12": "what a customer paid in the week for hits among 12",
    "diversity@12": "mean distance of two of the 12 articles, 0 for twins",
    "log_det@12": "logarithm of the volume that the 12 span, per article; 0 is all unlike",
    "novelty@12": "mean bits of surprise: one more for what sells half as much",
    "freshness@12": f"the share of the 12 that are on sale for at most {NEW_DAYS} days",
    "days_on_sale@12": "mean days since the first sale",
    COVERAGE: "the share of the articles on sale that anybody is shown",
    EXPOSURE: "how unequally attention falls on articles: 0 all alike, 1 one alone",
}

MODELS = {
    RELEASE_NAME: "the whole recommender with the settings that this version of Lookbook trains, not the release in production",
    RANKED: "the same in the order of its ranker",
    MERGED: "its candidates in the order of all retrievers together, without a ranker",
    ORACLE: "who knows the truth of a made-up shop",
}
"""What names of models mean that are neither a ranker's nor a retriever's."""

Said = Mapping[str, Any]


def write_evaluation_page(
    evaluation: Said,
    out: Path,
    *,
    prices: Said | None = None,
    ablations: Sequence[Said] = (),
) -> None:
    """Write the page, whole or not at all.

    Args:
        evaluation: of `Evaluation.to_dict`.
        prices: of `PriceCurves.to_dict`: what re-ranking costs.
        ablations: each of `Ablations.to_dict`: what each part is worth.

    Raises:
        InputError: `out` cannot be written.
    """
    evaluation_page(evaluation, prices=prices, ablations=ablations).write(out)


def evaluation_page(
    evaluation: Said, *, prices: Said | None = None, ablations: Sequence[Said] = ()
) -> Page:
    """The page of `write_evaluation_page`."""
    models: Said = evaluation.get("models") or {}
    weeks = evaluation.get("weeks") or []
    first = f", from {said_day(date.fromisoformat(weeks[0]))}" if weeks else ""
    page = Page(
        "How good the recommendations are",
        f"{many(len(models), 'model')}, judged on {many(evaluation.get('customers', 0), 'customer')} who bought "
        f"in {many(len(weeks), 'week')}{first}. Each week is a fold: everything is trained on what came before "
        "it, and all who bought in it count. Intervals hold 95% of bootstrap samples of customers, who are "
        f"drawn with all their weeks. {_headline(evaluation)}",
        footer="Made by: lookbook evaluate",
    )
    if models:
        _models(page, models)
    _differences(page, evaluation)
    _folds(page, evaluation, models)
    _segments(page, evaluation, models)
    _lists(page, models)
    _exposure(page, evaluation)
    _rankers(page, evaluation)
    _latency(page, evaluation.get("latency") or {})
    _prices(page, prices or {})
    _ablations(page, ablations)
    if models:
        section = page.section("What the words mean")
        told = [name for name in MEANING if any(name in figures for figures in models.values())]
        section.table(["metric", "is"], [[name, MEANING[name]] for name in told], align="nl")
        names = [[name, MODELS[name]] for name in MODELS if name in models]
        names += [[name, "the release with this ranker"] for name in models if name in RANKERS]
        if names:
            section.table(["model", "is"], names, align="nl")
    return page


def _headline(evaluation: Said) -> str:
    order = _ranked(evaluation.get("models") or {})
    if not order:
        return ""
    best = order[0]
    found = evaluation["models"][best].get(MAIN)
    if found is None:
        return ""
    text = f"The best by {MAIN} is {best} with {between(found)}"
    base = evaluation.get("base")
    difference = (evaluation.get("differences") or {}).get(best, {}).get(MAIN)
    if difference is None:
        return f"{text}."
    sure = "" if _sure(difference) else ", which may be chance"
    return f"{text}; that is {_signed(difference['mean'])} against {base}{sure}."


def _models(page: Page, models: Said) -> None:
    section = page.section(
        "All models",
        "The whole recommender is called release. What is bought again counts; customers without a "
        "recommendation score 0.",
    )
    order = _ranked(models)
    section.figure(
        plots.intervals(
            order,
            [_three(models[name][MAIN]) for name in order],
            x=MAIN,
            said=digits,
            chosen=[RELEASE_NAME],
        ),
        f"{MAIN} with its interval",
        f"A dot with an interval for each model, the highest {MAIN} first.",
    )
    metrics = _told(models, ACCURACY)
    most = max((models[name][MAIN]["mean"] for name in order), default=0) or 1
    section.table(
        ["model", *metrics],
        [
            [
                name,
                *(
                    Cell(
                        between(models[name].get(metric)),
                        bar=models[name][MAIN]["mean"] / most if metric == MAIN else None,
                    )
                    for metric in metrics
                ),
            ]
            for name in _all(models)
        ],
        align="n" + "r" * len(metrics),
    )


def _differences(page: Page, evaluation: Said) -> None:
    found: Said = evaluation.get("differences") or {}
    there = {name: figures for name, figures in found.items() if MAIN in figures}
    if not there:
        return
    base = evaluation.get("base")
    section = page.section(
        f"Against {base}",
        f"How much higher than {base} each model is, for the same customers and weeks in the same samples. "
        "Where an interval holds 0, the difference may be chance.",
    )
    order = sorted(there, key=lambda name: -there[name][MAIN]["mean"])
    section.figure(
        plots.intervals(
            order,
            [_three(there[name][MAIN]) for name in order],
            x=f"{MAIN} less that of {base}",
            said=_signed,
            line=0.0,
            chosen=[RELEASE_NAME],
        ),
        f"Difference of {MAIN}",
        f"A dot with an interval for each model, and a line at 0, which is {base}.",
    )
    metrics = _told(there, (*ACCURACY, *LISTS))
    section.table(
        ["model", *metrics],
        [
            [name, *(_toned(metric, there[name].get(metric)) for metric in metrics)]
            for name in order
        ],
        align="n" + "r" * len(metrics),
    )


def _folds(page: Page, evaluation: Said, models: Said) -> None:
    folds = [fold for fold in evaluation.get("folds") or [] if fold.get("models")]
    if len(folds) < 2:
        return
    section = page.section(
        "Week by week",
        "Each week by itself, on its own customers: whether the order of models holds.",
    )
    order = [name for name in _ranked(models) if all(MAIN in f["models"][name] for f in folds)]
    drawn = order[:LINES]
    if RELEASE_NAME in order and RELEASE_NAME not in drawn:
        drawn[-1] = RELEASE_NAME
    days = [fold["week"] for fold in folds]
    if drawn:
        section.figure(
            plots.lines(
                {
                    name: (
                        list(range(len(folds))),
                        [fold["models"][name][MAIN]["mean"] for fold in folds],
                    )
                    for name in drawn
                },
                y=MAIN,
                labels=days,
                dots=True,
                wide=True,
            ),
            f"{MAIN} of the best, by the first day of the week",
            "A line for each model over the weeks.",
        )
    section.table(
        ["model", *(f"{fold['week']} ({fold['customers']:,})" for fold in folds)],
        [
            [name, *(between(fold["models"].get(name, {}).get(MAIN)) for fold in folds)]
            for name in _all(models)
        ],
        align="n" + "r" * len(folds),
        caption=f"{MAIN} by week (customers)",
    )


def _segments(page: Page, evaluation: Said, models: Said) -> None:
    kinds: Said = evaluation.get("segments") or {}
    gaps: Said = evaluation.get("gaps") or {}
    if not any(kinds.values()):
        return
    section = page.section(
        "For whom",
        "Groups of customers as they were when the week began. Who bought in several weeks counts in each.",
    )
    for kind, groups in kinds.items():
        if not groups:
            continue
        heading = KINDS.get(kind, f"By {kind}")
        names = [
            name
            for name in _ranked(models)
            if any(MAIN in of["models"].get(name, {}) for of in groups.values())
        ]
        if not names:
            continue
        section.figure(
            plots.heat(
                names,
                [f"{group} ({of['customers']:,})" for group, of in groups.items()],
                [
                    [of["models"].get(name, {}).get(MAIN, {}).get("mean") for of in groups.values()]
                    for name in names
                ],
                said=digits,
                written=True,
            ),
            f"{MAIN}. {heading} (customers)",
            "A map of models by groups, darker where the metric is higher.",
        )
        section.table(
            ["model", *groups],
            [
                [
                    name,
                    *(between(of["models"].get(name, {}).get(MAIN)) for of in groups.values()),
                ]
                for name in names
            ],
            align="n" + "r" * len(groups),
            caption=f"{MAIN} with intervals. {heading}",
        )
        if gaps.get(kind):
            _gaps(section, heading, gaps[kind], names)


def _gaps(section: Section, heading: str, gaps: Said, names: Sequence[str]) -> None:
    metrics = [MAIN, "recall@12", "hit_rate@12"]
    section.table(
        ["model", "metric", "highest in", "lowest in", "gap"],
        [
            [
                name,
                metric,
                gaps[name][metric]["highest"],
                gaps[name][metric]["lowest"],
                between(gaps[name][metric]),
            ]
            for name in names
            for metric in metrics
            if metric in gaps.get(name, {})
        ],
        align="nnnnr",
        caption=f"Gaps between groups. {heading}",
    )
    section.text(
        "The two groups are those that differ most in these weeks, which makes the gap look larger than it is; "
        "groups of fewer than 30 are left out. A group may have a lower value because it is harder to "
        "tell what it buys.",
        note=True,
    )


def _lists(page: Page, models: Said) -> None:
    metrics = _told(models, LISTS)
    if not metrics:
        return
    section = page.section(
        "What the lists are like",
        "Beside being right: how much of the shop is seen, how unlike the articles of a list are, how "
        "little known, how new, and what the hits are worth. None is good for itself; read them beside "
        f"{MAIN}.",
    )
    section.table(
        ["model", MAIN, *metrics],
        [
            [
                name,
                _mean(models[name].get(MAIN)),
                *(between(models[name].get(metric)) for metric in metrics),
            ]
            for name in _all(models)
        ],
        align="nr" + "r" * len(metrics),
    )


def _exposure(page: Page, evaluation: Said) -> None:
    kinds: Said = evaluation.get("exposure") or {}
    if not any(kinds.values()):
        return
    section = page.section(
        "What is seen",
        "The share of attention that groups of articles get (the n-th place 1 / log2(n + 1)) beside their "
        "share of what these customers bought. A gap above 0: shown more than bought.",
    )
    models: Said = evaluation.get("models") or {}
    for kind, groups in kinds.items():
        names = [
            name for name in _ranked(models) if any(name in of["models"] for of in groups.values())
        ]
        if not groups or not names:
            continue
        drawn = names[0] if RELEASE_NAME not in names else RELEASE_NAME
        heading = KINDS.get(kind, f"By {kind}")
        section.figure(
            plots.bars(
                list(groups),
                {
                    "bought": [of["bought"] for of in groups.values()],
                    f"shown by {drawn}": [
                        of["models"].get(drawn, {}).get("shown", 0.0) for of in groups.values()
                    ],
                },
                said=plots.percent,
                flat=len(groups) > 5,
                values=True,
                wide=True,
            ),
            f"Articles. {heading}",
            "Two bars for each group of articles: its share of what was bought, and of what is shown.",
        )
        rows: list[list[Value]] = [["bought", *(_percent(of["bought"]) for of in groups.values())]]
        for name in names:
            rows.append([name, *(_shown(of["models"].get(name)) for of in groups.values())])
        section.table(
            ["model", *groups],
            rows,
            align="n" + "r" * len(groups),
            caption=f"Share of attention, and its gap with its interval. {heading}",
        )


def _rankers(page: Page, evaluation: Said) -> None:
    rankers: Said = evaluation.get("rankers") or {}
    if not rankers:
        return
    section = page.section(
        "What chances are worth",
        "Of rankers, over all candidates of these customers. AUC: how often what is bought is scored above "
        "what is not, a mean over customers, and pooled over all candidates. NE, the normalised entropy: the "
        "log loss over that of who says the same chance of everything; below 1 knows more. Calibration: "
        "purchases expected over purchases made; 1 is right.",
    )
    measures = [AUC, POOLED, ENTROPY, CALIBRATION, LOG_LOSS, BRIER]
    section.table(
        ["ranker", *measures],
        [
            [name, *(between(of.get(measure)) for measure in measures)]
            for name, of in rankers.items()
        ],
        align="n" + "r" * len(measures),
    )
    curves = {}
    for name, of in rankers.items():
        # A logarithmic axis has no 0: bins of which nothing was bought stand in the table alone.
        bins = [found for found in of.get("reliability") or [] if found["observed"] > 0]
        if bins:
            curves[name] = (
                [found["predicted"] for found in bins],
                [found["observed"] for found in bins],
            )
    curves = dict(list(curves.items())[: LINES - 1])
    if curves:
        ends = [value for line in curves.values() for values in line for value in values]
        level = [min(ends), max(ends)]
        section.figure(
            plots.lines(
                {**curves, "as said": (level, level)},
                x="chance that was said",
                y="share that was bought",
                said=plots.percent,
                x_said=plots.percent,
                log_x=True,
                log_y=True,
                dots=True,
                wide=True,
                height=3.4,
            ),
            "Reliability: what was said and what happened",
            "For each ranker a line of bought shares over chances, beside the line on which both are the same.",
        )
    for name, of in rankers.items():
        if of.get("reliability"):
            section.table(
                ["chance from", "to", "candidates", "said", "bought"],
                [
                    [
                        _percent(found["from"]),
                        _percent(found["to"]),
                        found["rows"],
                        _percent(found["predicted"]),
                        _percent(found["observed"]),
                    ]
                    for found in of["reliability"]
                ],
                align="rrrrr",
                caption=f"Reliability of {name}",
                half=True,
            )
    for kind in dict.fromkeys(kind for of in rankers.values() for kind in of.get("segments") or {}):
        groups = list(
            dict.fromkeys(
                group
                for of in rankers.values()
                for group in (of.get("segments") or {}).get(kind, {})
            )
        )
        section.table(
            ["ranker", *groups],
            [
                [
                    name,
                    *(
                        between(
                            (of.get("segments") or {})
                            .get(kind, {})
                            .get(group, {})
                            .get(CALIBRATION),
                        )
                        for group in groups
                    ),
                ]
                for name, of in rankers.items()
            ],
            align="n" + "r" * len(groups),
            caption=f"Calibration. {KINDS.get(kind, f'By {kind}')}",
        )


def _latency(page: Page, latency: Said) -> None:
    if not latency:
        return
    section = page.section(
        "What an answer takes",
        "Milliseconds for one customer on the machine that made this page: candidates, their order and the page, with "
        "features at hand. What reading them online adds is in docs/benchmarks.md.",
    )
    section.table(
        ["model", "milliseconds"],
        [[name, between(found)] for name, found in latency.items()],
        align="nr",
    )


def _prices(page: Page, prices: Said) -> None:
    rows: list[Said] = list(prices.get("rows") or [])
    if len(rows) < 2:
        return
    start, curves = rows[0], dict.fromkeys(row["reranker"] for row in rows[1:])
    section = page.section(
        "What re-ranking costs",
        f"The same candidates of {many(prices.get('customers', 0), 'customer')} in other orders: what is gained "
        f"and the {MAIN} that it costs. Every line begins at the ranker's order.",
    )
    for metric, meaning in BOUGHT_AT.items():
        if not all(metric in row["metrics"] and MAIN in row["metrics"] for row in rows):
            continue
        series = {}
        for name in list(curves)[:LINES]:
            points = [start, *(row for row in rows[1:] if row["reranker"] == name)]
            series[name] = (
                [point["metrics"][metric]["mean"] for point in points],
                [point["metrics"][MAIN]["mean"] for point in points],
            )
        section.figure(
            plots.lines(series, x=meaning, y=MAIN, x_said=plots.count, dots=True),
            f"{MAIN} against {metric}",
            f"A line for each re-ranker from the ranker's order to its strongest, over {meaning}.",
        )
    metrics = [name for name in (MAIN, *BOUGHT_AT) if any(name in row["changes"] for row in rows)]
    section.table(
        ["re-ranker", "strength", *metrics],
        [
            [
                row["reranker"],
                row["strength"],
                *(_toned(metric, row["changes"].get(metric)) for metric in metrics),
            ]
            for row in rows[1:]
        ],
        align="nr" + "r" * len(metrics),
        caption="Changes against the ranker's order",
    )


def _ablations(page: Page, ablations: Sequence[Said]) -> None:
    ablations = [found for found in ablations if found.get("rows")]
    if not ablations:
        return
    section = page.section(
        "What each part is worth",
        "The release trained and judged again with one part left out, or with other negatives, less the "
        "release as it is, on the same customers. Below 0, the part is of use.",
    )
    for found in ablations:
        rows: list[Said] = found["rows"]
        there = [row for row in rows if MAIN in row["changes"]]
        heading = ABLATIONS.get(found["kind"], str(found["kind"]))
        if there:
            section.figure(
                plots.intervals(
                    [row["part"] for row in there],
                    [_three(row["changes"][MAIN]) for row in there],
                    x=f"change of {MAIN}",
                    said=_signed,
                    line=0.0,
                ),
                f"{heading}: change of {MAIN}",
                "A dot with an interval for each part, and a line at 0.",
            )
        metrics = _told({row["part"]: row["changes"] for row in rows}, (*ACCURACY, *LISTS))
        section.table(
            ["part", *metrics],
            [
                [row["part"], *(_toned(metric, row["changes"].get(metric)) for metric in metrics)]
                for row in rows
            ],
            align="n" + "r" * len(metrics),
            caption=heading,
        )
        for part, why in (found.get("skipped") or {}).items():
            section.text(f"Not judged: {part}. {why}", note=True)


# --- words --------------------------------------------------------------------------------------


def _ranked(models: Said) -> list[str]:
    """Models that were judged, the highest MAP first."""
    there = [name for name, figures in models.items() if MAIN in figures]
    return sorted(there, key=lambda name: -models[name][MAIN]["mean"])


def _all(models: Said) -> list[str]:
    order = _ranked(models)
    return [*order, *(name for name in models if name not in order)]


def _told(models: Said, metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if any(name in figures for figures in models.values())]


def _three(found: Said) -> tuple[float, float, float]:
    return found["mean"], found["low"], found["high"]


def digits(value: float) -> str:
    """A figure of a metric: three digits behind the point, one more of what is small, fewer of what is large."""
    size = abs(value)
    places = 4 if size < 0.1 else 3 if size < 10 else 1 if size < 1000 else 0
    text = f"{value:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def _mean(found: Said | None) -> str:
    return "-" if found is None else digits(found["mean"])


def between(found: Said | None) -> str:
    """A value with its interval."""
    if found is None:
        return "-"
    return f"{digits(found['mean'])} ({digits(found['low'])} to {digits(found['high'])})"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + digits(value)


def _sure(found: Said) -> bool:
    return bool(found["low"] > 0 or found["high"] < 0)


def _toned(metric: str, found: Said | None) -> Cell:
    """A difference with its interval: green where it is surely better, red where it is surely worse."""
    if found is None:
        return Cell("-")
    text = f"{_signed(found['mean'])} ({_signed(found['low'])} to {_signed(found['high'])})"
    if not _sure(found) or metric in NEITHER:
        return Cell(text, "quiet")
    better = (found["mean"] > 0) != (metric in LOWER_IS_BETTER)
    return Cell(text, "good" if better else "bad")


def _percent(value: float) -> str:
    return said_share(value) if value else "0%"


def _shown(found: Said | None) -> Cell:
    if found is None:
        return Cell("-")
    gap = found["gap"]
    return Cell(
        f"{100 * found['shown']:.1f}% ({100 * gap['mean']:+.1f}: {100 * gap['low']:+.1f} to "
        f"{100 * gap['high']:+.1f})",
        "" if _sure(gap) else "quiet",
    )
