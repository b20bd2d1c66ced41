"""Raw data: make a shop up, load one, look at one."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from pipelines.cli.console import ends_when_terminated, main, progress_bars, say, verb
from pipelines.reports.words import many


@main.group()
def data() -> None:
    """Raw data: make a shop up, or load one."""


@data.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="A new or empty folder."
)
@click.option("--customers", type=int, help="How many customers.  [default: 2000]")
@click.option("--articles", type=int, help="How many articles.  [default: 800]")
@click.option("--days", type=int, help="How many days, up to 2020-09-22.  [default: 240]")
@click.option("--seed", default=7, show_default=True, help="The same seed gives the same files.")
@click.option(
    "--like-hm",
    is_flag=False,
    flag_value=1.0,
    type=float,
    metavar="[SHARE]",
    help="H&M's size (1,371,980 customers, 105,542 articles, 734 days), or a share of it.",
)
@click.option(
    "--interactions",
    default=0,
    metavar="DAYS",
    help="Also what was shown, viewed, put in the cart and dismissed on the last days.",
)
@click.option("--images", default=0, metavar="N", help="Also pictures of N articles.")
@click.option("--dirt", is_flag=True, help="Plant defects, listed in dirt.json; needs --csv.")
@click.option("--csv", is_flag=True, help="CSV as Kaggle has it, instead of Parquet.")
@click.option("--threads", type=int, help="All cores if left out; changes nothing but the time.")
@verb
def synthesize(out: Path, like_hm: float | None, **asked: Any) -> Any:
    """Make a shop up, in the layout of Kaggle's H&M files, with the truth behind it.

    The truth (what customers like, and how likely they are to view, put in the cart and buy what
    they are shown) is in the folder truth/; docs/made-up-shop.md says how to use it.

    \b
    Examples:
      lookbook data synthesize --out /tmp/shop --customers 5000 --articles 2000
      lookbook data synthesize --out /tmp/shop --interactions 28 --images 800
      lookbook data synthesize --out /tmp/hm --like-hm
      lookbook data synthesize --out /tmp/tenth --like-hm 0.1
    """
    from pipelines.data.synthetic import like_hm as size_of
    from pipelines.data.synthetic import synthesize as make

    # What is left out has its default where the shop is made.
    given = {name: value for name, value in asked.items() if value is not None}
    if like_hm is not None:
        for name in ("customers", "articles"):
            if name in given:
                raise click.UsageError(f"--like-hm sets the size: leave --{name} out.")
        given = size_of(like_hm) | given
    with progress_bars() as told, ends_when_terminated():
        made = make(out, **given, progress=told)
    text = (
        f"{made.folder}: {many(made.customers, 'customer')}, {many(made.articles, 'article')}, "
        f"{many(made.transactions, 'transaction')} from {made.first_day} to {made.last_day}"
    )
    for count, what in (
        (made.interactions, "interaction"),
        (made.images, "image"),
        (made.defects, "planted defect"),
    ):
        text += f", {many(count, what)}" * (count > 0)
    return text, {**vars(made), "folder": str(made.folder)}


@data.command("load")
@click.argument("source")
@click.option("--add", is_flag=True, help="Also beside what came through another adapter.")
@verb
def load_command(source: str, add: bool) -> Any:
    """Check raw files and load them; loading the same twice adds nothing.

    SOURCE is a folder in the Kaggle layout, ADAPTER:PATH (for example online-retail:FILE), or
    MY_SHOP.py:PATH with an adapter of your own (docs/bring-your-shop.md). `served` is what the service
    of this home remembers of its answers and of what customers did with them (docs/feedback.md).

    \b
    Examples:
      lookbook data load ~/h-and-m
      lookbook data load online-retail:data/online_retail.parquet
      lookbook data load served
    """
    from pipelines.data.load import load

    report = load(source, add=add, progress=say)
    return str(report), report.to_dict()


@data.command("compare")
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option(
    "--page", type=click.Path(dir_okay=False, path_type=Path), help="Also write it as a web page."
)
@verb
def compare_command(source: Path | None, page: Path | None) -> Any:
    """Hold a shop against the published figures of H&M's.

    SOURCE is a folder in the Kaggle layout, as CSV or Parquet; the loaded shop if left out. What
    needs more days than the shop has, or depends on its size too much, is listed and not compared.

    \b
    Examples:
      lookbook data compare
      lookbook data compare /tmp/shop --page compare.html
      lookbook data compare /tmp/shop --json > figures.json
    """
    from rich.console import Group

    from pipelines.data.compare import compare

    found = compare(source, page=page, progress=say)
    blocks: list[Table | str] = []
    for section, rows in found.sections().items():
        table = Table(title=section, title_justify="left")
        for column in ("figure", "H&M", "this shop", "difference", "within 15%"):
            table.add_column(column, justify="right" if column in ("H&M", "this shop") else "left")
        for row in rows:
            if row.within15 is not None:
                near = "yes" if row.within15 else "[bold]no[/]"
                table.add_row(row.figure.name, row.theirs_text, row.ours_text, row.says, near)
        if table.row_count:
            blocks.append(table)
    for reason, rows in found.not_compared().items():
        names = ", ".join(
            row.figure.name + (f" ({row.ours_text})" if row.ours is not None else "")
            for row in rows
        )
        blocks.append(f"\nNot compared, {reason}: {names}.")
    if page is not None:
        say(f"{page} written")
    return Group(*blocks, f"\n{found.star}\n", found.summary), {
        **found.to_dict(),
        "page": None if page is None else str(page),
    }


@main.command("explore")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; reports/explore.html in LOOKBOOK_HOME if left out.",
)
@verb
def explore_command(out: Path | None) -> Any:
    """Write what the loaded shop's data say as one web page with plots.

    Who buys and what sells, when and at what price, what comes of what is shown (where the shop has
    interactions), and what is missing or was set aside. The page needs no network.

    \b
    Examples:
      lookbook explore
      lookbook explore --out shop.html
    """
    from feature_repo import places
    from pipelines.data.explore import explore

    found = explore(out or places.home() / "reports" / "explore.html", progress=say)
    return str(found.out), found.to_dict()
