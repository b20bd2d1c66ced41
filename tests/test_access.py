"""What stands before the service: the token, limits, other sites, errors in one form, log and metrics."""

import asyncio
import http.client
import json
import logging
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bentoml
import pytest
from bentoml.exceptions import InvalidArgument
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as SiteRoute
from starlette.testclient import TestClient

from feature_repo import environment
from feature_repo.errors import InputError
from services import access, logs
from services.access import Access, Route, Settings, problem
from services.rates import Buckets
from tests.conftest import Serve, until

TOKEN = "open-sesame-open-sesame"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
POST = frozenset({"POST"})
KEPT: list[int] = []


async def _echo(request: Request) -> Response:
    KEPT.append(len(await request.body()))
    return JSONResponse({"length": KEPT[-1]})


async def _broken(request: Request) -> Response:
    raise RuntimeError("/secret/place: the password is hunter2")


async def _slow(request: Request) -> Response:
    await asyncio.sleep(60)
    return Response()


ROUTES = {
    "/echo": Route("/echo", POST, "application/json", body_bytes=1000),
    "/events": Route("/events", POST, "application/json", token=True, events=True),
    "/picture": Route(
        "/picture", POST, "multipart/form-data", pictures=True, files=frozenset({"picture"})
    ),
    "/broken": Route("/broken"),
    "/slow": Route("/slow"),
    "/metrics": Route("/metrics", limited=False),
    "/livez": Route("/livez", limited=False),
}


def asking(client: str = "203.0.113.7", **settings: Any) -> TestClient:
    """Somebody at an address who asks a small app behind `Access`."""
    site = Starlette(
        routes=[
            *(
                SiteRoute(path, _echo, methods=["POST"])
                for path in ("/echo", "/events", "/picture")
            ),
            SiteRoute("/broken", _broken),
            SiteRoute("/slow", _slow),
            *(SiteRoute(path, lambda request: Response("fine")) for path in ("/metrics", "/livez")),
        ]
    )
    app = Access(site, ROUTES, Settings(**{"token": TOKEN, **settings}))
    return TestClient(app, client=(client, 50000), raise_server_exceptions=False)


# The token


def _ask_token(_: int) -> str:
    return environment.token()


def test_a_token_is_made_once_for_all_processes_and_only_its_owner_reads_it(home: Path) -> None:
    with ProcessPoolExecutor(4) as processes:
        found = set(processes.map(_ask_token, range(16)))
    assert found == {environment.token()}
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600
    assert [file.name for file in home.iterdir()] == ["token"]


def test_a_token_of_ones_own_wins_and_must_be_sound(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_TOKEN", TOKEN)
    assert environment.token() == TOKEN
    assert not home.exists()
    for unsound in ("short", "x" * 16 + " ", "ü" * 20):
        monkeypatch.setenv("LOOKBOOK_TOKEN", unsound)
        with pytest.raises(InputError, match="LOOKBOOK_TOKEN is no token") as found:
            environment.token()
        assert unsound not in str(found.value)


def test_a_home_that_cannot_keep_a_token_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOOKBOOK_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set LOOKBOOK_TOKEN"):
        environment.token()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer open-sesame"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xe9"},
    ],
    ids=str,
)
def test_without_the_token_nothing_is_done(headers: dict[str, str]) -> None:
    KEPT.clear()
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    found = asking().post("/events", json={}, headers=raw)
    assert found.status_code == 401
    assert found.headers["WWW-Authenticate"] == 'Bearer realm="lookbook"'
    assert found.json()["error"] == access.SENTENCES[401]
    assert KEPT == []


def test_the_token_opens() -> None:
    assert asking().post("/events", json={}, headers=BEARER).status_code == 200
    lower = {"authorization": f"bearer {TOKEN}"}
    assert asking().post("/events", json={}, headers=lower).status_code == 200


def test_metrics_are_open_or_want_the_token() -> None:
    assert asking().get("/metrics").status_code == 200
    closed = asking(metrics_open=False)
    assert closed.get("/metrics").status_code == 401
    assert closed.get("/metrics", headers=BEARER).status_code == 200


# Bodies


def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    KEPT.clear()
    whole = json.dumps("x" * 998).encode()
    sent = {"Content-Type": "application/json"}
    assert asking().post("/echo", content=whole, headers=sent).json() == {"length": 1000}
    found = asking().post("/echo", content=whole + b" ", headers=sent)
    assert found.status_code == 413
    assert "too large" in found.json()["error"]
    assert KEPT == [1000]


