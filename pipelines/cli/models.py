"""Models: trained, judged and described."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, TextIO

import click
from rich.table import Table

from pipelines.cli.console import (
    DECLARED,
    as_day,
    declared_release,
    main,
    read_evaluation,
    say,
    verb,
)
from pipelines.reports.words import many

SPLITS = ("development", "test", "last")
"""Of `pipelines.data.split`, which takes its time to import."""


@main.command()
@click.argument("models", nargs=-1)
@click.option(
    "--cutoff",
    callback=as_day,
    help="Learn from days before it; the day after the last if left out.",
)
@declared_release
@verb
def train(models: tuple[str, ...], cutoff: date | None, settings: Any) -> Any:
    """Train models and register each as a version.

    Without MODELS, everything that a release needs. Of those below, retrievers name candidates and
    rankers put them in order.

    \b
    Retrievers:
      popular, popular_by_age, popular_by_postal_code, popular_by_product_group, repurchase, co_purchase,
      item_knn, customer_knn, matrix_factorization, pure_svd, ease, in_session, similar,
      similar_by_transactions, similar_by_metadata, similar_by_text, similar_by_image,
      two_tower, variational_autoencoder, neu_mf

    \b
    Rankers:
      gradient_boosting, logistic_regression, factorization_machine, wide_and_deep, deep_fm, dlrm,
      multi_task, blend

    \b
    Examples:
      lookbook train
      lookbook train gradient_boosting --cutoff 2020-09-16
    """
    from pipelines.feature_tables import latest_build
    from pipelines.model_registry import publishing

    tags = publishing.train(cutoff or latest_build().end, models or None, settings, progress=say)
    if not tags:
        # Of the processes that `torchrun` starts, the first one answers.
        click.get_current_context().exit()
    return "\n".join([*tags.values(), _next(list(tags), settings, cutoff)]), {"versions": tags}


def _next(trained: Sequence[str], settings: Any, cutoff: date | None) -> str:
    """What is to be run after a training."""
    from pipelines.model_catalog import RANKERS, RETRIEVERS
    from pipelines.model_registry.composing import newest_parts

    file = click.get_current_context().meta.get(DECLARED)
    declared = "" if file is None else f" --release {shlex.quote(str(file))}"
    chosen = ""
    models = [name for name in trained if name in RETRIEVERS or name in RANKERS]
    rankers = [name for name in models if name in RANKERS]
    if rankers and settings.ranker not in rankers:
        settings = replace(settings, ranker=rankers[-1], ranker_settings=None)
        chosen = f" --ranker {rankers[-1]}"
    needed = {*settings.retrievers, settings.ranker}
    if not needed.intersection(models):
        return f"Next: lookbook evaluate --retrievers --models {','.join(models)}"
    missing = [name for name, found in newest_parts(settings).items() if not found]
    if missing := [name for name in missing if name in needed]:
        before = "" if cutoff is None else f" --cutoff {cutoff}"
        return f"Next: lookbook train {' '.join(missing)}{before}{declared}"
    return f"Next: lookbook release create{declared}{chosen}"


@main.command()
@click.option("--weeks", type=click.IntRange(1), help="Test weeks.  [default: 4]")
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Named weeks instead: the last seven (test), the last, or those before the test, to choose on.",
)
@click.option(
    "--models",
    help="Names separated by commas, of any ranker, retriever, baseline, or release (tag or alias; with like: before "
    "it one declared as it is, trained anew); if left out what a release is made of, with --retrievers all.",
)
@declared_release
@click.option("--base", help="Compare with this model; the best of the simple ones if left out.")
@click.option(
    "--truth",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the made-up shop that is loaded: also judge its oracle.",
)
@click.option(
    "--customers",
    type=click.IntRange(1),
    metavar="N",
    help="At most so many buyers of each week, the same ones each time.",
)
@click.option(
    "--ablate",
    multiple=True,
    type=click.Choice(["views", "retrievers", "negatives"]),
    help="Also what each feature view, retriever or way to draw negatives is worth; may be given several times.",
)
@click.option(
    "--rerankers", is_flag=True, help="Also what every re-ranker costs, on the last week."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; reports/evaluation.html in LOOKBOOK_HOME if left out.",
)
@click.option("--retrievers", is_flag=True, help="Judge retrievers alone and together instead.")
@click.option(
    "--per-source",
    type=click.IntRange(1),
    metavar="N",
    help="With --retrievers: how many candidates each names for the union; 100 if left out.",
)
@verb
def evaluate(
    weeks: int | None,
    split: str | None,
    models: str | None,
    settings: Any,
    base: str | None,
    truth: Path | None,
    customers: int | None,
    ablate: tuple[str, ...],
    rerankers: bool,
    out: Path | None,
    retrievers: bool,
    per_source: int | None,
) -> Any:
    """Judge the recommender, its parts, other rankers, releases and baselines on the last weeks.

    Each week is a fold: everything is trained strictly on what came before it, and every customer
    who buys in it counts. The model "release" is the whole recommender as `lookbook train` makes it
    today, which the release in production need not be: that is "production". A ranker's name is the
    release with that ranker; "merged" has none, but the order of all retrievers together. All that was
    measured is on the page, and a table of the main figures is shown.

    `--retrievers` says of every retriever, and of all together, how much of what is bought is among
    their candidates, what each alone adds, for whom, and at which cost; also as the page
    reports/retrievers.html in LOOKBOOK_HOME.

    \b
    Examples:
      lookbook evaluate
      lookbook evaluate --weeks 2 --models release,popular --json
      lookbook evaluate --models gradient_boosting,deep_fm,logistic_regression
      lookbook evaluate --models production,release:4f2a --weeks 1
      lookbook evaluate --models release,like:production --base like:production
      lookbook evaluate --split development
      lookbook evaluate --release pipelines/releases/mine.yaml
      lookbook evaluate --truth /tmp/shop --customers 5000
      lookbook evaluate --weeks 1 --ablate views --ablate retrievers --rerankers
      lookbook evaluate --retrievers
      lookbook evaluate --retrievers --models popular,repurchase --customers 5000 --weeks 1
      lookbook evaluate --retrievers --models ease,repurchase --per-source 200
    """
    from pipelines.data.split import split_weeks
    from pipelines.feature_tables import latest_build

    names = None if models is None else [name.strip() for name in models.split(",")]
    if names is not None and not all(names):
        raise click.UsageError(
            f"--models {models!r} has an empty name: separate names by one comma."
        )
    last_day = latest_build().through
    if split is not None:
        last_day, weeks = split_weeks(split, last_day, weeks)
    weeks = weeks or 4
    if retrievers:
        for option, value in (
            ("--truth", truth),
            ("--base", base),
            ("--ablate", ablate),
            ("--rerankers", rerankers),
        ):
            if value:
                raise click.UsageError(
                    f"{option} is of the recommender: leave out --retrievers or it."
                )
        return _judge_retrievers(last_day, weeks, names, settings, customers, per_source, out)
    if per_source is not None:
        raise click.UsageError("--per-source goes with --retrievers: add it or leave this out.")
    return _judge(last_day, weeks, names, settings, base, truth, customers, ablate, rerankers, out)


def _judge(
    last_day: date,
    weeks: int,
    names: list[str] | None,
    settings: Any,
    base: str | None,
    truth: Path | None,
    customers: int | None,
    ablate: tuple[str, ...],
    rerankers: bool,
    out: Path | None,
) -> tuple[Any, dict[str, Any]]:
    from rich.console import Group

    from feature_repo import places
    from pipelines.evaluation.ablations import ablate as without
    from pipelines.evaluation.evaluation_page import write_evaluation_page
    from pipelines.evaluation.weekly import evaluate as judge
    from pipelines.evaluation.weekly import price_reranking

    page = out or places.home() / "reports" / "evaluation.html"
    places.check_place(page)
    found = judge(
        last_day,
        weeks=weeks,
        models=names,
        settings=settings,
        truth=truth,
        customers=customers,
        base=base,
        progress=say,
    )
    said = found.to_dict()

    def write() -> None:
        ablations = said.get("ablations", ())
        write_evaluation_page(said, page, prices=said.get("rerankers"), ablations=ablations)

    # What follows takes long: it must not cost what there is if it cannot be done.
    write()
    parts = []
    for kind in dict.fromkeys(ablate):
        parts.append(
            without(
                kind, last_day, weeks=weeks, settings=settings, customers=customers, progress=say
            )
        )
        said["ablations"] = [part.to_dict() for part in parts]
        write()
    prices = None
    if rerankers:
        prices = price_reranking(
            last_day, settings=settings, customers=customers or 3_000, progress=say
        )
        said["rerankers"] = prices.to_dict()
        write()
    say(f"{page} written")
    title = (
        f"{many(found.customers, 'customer')}, {many(weeks, 'week')} from {found.weeks[0]} "
        "(95% intervals)"
    )
    blocks = [_figures(title, "model", found.models)]
    for part in parts:
        changes = {row.part: row.changes for row in part.rows}
        how = "learning from" if part.kind == "negatives" else "without"
        blocks.append(_figures(f"{part.kind}: change against the release", how, changes))
    if prices:
        ways = {f"{p.reranker} {p.strength:g}": p.changes for p in prices.rows[1:]}
        blocks.append(_figures("re-rankers: change against the ranker", "re-ranker", ways, PRICES))
    return Group(*blocks), {**said, "page": str(page)}


SHOWN = ("MAP@12", "recall@12", "recall@100", "NDCG@12", "hit_rate@12")
PRICES = ("MAP@12", "diversity@12", "coverage@12", "exposure_gini@12", "revenue@12")


def _figures(
    title: str,
    what: str,
    rows: Mapping[str, Mapping[str, Mapping[str, float]]],
    metrics: Sequence[str] = SHOWN,
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(what, no_wrap=True)
    there = [metric for metric in metrics if any(metric in values for values in rows.values())]
    for metric in there:
        table.add_column(metric, justify="right")
    for name, values in rows.items():
        cells = []
        for metric in there:
            v = values.get(metric)
            cells.append("-" if v is None else f"{v['mean']:.4f} [{v['low']:.3f}, {v['high']:.3f}]")
        table.add_row(name, *cells, style="bold" if name == "release" else "")
    return table


def _judge_retrievers(
    last_day: date,
    weeks: int,
    names: list[str] | None,
    settings: Any,
    customers: int | None,
    per_source: int | None,
    out: Path | None,
) -> tuple[Any, dict[str, Any]]:
    from feature_repo import places
    from pipelines.evaluation.retrieval import PER_SOURCE, judge_retrievers
    from pipelines.evaluation.retrieval_page import write_page
    from pipelines.evaluation.retrieval_tables import in_tables

    page = out or places.home() / "reports" / "retrievers.html"
    places.check_place(page)
    found = judge_retrievers(
        last_day,
        weeks,
        names,
        settings=settings,
        customers=customers,
        per_source=per_source or PER_SOURCE,
        progress=say,
    )
    write_page(found, page)
    say(f"{page} written")
    return in_tables(found), {**found.to_dict(), "page": str(page)}


@main.command()
@click.argument("model")
@click.option(
    "--evaluation",
    type=click.File(),
    help="The last line of `lookbook evaluate --json`, for figures of how good it is; of a release that which it was "
    "created with if left out.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it: a page if the name ends in .html, else Markdown; shown if left out.",
)
@verb
def card(model: str, evaluation: TextIO | None, out: Path | None) -> Any:
    """Say what a model is: what it is for, from which data, how good, for whom, and its limits.

    MODEL is a version's tag or a model's name (its newest version; `lookbook train --help` lists them),
    a release's tag or an alias.

    \b
    Examples:
      lookbook card gradient_boosting
      lookbook evaluate --json > evaluation.json
      lookbook card production --evaluation evaluation.json --out card.html
    """
    from pipelines.evaluation.model_card import model_card, write_card
    from pipelines.model_registry import release as releases
    from pipelines.model_registry.registry import open_version

    judged = read_evaluation(evaluation)
    tag = releases.resolve(model) if model in releases.aliases() else model
    version = open_version(tag)
    if judged is None and version.tag.startswith(f"{releases.NAME}:"):
        judged = releases.get(version.tag).evaluation
    if out is None:
        said = model_card(version, judged)
        return said, {"version": version.tag, "card": said}
    write_card(version, out, judged)
    return f"{out}: {version.tag}", {"version": version.tag, "out": str(out)}
