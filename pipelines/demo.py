"""The demo: the whole way from raw files to a recommendation, in one process and then the service."""

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo import environment, places
from feature_repo.errors import LookbookError

if TYPE_CHECKING:
    from pipelines.model_registry.release import Release

ONLINE_RETAIL = "online-retail"
ONLINE_RETAIL_FILE = places.PROJECT / "data" / "online_retail.parquet"
SERVICE = "services.recommendations:Recommender"
EVALUATED_WEEKS = 2
PICTURES = 400
"""Of so many of the made-up shop's articles; to learn from them takes half a minute."""
START_SECONDS = 120
LOG_SECONDS = 60
CHECKED_REQUESTS = 2

Say = Callable[[str], None]


def run(
    source: str = "", *, serve: bool | None = None, port: int = 3000, say: Say = print
) -> dict[str, Any]:
    """Load a shop, build features, train, evaluate, promote a release and serve it.

    Run again, it makes no new shop and loads nothing twice, and trains anew.

    Args:
        source: what `lookbook data load` takes, "online-retail", or "" for a made-up shop.
        serve: stay up until interrupted; if None, unless CI or SERVE=0 is set.
        port: of the service, on this machine only.

    Returns:
        home, release, and metrics of the evaluated weeks.

    Raises:
        LookbookError: a step cannot be done; the text says why.
    """
    if "LOOKBOOK_HOME" not in os.environ and source:
        # Shops must not be mixed in one warehouse.
        os.environ["LOOKBOOK_HOME"] = str(places.PROJECT / f".lookbook-{_shop_name(source)}")
    say(f"State is kept in {places.home()}")
    _require_free(port)
    started = time.perf_counter()
    loadable = _loadable(source, say)
    made = prepare(loadable, say)
    say(f"Ready after {time.perf_counter() - started:.0f} s.")
    if serve is None:
        serve = not (os.environ.get("CI") or os.environ.get("SERVE") == "0")
    with _served(port, say, Path(loadable) / "images") as address:
        since = datetime.now(UTC)
        customer = _check(address, say)
        _compare(since, say)
        _welcome(address, customer, serve, say)
        if serve:
            _wait()
    return {
        "home": str(places.home()),
        "release": made.tag,
        "metrics": made.metrics,
    }


def _welcome(address: str, customer: str, serve: bool, say: Say) -> None:
    """Where to look, and how to go on."""
    if serve:
        # What stands behind # is for the browser only, which sends it to nobody.
        page = f"{address}/page/#token={environment.token()}"
        say(f"\n  The page: {page}\n\nStop with Ctrl-C.")
    say("To go on in another shell, in the project's folder:")
    say(f"  source .venv/bin/activate; export LOOKBOOK_HOME={shlex.quote(str(places.home()))}")
    say(f"  lookbook recommend --customer {customer}")


def _shop_name(source: str) -> str:
    """A name for the shop's home that two folders of the same name do not share."""
    if source == ONLINE_RETAIL:
        return source
    folder = Path(source).expanduser().resolve()
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', folder.name)}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise LookbookError(f"Port {port} is taken: stop what runs there, or give --port.")


def _loadable(source: str, say: Say) -> str:
    """What `lookbook data load` takes; makes a shop up if none is given."""
    if source == ONLINE_RETAIL:
        return f"{ONLINE_RETAIL}:{ONLINE_RETAIL_FILE}"
    if source:
        return str(Path(source).expanduser())
    folder = places.home() / "made-up-shop"
    if not folder.exists():
        from pipelines.data.synthetic import synthesize

        made = synthesize(folder, images=PICTURES)
        say(
            f"[1/9] Made a shop up: {made.customers:,} customers, {made.articles:,} articles, "
            f"{made.transactions:,} transactions"
        )
    return str(folder)


