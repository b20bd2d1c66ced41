"""The loop: simulated shoppers use the service, what they did is loaded, and a retrained release answers them.

    python benchmarks/shoppers.py                       # 1,000 shoppers, two weeks: prints the table of docs/benchmarks.md
    python benchmarks/shoppers.py --shoppers 200 --days 3

A made-up shop, whose truth says what a customer does with what they are shown (`Shop.respond`). Each day every shopper asks the
running service for a page over HTTP, looks at it, and what happens goes to `/events`; at night the log of the
till's purchases are loaded, features built and brought online. After the last night a release is trained, then the log of the service is
loaded (`lookbook data load served`) and another is trained. All are asked for the same shoppers, of the same features, on the day after. The
truth says in closed form how many purchases each page would bring, so that nothing is left to chance but who the shoppers are.

Three releases: the one that served; one retrained on everything; and one retrained on the till alone, without the log, which tells
what the log itself is worth.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ |= {"OMP_WAIT_POLICY": "passive", "LOOKBOOK_RATE_PER_SECOND": "0"}

import duckdb
import numpy as np
import pandas as pd

from feature_repo import environment

K = 12
SHOP = {"customers": 4_000, "articles": 1_500, "days": 200, "interactions": 28, "seed": 5}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--shoppers", type=int, default=1_000)
    asked.add_argument("--days", type=int, default=14)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="lookbook-shoppers-") as folder:
        os.environ["LOOKBOOK_HOME"] = f"{folder}/home"
        _run(Path(folder), given.shoppers, given.days)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _run(folder: Path, shoppers: int, days: int) -> None:
    from pipelines import demo, feature_tables, features, online
    from pipelines.data.load import load
    from pipelines.data.synthetic import synthesize
    from pipelines.data.synthetic.truth import Shop
    from pipelines.model_registry import composing, publishing, release

    files = folder / "shop"
    synthesize(files, **SHOP)
    shop = Shop.open(files)
    who = _shoppers(files, shoppers)
    load(str(files))
    built = feature_tables.build()
    features.apply()
    online.materialize(built.through)
    before = composing.create_release(publishing.train(built.end)).tag
    release.promote(before, why="serves")
    say(f"{before} serves {len(who):,} shoppers for {days} days")

    counts: dict[str, int] = {}
    with demo._served(_free_port(), lambda text: None) as address:
        for number in range(days):
            day = shop.last_day + timedelta(days=1 + number)
            _moved_to(address, day)
            bought = _day(address, shop, who, day, counts)
            _till(folder / "till", files, bought)
            load(str(folder / "till"))
            built = feature_tables.build(through=day)
            online.materialize(day)
            say(f"{day}: {len(bought):,} purchases; {built.through} is built")

    tested = shop.last_day + timedelta(days=1 + days)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    till_alone = composing.create_release(publishing.train(built.end)).tag
    say(f"retrained on the till alone: {till_alone}")
    say(str(load("served")).replace("\n", "; "))
    built = feature_tables.build(through=built.through)
    online.materialize(built.through)
    after = composing.create_release(publishing.train(built.end)).tag
    say(f"retrained on everything: {after}")

    pages = {
        name: _pages(tag, who)
        for name, tag in (("served", before), ("all", after), ("till", till_alone))
    }
    sells = {name: _sells(shop, page, who, tested) for name, page in pages.items()}
    same = np.mean([len(set(pages["served"][one]) & set(pages["all"][one])) / K for one in who])
    print(
        f"{len(who):,} shoppers, {days} days: {kinds}. On {tested} the retrained release shows {same:.0%} of the articles "
        "that the one before shows.\n"
    )
    print(
        "| release | expected purchases a page | more than the one that served (paired, 95%) |\n|---|---|---|"
    )
    for name, title in (
        ("served", "the one that served"),
        ("till", "retrained on the till alone"),
        ("all", "retrained on the till and the service's log"),
    ):
        gain = "" if name == "served" else _interval(sells[name] - sells["served"])
        print(f"| {title} | {sells[name].mean():.4f} | {gain} |")
    print(f"\nThe log's own worth: {_interval(sells['all'] - sells['till'])} purchases a page.")


def _shoppers(files: Path, count: int) -> list[str]:
    """Customers who have bought, drawn from all such."""
    bought = pd.read_parquet(files / "transactions_train.parquet", columns=["customer_id"])
    known = np.sort(bought["customer_id"].unique())
    drawn = np.random.default_rng(7).choice(known, min(count, len(known)), replace=False)
    return [str(one) for one in drawn]


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _asked(address: str, path: str, body: Any) -> Any:
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {environment.token()}",
    }
    request = urllib.request.Request(f"{address}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _moved_to(address: str, day: date) -> None:
    """Wait until the service asks as of the beginning of this day."""
    for _ in range(300):
        if str(_asked(address, "/release", {})["moment"]).startswith(day.isoformat()):
            return
        time.sleep(0.2)
    raise SystemExit(f"the service has not moved on to {day}")


def _day(
    address: str, shop: Any, who: list[str], day: date, counts: dict[str, int]
) -> list[tuple[date, str, str]]:
    """Every shopper looks at a page; gives what they bought."""
    bought = []
    for number, customer in enumerate(who):
        answer = _asked(address, "/recommend", {"customer_id": customer, "k": K})
        slate = [one["article_id"] for one in answer["recommendations"]]
        at = datetime(day.year, day.month, day.day, 8) + timedelta(seconds=30 * number)
        events = []
        for row in shop.respond(customer, slate, day, at).to_dict("records"):
            counts[row["kind"]] = counts.get(row["kind"], 0) + 1
            events.append(
                {
                    "customer_id": customer,
                    "article_id": row["article_id"],
                    "kind": row["kind"],
                    "event_time": f"{row['event_time'].isoformat()}Z",
                    "request_id": answer["request_id"],
                    "position": int(row["position"]),
                    "surface": "recommend",
                }
            )
            if row["kind"] == "purchase":
                bought.append((day, customer, row["article_id"]))
        taken = _asked(address, "/events", {"events": events})
        assert taken["accepted"] == len(events)
    return bought


def _till(folder: Path, files: Path, bought: list[tuple[date, str, str]]) -> None:
    """A delivery of the day's purchases in the layout of the shop's files, at the articles' last prices."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("articles", "customers"):
        shutil.copy(files / f"{name}.parquet", folder)
    rows = pd.DataFrame(bought, columns=["t_dat", "customer_id", "article_id"])
    with duckdb.connect() as con:
        con.register("bought", rows)
        con.execute(
            """
            COPY (
                SELECT CAST(t_dat AS DATE) AS t_dat, customer_id, article_id, price, 2 AS sales_channel_id
                FROM bought
                JOIN (SELECT article_id, arg_max(price, t_dat) AS price FROM read_parquet($file) GROUP BY ALL)
                    USING (article_id)
            ) TO $out (FORMAT parquet)
            """,
            {
                "file": str(files / "transactions_train.parquet"),
                "out": str(folder / "transactions_train.parquet"),
            },
        )


def _pages(tag: str, who: list[str]) -> dict[str, list[str]]:
    """What a release shows each shopper, of the features that are online now."""
    from pipelines.features import OnlineFeatures
    from pipelines.model_registry import release
    from pipelines.model_registry.composing import load_recommender
    from pipelines.online import online_moment

    recommender, _ = load_recommender(release.get(tag))
    moment = online_moment(refresh=True)
    found = recommender.recommend(who, OnlineFeatures(moment), moment, K)
    return {str(one): rows["article_id"].tolist() for one, rows in found.groupby("customer_id")}


def _sells(shop: Any, pages: dict[str, list[str]], who: list[str], day: date) -> np.ndarray:
    """Expected purchases of each shopper's page."""
    found = []
    for customer in who:
        slate = pages[customer]
        place = np.arange(1, len(slate) + 1)
        found.append(shop.response([customer] * len(slate), slate, day, place).purchase.sum())
    return np.array(found)


def _interval(difference: np.ndarray) -> str:
    draws = np.random.default_rng(7).choice(difference, (2_000, len(difference))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{difference.mean():+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    main()
