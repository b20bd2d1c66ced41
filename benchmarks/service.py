"""The service under load: one client, sixteen clients, and a hundred thousand requests.

    LOOKBOOK_HOME=/tmp/big python benchmarks/service.py --make          # a made-up shop with 100,000 articles: half an hour
    LOOKBOOK_HOME=/tmp/big python benchmarks/service.py                 # prints the tables of docs/benchmarks.md
    LOOKBOOK_HOME=/tmp/big python benchmarks/service.py --requests 5000 # a shorter look at memory

The service runs as a user starts it (`bentoml serve`), with two processes, on this machine only; those who ask are a process
of their own on the same cores, so that what they cost counts against it. Every answer is looked at: 200 and
twelve articles, or it failed; a fallback for somebody whom the shop knows, and it counts as simpler than usual. In the same run stand an empty endpoint of BentoML, which is what HTTP alone costs, and the same
recommendation in this process: through data frames, as evaluation does it, and as the service does it, with equal articles.
"""

import argparse
import http.client
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before any library starts its threads, or reads what a release is.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "LOOKBOOK_RELEASE": os.environ.get("LOOKBOOK_RELEASE")
    or str(Path(__file__).with_name("service.yaml")),
}

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from feature_repo import environment

HERE = Path(__file__).resolve().parent
K = 12
CUSTOMERS = 2_000
WARM_UP = 300
ALONE = 2_000
TOGETHER = 6_000
CLIENTS = 16
SESSIONS = 200
GROWTH = 0.05
"""What is still flat: allocators keep pieces for later."""
WORKERS = 2
MADE = {"customers": 60_000, "articles": 100_000, "days": 180, "interactions": 7}