def prepare(source: str, say: Say, weeks: int = EVALUATED_WEEKS) -> "Release":
    """Everything up to a release in production."""
    from pipelines import content, feature_tables, features, online
    from pipelines.data.load import load
    from pipelines.evaluation.weekly import evaluate
    from pipelines.model_registry import composing, gates, publishing

    def step(text: str) -> None:
        say(f"      {text}")

    say(f"[2/9] Loading {source}")
    say(_indented(str(load(source, progress=step))))
    say("[3/9] Embedding words and pictures, building features")
    say(_indented(str(content.embed(progress=step))))
    built = feature_tables.build(progress=step)
    say("[4/9] feast apply, feast materialize")
    features.apply()
    online.materialize(built.through)
    say("[5/9] Training")
    tags = publishing.train(built.end, progress=step)
    say(f"[6/9] Evaluating on the last {weeks} weeks, each trained on what came before it")
    found = evaluate(built.through, weeks=weeks, progress=step)
    for name, metrics in found.models.items():
        values = "  ".join(f"{metric} {value['mean']:.4f}" for metric, value in metrics.items())
        say(f"      {name:<24} {values}")
    say("[7/9] Promoting the release")
    made = composing.create_release(tags, found.to_dict())
    say(f"      {gates.promote(made.tag, why='demo', progress=step)}")
    return made


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.splitlines())


@contextmanager
def _served(port: int, say: Say, pictures: Path | None = None) -> Iterator[str]:
    """`bentoml serve` in a process of its own; gives its address once it answers.

    Args:
        pictures: a folder of the articles' pictures, if it is there.
    """
    address = f"http://127.0.0.1:{port}"
    _require_free(port)
    say(f"[8/9] bentoml serve {SERVICE}")
    log = places.home() / "service.log"
    command = [
        *(sys.executable, "-m", "bentoml", "serve", SERVICE),
        *("--host", "127.0.0.1", "--port", str(port), "--working-dir", str(places.PROJECT)),
    ]
    environment = os.environ | {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(places.models_folder()),
        "LOOKBOOK_HOME": str(places.home()),
        "LOOKBOOK_SERVED_SAMPLE": "1",
        "LOOKBOOK_SERVED_SECONDS": "1",
    }
    if pictures is not None and pictures.is_dir():
        environment.setdefault("LOOKBOOK_PICTURES", str(pictures.resolve()))
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while _get(f"{address}/health") is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise LookbookError(f"The service did not start; its log is {log}.")
            time.sleep(0.3)
        yield address
    finally:
        # The service has processes of its own, so the whole group ends; it may have ended already.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check(address: str, say: Say) -> str:
    """One customer with a history and one without must both get articles; returns the first."""
    customers = [found["customer_id"] for found in _post(f"{address}/sample_customers", {})]
    for customer in (customers[0], "somebody new"):
        answer = _post(f"{address}/recommend", {"customer_id": customer, "k": 5})
        if not answer["recommendations"]:
            raise LookbookError(f"The service recommended nothing to {customer}.")
        first = answer["recommendations"][0]
        say(f"      {customer}: {first['name'] or first['article_id']} - {first['reason']}")
    return str(customers[0])


def _compare(since: datetime, say: Say) -> None:
    """What the service has just answered must be what the warehouse gives at the same moment."""
    from pipelines.monitoring import parity

    say("[9/9] Comparing what was served with the warehouse")
    deadline, before = time.monotonic() + LOG_SECONDS, 0
    while True:
        # The service writes its log a moment after it has answered, file by file.
        with suppress(parity.ParityError):
            found = parity.check(since=since)
            if found.rows == before and (found.requests >= CHECKED_REQUESTS or found.skipped):
                break
            before = found.rows
        if time.monotonic() > deadline:
            raise LookbookError(
                f"The service has not logged what it served; its log is {places.home() / 'service.log'}."
            )
        time.sleep(0.5)
    say(_indented("\n".join([*map(str, found.differences), str(found)])))
    if not found.holds:
        raise LookbookError(
            "What was served is not what the warehouse gives: run `lookbook parity`."
        )


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except (OSError, json.JSONDecodeError) as error:
        raise LookbookError(f"{url} did not answer as it should: {error}") from error


def _get(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return None if error.code == 503 else error.code
    except OSError:
        return None


def _wait() -> None:
    """Until Ctrl-C, or until whoever started this ends it."""
    ended = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: ended.set())
    ended.wait()
