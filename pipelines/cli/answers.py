"""Answers: recommendations, and whether they were given from the right features."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from pipelines.cli.console import as_moment, as_weights, main, say, screen, verb
from pipelines.reports.words import many


@main.command()
@click.option("--customer", help="One customer.")
@click.option("--all", "everyone", is_flag=True, help="Every customer, into the Kaggle file.")
@click.option(
    "--customers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --all: a CSV with the column customer_id.",
)
@click.option("-k", "--k", default=12, show_default=True, type=click.IntRange(1, 100))
@click.option(
    "--at", callback=as_moment, help="A past day or moment (UTC); the end of the data if left out."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="With --all: the file."
)
@click.option(
    "--sponsored",
    multiple=True,
    metavar="ARTICLE",
    help="With --customer: an article that is to be a candidate; may be given several times.",
)
@click.option(
    "--out-of-stock",
    multiple=True,
    metavar="ARTICLE",
    help="With --customer: an article that is not to be shown; may be given several times.",
)
@click.option(
    "--objective",
    callback=as_weights,
    metavar="NAME=WEIGHT,...",
    help="With --customer: what counts for how much, of purchase, cart and view; the release must have a "
    "ranker that has learnt them.",
)
@verb
def recommend(
    customer: str | None,
    everyone: bool,
    customers: Path | None,
    k: int,
    at: datetime | None,
    out: Path | None,
    sponsored: tuple[str, ...],
    out_of_stock: tuple[str, ...],
    objective: dict[str, float] | None,
) -> Any:
    """Recommend articles to one customer with reasons, or to all into a file.

    A past moment is answered by the newest release that has seen nothing later. The file for all
    appears when it is whole; a run that was ended goes on where it stopped.

    \b
    Examples:
      lookbook recommend --customer 17850
      lookbook recommend --customer 17850 --sponsored 0108775015 --sponsored 0108775044
      lookbook recommend --customer 17850 --objective purchase=1,cart=0.3,view=0.05
      lookbook recommend --all --out submission.csv
    """
    from feature_repo import places
    from pipelines import recommending

    if (customer is None) == (not everyone):
        raise click.UsageError("Give either --customer ID or --all.")
    if customer is not None and not customer.strip():
        raise click.UsageError("--customer is empty: give the customer's id.")
    for option, value, other in (
        ("--sponsored", sponsored and everyone, "--customer"),
        ("--out-of-stock", out_of_stock and everyone, "--customer"),
        ("--objective", objective and everyone, "--customer"),
        ("--out", out and not everyone, "--all"),
        ("--customers", customers and not everyone, "--all"),
    ):
        if value:
            raise click.UsageError(f"{option} goes with {other}: add it or leave this out.")
    if everyone:
        if out is None:
            raise click.UsageError("--all needs --out FILE.")
        places.check_place(out)
        rows = recommending.to_file(out, k=k, at=at, customers=customers, progress=say)
        return f"{out}: {many(rows, 'customer')}", {"out": str(out), "customers": rows}
    assert customer is not None
    answer = recommending.for_customer(
        customer,
        k=k,
        at=at,
        sponsored=sponsored,
        out_of_stock=out_of_stock,
        objective=objective,
    )
    who = "" if answer.known else "unknown customer, so what is popular: "
    table = Table(title=f"{who}{answer.release}, as of {answer.moment:%Y-%m-%d %H:%M} UTC")
    for column in ("", "article", "name", "why"):
        table.add_column(column)
    for row in answer.rows:
        table.add_row(str(row["rank"]), row["article_id"], row["name"] or "", row["reason"])
    if answer.sponsored:
        placed = [f"{article} is number {rank}" for article, rank in answer.sponsored.items()]
        table.caption = f"Sponsored: {', '.join(placed)} of {many(answer.candidates, 'candidate')}."
    return table, {
        "customer_id": customer,
        "known": answer.known,
        "release": answer.release,
        "moment": answer.moment,
        "sponsored": answer.sponsored,
        "recommendations": answer.rows,
    }


@main.command()
@click.option("--service", help="A feature service, for example ranking; all if left out.")
@click.option(
    "--since",
    callback=as_moment,
    help="Only what was served from this time on (UTC), by the clock.",
)
@click.option(
    "--examples",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="How many to show of each feature that differs.",
)
@click.option("--all", "everything", is_flag=True, help="Also list features that are equal.")
@verb
def parity(service: str | None, since: datetime | None, examples: int, everything: bool) -> Any:
    """Compare what was served with what training would have seen.

    The service logs the features of some of its requests, with moment and versions; they are
    computed again from the warehouse, as of their moment, and compared bit for bit. A value is
    late, and no fault, if the warehouse learned more after the online store was brought up to date.
    docs/parity.md says more. The exit status is 1 if anything differs, or nothing could be compared.

    \b
    Examples:
      lookbook parity
      lookbook parity --service ranking --since 2020-09-22T14:30 --examples 10
      lookbook parity --all --json
    """
    from rich.console import Group
    from rich.markup import escape

    from pipelines.monitoring.parity import check

    found = check(service, since, examples, progress=say)
    table = Table()
    table.add_column("service")
    table.add_column("feature", no_wrap=True)
    for column in ("compared", "equal", "late", "different"):
        table.add_column(column, justify="right")
    for name, features in found.services.items():
        for feature, count in features.items():
            if everything or count.equal < count.compared:
                numbers = (f"{number:,}" for number in vars(count).values())
                table.add_row(name, feature, *numbers, style="bold red" if count.different else "")
    blocks: list[Table | str] = [table] if table.row_count else []
    blocks += [escape(str(difference)) for difference in found.differences]
    blocks += [escape(f"Skipped {many(n, 'row')}: {why}.") for why, n in found.skipped.items()]
    blocks += [escape(f"Not read: {file}: {why}") for file, why in found.unreadable.items()]
    blocks.append(str(found))
    return Group(*blocks), found.to_dict(), *([] if found.holds else [1])


@main.command()
@click.option(
    "--data",
    "source",
    default="",
    help="What `data load` takes, or online-retail; a made-up shop if left out.",
)
@click.option(
    "--serve/--no-serve", default=None, help="Stay up; default unless CI or SERVE=0 is set."
)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
@verb
def demo(source: str, serve: bool | None, port: int) -> Any:
    """The whole way: a shop, features, models, a release, and the service.

    \b
    Examples:
      lookbook demo
      lookbook demo --data online-retail --no-serve
    """
    from pipelines import demo as story

    say = partial(screen.print, markup=False)
    made = story.run(source, serve=serve, port=port, say=say)
    return f"{made['release']} in {made['home']}", made