def _call(messages: list[dict[str, Any]], headers: dict[str, str]) -> tuple[int, dict, int]:
    """Status, headers and how many of a body's messages were taken, from the middleware alone."""
    taken, sent = [], []

    async def receive() -> dict[str, Any]:
        taken.append(messages.pop(0) if messages else {"type": "http.disconnect"})
        return taken[-1]

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("the service was asked")

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "client": ("203.0.113.7", 1),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    app = Access(never, ROUTES, Settings(token=TOKEN))
    asyncio.run(app(scope, receive, send))
    start = sent[0] if sent else {"status": 0, "headers": []}
    return start["status"], dict(start["headers"]), len(taken)


CHUNKED = {"content-type": "application/json", "transfer-encoding": "chunked"}


def test_a_body_without_a_length_is_counted_and_its_rest_thrown_away() -> None:
    chunks = [{"type": "http.request", "body": b"x" * 600, "more_body": n < 9} for n in range(10)]
    status, headers, taken = _call(chunks, CHUNKED)
    assert (status, taken) == (413, 10)
    assert b"connection" not in headers


def test_an_endless_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "DRAINED_BYTES", 5000)
    chunks = [{"type": "http.request", "body": b"x" * 600, "more_body": True}] * 1000
    status, headers, taken = _call(chunks, CHUNKED)
    assert (status, headers[b"connection"]) == (413, b"close")
    assert taken < 12


def test_a_body_that_is_declared_much_too_large_is_not_taken_at_all() -> None:
    sent = {"content-type": "application/json", "content-length": str(10**10)}
    status, headers, taken = _call([], sent)
    assert (status, headers[b"connection"], taken) == (413, b"close", 0)


def test_who_hangs_up_while_sending_gets_no_answer() -> None:
    assert _call([{"type": "http.request", "body": b"{", "more_body": True}], CHUNKED)[0] == 0


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", ""], ids=str)
def test_a_body_of_another_type_is_refused(sent: str) -> None:
    found = asking().post("/echo", content=b"{}", headers={"Content-Type": sent})
    assert found.status_code == 415
    assert "application/json" in found.json()["error"]
    fine = {"Content-Type": "application/json; charset=utf-8"}
    assert asking().post("/echo", content=b"{}", headers=fine).status_code == 200


def test_a_file_is_sent_and_not_named() -> None:
    """BentoML would fetch it from the address, whosever that is."""
    KEPT.clear()
    for form in (
        {"data": {"picture": "http://203.0.113.9/x.png"}, "files": {"other": b"x"}},
        {"data": {"picture": "http://203.0.113.9/x.png"}, "files": {"picture": b"x"}},
    ):
        found = asking().post("/picture", **form)
        assert found.status_code == 400
        assert found.json()["error"] == "picture: send the file itself, with a file name."
    for sent, status, said in (
        ("multipart/form-data; boundary=x", 400, "The form cannot be read."),
        (
            "multipart/form-data",
            415,
            "The header Content-Type names no boundary of the form's parts.",
        ),
    ):
        found = asking().post("/picture", content=b"--y no form", headers={"Content-Type": sent})
        assert (found.status_code, found.json()["error"]) == (status, said)
    assert KEPT == []
    found = asking().post("/picture", data={"k": "3"}, files={"picture": b"x" * 2_000_000})
    assert found.status_code == 413
    assert asking().post("/picture", data={"k": "3"}, files={"picture": b"x"}).status_code == 200


# Rates


def test_a_bucket_holds_twice_the_rate_and_fills_with_time() -> None:
    now = [0.0]
    buckets = Buckets(2, clock=lambda: now[0])
    assert [buckets.wait("anna") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.wait("bob") == 0
    now[0] = 0.5
    assert [buckets.wait("anna") for _ in range(2)] == [0, 0.5]
    now[0] = 1000
    assert sum(not buckets.wait("anna") for _ in range(100)) == 4


def test_many_at_once_count_as_many_and_never_as_more_than_a_full_bucket() -> None:
    now = [0.0]
    buckets = Buckets(10, clock=lambda: now[0])
    assert buckets.wait("a", 15) == 0
    assert buckets.wait("a", 15) == pytest.approx(1.0)
    now[0] += 1.0
    assert buckets.wait("a", 15) == 0
    now[0] += 2.0
    # Beside the request itself, which has been counted.
    assert buckets.wait("a") == 0
    assert buckets.wait("a", 1_000) == 0
    assert buckets.wait("a") > 0
    for rate in (0.2, 1, 3):
        buckets = Buckets(rate, clock=lambda: now[0])
        now[0] += 100
        assert buckets.wait("b") == 0
        assert buckets.wait("b", 99) == 0 or rate < 1


def test_a_bucket_holds_for_threads_too() -> None:
    buckets = Buckets(10, clock=lambda: 0.0)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: buckets.wait("a"), range(2_000)))
    assert found.count(0.0) == 20


