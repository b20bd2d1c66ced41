"""What a shop of a given size needs."""

from typing import Any

import click
from rich.console import Group
from rich.table import Table

from pipelines.cli.console import main, verb
from pipelines.reports.words import said_bytes


@main.command()
@click.option("--customers", required=True, type=int, metavar="N", help="Customers of the shop.")
@click.option("--articles", required=True, type=int, metavar="N", help="Articles on file.")
@click.option(
    "--qps",
    default=10.0,
    show_default=True,
    type=float,
    metavar="Q",
    help="Requests a second at the busiest time.",
)
@click.option(
    "--purchases",
    type=int,
    metavar="N",
    help="Lines, all in all; as many for each customer and day as H&M has if left out.",
)
@click.option(
    "--history-days",
    type=int,
    metavar="D",
    help="From the first purchase to the last; 734 if left out, as H&M has.",
)
@click.option("--images", is_flag=True, help="Articles have pictures.")
@click.option(
    "--models",
    help="What is trained and served, names separated by commas; a release if left out, and then every "
    "model of the catalogue is told of.",
)
@verb
def plan(
    customers: int,
    articles: int,
    qps: float,
    purchases: int | None,
    history_days: int | None,
    images: bool,
    models: str | None,
) -> Any:
    """Say what a shop needs: models, memory, disk, machines, and the hours of a night.

    Nothing is loaded or trained. Formulas and what they were measured on: docs/sizing.md. Times on a GPU
    are estimates.

    \b
    Examples:
      lookbook plan --customers 10000 --articles 5000
      lookbook plan --customers 1371980 --articles 105542 --purchases 31788324 --qps 50 --images
      lookbook plan --customers 1000000 --articles 50000 --models repurchase,two_tower,gradient_boosting --json
    """
    from pipelines import sizing

    names = None if models is None else [name.strip() for name in models.split(",")]
    if names is not None and not all(names):
        raise click.UsageError(
            f"--models {models!r} has an empty name: separate names by one comma."
        )
    shop = sizing.Shop.of(
        customers,
        articles,
        purchases=purchases,
        days=history_days if history_days is not None else sizing.HISTORY_DAYS,
        images=images,
    )
    found = sizing.plan(shop, qps, names)
    return Group(*_in_tables(found)), found.to_dict()


def _in_tables(found: Any) -> list[Table | str]:
    shop = found.shop
    models = Table(
        title=f"{shop.customers:,} customers, {shop.articles:,} articles ({shop.on_sale:,} on sale), "
        f"{shop.purchases:,} lines in {shop.days:,} days"
    )
    models.add_column("model", no_wrap=True)
    for column in (
        "parameters",
        "embeddings",
        "index",
        "on disk",
        "training",
        "on a GPU (estimate)",
    ):
        models.add_column(column, justify="right")
    for one in found.models:
        models.add_row(
            f"{one.name} *" if one.name in found.released else one.name,
            f"{one.parameters:,}",
            said_bytes(one.embedding_bytes),
            said_bytes(one.index_bytes),
            said_bytes(one.disk_bytes),
            _time(one.cpu_seconds),
            "" if one.gpu_seconds is None else _time(one.gpu_seconds),
            style="bold" if one.name in found.released else "",
        )
    models.caption = "*: trained each night, and served."
    kept = Table()
    kept.add_column("kept", no_wrap=True)
    for column in ("rows", "bytes"):
        kept.add_column(column, justify="right")
    for table in found.tables:
        kept.add_row(table.name, f"{table.rows:,}", said_bytes(table.bytes))
    kept.add_row("warehouse, all tables", "", said_bytes(found.warehouse_bytes), style="bold")
    for view in found.views:
        kept.add_row(f"online: {view.name}", f"{view.rows:,}", said_bytes(view.bytes))
    kept.add_row("online store, all views", "", said_bytes(found.online_bytes), style="bold")
    kept.add_row("training rows of two weeks' nights", "", said_bytes(found.training_bytes))
    needed = Table(show_header=False)
    needed.add_column(no_wrap=True)
    needed.add_column(justify="right")
    rows = {
        "GPUs to train": f"{found.gpus}" if found.gpus else "none: the CPU does it",
        "memory of a service process": said_bytes(found.process_bytes),
        f"processes for {found.qps:g} requests a second": f"{found.replicas:,}",
        "p99 of a request": f"{1000 * found.p99:,.0f} ms",
        "memory of all, with the online store's pages": said_bytes(found.service_bytes),
        "first build of all features": _time(found.first_build),
        **{f"each night: {step}": _time(seconds) for step, seconds in found.night.items()},
        "processes to write the file in the night": f"{found.file_processes:,}",
    }
    for name, value in rows.items():
        needed.add_row(name, value)
    return [models, kept, needed, *found.estimates]


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} s"
