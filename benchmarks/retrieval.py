"""What retrievers cost at H&M's size: fitting, candidates for everybody, one request; beside `implicit`.

    python benchmarks/retrieval.py                         # 1%, 10% and all of H&M's size
    python benchmarks/retrieval.py 0.01 --peers PYTHON     # 1%, with the peers of another environment
    python benchmarks/retrieval.py 1 --home HOME --all     # a shop that is loaded, every customer of it
    python benchmarks/retrieval.py 0.01 --models two_tower,neu_mf

Each size is a made-up shop in a temporary folder, loaded into a home of its own, unless --home names one.
Every retriever learns what came before the last week in a process of its own, for its peak of memory.
All of them then name 100 candidates for a sample of customers in batches (for all customers with --all),
and for some hundred customers one by one. Recall is of the last week's buyers, a sample too.

PYTHON is the interpreter of an environment with `implicit` in it, which is none of ours:

    python -m venv peers && peers/bin/pip install implicit

The peers learn from the same purchases, without their dates, on as many cores. Retrievers that train by
the loop of `neural/` (NEURAL) are measured only if --models names them; a table then says how many
examples they see in a second, and how long an epoch takes at H&M's size.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import steps

SHARES = (0.01, 0.1, 1.0)
MEMORY = "8GB"
EVERYBODY = 1_371_980
"""H&M's customers."""
CANDIDATES = 100
SAMPLE = 20_000
BUYERS = 5_000
REQUESTS = 300
READ = 50_000
"""Customers whose state is read from the warehouse at once: each read goes through whole tables."""
FACTORS = 64
NEURAL = {"two_tower", "variational_autoencoder", "neu_mf"}
"""Left out unless they are named: at full size they are fitted for hours on a CPU."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("shares", nargs="*", type=float, default=list(SHARES))
    words.add_argument("--home", type=Path, help="a LOOKBOOK_HOME with a shop of that share loaded")
    words.add_argument("--models", help="retrievers, by commas")
    words.add_argument("--peers", type=Path, help="a Python that has implicit")
    words.add_argument("--all", action="store_true", help="candidates for every customer")
    asked = words.parse_args()
    from pipelines.model_catalog import RETRIEVERS

    names = [name for name in RETRIEVERS if name not in NEURAL]
    names = asked.models.split(",") if asked.models else names
    for share in asked.shares:
        folder = Path(tempfile.mkdtemp(prefix="lookbook-retrieval-"))
        try:
            _measure(folder, share, names, asked)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.")


def _measure(folder: Path, share: float, names: list[str], asked: argparse.Namespace) -> None:
    home = asked.home or folder / "home"

    def step(name: str, *more: object) -> dict[str, Any]:
        found = steps.run(__file__, "step", name, folder, *more, LOOKBOOK_HOME=str(home))
        print(f"{name} {' '.join(map(str, more))}: {found}", file=sys.stderr, flush=True)
        return found

    if asked.home is None:
        step("shop", share)
    shop = step("build")
    fits = {name: step("fit", name) for name in names}
    batch = step("candidates", ",".join(names), int(asked.all))
    single = step("requests", ",".join(names))
    print(
        f"\n**{share:.0%} of H&M**: {shop['purchases']:,.0f} lines before {shop['day']}, "
        f"{shop['customers']:,.0f} customers, {shop['articles']:,.0f} articles, "
        f"{shop['on_sale']:,.0f} on sale.\n"
    )
    print(
        "| retriever | fit | peak memory | saved | s per 1,000 customers | all of H&M's | recall@100 |"
        " p50 | p99 |"
    )
    print(f"|{'---|' * 9}")
    for name, fit in fits.items():
        cells = [
            f"{fit['seconds']:.1f} s",
            f"{fit['gigabytes']:.1f} GB",
            f"{fit['saved'] / 1e6:,.1f} MB",
            *_batch(batch[f"{name} seconds"], batch["customers"]),
            f"{batch[f'{name} recall']:.3f}",
            f"{single[f'{name} p50']:.2f} ms",
            f"{single[f'{name} p99']:.2f} ms",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for name, text in (("all", "all together"), ("release", "a release's")):
        if f"{name} p50" in single:
            cells = [f"{batch[f'{name} recall']:.3f}"]
            cells += [f"{single[f'{name} {q}']:.2f} ms" for q in ("p50", "p99")]
            print(f"| *{text}, merged* | | | | | | {' | '.join(cells)} |", flush=True)
    if asked.peers:
        step("matrix")
        for name, peer in _peers(asked.peers, folder / "matrix.npz").items():
            cells = [
                f"{peer['seconds']:.1f} s | {peer['gigabytes']:.1f} GB |",
                *_batch(peer["recommend"], peer["customers"]),
                f"{peer['recall']:.3f}",
            ]
            print(f"| *implicit: {name}* | {' | '.join(cells)} | | |", flush=True)
    how = "all customers" if asked.all else "extrapolated to all of H&M's customers"
    print(
        f"\nCandidates: {CANDIDATES} each, for {batch['customers']:,.0f} customers in batches, {how}; reading "
        f"what is known of them took {batch['read']:.0f} s more, once for all retrievers. Peak memory of that "
        f"process: {batch['gigabytes']:.1f} GB. Of a request's time {single['shared p50']:.2f} ms are the "
        "unpacking of what the customer did, once for all retrievers, and counted in the merged rows alone."
    )
    trained = {name: fit for name, fit in fits.items() if fit.get("examples")}
    if trained:
        print("\n| trained | examples | examples per second | an epoch at H&M's size |")
        print(f"|{'---|' * 4}")
        for name, fit in trained.items():
            hours = fit["examples"] / share / fit["per_second"] / 3600
            print(
                f"| {name} | {fit['examples']:,.0f} | {fit['per_second']:,.0f} | {hours:.1f} hours |"
            )


def _batch(seconds: float, customers: float) -> list[str]:
    each = seconds / customers
    return [f"{1000 * each:.2f}", f"{EVERYBODY * each / 60:.1f} min"]


# --- steps, each a process ----------------------------------------------------------------------


def _run(name: str, folder: Path, *more: str) -> None:
    work = {
        "shop": _shop,
        "build": _build,
        "fit": _fit,
        "candidates": _candidates,
        "requests": _requests,
        "matrix": _matrix,
    }
    steps.answer(**work[name](folder, *more))


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _week() -> Any:
    from datetime import timedelta

    from pipelines.data.split import weeks_before
    from pipelines.feature_tables import latest_build

    return weeks_before(latest_build().through + timedelta(days=1), 1)[0]


def _shop(folder: Path, share: str) -> dict[str, Any]:
    from pipelines.data.load import load
    from pipelines.data.synthetic import like_hm, synthesize

    synthesize(folder / "shop", **like_hm(float(share)))
    load(str(folder / "shop"), progress=_say)
    shutil.rmtree(folder / "shop")
    return {}


def _build(folder: Path) -> dict[str, Any]:
    from pipelines import feature_tables, features
    from pipelines.assortment import Assortment
    from pipelines.warehouse import reading, writing

    with writing(memory_limit=MEMORY) as con:
        con.execute("SET enable_progress_bar = false")
        feature_tables.bring(con, None, _say)
    features.apply()
    week = _week()
    with reading() as con:
        purchases, customers = con.execute(
            "SELECT sum(line_count), count(DISTINCT customer_id) FROM staging.purchases WHERE day < ?",
            [week.start],
        ).fetchall()[0]
        assortment = Assortment.at(con, week.start)
    return {
        "day": week.start.isoformat(),
        "purchases": int(purchases),
        "customers": customers,
        "articles": len(assortment),
        "on_sale": len(assortment.for_sale),
    }


def _fit(folder: Path, name: str) -> dict[str, Any]:
    from pipelines.model_catalog import make_retriever
    from pipelines.retrievers.base import Past
    from pipelines.warehouse import reading

    told = _listen(name)
    model = folder / "models" / name
    model.mkdir(parents=True)
    with reading() as con:
        con.execute("SET enable_progress_bar = false")
        started = time.perf_counter()
        fitted = make_retriever(name).fit(Past.at(con, _week().start))
        seconds = time.perf_counter() - started
    fitted.save(model)
    saved = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    return {"seconds": seconds, "saved": saved, **told}


def _listen(name: str) -> dict[str, float]:
    """Gains how many examples an epoch has, and how many were seen in a second, if a network is trained."""
    told: dict[str, float] = {}
    if name in NEURAL:
        from pipelines.neural import training

        train = training.train

        def listening(network: Any, loss: Any, examples: Any, *more: Any, **named: Any) -> Any:
            history = train(network, loss, examples, *more, **named)
            told.update(examples=len(examples), per_second=history.examples_per_second)
            return history

        # Before the retriever's module takes it from there.
        training.train = listening
    return told


def _load(folder: Path, names: str) -> dict[str, Any]:
    from pipelines.model_catalog import make_retriever

    return {name: make_retriever(name).load(folder / "models" / name) for name in names.split(",")}


def _sampled(count: int | None) -> list[str]:
    """Customers of all kinds, those without a purchase too."""
    from pipelines.warehouse import reading

    limit = "" if count is None else f"ORDER BY hash(customer_id), customer_id LIMIT {count}"
    with reading() as con:
        rows = con.execute(f"SELECT customer_id FROM staging.customers {limit}").fetchall()
    return [row[0] for row in rows]


def _buyers() -> Any:
    """The week's purchases of a sample of its buyers."""
    from pipelines.data.split import buyers
    from pipelines.training import sampled
    from pipelines.warehouse import reading

    with reading() as con:
        bought = buyers(con, _week())
    return bought[bought["customer_id"].isin(sampled(bought["customer_id"].unique(), BUYERS))]