def test_few_clients_are_remembered_and_the_quietest_forgotten_first() -> None:
    buckets = Buckets(0.5, most=3, clock=lambda: 0)
    assert buckets.wait("loud") == 0
    for number in range(100):
        assert buckets.wait(f"other {number}") == 0
        assert buckets.wait("loud") > 0
    assert len(buckets) == 3


def test_too_many_requests_are_told_when_to_ask_again() -> None:
    anna = asking(rate=0.1)
    assert anna.post("/echo", json={}).status_code == 200
    found = anna.post("/echo", json={})
    assert found.status_code == 429
    assert found.headers["Retry-After"] == "10"
    assert found.json()["error"] == "Too many requests: ask again in 10 s."
    # Whoever runs the service is always answered.
    assert anna.get("/livez").status_code == 200
    # Who has the token is a client of their own.
    assert anna.post("/echo", json={}, headers=BEARER).status_code == 200


def test_clients_do_not_share_a_rate_but_addresses_of_one_network_do() -> None:
    app = asking(rate=0.1).app

    def status(address: str) -> int:
        return TestClient(app, client=(address, 1)).post("/echo", json={}).status_code

    assert [status("192.0.2.1"), status("192.0.2.2"), status("192.0.2.1")] == [200, 200, 429]
    assert [status("2001:db8::1"), status("2001:db8::2"), status("2001:db8:1::1")] == [
        200,
        429,
        200,
    ]


def test_events_and_pictures_have_rates_of_their_own_and_all_can_be_off() -> None:
    strict = asking(events_rate=0.1, pictures_rate=0.1)
    form = {"files": {"picture": b"x"}}
    assert [strict.post("/events", json={}, headers=BEARER).status_code for _ in "ab"] == [200, 429]
    assert [strict.post("/picture", **form).status_code for _ in "ab"] == [200, 429]
    off = asking(rate=0, events_rate=0.1, pictures_rate=0.1)
    assert [off.post("/picture", **form).status_code for _ in "abc"] == [200] * 3


# Other sites


def test_other_sites_may_not_ask_unless_they_are_named() -> None:
    shop, other = "https://shop.example", "https://other.example"
    asked = {"Access-Control-Request-Method": "POST"}
    closed, opened = asking(), asking(origins=(shop,))
    assert closed.options("/echo", headers={"Origin": shop, **asked}).status_code == 405
    answered = closed.post("/echo", json={}, headers={"Origin": shop})
    assert "access-control-allow-origin" not in answered.headers

    before = opened.options("/events", headers={"Origin": shop, **asked})
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == shop
    assert "authorization" in before.headers["access-control-allow-headers"].lower()
    refused = opened.post("/events", json={}, headers={"Origin": shop})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, shop)
    assert opened.options("/echo", headers={"Origin": other, **asked}).status_code == 400
    answered = opened.post("/echo", json={}, headers={"Origin": other})
    assert "access-control-allow-origin" not in answered.headers


# Errors


def test_what_is_not_there_and_wrong_methods_are_json() -> None:
    found = asking().get("/nowhere")
    assert (found.status_code, set(found.json())) == (404, {"error", "request_id"})
    found = asking().get("/echo")
    assert (found.status_code, found.headers["Allow"]) == (405, "POST")
    assert found.json()["error"] == access.SENTENCES[405]
    for each in (found, asking().post("/echo", json={})):
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert each.headers["Cache-Control"] == "no-store"


def test_an_unexpected_error_says_nothing_but_where_to_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = asking().get("/broken", headers={"X-Request-ID": "shop-4711.a"})
    assert found.status_code == 500
    assert found.json() == {"error": access.SENTENCES[500], "request_id": "shop-4711.a"}
    assert found.headers["X-Request-ID"] == "shop-4711.a"
    assert "hunter2" in caplog.text


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    started = time.monotonic()
    found = asking(answer_seconds=0.05).get("/slow")
    assert (found.status_code, found.json()["error"]) == (504, access.SENTENCES[504])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("given", ["short", "x" * 65, "with space 1", 'quote"quote', ""])
