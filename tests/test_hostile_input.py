"""What nobody should send: each is refused with one sentence that names the field, or answered, and never a 5xx."""

import io
import json
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from feature_repo import environment

INJECTIONS = [
    "'; DROP TABLE customers; --",
    '" OR 1=1 --',
    "{{7*7}}",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "../../../../etc/passwd",
    "%00%0a%0d",
    "a\x00b",
    "\ud83d\ude00" * 20,
    "ﷺ" * 60,
    "e\u0301" * 60,
]


MADE = {"customer_id": "x", "article_id": "0108775015", "kind": "view"}


def post(
    url: str, body: bytes, kind: str = "application/json", token: str | None = None
) -> tuple[int, Any]:
    headers = {"Content-Type": kind}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(url: str, body: Any, token: str | None = None) -> tuple[int, Any]:
    return post(url, json.dumps(body).encode(), token=token)


def form(url: str, picture: bytes, name: str = "a.jpg") -> tuple[int, Any]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n'
    parts = [
        head.encode(),
        b"Content-Type: image/jpeg\r\n\r\n",
        picture,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return post(url, b"".join(parts), f"multipart/form-data; boundary={boundary}")


@pytest.mark.parametrize("customer", INJECTIONS)
def test_strange_customers_are_answered_like_strangers(address: str, customer: str) -> None:
    status, found = ask(f"{address}/home", {"customer_id": customer[:128]})
    assert status == 200
    assert not found["known"]
    assert found["carousels"]


@pytest.mark.parametrize("query", INJECTIONS)
def test_strange_queries_find_something_or_nothing(address: str, query: str) -> None:
    status, found = ask(f"{address}/search", {"query": query})
    assert status == 200
    assert isinstance(found["articles"], list)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("recommend", {"customer_id": "x", "k": 10**30}, "k"),
        ("recommend", {"customer_id": "x", "k": -1}, "k"),
        ("recommend", {"customer_id": "x", "objective": {"purchase": -1}}, "purchase"),
        ("recommend", {"customer_id": "x", "objective": {"purchase": 1e400}}, "purchase"),
        ("recommend", {"customer_id": "x", "filters": {"color": ["Black"]}}, "color"),
        ("recommend", {"customer_id": "x", "filters": {"price_min": -3}}, "price_min"),
        ("recommend", {"customer_id": "x", "filters": {"exclude": ["1"]}}, "exclude"),
        ("recommend", {"customer_id": "x", "filters": {"colour": ["x"] * 51}}, "colour"),
        ("recommend", {"customer_id": "x", "context": {"age": 1000}}, "age"),
        ("recommend_batch", {"customer_ids": []}, "customer_ids"),
        ("recommend_batch", {"customer_ids": ["x"] * 101}, "customer_ids"),
        ("home", {"customer_id": "x", "k": 25}, "k"),
        ("similar", {"article_id": "1; DROP"}, "article_id"),
        ("similar_batch", {"article_ids": ["0108775015"] * 101}, "article_ids"),
        ("search", {"query": ""}, "query"),
        ("search", {"query": "a" * 10_000}, "query"),
        ("explain", {"customer_id": "x"}, "article_id"),
        ("recommend", {"customer_id": "x", "filter": {"colour": ["Black"]}}, "filter"),
        ("recommend_batch", {"customer_ids": ["x"], "context": {"age": 30}}, "context"),
        ("search", {"query": "dress", "colour": "Black"}, "colour"),
        ("similar", {"article_id": "\u0661" * 10}, "article_id"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_field(
    address: str, built_shop: Path, path: str, body: dict[str, Any], field: str
) -> None:
    token = (built_shop / "token").read_text().strip()
    status, found = ask(f"{address}/{path}", body, token if path == "recommend_batch" else None)
    assert status == 400, found
    assert any(field in map(str, problem["loc"]) for problem in found["detail"]), found
    assert "Traceback" not in json.dumps(found)


def test_an_experiment_that_is_not_there_is_named_to_those_who_have_the_token(
    address: str, built_shop: Path
) -> None:
    asked = {"customer_id": "x", "variants": {"no": "way"}}
    status, found = ask(f"{address}/recommend", asked)
    assert status == 401
    assert found["error"].startswith("This needs the token")
    for path in ("recommend", "home"):
        status, found = ask(f"{address}/{path}", asked)
        assert status == 401
        status, found = ask(f"{address}/{path}", asked, (built_shop / "token").read_text().strip())
        assert (status, found["field"]) == (400, "variants")
        assert "There is no experiment 'no'" in found["error"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("recommend", {"customer_id": "x", "objective": {"purchase": 0}}, "objective"),
        ("home", {"customer_id": "x", "objective": {"cart": 1}}, "objective"),
        ("explain", {"customer_id": "x", "article_id": "9999999999"}, "article_id"),
        ("search", {"query": "   "}, "query"),
        ("events", {"events": [MADE, MADE | {"customer_id": "a\0b"}]}, "events[1].customer_id"),
        (
            "events",
            {"events": [MADE | {"event_time": "1999-01-01T00:00Z"}]},
            "events[0].event_time",
        ),
        (
            "events",
            {"events": [MADE | {"event_time": "2999-01-01T00:00Z"}]},
            "events[0].event_time",
        ),
        (
            "recommend",
            {"customer_id": "x", "filters": {"price_min": 3, "price_max": 2}},
            "filters",
        ),
    ],
    ids=str,
)
def test_what_no_type_forbids_is_told_by_its_field_too(
    address: str, built_shop: Path, path: str, body: dict[str, Any], field: str
) -> None:
    token = (built_shop / "token").read_text().strip()
    status, found = ask(f"{address}/{path}", body, token if path == "events" else None)
    assert (status, found.get("field")) == (400, field), found


def test_an_article_that_is_not_there_is_like_none(address: str) -> None:
    for path in ("similar", "goes_with"):
        status, found = ask(f"{address}/{path}", {"article_id": "9999999999"})
        assert (status, found["known"], found["articles"]) == (200, False, [])
    status, found = ask(f"{address}/explain", {"customer_id": "x", "article_id": "9999999999"})
    assert status == 400
    assert "9999999999" in found["error"]


def test_events_need_the_token_and_a_past(address: str, shop: Any) -> None:
    event = {"customer_id": "hostile", "article_id": "0108775015", "kind": "view"}
    body = {"events": [event]}
    for token in (None, "wrong", "Bearer", "\u00e9" * 20, environment.token()[:-1]):
        sent = None if token is None else token.encode().decode("latin-1")
        assert ask(f"{address}/events", body, sent)[0] == 401
    token = environment.token()
    for wrong, field in (
        ({"kind": "steal"}, "kind"),
        ({"article_id": "x"}, "article_id"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": "2020-09-23T12:00:00"}, "event_time"),
        ({"event_time": 1600862400}, "event_time"),
        ({"request_id": "x"}, "request_id"),
        ({"position": 0}, "position"),
        ({"surface": "x" * 200}, "surface"),
        ({"price": 3}, "price"),
    ):
        status, found = ask(f"{address}/events", {"events": [event | wrong]}, token)
        assert status == 400
        assert any(field in problem["loc"] for problem in found["detail"]), found
    status, found = ask(
        f"{address}/events",
        {"events": [event, event | {"event_time": "2999-01-01T00:00:00Z"}]},
        token,
    )
    assert status == 400
    assert "events[1].event_time" in found["error"]
    assert ask(f"{address}/events", {"events": [event] * 501}, token)[0] == 400
    # Nothing of all that was taken.
    assert ask(f"{address}/customer", {"customer_id": "hostile"})[1]["session"] == []


def test_pictures_that_are_none_are_refused(address: str) -> None:
    url = f"{address}/search_by_picture"
    whole = io.BytesIO()
    Image.effect_noise((300, 400), 80).convert("RGB").save(whole, "JPEG")
    picture = whole.getvalue()
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    for wrong in (
        b"",
        b"no picture",
        picture[: len(picture) // 2],
        b"\xff\xd8\xff" + bytes(500),
        bomb.getvalue(),
    ):
        status, found = form(url, wrong)
        # A shop without pictures says so before it looks.
        assert status in (400, 404), found
        assert found["error"].endswith(".")
    assert form(url, picture + bytes(10 * 2**20))[0] == 413
    status, _ = form(url, picture)
    assert status in (200, 404)
    assert post(url, b"{}", "application/json")[0] == 415


def test_bodies_that_are_too_large_or_no_json_are_refused(address: str) -> None:
    assert post(f"{address}/recommend", b'{"customer_id": "' + b"x" * 2**21)[0] == 413
    for wrong in (b"", b"[", b"\xff\xfe", b"[" * 5_000, b"null", b"[]", b'"x"', b"1e999"):
        assert post(f"{address}/recommend", wrong)[0] == 400, wrong
