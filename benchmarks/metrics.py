"""Our metrics beside those of RecTools (MTS) on random cases.

    python benchmarks/metrics.py --peers PYTHON     # prints a table of docs/evaluation.md

PYTHON is of an environment of its own, in which `pip install rectools==0.19` was done: it asks for NumPy below 2
and cannot share ours. Each case has customers with lists shorter than k, customers without a list, articles
that are in no list, and more bought than k. Takes half a minute.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CASES = 40
KS = (1, 5, 12)
FEATURES = 4
"""Of each article; four, so that 1 / sqrt(4) is a number that float32 has."""
NAMES = ["customer_id", "article_id", "rank"]
HOW = {
    "MAP": "divides by all articles bought: x articles bought / min(k, articles bought)",
    "NDCG": "divide_by_achievable=True (its default divides by k hits)",
    "precision": "as it is",
    "recall": "as it is",
    "hit_rate": "as it is",
    "MRR": "as it is",
    "novelty": "of customers: given to ours as the share, its one customer for what nobody bought too",
    "diversity": "Hamming distance / features: 1 - likeness of one-hot vectors; it says 0 where ours is missing",
    "coverage": "normalize=True",
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--peers", help="a Python with RecTools 0.19")
    asked.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.answer:
        _answer(given.answer)
        return
    if not given.peers:
        asked.error("--peers PYTHON: name a Python in whose environment RecTools is installed.")
    rng = np.random.default_rng(11)
    most: dict[str, float] = {}
    values = 0
    with tempfile.TemporaryDirectory() as room:
        for number in range(CASES):
            _write(Path(room) / str(number), rng)
        subprocess.run([given.peers, str(Path(__file__).resolve()), "--answer", room], check=True)
        for number in range(CASES):
            folder = Path(room) / str(number)
            theirs = json.loads((folder / "answer.json").read_text())
            ours = _ours(folder)
            for key, found in ours.items():
                metric = key.partition("@")[0]
                expected = theirs[key]
                assert set(found) <= set(expected), key
                apart = [abs(value - expected[who]) for who, value in found.items()]
                most[metric] = max(most.get(metric, 0.0), *apart, 0.0)
                values += len(found)
    print("| metric | what is done to RecTools' before it is compared | largest difference |")
    print("|---|---|---|")
    for metric, apart in most.items():
        print(f"| {metric} | {HOW[metric]} | {apart:.1e} |")
    print(f"\n{CASES} random cases, k of {', '.join(map(str, KS))}; {values:,} values.")
    if max(most.values()) > 1e-9:
        sys.exit("They differ by more than 1e-9.")


def _write(folder: Path, rng: np.random.Generator) -> None:
    """A random case as CSV: recommended, truth, past purchases, and features of articles."""
    folder.mkdir()
    customers, articles = int(rng.integers(5, 60)), int(rng.integers(15, 80))
    shown, bought = [], []
    for customer in range(customers):
        length = int(rng.choice([0, 3, 14]))
        for rank, article in enumerate(rng.permutation(articles)[:length], start=1):
            shown.append((f"c{customer}", f"a{article}", rank))
        for article in rng.permutation(articles)[: rng.integers(1, 15)]:
            bought.append((f"c{customer}", f"a{article}"))
    past = [
        (f"c{rng.integers(customers)}", f"a{min(rng.geometric(0.1), articles) - 1}")
        for _ in range(20 * customers)
    ]
    pd.DataFrame(shown, columns=NAMES).to_csv(folder / "recommended.csv", index=False)
    pd.DataFrame(bought, columns=NAMES[:2]).to_csv(folder / "truth.csv", index=False)
    pd.DataFrame(past, columns=NAMES[:2]).to_csv(folder / "past.csv", index=False)
    features = pd.DataFrame(
        rng.integers(0, 3, (articles, FEATURES)), columns=[f"f{n}" for n in range(FEATURES)]
    )
    features.insert(0, "article_id", [f"a{n}" for n in range(articles)])
    features.to_csv(folder / "features.csv", index=False)


def _read(folder: Path) -> tuple[pd.DataFrame, ...]:
    names = ("recommended", "truth", "past", "features")
    return tuple(pd.read_csv(folder / f"{name}.csv") for name in names)


# --- ours ---------------------------------------------------------------------------------------


def _ours(folder: Path) -> dict[str, dict[str, float]]:
    from datetime import UTC, datetime

    from pipelines.evaluation.metrics import Shown, coverage

    recommended, truth, past, features = _read(folder)
    facts = _facts(past, features)
    shown = Shown.of(recommended, truth, max(KS), facts, datetime(2020, 9, 16, tzinfo=UTC))
    functions = {
        "MAP": Shown.average_precision,
        "NDCG": Shown.ndcg,
        "precision": Shown.precision,
        "recall": Shown.recall,
        "hit_rate": Shown.hit_rate,
        "MRR": Shown.reciprocal_rank,
        "novelty": Shown.novelty,
        "diversity": Shown.diversity,
    }
    found = {}
    for k in KS:
        for metric, function in functions.items():
            values = dict(zip(shown.customers, function(shown, k).tolist(), strict=True))
            found[f"{metric}@{k}"] = {who: v for who, v in values.items() if not np.isnan(v)}
        lists = shown.articles(k)
        exposures = np.unique(lists[lists >= 0], return_counts=True)[1]
        share = coverage(exposures[:, None].astype(float), len(facts.assortment))
        found[f"coverage@{k}"] = {"": float(share[0])}
    return found


def _facts(past: pd.DataFrame, features: pd.DataFrame) -> Any:
    from pipelines.article_facts import ArticleFacts
    from pipelines.assortment import Assortment

    features = features.sort_values("article_id").reset_index(drop=True)
    count = len(features)
    everybody = past["customer_id"].nunique()
    buyers = past.groupby("article_id")["customer_id"].nunique()
    share = features["article_id"].map(buyers).fillna(1).to_numpy() / everybody
    one_hot = pd.get_dummies(features.drop(columns="article_id").astype(str)).to_numpy("float32")
    nothing = np.zeros(count)
    return ArticleFacts(
        Assortment(
            features["article_id"].to_numpy(dtype=object),
            np.ones(count, dtype=bool),
            np.zeros(count, dtype=bool),
        ),
        one_hot / np.float32(FEATURES**0.5),
        {},
        {},
        nothing,
        nothing,
        share,
    )


# --- RecTools, in its own environment -----------------------------------------------------------


def _answer(room: Path) -> None:
    for folder in sorted(room.iterdir()):
        (folder / "answer.json").write_text(json.dumps(_theirs(folder)))


def _theirs(folder: Path) -> dict[str, dict[str, float]]:
    from rectools import Columns
    from rectools.metrics import (
        MAP,
        MRR,
        NDCG,
        CatalogCoverage,
        HitRate,
        IntraListDiversity,
        MeanInvUserFreq,
        PairwiseHammingDistanceCalculator,
        Precision,
        Recall,
    )

    names = {"customer_id": Columns.User, "article_id": Columns.Item, "rank": Columns.Rank}
    recommended, truth, past, features = _read(folder)
    shown, bought, before = (table.rename(columns=names) for table in (recommended, truth, past))
    features = features.set_index("article_id")
    distance = PairwiseHammingDistanceCalculator(features)
    count = truth.groupby("customer_id").size()
    found = {}
    for k in KS:
        simple = {
            "NDCG": NDCG(k, divide_by_achievable=True),
            "precision": Precision(k),
            "recall": Recall(k),
            "hit_rate": HitRate(k),
            "MRR": MRR(k),
        }
        values = {name: metric.calc_per_user(shown, bought) for name, metric in simple.items()}
        precision = MAP(k).calc_per_user(shown, bought)
        values["MAP"] = precision * count / count.clip(upper=k)
        values["novelty"] = MeanInvUserFreq(k).calc_per_user(shown, before)
        values["diversity"] = IntraListDiversity(k, distance).calc_per_user(shown) / FEATURES
        found.update({f"{name}@{k}": of.to_dict() for name, of in values.items()})
        share = CatalogCoverage(k, normalize=True).calc(shown, list(features.index))
        found[f"coverage@{k}"] = {"": float(share)}
    return found


if __name__ == "__main__":
    main()