def test_a_request_id_that_is_not_well_formed_is_replaced(given: str) -> None:
    found = asking().get("/livez", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{16}", found)


PYDANTIC = {
    "error": "2 validation errors for Input",
    "detail": [
        {"type": "missing", "loc": ["basket", 3], "msg": "Field required", "url": "https://x"},
        {"type": "int", "loc": ["k"], "msg": "Input should be a number", "input": "anna"},
    ],
}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"Not Found", {"error": access.SENTENCES[404]}),
        (400, b'[{"error": "Leave view out."}]', {"error": "Leave view out."}),
        (400, b'{"error": "No.", "field": "k"}', {"error": "No.", "field": "k"}),
        (500, b'{"error": "/home/x: bug"}', {"error": access.SENTENCES[500]}),
        (503, b'{"status": "unwell"}', {"status": "unwell", "error": access.SENTENCES[503]}),
        (418, b"", {"error": "This cannot be answered."}),
        (400, b'{"detail": []}', {"detail": [], "error": access.SENTENCES[400]}),
        (
            400,
            json.dumps(PYDANTIC).encode(),
            {
                "error": "basket.3: Field required (1 more in detail).",
                "field": "basket.3",
                "detail": [
                    {"type": "missing", "loc": ["basket", 3], "msg": "Field required"},
                    {"type": "int", "loc": ["k"], "msg": "Input should be a number"},
                ],
            },
        ),
    ],
)
def test_every_error_is_told_in_one_form(
    status: int, body: bytes, expected: dict[str, Any]
) -> None:
    assert problem(status, body, "id") == {**expected, "request_id": "id"}


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOOKBOOK_RATE_PER_SECOND", "many"),
        ("LOOKBOOK_EVENTS_PER_SECOND", "-1"),
        ("LOOKBOOK_PICTURES_PER_SECOND", "inf"),
        ("LOOKBOOK_CORS_ORIGINS", "*"),
        ("LOOKBOOK_CORS_ORIGINS", "https://shop.example/page"),
        ("LOOKBOOK_METRICS", "closed"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=name):
        Settings.from_environment()


def test_a_service_with_a_wrong_setting_does_not_start_and_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    monkeypatch.setenv("LOOKBOOK_LOG", "loud")
    app = access._from_environment(Starlette(), {})
    asyncio.run(app({"type": "lifespan"}, receive, send))
    why = "LOOKBOOK_LOG is 'loud': give one of info, debug, warning, error."
    assert sent == [{"type": "lifespan.startup.failed", "message": why}]


def test_settings_come_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_CORS_ORIGINS", "https://a.example, http://localhost:8080")
    monkeypatch.setenv("LOOKBOOK_RATE_PER_SECOND", "0")
    monkeypatch.setenv("LOOKBOOK_METRICS", "token")
    found = Settings.from_environment()
    assert found.origins == ("https://a.example", "http://localhost:8080")
    assert (found.rate, found.metrics_open) == (0, False)
    assert found.token not in repr(found)


# Log and metrics


def test_a_line_of_the_log_is_json_and_belongs_to_its_request() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.makeLogRecord(
            {"name": "x", "levelname": "ERROR", "msg": "a\n%s", "args": ("b",)}
            | {"exc_info": sys.exc_info(), logs.FIELDS: {"ms": 3}}
        )
    mark = logs.REQUEST_ID.set("id")
    text = logs.Line().format(record)
    logs.REQUEST_ID.reset(mark)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["message"], line["request_id"], line["ms"]) == ("a\nb", "id", 3)
    assert "ValueError: no" in line["exception"]


def test_requests_are_counted_by_template_whatever_path_is_tried() -> None:
    def count(path: str, status: str) -> float:
        labels = {"path": path, "status": status}
        return REGISTRY.get_sample_value("lookbook_request_seconds_count", labels) or 0

    def rejected() -> float:
        return REGISTRY.get_sample_value("lookbook_rejected_total", {"reason": "path"}) or 0

    before, turned = count("other", "404"), rejected()
    for number in range(20):
        asking().get(f"/random-{number}")
    assert count("other", "404") == before + 20
    assert rejected() == turned + 20
    assert "/random-3" not in str([metric.samples for metric in REGISTRY.collect()])


