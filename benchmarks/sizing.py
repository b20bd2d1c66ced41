"""Formulas of `lookbook plan` held against what is there: the tables of docs/sizing.md.

    python benchmarks/sizing.py                  # networks and indexes made here, H&M's size by docs/benchmarks.md
    LOOKBOOK_HOME=HOME python benchmarks/sizing.py --home     # and a home with a release, brought online

Half a minute. Prints Markdown.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipelines import sizing
from pipelines.sizing import Shop

HM = Shop.of(1_371_980, 105_542, purchases=32_900_523)
SHOPS = {
    "10,000 customers": Shop.of(10_000, 5_000),
    "H&M": HM,
    "ten times H&M": Shop.of(13_719_800, 1_055_420, purchases=329_005_230),
}
MEASURED = {
    "whole build of all features, s": 555,
    "one more day, s": 26.7,
    "customers' views brought online, s": 47.8,
    "customer_activity online, GB": 0.57,
    "customer_price online, GB": 0.20,
    "customer_profile online, GB": 0.38,
    "customer_recent online, GB": 1.56,
    "customer_taste online, GB": 1.40,
    "customer_article online, GB": 4.7,
    "co_purchase saved, MB": 67.2,
    "item_knn saved, MB": 116.3,
    "customer_knn saved, MB": 54.0,
    "matrix_factorization saved, MB": 44.3,
    "ease saved, MB": 13.1,
    "similar saved, MB": 127.7,
    "popular_by_postal_code saved, MB": 26.2,
    "co_purchase fitted, s": 17.5,
    "item_knn fitted, s": 39.4,
    "matrix_factorization fitted, s": 166.1,
    "ease fitted, s": 21.9,
    "similar fitted, s": 30.4,
}
"""At H&M's size, docs/benchmarks.md."""
TENTH = Shop.of(137_198, 10_554, purchases=3_173_589)
MEASURED_AT_A_TENTH = {
    "two_tower fitted, s": 80.1,
    "variational_autoencoder fitted, s": 114.5,
    "neu_mf fitted, s": 69.7,
    "two_tower saved, MB": 12.4,
    "variational_autoencoder saved, MB": 6.0,
    "neu_mf saved, MB": 3.0,
}
"""At a tenth of H&M's size, docs/benchmarks.md."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--home", action="store_true", help="also look at LOOKBOOK_HOME")
    asked = words.parse_args()
    table("made here", made())
    table("H&M's size, docs/benchmarks.md", against(HM, MEASURED))
    table("a tenth of H&M's size, docs/benchmarks.md", against(TENTH, MEASURED_AT_A_TENTH))
    if asked.home:
        table("the home", at_home())
    plans()


def table(title: str, rows: Iterator[tuple[str, float, float]]) -> None:
    print(f"\n| {title} | formula | measured | formula / measured |\n|---|---|---|---|")
    for name, formula, measured in rows:
        part = f"{formula / measured:.2f}" if measured else ""
        print(f"| {name} | {said(formula)} | {said(measured)} | {part} |")


def said(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def made() -> Iterator[tuple[str, float, float]]:
    """Networks and indexes that are made for it."""
    import faiss

    from pipelines.model_catalog import RANKERS, make_ranker, make_retriever
    from pipelines.nearest import Index

    for articles, width in ((500, 16), (20_000, 128)):
        for name, formula, widest in (
            ("variational_autoencoder", sizing.autoencoder_parameters, 128),
            ("neu_mf", sizing.neu_mf_parameters, 32),
        ):
            retriever: Any = make_retriever(name)
            retriever.known, retriever.width = np.arange(articles), width
            yield (
                f"parameters of {name}, {articles:,} articles",
                formula(articles, min(width, widest)),
                count(retriever.make()),
            )
    for name, entry in RANKERS.items():
        ranker: Any = make_ranker(name)
        if not hasattr(ranker, "make"):
            continue
        from pipelines.rankers.neural import Sizes

        rows = sizing.RankerRows(99, 222, 8, 45_365)
        sizes = Sizes(99, (15, 29, 29, 29, 30, 30, 30, 30), 45_365, 1)
        formula = sizing.ranking_parameters(name, rows, entry.settings_in_full())
        yield f"parameters of {name}, H&M's articles", formula, count(ranker.make(sizes))
    vectors = np.random.default_rng(1).standard_normal((20_000, 64)).astype("float32")
    for kind in ("exact", "ivf", "hnsw"):
        index = Index.build(vectors, made_for="", kind=kind, least_recall=0.0, most_effort=1)
        bytes_of = len(faiss.serialize_index(index._faiss))
        yield (
            f"bytes of an index ({kind}), 20,000 x 64",
            sizing.index_bytes(kind, 20_000, 64),
            bytes_of,
        )


def count(network: Any) -> int:
    return sum(weights.numel() for weights in network.parameters())


def against(shop: Shop, measured: dict[str, float]) -> Iterator[tuple[str, float, float]]:
    found = sizing.plan(shop)
    models = {one.name: one for one in found.models}
    views = {view.name: view for view in found.views}
    formulas = {
        "whole build of all features, s": found.first_build,
        "one more day, s": found.night["build"],
        "customers' views brought online, s": sizing.MATERIALISED * shop.customers,
    }
    for name, value in measured.items():
        first = name.split()[0]
        if first in views:
            formulas[name] = views[first].bytes / 1e9
        elif first in models and "saved" in name:
            formulas[name] = models[first].disk_bytes / 1e6
        elif first in models:
            formulas[name] = models[first].cpu_seconds
        yield name, formulas[name], value


def at_home() -> Iterator[tuple[str, float, float]]:
    """Tables, views and the release of LOOKBOOK_HOME."""
    from pipelines.model_registry import release
    from pipelines.online import state
    from pipelines.warehouse import reading

    with reading() as con:

        def number(sql: str) -> int:
            return int(con.execute(sql).fetchone()[0])

        shop = Shop.of(
            number("SELECT count(*) FROM staging.customers"),
            number("SELECT count(*) FROM staging.articles"),
            purchases=number("SELECT sum(line_count) FROM staging.purchases"),
            days=number("SELECT max(day) - min(day) + 1 FROM staging.purchases"),
        )
        found = sizing.plan(shop)
        for one in found.tables:
            if one.name.startswith("features."):
                yield f"rows of {one.name}", one.rows, number(f"SELECT count(*) FROM {one.name}")
        blocks = sum(
            number(f"SELECT count(DISTINCT block_id) FROM pragma_storage_info('{one.name}')")
            for one in found.tables
        )
        yield "warehouse, MB", found.warehouse_bytes / 1e6, blocks * 2**18 / 1e6
    there = state()
    if not any(view.rows for view in there.values()):
        return
    for view in found.views:
        yield f"{view.name} online, MB", view.bytes / 1e6, there[view.name].bytes / 1e6
    yield (
        "the online store, MB",
        found.online_bytes / 1e6,
        sum(there[view.name].bytes for view in found.views) / 1e6,
    )
    parts = release.get("production").open_parts()
    for one in found.models:
        if one.name in parts:
            files = (file for file in parts[one.name].path.rglob("*") if file.is_file())
            saved = sum(file.stat().st_size for file in files)
            yield f"{one.name} saved, MB", one.disk_bytes / 1e6, saved / 1e6


def plans() -> None:
    """What the three shops need for 50 requests a second."""
    found = {name: sizing.plan(shop, qps=50) for name, shop in SHOPS.items()}
    networks = ("two_tower", "variational_autoencoder", "neu_mf")
    rows = {
        "lines": lambda p: f"{p.shop.purchases:,}",
        **{f"parameters of `{n}`": lambda p, n=n: f"{model(p, n).parameters:,}" for n in networks},
        **{
            f"`{n}` trained on 2 cores": lambda p, n=n: f"{model(p, n).cpu_seconds / 60:,.0f} min"
            for n in networks
        },
        **{
            f"`{n}` on a GPU (estimate)": lambda p, n=n: f"{model(p, n).gpu_seconds / 60:,.1f} min"
            for n in networks
        },
        "index of `two_tower`": lambda p: f"{model(p, 'two_tower').index_bytes / 1e6:,.1f} MB",
        "warehouse": lambda p: f"{p.warehouse_bytes / 1e9:,.1f} GB",
        "online store": lambda p: f"{p.online_bytes / 1e9:,.1f} GB",
        "a process of the service": lambda p: f"{p.process_bytes / 1e9:,.2f} GB",
        "processes for 50 requests a second": lambda p: f"{p.replicas}",
        "first build": lambda p: f"{p.first_build / 60:,.1f} min",
        "a night: build": lambda p: f"{p.night['build'] / 60:,.1f} min",
        "a night: materialize": lambda p: f"{p.night['materialize'] / 60:,.1f} min",
        "training rows on disk": lambda p: f"{p.training_bytes / 1e9:,.1f} GB",
        "a night: training rows": lambda p: f"{p.night['training rows'] / 60:,.1f} min",
        "a night: train": lambda p: f"{p.night['train'] / 60:,.1f} min",
        "a night: file for all": lambda p: f"{p.night['file for all customers'] / 3600:,.1f} h",
        "processes that write it in 6 h": lambda p: f"{p.file_processes}",
    }
    print(f"\n| | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for name, cell in rows.items():
        print(f"| {name} | {' | '.join(cell(one) for one in found.values())} |")


def model(found: Any, name: str) -> Any:
    return next(one for one in found.models if one.name == name)


if __name__ == "__main__":
    main()