def _candidates(folder: Path, names: str, everybody: str) -> dict[str, Any]:
    from pipelines.evaluation.metrics import recall
    from pipelines.features import OfflineFeatures
    from pipelines.recommender import BATCH_CUSTOMERS, customer_state
    from pipelines.retrievers.base import Asked

    retrievers = _load(folder, names)
    week = _week()
    features = OfflineFeatures(week.moment)
    customers = _sampled(None if int(everybody) else SAMPLE)
    seconds = dict.fromkeys(retrievers, 0.0)
    read = 0.0
    for start in range(0, len(customers), READ):
        started = time.perf_counter()
        state = customer_state(customers[start : start + READ], features)
        read += time.perf_counter() - started
        for first in range(0, len(state), BATCH_CUSTOMERS):
            asked = Asked(state.iloc[first : first + BATCH_CUSTOMERS], week.moment)
            for assortment in {retriever.assortment for retriever in retrievers.values()}:
                asked.history(assortment)
                asked.session(assortment)
            for name, retriever in retrievers.items():
                started = time.perf_counter()
                retriever.propose(asked, CANDIDATES)
                seconds[name] += time.perf_counter() - started
        _say(
            f"candidates for {min(start + READ, len(customers)):,} of {len(customers):,} customers"
        )
    bought = _buyers()
    state = customer_state(list(bought["customer_id"].unique()), features)
    found: dict[str, Any] = {"customers": len(customers), "read": read}
    for name, retriever in retrievers.items():
        named = retriever.candidates(state, week.moment, CANDIDATES)
        found[f"{name} seconds"] = seconds[name]
        found[f"{name} recall"] = float(recall(named, bought, CANDIDATES).mean())
    for name, together in _together(retrievers).items():
        best = together.recommend(
            list(state["customer_id"]), features, week.moment, CANDIDATES, state=state
        )
        found[f"{name} recall"] = float(recall(best, bought, CANDIDATES).mean())
    return found