# A service of BentoML's, in this process


def test_guard_finds_out_by_itself_what_an_endpoint_takes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @bentoml.service(name="small", metrics={"enabled": False})
    class Small:
        @bentoml.api
        def search_by_picture(self, picture: Path, k: int = 3) -> dict[str, int]:
            """Articles that look like it."""
            return {"bytes": picture.stat().st_size, "k": k}

        @bentoml.api(route="/events/batch")
        def events(self, kinds: list[str]) -> int:
            raise RuntimeError("hunter2")

    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setenv("LOOKBOOK_TOKEN", TOKEN)
    access.guard(Small)
    with TestClient(Small.to_asgi(), raise_server_exceptions=False) as client:
        large = {"picture": ("x.png", b"x" * 3_000_000)}
        assert client.post("/search_by_picture", files=large, data={"k": "2"}).json() == {
            "bytes": 3_000_000,
            "k": 2,
        }
        assert client.post("/search_by_picture", data={"picture": "http://x"}).status_code == 415
        elsewhere = {"picture": (None, "http://203.0.113.9/x.png")}
        assert client.post("/search_by_picture", files=elsewhere).status_code == 400
        huge = {"picture": ("x.png", b"x" * 7_000_000)}
        assert "at most 6 MB" in client.post("/search_by_picture", files=huge).json()["error"]
        assert client.post("/events/batch", json={"kinds": []}).status_code == 401
        found = client.post("/events/batch", json={"kinds": []}, headers=BEARER)
        assert (found.status_code, found.json()["error"]) == (500, access.SENTENCES[500])
        described = client.get("/docs.json").json()["paths"]
    assert described["/events/batch"]["post"]["security"] == [{"token": []}]
    form = described["/search_by_picture"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert form["schema"]["properties"]["picture"]["contentMediaType"]


def test_what_an_endpoint_asks_of_who_asks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @bentoml.service(name="batches", metrics={"enabled": False})
    class Batches:
        @bentoml.api
        async def many(self, count: int, secret: bool = False) -> int:
            access.charge(count - 1)
            if secret:
                access.require_token()
            await access.require_listener()
            return count

    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setenv("LOOKBOOK_TOKEN", TOKEN)
    monkeypatch.setenv("LOOKBOOK_RATE_PER_SECOND", "20")
    access.guard(Batches)
    with TestClient(Batches.to_asgi(), raise_server_exceptions=False) as client:
        assert client.post("/many", json={"count": 30}).json() == 30
        found = client.post("/many", json={"count": 30})
        assert (found.status_code, found.headers["retry-after"]) == (429, "1")
        assert found.json()["error"] == "Too many requests: ask again in 1 s."
        # Who has the token has a rate of their own.
        assert client.post("/many", json={"count": 3, "secret": True}, headers=BEARER).json() == 3
        found = client.post("/many", json={"count": 1, "secret": True})
        assert found.status_code == 401
        assert found.headers["www-authenticate"] == 'Bearer realm="lookbook"'


def test_who_has_hung_up_is_found_out() -> None:
    async def asked(message: dict[str, Any] | None) -> bool:
        async def receive() -> Any:
            if message is None:
                await asyncio.sleep(30)
            return message

        exchange = access._Exchange("id", "client", None, receive, receive=receive)  # type: ignore[arg-type]
        mark = access._EXCHANGE.set(exchange)
        try:
            await access.require_listener()
        except InvalidArgument:
            await exchange.answer({"type": "http.response.start", "status": 400, "headers": []})
            assert (exchange.status, exchange.reason) == (499, "gone")
            return False
        finally:
            access._EXCHANGE.reset(mark)
        return True

    assert asyncio.run(asked(None))
    assert asyncio.run(asked({"type": "http.request"}))
    assert not asyncio.run(asked({"type": "http.disconnect"}))


# The running service, with two processes


@pytest.fixture(scope="module")
def guarded(
    built_shop: Path, tmp_path_factory: pytest.TempPathFactory, serve: Serve
) -> Iterator[tuple[str, Path]]:
    """Address and log of a service with a small rate and another site that may ask."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    shutil.copytree(built_shop, home)
    told = {
        "LOOKBOOK_TOKEN": TOKEN,
        "LOOKBOOK_RATE_PER_SECOND": "20",
        "LOOKBOOK_CORS_ORIGINS": "https://shop.example",
        "BENTOML_CONFIG_OPTIONS": "services.lookbook.workers=2",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        with serve(home) as address:
            yield address, home / "served.log"


def ask(
    address: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text, over a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    if isinstance(body, dict):
        body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
    connection.request("GET" if body is None else "POST", path, body, headers or {})
    response = connection.getresponse()
    found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    connection.close()
    return found[0], found[1], found[2].decode()


def test_processes_count_together(guarded: tuple[str, Path]) -> None:
    address, _ = guarded
    count = re.compile(r'lookbook_request_seconds_count{path="/release",status="200"} (\S+)')

    def counted() -> float:
        found = count.search(ask(address, "/metrics")[2])
        return float(found[1]) if found else 0

    before = counted()
    for _ in range(12):
        assert ask(address, "/release", {}, BEARER)[0] == 200
    until(lambda: counted() == before + 12)


def test_nobody_gets_another_rate_by_saying_to_be_somebody_else(guarded: tuple[str, Path]) -> None:
    address, _ = guarded
    found = [
        ask(address, "/release", {}, {"X-Forwarded-For": f"198.51.100.{number % 250}"})[0]
        for number in range(150)
    ]
    # Each of two processes lets 40 pass at once.
    assert found.count(200) < 140
    assert set(found) == {200, 429}


def test_a_huge_body_is_refused_over_the_wire(guarded: tuple[str, Path]) -> None:
    address, _ = guarded
    sent = {"Content-Type": "application/json", **BEARER}
    for body in (b"x" * 3_000_000, iter([b"x" * 100_000] * 30)):
        status, _, text = ask(address, "/recommend", body, sent)
        assert (status, json.loads(text)["error"]) == (413, "The body is too large: at most 1 MB.")


def test_the_named_site_may_ask_the_running_service(guarded: tuple[str, Path]) -> None:
    address, _ = guarded
    origin = {"Origin": "https://shop.example", **BEARER}
    status, headers, _ = ask(address, "/release", {}, origin)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://shop.example")


def test_errors_of_the_running_service_are_in_one_form(guarded: tuple[str, Path]) -> None:
    address, _ = guarded
    for path, body, status in [
        ("/nowhere", None, 404),
        ("/recommend", None, 405),
        ("/page/nowhere", None, 404),
        ("/recommend", {"customer_id": 7}, 400),
        ("/recommend", {"customer_id": "x", "objective": {"view": 1}}, 400),
    ]:
        found, headers, text = ask(address, path, body, BEARER)
        said = json.loads(text)
        assert found == status
        assert said["request_id"] == headers["x-request-id"]
        assert said["error"].endswith(".")
        assert "BentoML" not in headers.get("server", "")


def test_the_log_has_every_request_and_neither_token_nor_customer(
    guarded: tuple[str, Path],
) -> None:
    address, log = guarded
    customer, wrong = "a-customer-of-ours", "wrong-token-wrong-token"
    named = {"X-Request-ID": "watch-this-one", **BEARER}
    assert ask(address, "/recommend?token=in-the-query", {"customer_id": customer}, named)[0] == 200
    bad = {"customer_id": customer, "k": 1000}
    assert ask(address, "/recommend", bad, BEARER)[0] == 400
    ask(address, "/events", {"customer_id": customer}, {"Authorization": f"Bearer {wrong}"})

    text = log.read_text()
    for secret in (TOKEN, wrong, "in-the-query", customer):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (seen,) = (line for line in lines if line.get("request_id") == "watch-this-one")
    assert (seen["method"], seen["path"], seen["status"]) == ("POST", "/recommend", 200)
    assert seen["ms"] > 0
    requests = [line for line in lines if line["message"] == "request"]
    assert not {"/health", "/metrics"} & {line["path"] for line in requests}
    assert "Traceback" not in text


def test_the_demo_gives_the_page_its_token_where_no_server_sees_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import demo

    said: list[str] = []
    monkeypatch.setattr(demo, "_wait", lambda: None)
    demo._welcome("http://127.0.0.1:1", "anna", serve=True, say=said.append)
    (page,) = re.findall(r"http\S+/page/\S+", "\n".join(said))
    assert urlsplit(page).fragment == f"token={environment.token()}"
    assert os.environ["LOOKBOOK_HOME"] in "\n".join(said)