EMPTY = """
import bentoml

@bentoml.service(workers={workers}, metrics={{"enabled": False}}, logging={{"access": {{"enabled": False}}}})
class Empty:
    @bentoml.api
    def recommend(self, customer_id: str, k: int = 12) -> dict:
        return {{}}
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--make", action="store_true", help="make the shop and its release first")
    asked.add_argument("--requests", type=int, default=100_000, help="for the look at memory")
    given = asked.parse_args()
    if given.make:
        _make()
    customers = _customers()
    _in_process(customers[:200])
    recommend = [_asking("/recommend", one) for one in customers]
    home = [_asking("/home", one) for one in customers]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "empty.py").write_text(EMPTY.format(workers=WORKERS))
        with _served("empty:Empty", Path(folder), "/livez") as (port, _):
            _table("an empty endpoint", port, recommend, None)
    with _served("services.recommendations:Recommender", HERE.parent, "/health") as (port, process):
        stages = _table("`/recommend`", port, recommend, _checked)
        _table("`/home`", port, home, _checked_home)
        _print_stages(stages)
        _sessions(port, customers[:SESSIONS])
        _memory(port, process, _mixed(customers), given.requests)


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    token: str = ""


def _asking(path: str, customer: str, **more: Any) -> Request:
    return Request(path, json.dumps({"customer_id": customer, "k": K, **more}).encode())


def _event(customer: str, article: str, kind: str) -> Request:
    event = {"customer_id": customer, "article_id": article, "kind": kind}
    return Request("/events", json.dumps({"events": [event]}).encode(), environment.token())


def _mixed(customers: list[str]) -> list[Request]:
    """Of twenty requests one is for a home page, one tells an event, and one is of somebody whom the shop has never seen."""
    from pipelines.warehouse import reading

    with reading() as con:
        bought = con.execute("SELECT article_id FROM staging.purchases ORDER BY day DESC LIMIT 100")
        articles = [article for (article,) in bought.fetchall()]
    found = []
    for number, customer in enumerate(customers):
        if number % 20 == 0:
            found.append(_asking("/home", customer))
        elif number % 20 == 7:
            found.append(_event(customer, articles[number % len(articles)], "view"))
        elif number % 20 == 14:
            found.append(_asking("/recommend", secrets.token_hex(32)))
        else:
            found.append(_asking("/recommend", customer))
    return found


def _make() -> None:
    from pipelines import content, feature_tables, features, online
    from pipelines.data.load import load
    from pipelines.data.synthetic import synthesize
    from pipelines.model_registry import composing, publishing, release

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    folder = Path(os.environ["LOOKBOOK_HOME"]) / "made-up-shop"
    if not folder.exists():
        synthesize(folder, **MADE)
    load(str(folder), progress=say)
    content.embed(progress=say)
    built = feature_tables.build(progress=say)
    features.apply()
    online.materialize(built.through)
    tags = publishing.train(built.end, progress=say)
    release.promote(composing.create_release(tags).tag, why="benchmark")


def _customers() -> list[str]:
    """Customers drawn from all, those without purchases included."""
    from pipelines.warehouse import reading

    with reading() as con:
        known = con.execute("SELECT customer_id FROM staging.customers ORDER BY ALL").fetchall()
    return random.Random(7).sample([row[0] for row in known], CUSTOMERS)


def _in_process(customers: list[str]) -> None:
    from pipelines.features import OnlineFeatures
    from pipelines.recommender import customer_state, one_customer
    from services.answers import Answers
    from services.served import load_served

    served = load_served()
    counts = []
    for customer in customers:
        state = one_customer(customer, served.features())
        counts.append(len(served.recommender.candidates(state, served.moment)))
    facts = served.recommender.facts
    assert facts is not None
    assert served.recommender.ranker is not None
    print(
        f"{len(facts.assortment):,} articles, {int(facts.assortment.on_sale.sum()):,} on sale; "
        f"{np.median(counts):.0f} candidates (5% to 95%: {np.percentile(counts, 5):.0f} to "
        f"{np.percentile(counts, 95):.0f}); ranker {served.recommender.ranker.name}; "
        f"{os.cpu_count()} cores, Python {sys.version.split()[0]}\n"
    )
    answers = Answers()

    def framed(customer: str) -> list[str]:
        features = OnlineFeatures(served.moment)
        state = customer_state([customer], features)
        moment = features.moment or served.moment
        found = served.recommender.recommend([customer], features, moment, K, state=state)
        return found["article_id"].tolist()

    def columns(customer: str) -> list[str]:
        return [one.article_id for one in answers.recommend(customer, K).recommendations]

    times: dict[str, list[float]] = {"data frames": [], "columns, with reasons": []}
    for customer in customers:
        found = []
        for name, ask in zip(times, (framed, columns), strict=True):
            started = time.perf_counter()
            found.append(ask(customer))
            times[name].append(1000 * (time.perf_counter() - started))
        assert found[0] == found[1], customer
    answers.stop()
    print("| one recommendation in process | p50 ms | p99 ms |\n|---|---|---|")
    for name, spent in times.items():
        print(f"| {name} | {np.percentile(spent, 50):.1f} | {np.percentile(spent, 99):.1f} |")
    print("\nEqual articles for every customer.\n")
    print(
        "| over HTTP | one client, p50 ms | p99 ms | 16 clients, requests a second | p50 ms | p99 ms | failed | simpler than usual |\n"
        "|---|---|---|---|---|---|---|---|",
        flush=True,
    )


@contextmanager
def _served(
    service: str, folder: Path, probe: str
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OPTIONS": f"services.lookbook.workers={WORKERS}",
        "LOOKBOOK_RATE_PER_SECOND": "0",
        "LOOKBOOK_LOG": "warning",
    }
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if _get(port, probe)[0] == 200:
                    break
            except OSError:
                assert process.poll() is None, "the service ended"
            time.sleep(0.2)
        # The other processes load too.
        time.sleep(5 if probe == "/health" else 1)
        yield port, process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _checked(body: bytes) -> bool:
    # To parse every answer would cost those who ask more than those who answer.
    return body.count(b'"article_id":') == K and body.endswith(b"}")


def _checked_home(body: bytes) -> bool:
    return body.count(b'"article_id":') >= K and body.endswith(b"}")


def _checked_any(body: bytes) -> bool:
    """Of a mix of requests."""
    return b'"accepted":1' in body or _checked_home(body)


def _is_simple(body: bytes) -> bool:
    found = body.partition(b'"fallback":')[2]
    return bool(found) and not found.startswith((b"null", b'"unknown_customer"'))


def _asked(
    port: int,
    requests: Sequence[Request],
    count: int,
    clients: int,
    right: Callable[[bytes], bool] | None,
) -> tuple[list[float], int, int, float]:
    """Milliseconds of each request that was answered, how many failed, how many were answered more simply than usual, and how
    long all took."""
    spent: list[list[float]] = [[] for _ in range(clients)]
    failed, simple = [0] * clients, [0] * clients
    # Whoever is answered takes the next: connections are not shared out evenly among the processes, and with a share for each
    # client one of the processes would have nothing to do in the end.
    turns = iter(range(count))

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for turn in turns:
            asked = requests[turn % len(requests)]
            headers = {"Content-Type": "application/json"}
            if asked.token:
                headers["Authorization"] = f"Bearer {asked.token}"
            started = time.perf_counter()
            try:
                connection.request("POST", asked.path, asked.body, headers)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                failed[number] += 1
                connection.close()
                continue
            spent[number].append(1000 * (time.perf_counter() - started))
            if answer.status != 200 or (right is not None and not right(body)):
                failed[number] += 1
                print(f"{asked.path}: {answer.status} {_without_articles(body)}", file=sys.stderr)
            simple[number] += _is_simple(body)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    found = [one for own in spent for one in own]
    # One that died on the way would leave requests to the others, and none may be missing.
    assert len(found) + sum(failed) >= count, "a client has ended early"
    return found, sum(failed), sum(simple), took


def _without_articles(body: bytes) -> str:
    """What is said of an answer beside the articles."""
    try:
        said = json.loads(body)
    except ValueError:
        return str(body[:300])
    return str(
        {name: of for name, of in said.items() if name not in ("recommendations", "carousels")}
    )


def _table(
    name: str, port: int, requests: Sequence[Request], right: Callable[[bytes], bool] | None
) -> list[dict[str, float]]:
    """Prints a row, and gives {stage: mean milliseconds} with one client and with many."""
    _asked(port, requests, WARM_UP, CLIENTS, None)
    before = _stages(port) if right else {}
    alone, failed, simple, _ = _asked(port, requests, ALONE, 1, right)
    between = _stages(port) if right else {}
    together, others, more, took = _asked(port, requests, TOGETHER, CLIENTS, right)
    after = _stages(port) if right else {}
    p50, p99 = np.percentile(alone, [50, 99])
    many50, many99 = np.percentile(together, [50, 99])
    print(
        f"| {name} | {p50:.1f} | {p99:.1f} | {TOGETHER / took:,.0f} | {many50:.1f} | {many99:.1f} | {failed + others} | {simple + more} |",
        flush=True,
    )
    return [_means(before, between), _means(between, after)]


def _means(
    before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]
) -> dict[str, float]:
    nothing = {"sum": 0.0, "count": 0.0}
    return {
        stage: 1000
        * (of["sum"] - before.get(stage, nothing)["sum"])
        / max(of["count"] - before.get(stage, nothing)["count"], 1)
        for stage, of in after.items()
    }


def _stages(port: int) -> dict[str, dict[str, float]]:
    """What the metrics say of each stage until now: the sum of its seconds, and how often it was."""
    sums: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(_get(port, "/metrics")[1].decode()):
        if family.name == "lookbook_stage_seconds":
            for sample in family.samples:
                kind = sample.name.rsplit("_", 1)[-1]
                if kind in ("sum", "count"):
                    sums.setdefault(sample.labels["stage"], {})[kind] = sample.value
    return sums


def _print_stages(means: list[dict[str, float]]) -> None:
    alone, together = means
    print(
        f"\n| stage of `/recommend` | one client, mean ms | {CLIENTS} clients, mean ms |\n|---|---|---|"
    )
    for stage, mean in alone.items():
        print(f"| {stage} | {mean:.2f} | {together[stage]:.2f} |")
    print(flush=True)


def _sessions(port: int, customers: list[str]) -> None:
    """How long it takes from an event on its way to the answer that has changed by it."""
    print(
        "| an event, and the next answer without what it waved away | p50 ms | p99 ms |\n|---|---|---|"
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(asked: Request) -> Any:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {asked.token}"}
        connection.request("POST", asked.path, asked.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return json.loads(body)

    nobody = [secrets.token_hex(32) for _ in customers]
    for name, asking in (("customers of the shop", customers), ("never seen before", nobody)):
        spent = []
        for customer in asking:
            shown = post(_asking("/recommend", customer))["recommendations"][0]["article_id"]
            started = time.perf_counter()
            post(_event(customer, shown, "dismiss"))
            now = post(_asking("/recommend", customer))["recommendations"]
            spent.append(1000 * (time.perf_counter() - started))
            assert shown not in [one["article_id"] for one in now], customer
        p50, p99 = np.percentile(spent, [50, 99])
        print(f"| {name} | {p50:.1f} | {p99:.1f} |")
    print(flush=True)


def _memory(
    port: int, process: "subprocess.Popen[bytes]", mixed: list[Request], requests: int
) -> None:
    """What the service's processes hold together while requests of all kinds go on."""
    print("| requests | GB of the service | of them private |\n|---|---|---|")
    steps, simple, found = 10, 0, list[int]()
    for step in range(steps + 1):
        if step:
            _, failed, more, _ = _asked(port, mixed, requests // steps, CLIENTS, _checked_any)
            assert not failed, f"{failed} failed"
            simple += more
        held, private = _held(process.pid)
        found.append(private)
        print(
            f"| {step * (requests // steps):,} | {held / 1e6:.3f} | {private / 1e6:.3f} |",
            flush=True,
        )
    grown = max(found[2:]) / found[1] - 1
    print(
        f"\nAfter the first tenth it grew by {grown:.1%} at most. None failed; {simple} were answered more simply than usual."
    )
    assert grown < GROWTH, "memory is not flat"


def _held(pid: int) -> tuple[int, int]:
    """Kilobytes of a process and those below it: proportional, and private."""
    held = private = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        own = int(status.parent.name)
        try:
            if not _is_below(own, pid):
                continue
            for line in (status.parent / "smaps_rollup").read_text().splitlines():
                name, _, size = line.partition(":")
                if name == "Pss":
                    held += int(size.split()[0])
                elif name in ("Private_Clean", "Private_Dirty"):
                    private += int(size.split()[0])
        except OSError:
            continue
    return held, private


def _is_below(pid: int, above: int) -> bool:
    while pid > 1:
        if pid == above:
            return True
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


if __name__ == "__main__":
    main()
