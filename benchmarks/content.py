"""What is learnt from the pictures and texts of a made-up shop, how long it takes, and what it finds.

    python benchmarks/content.py              # 10,000 articles with pictures, 20,000 customers
    python benchmarks/content.py --articles 1000 --customers 2000 --epochs 3
    python benchmarks/content.py --files DIR --home HOME      # a shop that is there, a home to keep

Makes a shop in which every article has a picture, loads it and embeds it twice. The picture encoder is
judged on products that it has not learnt from; the floor is naming the most common label each time. The
purity of visual clusters stands beside that of clusters of the same sizes, filled at random from the same
product groups. Then retrievers are judged on the last weeks: those by content beside popularity for
articles that had never sold, the two towers beside matrix factorisation for customers with few purchases.
Prints Markdown.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

Made = TypeVar("Made")

RETRIEVERS = (
    "popular",
    "similar_by_metadata",
    "similar_by_text",
    "similar_by_image",
    "similar",
    "matrix_factorization",
    "two_tower",
)


def timed(seconds: dict[str, float], step: str, make: Callable[[], Made]) -> Made:
    print(f"{step} ...", file=sys.stderr)
    start = time.perf_counter()
    made = make()
    seconds[step] = time.perf_counter() - start
    return made


def measure(options: argparse.Namespace, files: Path) -> None:
    from pipelines import content, feature_tables, features
    from pipelines.data.load import load
    from pipelines.data.synthetic import synthesize
    from pipelines.evaluation.retrieval import MAIN, judge_retrievers
    from pipelines.reports.words import many

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr)

    seconds: dict[str, float] = {}
    if not files.exists():
        shop = {"articles": options.articles, "images": options.articles, "days": 200}
        timed(
            seconds,
            "shop made, pictures drawn",
            lambda: synthesize(files, customers=options.customers, **shop),
        )
    timed(seconds, "load", lambda: load(str(files)))
    made = timed(
        seconds, "embed", lambda: content.embed(epochs=options.epochs, retrain=True, progress=say)
    )
    timed(seconds, "embed again, nothing new", lambda: content.embed(progress=say))
    built = timed(seconds, "features build", lambda: feature_tables.build())

    found = made.metrics
    learning = found["pictures_learnt"] * found["epochs"] / found["pictures_per_second"]
    print(
        f"{many(made.articles, 'article')}, {many(made.with_picture, 'picture')}; learnt from "
        f"{found['pictures_learnt']:,}, {found['epochs']} times; {found['pictures_held_out']:,} held out\n"
    )
    print("| top-1 accuracy, held out | picture encoder | most common label |\n|---|---|---|")
    for label in ("product_group", "colour_group", "product_type"):
        print(
            f"| {label.replace('_', ' ')} | {found[f'{label}_accuracy']:.3f} "
            f"| {found[f'{label}_most_common']:.3f} |"
        )
    print(f"\n| purity of {found['clusters']} clusters | seen | by chance |\n|---|---|---|")
    for name, pure in found["purity"].items():
        print(f"| {name} | {pure['purity']:.3f} | {pure['chance']:.3f} |")
    print("\n| step | seconds |\n|---|---|")
    for step, took in seconds.items():
        print(f"| {step} | {took:,.1f} |")
        if step == "embed":
            rate = found["pictures_per_second"]
            print(f"| of it learning from pictures, {rate:,.0f} a second | {learning:,.1f} |")
    sys.stdout.flush()
    features.apply()
    report = judge_retrievers(built.through, options.weeks, RETRIEVERS, progress=say)
    print(
        f"\nRecall@100 in the weeks from {', '.join(map(str, report.weeks))}, by purchases before them.\n"
    )
    print("| retriever | all |", *(f"{name} |" for name in report.segments))
    print("|---|" + "---|" * (1 + len(report.segments)))
    for name in report.retrievers:
        judged = report.judged[name]
        found_of = [judged.metrics, *(judged.segments[name] for name in report.segments)]
        cells = [f"{of[MAIN]['mean']:.3f}" for of in found_of]
        print(f"| `{name}` | {' | '.join(cells)} |")
    sizes = [f"{size['purchases']:,} of {name}" for name, size in report.segments.items()]
    print(f"\nPurchases: {', '.join(sizes)}.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--weeks", type=int, default=2, help="test weeks for the retrievers")
    parser.add_argument("--epochs", type=int, help="the default of the picture encoder if left out")
    parser.add_argument("--files", type=Path, help="the shop's folder; made if it is not there")
    parser.add_argument(
        "--home", type=Path, help="LOOKBOOK_HOME to use; a temporary one if left out"
    )
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        os.environ["LOOKBOOK_HOME"] = str((options.home or Path(folder) / "home").resolve())
        measure(options, (options.files or Path(folder) / "files").resolve())


if __name__ == "__main__":
    main()
