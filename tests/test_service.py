"""The service, from the plain object over HTTP to the built bento."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from feature_repo import feature_sql, places
from pipelines import demo, features, online
from pipelines.model_registry import RegistryError, composing, release
from pipelines.monitoring import answer_log
from pipelines.online import materialize, online_moment
from pipelines.recommender import customer_state
from services.answers import Answers
from tests.conftest import Serve, until

# The plain object


def test_a_known_customer_gets_reasons_that_are_true(shop: Path) -> None:
    answers = Answers()
    bought = pd.read_csv(shop.parent / "files" / "transactions_train.csv", dtype=str)
    names = pd.read_csv(shop.parent / "files" / "articles.csv", dtype=str)
    names = names.set_index("article_id")["prod_name"]
    customer = answers.sample_customers()[0].customer_id
    own = bought[bought["customer_id"] == customer]

    found = answers.recommend(customer, 12)

    assert found.known
    assert found.fallback is None
    assert [row.rank for row in found.recommendations] == list(range(1, 13))
    scores = [row.score for row in found.recommendations]
    assert scores == sorted(scores, reverse=True)
    for row in found.recommendations:
        assert row.name == names[row.article_id]
        if row.source == "repurchase":
            mine = own[own["article_id"] == row.article_id]
            last = pd.Timestamp(mine["t_dat"].max())
            assert f"last on {last.day} {last:%B %Y}" in row.reason
            times = {1: "once", 2: "twice"}.get(len(mine), f"{len(mine)} times")
            assert f"bought this {times}" in row.reason
        if row.source == "co_purchase":
            assert row.because in set(own["article_id"])
            assert row.because_name in row.reason


def test_the_history_is_the_customers_own(shop: Path) -> None:
    answers = Answers()
    customer = answers.sample_customers()[0].customer_id
    bought = pd.read_csv(shop.parent / "files" / "transactions_train.csv", dtype=str)
    own = bought[bought["customer_id"] == customer].groupby("article_id")["t_dat"]

    shown = answers.customer(customer)

    assert {p.article_id: p.times for p in shown.purchases} == own.size().to_dict()
    assert {p.article_id: str(p.last_bought) for p in shown.purchases} == own.max().to_dict()
    dates = [p.last_bought for p in shown.purchases]
    assert dates == sorted(dates, reverse=True)


def test_an_unknown_customer_gets_what_is_popular(shop: Path) -> None:
    answers = Answers()
    found = answers.recommend("nobody", 5)
    assert not found.known
    assert found.fallback == "unknown_customer"
    assert {row.source for row in found.recommendations} == {"popular_by_postal_code"}
    assert answers.customer("nobody").purchases == []


def test_a_service_that_cannot_read_features_says_so_and_recovers(
    own_shop: Path, monkeypatch
) -> None:
    from bentoml.exceptions import ServiceUnavailable
    from starlette.testclient import TestClient

    from services import recommendations

    answers = Answers()
    monkeypatch.setattr(recommendations, "_answers", answers)
    service = recommendations.Recommender.inner.__new__(recommendations.Recommender.inner)
    service.answers = answers
    health = TestClient(recommendations.site)
    customer = answers.sample_customers()[0].customer_id
    before = answers.recommend(customer, 12)
    assert health.get("/health").json()["status"] == "ok"

    file = places.home() / "online" / "data.mdb"
    with file.open("r+b") as store:
        store.truncate(file.stat().st_size // 2)
    said = health.get("/health")
    assert (said.status_code, said.json()["status"]) == (200, "degraded")
    assert health.get("/health?strict=1").status_code == 503
    assert str(places.home()) not in said.text
    # There is an answer all the same; what is known of a customer has none.
    found = answers.recommend(customer, 12)
    assert (found.fallback, len(found.recommendations)) == ("popular", 12)
    with pytest.raises(ServiceUnavailable, match="Features cannot be read now"):
        service.customer(customer)

    online.rebuild()
    assert health.get("/health").json()["status"] == "ok"
    assert answers.recommend(customer, 12).recommendations == before.recommendations


def test_sample_customers_reach_from_many_purchases_to_few(shop: Path) -> None:
    labels = [found.label for found in Answers().sample_customers()]
    counts = [int(label.split()[0]) for label in labels]
    assert len(counts) == 40
    assert counts[0] > counts[20] > counts[-1]


def test_a_promotion_and_a_rollback_change_what_is_served(own_shop: Path) -> None:
    answers = Answers()
    first = answers.release().release
    answers.follow(every=timedelta(milliseconds=50))
    try:
        second = release.promote(composing.create_release().tag).release
        assert second != first
        until(lambda: answers.release().release == second)
        release.rollback()
        until(lambda: answers.release().release == first)
    finally:
        answers.stop()


def test_an_online_store_older_than_the_release_is_refused(own_shop: Path) -> None:
    materialize(date(2020, 8, 1))
    with pytest.raises(RegistryError, match=r"materialize 1970-01-01T00:00:00 2020-09-23T00:00:00"):
        Answers()


def test_going_back_in_time_leaves_nothing_of_the_future_online(own_shop: Path) -> None:
    customers = [found.customer_id for found in Answers().sample_customers()]
    materialize(date(2020, 8, 1))
    moment = online_moment()
    assert moment == features.moment_of(date(2020, 8, 2))
    offline = customer_state(customers, features.OfflineFeatures(moment))
    online = customer_state(customers, features.OnlineFeatures(moment))
    days = "customer_recent__recent_days"
    assert online[days].dropna().map(list).equals(offline[days].dropna().map(list))


def test_a_release_of_other_features_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_sql, "DECAY_DAYS", 7.0)
    with pytest.raises(RegistryError, match=r"was trained on schema .* of the feature service"):
        Answers()


def test_a_service_without_a_release_says_so(home: Path) -> None:
    with pytest.raises(RegistryError, match="production"):
        Answers()


# Over HTTP


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, response.read().decode()


def post(url: str, body: Any, raw: bytes | None = None, token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, raw or json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_recommend_over_http_is_the_plain_answer(address: str, shop: Path) -> None:
    customer = Answers().sample_customers()[0].customer_id
    status, found = post(f"{address}/recommend", {"customer_id": customer, "k": 4})
    assert status == 200
    plain = Answers().recommend(customer, 4).model_dump(mode="json")
    assert found["recommendations"] == plain["recommendations"]
    assert found["moment"] == "2020-09-23T00:00:00Z"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"k": 3}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "x" * 129}, "customer_id"),
        ({"customer_id": 7}, "customer_id"),
        ({"customer_id": "x", "k": 0}, "k"),
        ({"customer_id": "x", "k": 101}, "k"),
        ({"customer_id": "x", "k": "many"}, "k"),
    ],
    ids=str,
)
def test_bad_requests_name_the_field(address: str, body: dict[str, Any], field: str) -> None:
    status, found = post(f"{address}/recommend", body)
    assert status == 400
    assert [problem["loc"] for problem in found["detail"]] == [[field]]


def test_what_counts_for_how_much_is_told_with_the_request(address: str, shop: Path) -> None:
    def asked(objective: dict[str, float]) -> tuple[int, Any]:
        body = {"customer_id": "nobody", "k": 4, "objective": objective}
        return post(f"{address}/recommend", body)

    status, usual = post(f"{address}/recommend", {"customer_id": "nobody", "k": 4})
    assert status == 200
    status, found = asked({"purchase": 2.0})
    assert (status, found["recommendations"]) == (200, usual["recommendations"])
    status, found = asked({"view": 1.0})
    assert status == 400
    assert "leave view out" in found["error"]
    for wrong in ({"love": 1.0}, {"purchase": -1.0}):
        assert asked(wrong)[0] == 400


def test_broken_json_is_a_400(address: str) -> None:
    assert post(f"{address}/recommend", None, raw=b"{no")[0] == 400


@pytest.mark.parametrize(
    "customer", ["'; DROP TABLE x; --", "名前", "\u0000", "../../etc", "a" * 128]
)
def test_hostile_customers_are_merely_unknown(address: str, customer: str) -> None:
    status, found = post(f"{address}/recommend", {"customer_id": customer, "k": 2})
    assert status == 200
    assert not found["known"]
    assert len(found["recommendations"]) == 2


def test_health_metrics_and_document(address: str) -> None:
    post(f"{address}/recommend", {"customer_id": "nobody"})
    assert json.loads(get(f"{address}/health")[1])["status"] == "ok"
    assert get(f"{address}/readyz")[0] == 200
    metrics = get(f"{address}/metrics")[1]
    assert 'lookbook_stage_seconds_count{stage="features"}' in metrics
    paths = json.loads(get(f"{address}/docs.json")[1])["paths"]
    assert {"/recommend", "/customer", "/release"} <= set(paths)


def test_the_index_is_the_page_and_asks_nothing_outside(address: str) -> None:
    with urllib.request.urlopen(f"{address}/", timeout=10) as response:
        assert response.url == f"{address}/page/"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        page = response.read().decode()
    assert "http://" not in page
    assert "https://" not in page


def test_many_at_once(address: str, shop: Path) -> None:
    customers = [found.customer_id for found in Answers().sample_customers()][:12]
    alone = {c: post(f"{address}/recommend", {"customer_id": c})[1] for c in customers}
    found: dict[str, Any] = {}

    def ask(customer: str) -> None:
        found[customer] = post(f"{address}/recommend", {"customer_id": customer})[1]

    threads = [threading.Thread(target=ask, args=(customer,)) for customer in customers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for customer in customers:
        assert found[customer]["recommendations"] == alone[customer]["recommendations"]


def test_releases_change_under_those_who_ask_and_no_request_fails(
    own_shop: Path, serve: Serve
) -> None:
    first = release.resolve("production")
    second = composing.create_release().tag
    customers = [found.customer_id for found in Answers().sample_customers()]
    asked: list[tuple[int, str, int]] = []
    over = threading.Event()

    with serve(own_shop) as address:

        def ask() -> None:
            while not over.is_set():
                body = {"customer_id": customers[len(asked) % len(customers)], "k": 5}
                status, found = post(f"{address}/recommend", body)
                asked.append((status, found.get("release", ""), len(found["recommendations"])))

        def answered_by(tag: str) -> None:
            start = len(asked)
            until(lambda: any(served == tag for _, served, _ in asked[start:]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            answered_by(first)
            for _ in range(3):
                release.promote(second)
                answered_by(second)
                release.rollback()
                answered_by(first)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert {(status, count) for status, _, count in asked} == {(200, 5)}
    assert {served for _, served, _ in asked} == {first, second}


# The built bento


def test_the_built_bento_serves(built_shop: Path, tmp_path: Path, serve: Serve) -> None:
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=places.PROJECT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (bento,) = (path for path in (tmp_path / "bentos" / "lookbook").iterdir() if path.is_dir())
    held = {path.name for path in (bento / "src").iterdir()}
    assert {"feature_repo", "pipelines", "services"} <= held
    assert not held & {"data", "tests", ".lookbook", ".venv"}
    with serve(built_shop, bento) as address:
        status, found = post(f"{address}/recommend", {"customer_id": "nobody", "k": 2})
    assert status == 200
    assert len(found["recommendations"]) == 2


# The demo


def test_the_demo_from_files_to_a_checked_request(tmp_path: Path, home: Path) -> None:
    from pipelines.data.synthetic import synthesize

    synthesize(tmp_path / "files", customers=120, articles=60, days=70, seed=11)
    said: list[str] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo.run(str(tmp_path / "files"), serve=False, port=port, say=said.append)
    text = "\n".join(said)
    for number in range(2, 10):
        assert f"[{number}/9]" in text
    assert "production points at release:" in text
    assert "somebody new: " in text
    assert " 0 late, 0 different; 0 rows skipped." in text


def test_a_service_that_does_not_start_says_where_its_log_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places.models_folder().mkdir(parents=True)
    log = home / "service.log"

    def now() -> float:
        """The minutes that a service is given are over as soon as its log says why it cannot start."""
        over = log.exists() and "There is no release yet" in log.read_text()
        return time.monotonic() + demo.START_SECONDS * over

    monkeypatch.setattr(demo, "time", SimpleNamespace(monotonic=now, sleep=time.sleep))
    with (
        pytest.raises(demo.LookbookError, match=r"did not start; its log is .*service\.log"),
        demo._served(port, lambda text: None),
    ):
        pass
    assert "There is no release yet" in log.read_text()


def test_the_demo_ends_when_its_port_is_taken(shop: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(demo.LookbookError, match=f"Port {port} is taken"),
            demo._served(port, lambda text: None),
        ):
            pass


def test_a_batch_is_for_who_has_the_token_and_each_customers_own_answer(
    address: str, built_shop: Path, shop: Path
) -> None:
    customers = [*(found.customer_id for found in Answers().sample_customers()[:3]), "nobody"]
    asked = {"customer_ids": customers, "k": 5}
    assert post(f"{address}/recommend_batch", asked)[0] == 401
    token = (built_shop / "token").read_text().strip()
    status, found = post(f"{address}/recommend_batch", asked, token=token)
    assert status == 200
    assert [one["customer_id"] for one in found] == customers
    for one in found:
        _, alone = post(f"{address}/recommend", {"customer_id": one["customer_id"], "k": 5})
        assert one["recommendations"] == alone["recommendations"]
    batch = {one["request_id"] for one in found}

    def logged() -> set[str]:
        kept = answer_log.answers(lambda *_: None, built_shop / "answers")
        return {answer.request_id for answer in kept if answer.surface == "batch"}

    until(lambda: batch <= logged())


def test_with_a_wrong_setting_or_nothing_to_serve_it_ends_with_one_sentence(
    shop: Path, tmp_path: Path
) -> None:
    wrong = {
        ("LOOKBOOK_LOG", "loud"): "Error: LOOKBOOK_LOG is 'loud': give one of ",
        ("LOOKBOOK_DEADLINES", "rank=no"): "Error: LOOKBOOK_DEADLINES says 'rank=no': ",
        ("LOOKBOOK_HOME", str(tmp_path)): "Error: There is no release yet, ",
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "0"],
            cwd=places.PROJECT,
            env=os.environ | dict([setting]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for setting in wrong
    ]
    for process, said in zip(running, wrong.values(), strict=True):
        told, _ = process.communicate(timeout=120)
        lines = [line for line in told.splitlines() if line.startswith("Error")]
        assert process.returncode == 1, told
        assert [line[: len(said)] for line in lines] == [said], told
        assert "Traceback" not in told