def _together(retrievers: dict[str, Any]) -> dict[str, Any]:
    """All of them, and those of a release where they are all there."""
    from pipelines.model_catalog import RELEASE
    from pipelines.recommender import Recommender

    found = {"all": Recommender(retrievers, dict.fromkeys(retrievers, CANDIDATES))}
    if set(RELEASE.retrievers) <= set(retrievers):
        mix = {name: retrievers[name] for name in RELEASE.retrievers}
        found["release"] = Recommender(mix, RELEASE.per_source, weights=RELEASE.weights)
    return found


def _requests(folder: Path, names: str) -> dict[str, Any]:
    from pipelines.evaluation.retrieval import time_requests
    from pipelines.features import OfflineFeatures
    from pipelines.recommender import customer_state

    retrievers = _load(folder, names)
    week = _week()
    state = customer_state(_sampled(REQUESTS), OfflineFeatures(week.moment))
    limits = dict.fromkeys(retrievers, CANDIDATES)
    timed = time_requests(retrievers, limits, _together(retrievers), state, week.moment)
    timed["shared"] = timed.pop("")
    return {f"{name} {q}": took for name, of in timed.items() for q, took in of.items()}


# --- peers --------------------------------------------------------------------------------------


def _matrix(folder: Path) -> dict[str, Any]:
    """Everything the peers need, as matrix.npz: customers x articles with the lines bought, whom to
    recommend to, and the buyers of the week with what they bought."""
    import numpy as np

    from pipelines.retrievers.base import Past
    from pipelines.warehouse import reading

    week = _week()
    with reading() as con:
        con.execute("SET enable_progress_bar = false")
        past = Past.at(con, week.start)
        con.execute(
            "CREATE TEMP TABLE numbered AS SELECT customer_id, "
            "CAST(row_number() OVER (ORDER BY customer_id) - 1 AS INTEGER) AS customer "
            "FROM (SELECT DISTINCT customer_id FROM staging.purchases WHERE day < ?)",
            [week.start],
        )
        found = past.query(
            "SELECT customer, CAST(article AS INTEGER) AS article, CAST(sum(line_count) AS FLOAT) AS lines "
            "FROM staging.purchases INNER JOIN numbered USING (customer_id) "
            "INNER JOIN places USING (article_id) WHERE day < $cutoff GROUP BY ALL ORDER BY ALL"
        )
        rows = con.execute("SELECT customer_id, customer FROM numbered").fetchall()
    row_of = dict(rows)
    bought = _buyers()
    testers = list(bought["customer_id"].unique())
    nth = {customer: number for number, customer in enumerate(testers)}
    np.savez(
        folder / "matrix.npz",
        **found,
        on_sale=past.assortment.on_sale,
        # -1: who never bought before gets nothing from the peers.
        asked=np.array([row_of.get(customer, -1) for customer in _sampled(SAMPLE)]),
        testers=np.array([row_of.get(customer, -1) for customer in testers]),
        truth_tester=bought["customer_id"].map(nth).to_numpy(dtype="int64"),
        truth_article=past.assortment.places(bought["article_id"].tolist()),
    )
    return {"pairs": len(found["lines"])}


def _peers(python: Path, matrix: Path) -> dict[str, dict[str, float]]:
    found = {}
    for name in ("ALS", "BPR", "item-kNN BM25", "item-kNN cosine"):
        done = subprocess.run(
            # Not resolved: the interpreter of a virtual environment is a link.
            [str(python), str(Path(__file__).resolve()), "peer", name, str(matrix)],
            check=True,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def _peer(name: str, matrix: str) -> None:
    """One of implicit's models, in an environment that has it."""
    import numpy as np
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
    from scipy import sparse

    saved = np.load(matrix, allow_pickle=False)
    bought = sparse.csr_matrix(
        (saved["lines"], (saved["customer"], saved["article"])),
        (int(saved["customer"].max()) + 1, len(saved["on_sale"])),
    )
    threads = os.cpu_count() or 1
    model = {
        "ALS": lambda: AlternatingLeastSquares(FACTORS, num_threads=threads, random_state=7),
        "BPR": lambda: BayesianPersonalizedRanking(FACTORS, num_threads=threads, random_state=7),
        "item-kNN BM25": lambda: BM25Recommender(K=CANDIDATES, num_threads=threads),
        "item-kNN cosine": lambda: CosineRecommender(K=CANDIDATES, num_threads=threads),
    }[name]()
    started = time.perf_counter()
    model.fit(bought, show_progress=False)
    seconds = time.perf_counter() - started

    def recommend(rows: Any, count: int) -> Any:
        ids, _ = model.recommend(rows, bought[rows], N=count, filter_already_liked_items=False)
        return ids

    asked = saved["asked"]
    started = time.perf_counter()
    for start in range(0, len(asked), 2_000):
        rows = asked[start : start + 2_000]
        recommend(rows[rows >= 0], CANDIDATES)
    took = time.perf_counter() - started

    # Of three times as many those on sale, as ours name only these.
    known = np.flatnonzero(saved["testers"] >= 0)
    ids = recommend(saved["testers"][known], 3 * CANDIDATES)
    named: set[tuple[int, int]] = set()
    for tester, articles in zip(known, ids, strict=True):
        articles = articles[articles >= 0]
        kept = articles[saved["on_sale"][articles]][:CANDIDATES]
        named |= {(int(tester), int(article)) for article in kept}
    pairs = list(zip(saved["truth_tester"].tolist(), saved["truth_article"].tolist(), strict=True))
    hit = np.array([pair in named for pair in pairs], dtype="float64")
    tester = saved["truth_tester"]
    recall = np.bincount(tester, hit) / np.bincount(tester)
    steps.answer(seconds=seconds, recommend=took, customers=len(asked), recall=float(recall.mean()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        _run(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    elif sys.argv[1:2] == ["peer"]:
        _peer(*sys.argv[2:])
    else:
        main()
