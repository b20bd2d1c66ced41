"""The page, walked in a real browser: what a person sees, types, hears and brings about."""

import io
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from services import schemas
from tests.conftest import Serve

CHROMIUM = shutil.which("chromium")
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
except ImportError:
    sync_playwright = None

MISSING = (
    "playwright or axe-playwright-python is not installed"
    if sync_playwright is None
    else "there is no chromium (Debian: apt-get install chromium)"
    if CHROMIUM is None
    else ""
)
if MISSING and not os.environ.get("LOOKBOOK_REQUIRE_BROWSER"):
    pytest.skip(f"the page is not tested: {MISSING}", allow_module_level=True)
assert not MISSING, f"LOOKBOOK_REQUIRE_BROWSER is set, but {MISSING}"

PAGE = Path(__file__).parents[1] / "services" / "page"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
TOKEN = "a-token-for-tests"
REQUEST = "0123456789abcdef0123456789abcdef"

JADE = "ab" * 32
ROBIN, BOBBY, NOBODY, BROKEN = "17850", "13047", "nobody-yet", "broken"
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

# Name, product type, group and colour.
WARDROBE = [
    ("Jade HW Skinny Denim", "Trousers", "Garment Lower body", "Dark Blue"),
    ("Tilly tee", "T-shirt", "Garment Upper body", "White"),
    ("Queen Sweater", "Sweater", "Garment Upper body", "Light Beige"),
    ("Dolly dress", "Dress", "Garment Full body", "Dark Red"),
    ("Pinto cardigan", "Cardigan", "Garment Upper body", "Greenish Khaki"),
    ("Box 4p sock", "Socks", "Socks & Tights", "Light Grey"),
    ("Speed Orleans sneaker", "Sneakers", "Shoes", "Off White"),
    ("Molly bag", "Bag", "Accessories", "Yellowish Brown"),
    ("Simple as that triangle top", "Bikini top", "Swimwear", "Orange"),
    ("Alma denim shorts", "Shorts", "Garment Lower body", "Light Blue"),
    ("Haven blazer", "Blazer", "Garment Upper body", "Black"),
    ("Stella pleated skirt", "Skirt", "Garment Lower body", "Lilac Purple"),
    ("Beatrice beanie", "Hat/beanie", "Accessories", "Pink"),
    ("Rome sunglasses", "Sunglasses", "Accessories", "Black"),
    ("Cosy scarf", "Scarf", "Accessories", "Green"),
    ("Mood boot", "Boots", "Shoes", "Black"),
    ("Lucy jumpsuit", "Jumpsuit/Playsuit", "Garment Full body", "Turquoise"),
    ("Timeless swimsuit", "Swimsuit", "Swimwear", "Red"),
]
GIFTS = [
    "WHITE HANGING HEART T-LIGHT HOLDER",
    "JUMBO BAG RED RETROSPOT",
    "REGENCY CAKESTAND 3 TIER",
    "PARTY BUNTING",
    "CREAM CUPID HEARTS COAT HANGER",
    "SET OF 3 CAKE TINS PANTRY DESIGN",
]
REASONS = {
    "repurchase": "You bought this 3 times, last on 3 September 2020.",
    "co_purchase": "Customers who bought {} often bought this too.",
    "popular": "Bought by 412 customers in the last 7 days.",
    "sponsored": "Sponsored by its brand.",
}


def article(place: int, gifts: bool = False) -> dict[str, Any]:
    name, kind, group, colour = WARDROBE[place % len(WARDROBE)]
    if gifts:
        name, kind, group, colour = GIFTS[place % len(GIFTS)], None, None, None
    price = 2.55 + place if gifts else 0.0254 + place / 300
    return {
        "article_id": f"07060{place:05d}",
        "name": name,
        "product_type": kind,
        "product_group": group,
        "colour": colour,
        "price": price,
    }


def customer(customer_id: str) -> dict[str, Any]:
    nothing = dict.fromkeys(["age", "age_bucket", "postal_code", "club_member_status"])
    if customer_id not in (JADE, ROBIN, BOBBY):
        return {
            "customer_id": customer_id,
            "known": False,
            **nothing,
            "purchases": [],
            "session": [],
        }
    known = {
        "age": 34,
        "age_bucket": "30-39",
        "postal_code": "f" * 64,
        "club_member_status": "ACTIVE",
    }
    gifts = customer_id == ROBIN
    purchases = [
        article(place, gifts) | {"last_bought": f"2020-08-{28 - place:02d}", "times": 1 + place % 3}
        for place in range(18)
    ]
    if customer_id == BOBBY:
        purchases[0]["name"] = HOSTILE
    return {
        "customer_id": customer_id,
        "known": True,
        **(nothing | {"postal_code": "United Kingdom"} if gifts else known),
        "purchases": purchases,
        "session": [],
    }


def recommendation(
    rank: int, customer_id: str, source: str | None = None, place: int | None = None
) -> dict[str, Any]:
    known = customer(customer_id)["known"]
    usual = ["repurchase", "co_purchase", "popular"][(rank - 1) % 3] if known else "popular"
    source = source or usual
    place = rank - 1 if place is None else place
    found = article(place, gifts=customer_id == ROBIN)
    because = article(place + 1, gifts=customer_id == ROBIN) if source == "co_purchase" else None
    answer = found | {
        "rank": rank,
        "score": 2.5 - rank / 7,
        "source": source,
        "because": because and because["article_id"],
        "because_name": because and because["name"],
        "reason": REASONS[source].format(because and because["name"]),
        "department": found["product_type"] and "Divided+",
        "description": found["product_type"] and "In washed cotton with a soft, regular fit.",
        "drivers": DRIVERS,
        "propensity": 1.0,
    }
    return answer | HOSTILES if customer_id == BOBBY else answer


DRIVERS = [
    {"feature": "customer_article_now__purchase_weight_now", "effect": 0.4132},
    {"feature": "article_activity__t_purchases_7d", "effect": 0.1201},
    {"feature": "recency__days_since_last_sold", "effect": -0.05},
]
HOSTILES = dict.fromkeys(
    ["name", "reason", "because_name", "product_type", "colour", "description", "department"],
    HOSTILE,
)


def about(customer_id: str) -> dict[str, Any]:
    """What every answer says of itself."""
    known = customer(customer_id)["known"]
    return {
        "request_id": REQUEST,
        "customer_id": customer_id,
        "known": known,
        "release": "release:20261121-4f2a91c0",
        "moment": "2020-09-23T08:30:00Z",
        "fallback": None if known else "unknown_customer",
        "trouble": [] if known else ["candidates.ease:failed", "rank:slow"],
        "variants": {},
        "stages_ms": {"candidates": 12.3, "features": 40.1, "rank": 2.2, "display": 9.0},
    }


def recommend(customer_id: str, k: int = 30) -> dict[str, Any]:
    found = [recommendation(rank, customer_id) for rank in range(1, k + 1)]
    return about(customer_id) | {"recommendations": found}


def home(customer_id: str) -> dict[str, Any]:
    rows = [
        ("top_picks", "Top picks for you", None),
        ("buy_it_again", "Buy it again", "repurchase"),
        ("because", "Because you bought {}", "co_purchase"),
        ("trending", "Trending now", "popular"),
        ("sponsored", "Sponsored", "sponsored"),
    ]
    of = HOSTILE if customer_id == BOBBY else "Tilly tee"
    return about(customer_id) | {
        "carousels": [
            {
                "name": name,
                "title": title.format(of),
                "about": None,
                "articles": [
                    recommendation(rank, customer_id, source, 7 * row + rank - 1)
                    for rank in range(1, 8)
                ],
            }
            for row, (name, title, source) in enumerate(rows)
        ]
    }


def alike(article_id: str, hostile: bool = False) -> dict[str, Any]:
    found = [
        article(place)
        | {
            "rank": place,
            "score": 1.0,
            "reason": "Like it.",
            "department": None,
            "description": None,
        }
        for place in range(1, 7)
    ]
    if hostile:
        found = [one | HOSTILES for one in found]
    return {"article_id": article_id, "known": True, "release": "r", "articles": found}


def found() -> dict[str, Any]:
    return {"request_id": REQUEST, "release": "r", "articles": alike("0")["articles"]}


def explained(customer_id: str, article_id: str) -> dict[str, Any]:
    place = int(article_id[-5:])
    found = recommendation(1, customer_id, place=place)
    return {
        "customer_id": customer_id,
        "article": {name: found[name] for name in schemas.Article.model_fields},
        "release": "r",
        "moment": "2020-09-23T08:30:00Z",
        "candidate": place != 17,
        "shown": True,
        "rank": 3,
        "candidates": 177,
        "score": 0.7824,
        "chance": 0.0641,
        "named_by": [{"source": "co_purchase", "rank": 4, "score": 0.98}],
        "drivers": DRIVERS,
        "features": {"calendar__season": "autumn", "recency__overdue": 1.25, "ease__rank": None},
        "reason": found["reason"],
    }


SAMPLE = [
    {"customer_id": JADE, "label": "18 purchases, age 34"},
    {"customer_id": ROBIN, "label": "18 purchases, United Kingdom"},
    {"customer_id": BOBBY, "label": HOSTILE},
    *(
        {"customer_id": f"{n:064x}", "label": f"{40 - n} purchases, age {20 + n}"}
        for n in range(30)
    ),
    {"customer_id": NOBODY, "label": "no purchases, age unknown"},
]
RELEASE = {
    "release": "release:20261121-4f2a91c0",
    "alias": "production",
    "created": "2026-11-21T09:30:00Z",
    "data_cutoff": "2020-09-23",
    "moment": "2020-09-23T08:30:00Z",
    "parts": {"ranker": "gradient_boosting:7c1e", "popular": "popular:11aa"},
    "metrics": {
        "MAP@12": {"mean": 0.0512, "low": 0.0431, "high": 0.0598},
        "log_det@12": {"mean": -2.02, "low": -2.1, "high": -1.9},
        "weeks": ["2020-09-09", "2020-09-16"],
    },
    "gates": [
        {
            "gate": "coverage",
            "passed": True,
            "figure": "21.5% of the articles on sale",
            "needed": "1.0%",
        }
    ],
}
EXPERIMENTS = {
    "experiments": [
        {
            "name": "diverse_page",
            "layer": "page",
            "share": 0.25,
            "variants": [
                {"name": "as_released", "share": 0.5, "changes": []},
                {"name": "diverse", "share": 0.5, "changes": ["rerankers"]},
            ],
        }
    ],
    "assigned": {"diverse_page": "as_released"},
}
SHADOW = {
    "release": "release:20261122-77aa",
    "production": "release:20261121-4f2a91c0",
    "requests": 812,
    "failed": 0,
    "skipped": 3,
    "same_first": 0.61,
    "overlap": 0.7,
    "rank_overlap": 0.66,
    "milliseconds": {"production_p50": 9.5, "shadow_p50": 11.2},
}


@dataclass
class Shop:
    """The canned shop: its address, what a test may change about it, and what it was told."""

    address: str
    sample: list[dict[str, str]] = field(default_factory=lambda: SAMPLE)
    release: dict[str, Any] = field(default_factory=lambda: RELEASE)
    told: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    picture: bytes = b""

    def forget(self) -> None:
        self.sample, self.release, self.picture = SAMPLE, RELEASE, b""
        self.told.clear()
        self.asked.clear()

    def session(self, customer_id: str) -> list[dict[str, Any]]:
        done = [one for one in self.told if one["kind"] != "impression"]
        return [
            article(int(one["article_id"][-5:]))
            | {"kind": one["kind"], "at": "2020-09-23T08:30:00Z"}
            for one in reversed(done)
            if one["customer_id"] == customer_id
        ]

    def kinds(self) -> list[str]:
        return [one["kind"] for one in self.told if one["kind"] != "impression"]

    def last(self, path: str) -> dict[str, Any]:
        return next(body for at, body in reversed(self.asked) if at == path)


def canned(shop: Shop) -> Starlette:
    def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        return FileResponse(PAGE / name, headers={"Content-Security-Policy": POLICY})

    async def answer(request: Request) -> Response:
        path = request.url.path
        if path == "/search_by_picture":
            async with request.form() as form:
                shop.picture = await form["picture"].read()  # type: ignore[union-attr]
            return JSONResponse(found())
        body = await request.json()
        shop.asked.append((path, body))
        who = body.get("customer_id", "")
        told = request.headers.get("authorization") == f"Bearer {TOKEN}"
        if path in ("/events", "/experiments", "/shadow") and not told:
            return JSONResponse({"error": "This wants the token."}, 401)
        if path == "/search" and body["query"] == "unindexed":
            return JSONResponse({"error": "This release has no index of words."}, 404)
        if who == BROKEN and path == "/customer":
            return JSONResponse(
                {"detail": [{"loc": ["body", "customer_id"], "msg": "too short"}]}, 422
            )
        if who == BROKEN:
            return JSONResponse({"error": "customer_id: 'broken' is not an id"}, 400)
        answers = {
            "/sample_customers": lambda: shop.sample,
            "/customer": lambda: customer(who) | {"session": shop.session(who)},
            "/recommend": lambda: recommend(who),
            "/home": lambda: home(who),
            "/release": lambda: shop.release,
            "/similar": lambda: alike(body["article_id"], body["article_id"].endswith("99")),
            "/goes_with": lambda: alike(body["article_id"]),
            "/explain": lambda: explained(who, body["article_id"]),
            "/search": found,
            "/experiments": lambda: EXPERIMENTS,
            "/shadow": lambda: SHADOW,
            "/events": lambda: tell(body["events"]),
        }
        return JSONResponse(answers[path]())

    def tell(events: list[dict[str, Any]]) -> dict[str, Any]:
        for event in events:
            schemas.Event.model_validate(event)
        shop.told += events
        return {"accepted": len(events), "in_session": 0, "moment": "2020-09-23T08:30:00Z"}

    def no_picture(request: Request) -> Response:
        red = io.BytesIO()
        Image.new("RGB", (30, 40), "red").save(red, "JPEG")
        if request.url.path.endswith("00000.jpg"):
            return Response(red.getvalue(), media_type="image/jpeg")
        return JSONResponse({"error": "There is no such picture."}, 404)

    return Starlette(
        routes=[
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/page/", page_file),
            Route("/page/{name}", page_file),
            Route("/pictures/{name}", no_picture),
            Route("/{path}", answer, methods=["POST"]),
        ]
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Shop]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    shop = Shop(f"http://127.0.0.1:{listener.getsockname()[1]}")
    running = uvicorn.Server(uvicorn.Config(canned(shop), log_level="error"))
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    yield shop
    running.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    expect.set_options(timeout=10_000)  # two cores may be busy with other tests
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A fresh visit: the tab, where it asked for something, and what its console complained of."""

    tab: "Page"
    shop: Shop
    asked: list[str]
    complaints: list[str]

    def go(self, customer_id: str = "", token: bool = False, more: str = "") -> "Page":
        hash = "&".join(
            part
            for part in (
                f"customer={customer_id}" * bool(customer_id),
                more,
                f"token={TOKEN}" * token,
            )
            if part
        )
        self.tab.goto(f"{self.shop.address}/page/" + (hash and f"#{hash}"))
        return self.tab


def visited(browser: "Browser", shop: Shop) -> Iterator[Visit]:
    """Whatever a test does, nothing may leave the origin, run from a name or upset the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    tab = context.new_page()
    tab.set_default_timeout(10_000)
    visit = Visit(tab, shop, [], [])
    tab.on("request", lambda request: visit.asked.append(request.url))
    tab.on("console", lambda said: said.type == "error" and visit.complaints.append(said.text))
    tab.on("pageerror", lambda error: visit.complaints.append(str(error)))
    yield visit
    tab.wait_for_timeout(50)
    assert visit.asked
    assert [url for url in visit.asked if not url.startswith(f"{shop.address}/")] == []
    assert visit.complaints == []
    assert tab.evaluate("window.hacked") is None
    context.close()


@pytest.fixture
def visit(browser: "Browser", server: Shop) -> Iterator[Visit]:
    server.forget()
    yield from visited(browser, server)


def row(tab: "Page", title: str | re.Pattern[str]) -> "Locator":
    return tab.get_by_role("region", name=title)


def cards(where: "Page | Locator") -> "Locator":
    return where.locator(".card")


def does(one: "Locator", what: str) -> "Locator":
    return one.get_by_role("button", name=re.compile(f"^{what}: "))


def bought(tab: "Page") -> "Locator":
    return tab.get_by_role("region", name="What they bought").get_by_role("listitem")


def sheet(tab: "Page") -> "Locator":
    return tab.locator("#article")


def test_pick_a_customer_from_the_list(visit: Visit) -> None:
    tab = visit.go()
    tab.get_by_label("Customer", exact=True).click()
    tab.get_by_role("option", name="18 purchases, age 34").click()

    expect(tab.get_by_role("status").last).to_have_text(
        "Customer abababab…: 18 articles bought. 5 carousels."
    )
    assert tab.url.endswith(f"#customer={JADE}")
    expect(tab.locator("#facts")).to_contain_text("Age 34")
    expect(bought(tab)).to_have_count(18)
    expect(bought(tab).nth(1)).to_contain_text("27 August 2020 · 2 times")
    first = cards(row(tab, "Top picks for you")).first
    expect(first).to_contain_text("You bought this 3 times, last on 3 September 2020.")
    expect(first).to_contain_text("0.0254")
    making = row(tab, "How this page was made")
    expect(making).to_contain_text("63.6 ms from the question to the answer")
    expect(making).to_contain_text("Features 40.1 ms")
    expect(making).to_contain_text("23 September 2020 at 08:30 UTC")
    expect(tab.get_by_role("link", name="Made in 63.6 ms: how?")).to_be_visible()


def test_why_it_is_here(visit: Visit) -> None:
    tab = visit.go(JADE)
    cards(row(tab, "Top picks for you")).nth(1).get_by_role(
        "button", name="Tilly tee", exact=True
    ).click()
    expect(tab.get_by_role("dialog", name="Tilly tee")).to_be_visible()
    why = tab.locator("#why")
    expect(why).to_contain_text("Place 3 of 177 candidates.")
    expect(why).to_contain_text("Chance of a purchase within a week: 6.41\N{NO-BREAK SPACE}%")
    expect(why).to_contain_text("Bought together, place 4")
    expect(why).to_contain_text("Bought often and recently (customer and article)")
    expect(why).to_contain_text("raises the score by +0.413")
    expect(why).to_contain_text("lowers the score by \N{MINUS SIGN}0.05")
    why.get_by_text("All 2 numbers that were looked at").click()
    expect(why).to_contain_text("autumn")

    sheet(tab).locator(".chip").first.get_by_role("button").click()
    expect(tab.get_by_role("dialog", name="Tilly tee")).to_be_visible()
    tab.get_by_role("button", name="Back", exact=True).click()
    tab.keyboard.press("Escape")
    expect(sheet(tab)).to_be_hidden()
    expect(cards(row(tab, "Top picks for you")).nth(1).locator(".open")).to_be_focused()


def test_what_no_source_named_says_so(visit: Visit) -> None:
    tab = visit.go(JADE)
    bought(tab).last.get_by_role("button").click()
    expect(tab.locator("#why")).to_contain_text("No source named this article for this customer.")


def test_a_card_marks_the_purchase_that_it_speaks_of(visit: Visit) -> None:
    tab = visit.go(JADE)
    expect(bought(tab)).to_have_count(18)
    cards(row(tab, "Top picks for you")).nth(1).hover()
    expect(tab.locator("#bought .linked .name")).to_have_text(["Tilly tee", "Queen Sweater"])


def test_sponsored_articles_are_called_so(visit: Visit) -> None:
    sponsored = row(visit.go(JADE), "Sponsored")
    expect(cards(sponsored)).to_have_count(7)
    expect(sponsored.locator(".badge")).to_have_text(["Sponsored"] * 7)


def test_what_a_shop_does_not_know_is_left_out(visit: Visit) -> None:
    bare = home(JADE)
    bare["carousels"] = bare["carousels"][:1]
    (only,) = bare["carousels"][0]["articles"] = bare["carousels"][0]["articles"][:1]
    known = {"article_id", "rank", "score", "source", "reason", "drivers"}
    only |= {name: None for name in only if name not in known} | {"source": "constructor"}
    visit.tab.route("**/home", lambda route: route.fulfill(json=bare))
    tab = visit.go(JADE)
    expect(cards(tab).get_by_role("heading")).to_have_text("Article 0706000000")
    expect(cards(tab).locator(".price")).to_have_count(0)
    expect(tab.get_by_role("button", name="On: Top picks for you")).to_be_hidden()
    cards(tab).locator(".open").click()
    expect(tab.locator("#why")).to_contain_text("Place 3")
    assert not {"null", "undefined", "NaN"} & set(tab.locator("body").inner_text().split())


def test_articles_of_which_only_a_name_is_known(visit: Visit) -> None:
    tab = visit.go(ROBIN)
    expect(cards(tab).first).to_contain_text(GIFTS[0])
    expect(cards(tab).first).to_contain_text("2.55")
    assert not {"null", "undefined", "NaN"} & set(tab.locator("main").inner_text().split())


def test_an_unknown_customer_and_what_went_wrong_in_plain_words(visit: Visit) -> None:
    tab = visit.go()
    tab.get_by_label("Customer", exact=True).fill("somebody new")
    tab.keyboard.press("Enter")
    expect(tab.locator("#facts")).to_have_text("New here: we know nothing about this customer yet")
    expect(tab.locator("#wardrobe")).to_be_hidden()
    expect(tab.locator("#notes")).to_contain_text("This customer is new to us")
    tab.get_by_role("link", name="What was missing").click()
    making = row(tab, "How this page was made")
    expect(making).to_be_focused()
    expect(making).to_contain_text("The source “Neighbouring articles (EASE)” failed")
    expect(making).to_contain_text("The step “Ranking” took too long")
    assert tab.url.endswith("#customer=somebody+new")
    about_me = tab.get_by_role("form", name="About this visitor")
    about_me.get_by_label("Age").fill("41")
    about_me.get_by_role("button").click()
    expect(tab.locator("#facts")).to_contain_text("Age 41")
    assert visit.shop.last("/home")["context"] == {"age": 41}


def test_a_shared_link_a_surprise_and_the_way_back(visit: Visit) -> None:
    tab = visit.go(ROBIN)
    expect(tab).to_have_title("Customer 17850 · Lookbook")
    tab.get_by_role("button", name="Surprise me").click()
    expect(tab).not_to_have_title("Customer 17850 · Lookbook")
    tab.go_back()
    expect(tab).to_have_title("Customer 17850 · Lookbook")
    expect(cards(tab)).to_have_count(35)


def test_errors_are_one_clear_sentence_and_can_be_tried_again(visit: Visit) -> None:
    tab = visit.go(BROKEN)
    expect(tab.locator("#bought")).to_have_text("customer_id: too short")
    expect(tab.locator("#results .trouble p")).to_have_text("customer_id: 'broken' is not an id")
    expect(tab.get_by_role("status").last).to_contain_text("is not an id")
    assert all("status of 4" in complaint for complaint in visit.complaints)

    tab.route("**/home", lambda route: route.abort())
    visit.go(JADE)
    expect(tab.locator("#results .trouble p")).to_contain_text("The shop cannot be reached.")
    expect(bought(tab).first).to_be_visible()
    tab.unroute("**/home")
    tab.get_by_role("button", name="Try again").click()
    expect(cards(tab)).to_have_count(35)

    tab.route("**/home", lambda route: route.fulfill(status=500, body="Traceback: secret"))
    visit.go(ROBIN)
    expect(tab.locator("#results .trouble p")).to_have_text(
        "The shop could not answer (error 500)."
    )
    visit.complaints.clear()  # the browser itself reports each failed request


def test_an_event_that_fails_leaves_the_page_as_it_is(visit: Visit) -> None:
    tab = visit.go(JADE, token=True)
    first = cards(row(tab, "Buy it again")).first
    tab.route("**/events", lambda route: route.abort())
    does(first, "Add to cart").click()
    expect(tab.locator(".toast")).to_contain_text("The shop cannot be reached.")
    expect(does(first, "Add to cart")).to_be_visible()
    tab.unroute("**/events")
    tab.route("**/home", lambda route: route.abort())
    does(first, "Add to cart").click()
    expect(tab.locator(".toast")).to_contain_text("is in your cart. The shop cannot be reached.")
    expect(cards(tab)).to_have_count(35)
    visit.complaints.clear()


def test_an_empty_shop_says_what_to_do(visit: Visit) -> None:
    visit.shop.sample = []
    tab = visit.go()
    expect(tab.get_by_role("heading", name="This shop is still empty")).to_be_visible()
    expect(tab.get_by_role("button", name="Surprise me")).to_be_disabled()


def test_loading_shows_where_things_will_be(visit: Visit) -> None:
    held: list[Any] = []
    visit.tab.route("**/home", lambda route: held.append(route))
    tab = visit.go(JADE)
    expect(bought(tab).first).to_be_visible()
    expect(tab.locator("#results")).to_have_attribute("aria-busy", "true")
    expect(tab.locator("#results .skeletons i")).to_have_count(12)
    expect(tab.get_by_role("status").last).to_have_text("Loading")
    held[0].continue_()
    expect(cards(tab)).to_have_count(35)
    expect(tab.locator(".skeletons")).to_have_count(0)


def test_the_last_choice_wins(visit: Visit) -> None:
    held: list[Any] = []
    visit.tab.route("**/home", lambda route: held.append(route))
    tab = visit.go(JADE)
    expect(bought(tab).first).to_be_visible()
    visit.tab.unroute("**/home")
    visit.go(ROBIN)
    expect(cards(tab)).to_have_count(35)
    expect(cards(tab).first).to_contain_text(GIFTS[0])


def test_hostile_names_are_text(visit: Visit) -> None:
    tab = visit.go(BOBBY, token=True)
    expect(cards(tab)).to_have_count(35)
    tab.get_by_label("Customer", exact=True).fill("onerror")
    expect(tab.get_by_role("option")).to_contain_text(HOSTILE)
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("heading", name=HOSTILE, exact=True)).to_have_count(35)
    expect(bought(tab).first).to_contain_text(HOSTILE)
    does(cards(tab).first, "Not for me").click()
    expect(tab.locator(".toast")).to_contain_text(HOSTILE)
    tab.locator(".toast").get_by_role("button", name="Close").click()
    cards(tab).nth(1).locator(".open").click()
    expect(tab.locator("#why")).to_contain_text(HOSTILE)
    assert tab.locator("main img, main script, dialog img, dialog script").count() == 0

    tab = visit.go("%3Cimg src=x onerror=alert(1)%3E")
    expect(tab.locator("#who-title")).to_have_text("Customer <img src…")
    tab = visit.go(JADE, more="search=%3Cimg src=x onerror=window.hacked=1%3E")
    expect(tab.locator(".found-head h2")).to_contain_text("<img src=x")


# ---- The token and what is told to the shop --------------------------------------------------------


def test_the_token_does_not_stay_in_the_address(visit: Visit) -> None:
    tab = visit.go(JADE, token=True)
    expect(cards(tab)).to_have_count(35)
    assert tab.url.endswith(f"#customer={JADE}")
    expect(tab.get_by_role("button", name=re.compile("^Give the shop.s token"))).to_be_hidden()
    one = cards(row(tab, "Trending now")).nth(2)
    does(one, "Add to cart").dblclick()  # the second press is a slip
    expect(tab.locator(".toast")).to_contain_text("is in your cart.")
    expect(does(one, "In your cart")).to_be_visible()
    tab.reload()
    does(cards(row(tab, "Trending now")).nth(2), "Like").click()
    expect(tab.locator(".toast")).to_contain_text("You like")
    expect(does(one, "Like")).to_have_attribute("aria-pressed", "true")
    assert visit.shop.kinds() == ["cart", "view"]
    assert visit.shop.told[0] == {
        "customer_id": JADE,
        "article_id": article(23)["article_id"],
        "kind": "cart",
        "request_id": REQUEST,
        "position": 3,
        "surface": "home/trending",
    }
    does(one, "Like").click()
    expect(does(one, "Like")).to_have_attribute("aria-pressed", "false")
    assert visit.shop.kinds() == ["cart", "view"]


def test_without_the_token_one_can_look_and_is_asked_for_it_to_act(visit: Visit) -> None:
    tab = visit.go(JADE)
    one = cards(row(tab, "Top picks for you")).first
    does(one, "Add to cart").click()
    ask = tab.get_by_role("dialog", name=re.compile("token, please"))
    ask.get_by_role("button", name="Only look").click()
    expect(does(one, "Add to cart")).to_be_focused()
    assert visit.shop.told == []

    does(one, "Add to cart").click()
    ask.get_by_label("Token").fill("wrong")
    tab.keyboard.press("Enter")
    expect(ask).to_contain_text("The shop does not know this token.")
    ask.get_by_label("Token").fill(TOKEN)
    tab.keyboard.press("Enter")
    expect(tab.locator(".toast")).to_contain_text("Jade HW Skinny Denim is in your cart.")
    assert visit.shop.kinds() == ["cart"]
    assert [complaint for complaint in visit.complaints if "401" not in complaint] == []
    visit.complaints.clear()


def test_only_what_was_seen_for_a_second_is_an_impression(visit: Visit) -> None:
    visit.tab.clock.install()
    tab = visit.go(JADE, token=True)
    expect(cards(tab)).to_have_count(35)
    tab.wait_for_timeout(100)
    tab.clock.run_for(900)
    with tab.expect_response("**/events") as answered:
        tab.clock.run_for(5000)
    events = answered.value.request.post_data_json["events"]
    assert {event["kind"] for event in events} == {"impression"}
    assert {event["request_id"] for event in events} == {REQUEST}
    seen = {(event["surface"], event["position"]) for event in events}
    assert ("home/top_picks", 1) in seen
    assert ("home/top_picks", 7) not in seen  # scrolled out to the right
    assert not any(surface == "home/sponsored" for surface, _ in seen)  # far below
    told = len(visit.shop.told)
    tab.clock.run_for(6000)
    assert len(visit.shop.told) == told  # each once


# ---- Search ----------------------------------------------------------------------------------------


def test_search_by_words(visit: Visit) -> None:
    tab = visit.go(JADE, token=True)
    tab.get_by_role("searchbox", name="Search by words").fill("red <b>dress</b>")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="What looks like “red <b>dress</b>”")).to_be_visible()
    expect(cards(tab)).to_have_count(6)
    asked = visit.shop.last("/search")
    assert (asked["query"], asked["customer_id"]) == ("red <b>dress</b>", JADE)
    expect(tab.get_by_role("status").last).to_contain_text("6 articles found.")
    does(cards(tab).first, "Not for me").click()
    expect(cards(tab)).to_have_count(5)
    expect(tab.locator(".found-head")).to_contain_text("1 left out that you waved away.")
    told = visit.shop.told[-1]
    assert (told["surface"], told["request_id"], told["position"]) == ("search", REQUEST, 1)
    tab.get_by_role("button", name="Undo", exact=True).click()
    expect(cards(tab)).to_have_count(6)
    tab.get_by_role("link", name="Back to the shop").click()
    expect(cards(tab)).to_have_count(35)

    tab.get_by_role("searchbox").fill("unindexed")
    tab.keyboard.press("Enter")
    expect(tab.locator("#results .trouble")).to_contain_text("This release has no index of words.")
    visit.complaints.clear()

    tab = visit.go(more="search=coat")
    expect(cards(tab)).to_have_count(6)
    expect(does(cards(tab).first, "Like")).to_have_count(0)  # nobody is there to like it
    cards(tab).first.locator(".open").click()
    expect(sheet(tab)).to_contain_text("Goes well with it")


def test_search_by_picture_sends_a_small_one(visit: Visit) -> None:
    tab = visit.go(JADE)
    noise = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), dtype=np.uint8)
    big = io.BytesIO()
    Image.fromarray(noise).save(big, "PNG")
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Search by picture").click()
    chooser.value.set_files({"name": "big.png", "mimeType": "image/png", "buffer": big.getvalue()})
    expect(tab.get_by_role("heading", name="What looks like your picture")).to_be_visible()
    expect(cards(tab)).to_have_count(6)
    expect(tab.locator(".found-head canvas")).to_be_visible()
    sent = Image.open(io.BytesIO(visit.shop.picture))
    assert (sent.format, sent.size) == ("JPEG", (512, 288))

    tab.locator("#picture").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    expect(tab.locator("#notes")).to_contain_text("“notes.txt” is no picture")
    tab.reload()
    expect(tab.locator("#results")).to_contain_text("Choose it again")


def test_pictures_where_there_are_some_and_drawings_where_not(visit: Visit) -> None:
    tab = visit.go(JADE)
    expect(cards(tab)).to_have_count(35)
    assert not any("/pictures/" in url for url in visit.asked)
    visit.shop.release = RELEASE | {"pictures": True}
    tab.reload()
    expect(cards(tab).first.locator("img.photo")).to_be_visible()
    expect(cards(tab).nth(1).locator("svg.garment")).to_be_visible()
    tab.wait_for_load_state("networkidle")
    visit.complaints.clear()  # the browser itself reports each that is not there


# ---- All picks, experiments, the release -----------------------------------------------------------


def test_all_picks_and_their_filters(visit: Visit) -> None:
    tab = visit.go(JADE)
    tab.get_by_role("link", name="All picks").click()
    expect(cards(tab)).to_have_count(24)
    expect(cards(tab).first.locator(".rank")).to_have_text("Rank 1")
    tab.get_by_role("button", name="Show more of 30").click()
    expect(cards(tab)).to_have_count(30)
    expect(cards(tab).nth(24).locator(".open")).to_be_focused()
    tab.get_by_label("Kind").select_option("Dress")
    tab.get_by_label("Price from").fill("0.02")
    tab.get_by_label("to", exact=True).fill("0.5")
    tab.keyboard.press("Tab")
    expect(tab).to_have_url(re.compile("type=Dress&from=0.02&to=0.5"))
    expect(cards(tab)).to_have_count(24)
    assert visit.shop.last("/recommend")["filters"] == {
        "product_type": ["Dress"],
        "price_min": 0.02,
        "price_max": 0.5,
    }
    schemas.Filters.model_validate(visit.shop.last("/recommend")["filters"])
    tab.reload()
    expect(tab.get_by_label("Kind")).to_have_value("Dress")
    tab.get_by_role("button", name="Clear").click()
    expect(tab).not_to_have_url(re.compile("type="))


def test_the_experiment_switch(visit: Visit) -> None:
    tab = visit.go(JADE)
    expect(tab.locator("#experiments")).to_contain_text("behind the token")
    tab = visit.go(JADE, token=True)
    choice = tab.get_by_role("group", name="Diverse page")
    expect(choice).to_contain_text("As dealt As released")
    assert "variants" not in visit.shop.last("/home")
    choice.get_by_label("Diverse").check()
    expect(tab.locator("#notes")).to_contain_text("by hand as: Diverse page: Diverse.")
    assert visit.shop.last("/home")["variants"] == {"diverse_page": "diverse"}
    expect(choice.get_by_label("Diverse")).to_be_checked()
    tab.get_by_role("button", name="As dealt again").click()
    expect(tab.locator("#notes")).to_be_empty()
    assert "variants" not in visit.shop.last("/home")

    # One that has ended since does not shut the shop.
    choice.get_by_label("Diverse").check()
    expect(tab.locator("#notes")).to_contain_text("by hand as")
    gone = {"error": "There is no experiment 'diverse_page'; there are: none."}
    tab.route("**/home", lambda route: route.fulfill(status=400, json=gone))
    tab.reload()
    expect(tab.locator("#results .trouble")).to_contain_text("There is no experiment")
    tab.unroute("**/home")
    tab.get_by_role("button", name="As dealt, without my switches").click()
    expect(cards(tab)).to_have_count(35)
    assert "variants" not in visit.shop.last("/home")
    visit.complaints.clear()


def test_the_release_in_production(visit: Visit) -> None:
    tab = visit.go(token=True)
    tab.get_by_role("link", name="The release in production").click()
    expect(tab.get_by_role("heading", name="The release in production")).to_be_focused()
    expect(tab.locator("#results")).to_contain_text("gradient_boosting:7c1e")
    metrics = row(tab, "How good it was on weeks it had not seen")
    expect(metrics.get_by_role("row", name="MAP@12")).to_contain_text("0.0431 to 0.0598")
    expect(tab.locator("#results")).to_contain_text("9 September 2020 and 16 September 2020")
    expect(tab.locator("#results")).to_contain_text("release:20261122-77aa answers a copy")
    tab.get_by_role("link", name="Lookbook").click()
    expect(tab.get_by_role("heading", name="Whose wardrobe")).to_be_visible()
    expect(tab.locator("#results")).to_be_empty()


# ---- For everybody ---------------------------------------------------------------------------------


def test_no_mouse_is_needed(visit: Visit) -> None:
    tab = visit.go(token=True)
    expect(tab.get_by_role("button", name="Surprise me")).to_be_enabled()
    press = tab.keyboard.press
    press("Tab")
    expect(tab.get_by_role("link", name="Skip to the shop")).to_be_focused()
    for _ in range(5):
        press("Tab")
    picker = tab.get_by_role("combobox", name="Customer")
    expect(picker).to_be_focused()
    tab.keyboard.type("purchases, age")
    press("ArrowDown")
    press("ArrowDown")
    press("ArrowUp")
    expect(picker).to_have_attribute("aria-activedescendant", "option-0")
    expect(tab.get_by_role("option", selected=True)).to_contain_text("18 purchases, age 34")
    press("Escape")
    expect(picker).to_have_attribute("aria-expanded", "false")
    press("ArrowDown")
    press("Enter")
    expect(tab.get_by_role("status").last).to_contain_text("5 carousels")
    expect(picker).to_be_focused()

    # One stop for all that was bought, and the arrows inside.
    tab.get_by_role("link", name="Made in").focus()
    press("Tab")
    expect(bought(tab).first.get_by_role("button")).to_be_focused()
    press("ArrowRight")
    expect(bought(tab).nth(1).get_by_role("button")).to_be_focused()
    press("Tab")
    expect(tab.get_by_role("link", name="For you")).to_be_focused()
    press("Tab")
    press("Tab")
    top = row(tab, "Top picks for you")
    expect(top.get_by_role("button", name="Back: ")).to_be_focused()
    press("Tab")
    press("Tab")
    expect(cards(top).first.locator(".open")).to_be_focused()
    press("ArrowRight")
    press("ArrowRight")
    expect(cards(top).nth(2).locator(".open")).to_be_focused()
    press("End")
    expect(cards(top).last.locator(".open")).to_be_focused()
    press("Home")
    press("Tab")
    expect(does(cards(top).first, "Add to cart")).to_be_focused()
    press("ArrowRight")
    press("Enter")
    expect(tab.locator(".toast")).to_contain_text("Tilly tee is in your cart.")
    expect(does(cards(top).nth(1), "In your cart")).to_be_focused()
    press("Tab")
    expect(does(cards(top).nth(1), "Like")).to_be_focused()
    press("Tab")
    expect(does(cards(top).nth(1), "Not for me")).to_be_focused()
    press("Tab")
    expect(tab.get_by_role("button", name="Undo")).to_be_focused()
    press("Escape")
    expect(tab.locator(".toast")).to_have_count(0)
    expect(cards(top).nth(1).locator(".open")).to_be_focused()
    press("Enter")
    expect(tab.locator("#article-name")).to_be_focused()
    press("Escape")
    expect(cards(top).nth(1).locator(".open")).to_be_focused()


PLACES = [
    "",
    f"customer={JADE}",
    f"customer={NOBODY}",
    f"customer={BOBBY}&view=picks",
    "search=coat",
    "release",
]


def everything(tab: "Page") -> None:
    """Waits for what the address says, with everything unfolded."""
    expect(tab.locator(".skeletons, .waiting")).to_have_count(0)
    expect(tab.locator("#suggestions button").first).to_be_attached()
    tab.locator("summary").evaluate_all("all => all.forEach(one => one.click())")


WIDTHS = [640, 390, 320]  # a window at 200 %, a phone, the narrowest that WCAG asks for
SMALL = """() => [...document.querySelectorAll("button, a, input, select, summary, label.choice")]
  .filter((one) => one.checkVisibility() && !one.matches(".open, .skip, [type=radio], p a, p button"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([, box]) => box.width && (box.width < 24 || box.height < 24))
  .map(([one, box]) => `${one.outerHTML.slice(0, 80)} ${box.width} ${box.height}`)"""


def test_narrow_windows_and_broad_fingers(visit: Visit) -> None:
    """Nothing is scrolled sideways but rows, and what is pressed is at least 24 pixels each way."""
    for place in PLACES:
        tab = visit.go(more=place, token=True)
        everything(tab)
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": 700})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, place
        assert tab.evaluate(SMALL) == [], place
    tab = visit.go(JADE)
    does(cards(tab).first, "Add to cart").click()
    expect(tab.locator(".toast")).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    tab.locator(".open").nth(1).click()
    everything(tab)
    assert sheet(tab).evaluate("one => one.scrollWidth <= one.clientWidth")
    assert tab.evaluate(SMALL) == []


CONTRAST = """() => {
  const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const weak = [];
  for (const node of document.querySelectorAll("body *:not(svg *)")) {
    const words = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!words || !node.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${ratio.toFixed(1)} ${node.tagName} ${node.textContent.slice(0, 40)}`);
  }
  return weak;
}"""


RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def faults(tab: "Page", axe: bool) -> list[str]:
    """Texts that are too faint, and what axe-core holds against the page."""
    faint = tab.evaluate(CONTRAST)
    if not axe:
        return faint
    found = Axe().run(tab, options={"runOnly": RULES, "resultTypes": ["violations"]})
    return faint + [
        f"{one['id']} ({one['impact']}): {node['html'][:160]}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_held_against_the_page(visit: Visit, scheme: Any) -> None:
    visit.tab.emulate_media(color_scheme=scheme)
    axe = scheme == "light"  # of its rules, only contrast can tell the two apart
    for place in PLACES:
        tab = visit.go(more=place, token=True)
        everything(tab)
        assert faults(tab, axe) == [], place
    tab = visit.go(JADE)
    does(cards(tab).first, "Like").click()
    expect(tab.locator(".toast")).to_be_visible()
    tab.get_by_label("Customer", exact=True).click()
    assert faults(tab, axe) == []
    cards(tab).nth(1).locator(".open").click()
    everything(tab)
    assert faults(tab, axe) == []


def test_colours_of_the_systems_own(visit: Visit) -> None:
    visit.tab.emulate_media(forced_colors="active")
    tab = visit.go(JADE, token=True)
    like = does(cards(tab).first, "Like")
    before = like.evaluate("one => getComputedStyle(one).backgroundColor")
    like.click()
    expect(like).to_have_attribute("aria-pressed", "true")
    assert like.evaluate("one => getComputedStyle(one).backgroundColor") != before
    assert tab.evaluate(CONTRAST) == []


def test_the_page_is_light(visit: Visit) -> None:
    tab = visit.go(JADE)
    expect(cards(tab)).to_have_count(35)
    own = [url for url in visit.asked if "/page/" in url]
    names = {url.split("/page/")[1].split("#")[0] or "index.html" for url in own}
    assert sum((PAGE / name).stat().st_size for name in names) < 110_000
    shifts = """() => new Promise((done) => new PerformanceObserver((list, watch) => {
      watch.disconnect();
      done(list.getEntries().filter((one) => !one.hadRecentInput).reduce((sum, one) => sum + one.value, 0));
    }).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => done(0), 500))"""
    assert tab.evaluate(shifts) < 0.1  # what is called good


def test_canned_answers_are_what_the_service_gives() -> None:
    for who in (JADE, ROBIN, NOBODY):
        schemas.Customer.model_validate(customer(who))
        schemas.Recommendations.model_validate(recommend(who, 12))
        schemas.Home.model_validate(home(who))
        schemas.Explanation.model_validate(explained(who, "0706000003"))
    assert [schemas.SampleCustomer.model_validate(found) for found in SAMPLE]
    schemas.SimilarArticles.model_validate(alike("0706000003"))
    schemas.FoundArticles.model_validate(found())
    schemas.ReleaseInfo.model_validate(RELEASE)
    schemas.ExperimentsInfo.model_validate(EXPERIMENTS)
    schemas.ShadowReport.model_validate(SHADOW)


# ---- The made-up shop's own service ----------------------------------------------------------------

TRIED = """
layers: {page: {}}
experiments:
  other_page:
    layer: page
    from: 0.0
    share: 0.0
    variants:
      as_released: {share: 0.5}
      drawn: {share: 0.5, exploration: {kind: epsilon, epsilon: 0.9, depth: 50}}
"""


@pytest.fixture(scope="module")
def real(
    built_shop: Path, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The made-up shop's service, with a home of its own to write into."""
    own = tmp_path_factory.mktemp("page")
    shutil.copytree(built_shop, own / "home")
    (own / "experiments.yaml").write_text(TRIED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_EXPERIMENTS", str(own / "experiments.yaml"))
        patch.setenv("LOOKBOOK_TOKEN", TOKEN)
        with serve(own / "home") as address:
            yield Shop(address)


@pytest.fixture
def real_visit(browser: "Browser", real: Shop) -> Iterator[Visit]:
    yield from visited(browser, real)


def shown(tab: "Page") -> list[str]:
    return cards(tab).evaluate_all("all => all.map((one) => one.dataset.article)")


def test_a_customer_walks_through_the_shop(real_visit: Visit) -> None:
    tab = real_visit.go(token=True)
    tab.locator("#suggestions button").first.click()
    top = row(tab, re.compile("^Top picks"))
    expect(cards(top).nth(3)).to_be_visible(timeout=15_000)
    everything_shown = shown(tab)
    assert len(everything_shown) == len(set(everything_shown))  # no article twice
    expect(tab.locator("#made")).to_contain_text("ms: how?")

    # Why?
    cards(top).nth(1).locator(".open").click()
    expect(tab.locator("#why")).to_contain_text(re.compile(r"Place \d+ of \d+ candidates"))
    expect(tab.locator("#why .drivers li").first).to_be_visible()
    expect(sheet(tab).get_by_role("heading", name="Like it")).to_be_visible()
    tab.keyboard.press("Escape")
    # To have looked at it is answered at once.
    pick_up = row(tab, "Pick up where you left off")
    expect(pick_up).to_contain_text("You looked at it today.")

    # Not for me: gone from the next answer, after a reload too, until it is undone.
    unwanted = cards(top).nth(2).get_attribute("data-article")
    does(cards(top).nth(2), "Not for me").click()
    expect(tab.locator(f'.card[data-article="{unwanted}"]')).to_have_count(0)
    expect(does(cards(top).nth(2), "Not for me")).to_be_focused()
    tab.reload()
    gone = row(tab, re.compile("^Not for you")).locator(f'[data-article="{unwanted}"]')
    expect(gone).to_be_visible()
    expect(cards(top).nth(3)).to_be_visible()
    assert unwanted not in shown(tab)
    gone.get_by_role("button", name=re.compile("^Undo")).click()
    expect(gone).to_have_count(0)
    expect(tab.locator(f'.card[data-article="{unwanted}"]')).to_have_count(1)

    # Into the cart, and bought.
    wanted = cards(top).first.get_attribute("data-article")
    does(cards(top).first, "Add to cart").click()
    in_row = pick_up.locator(f'[data-article="{wanted}"]')
    expect(in_row).to_contain_text(re.compile("in your cart", re.I))
    expect(does(in_row, "In your cart")).to_be_visible()
    cart = row(tab, re.compile("^In your cart")).locator(f'[data-article="{wanted}"]')
    with tab.expect_request(lambda request: '"purchase"' in (request.post_data or "")) as told:
        cart.get_by_role("button", name=re.compile("^Buy: ")).click()
    (event,) = told.value.post_data_json["events"]
    # It is of the answer out of which it came into the cart.
    assert (event["article_id"], event["surface"]) == (wanted, "home/top_picks")
    assert (len(event["request_id"]), event["position"]) == (32, 1)
    expect(cart).to_have_count(0)
    expect(in_row).to_have_count(0)


def test_somebody_new_with_age_and_area(real_visit: Visit) -> None:
    ask = real_visit.tab.request.post
    someone = ask(f"{real_visit.shop.address}/sample_customers", data={}).json()[0]
    asked = {"customer_id": someone["customer_id"]}
    area = ask(f"{real_visit.shop.address}/customer", data=asked).json()["postal_code"]
    tab = real_visit.go(token=True)
    tab.get_by_label("Your age").fill("34")
    tab.get_by_label("Your postal code").fill(area)
    tab.get_by_role("button", name="Come in").click()
    expect(tab.get_by_role("heading", name="Somebody new", exact=True)).to_be_visible()
    expect(tab.locator("#facts")).to_contain_text(f"Age 34Area: {area[:8]}")
    expect(row(tab, "Trending near you").locator(".card").first).to_be_visible(timeout=15_000)
    one = cards(tab).first.get_attribute("data-article")
    does(cards(tab).first, "Like").click()
    pick_up = row(tab, "Pick up where you left off")
    expect(pick_up.locator(f'[data-article="{one}"]')).to_be_visible()


def test_filters_and_the_experiment_switch_change_the_answer(real_visit: Visit) -> None:
    tab = real_visit.go(token=True)
    tab.locator("#suggestions button").first.click()
    tab.get_by_role("link", name="All picks").click()
    expect(cards(tab).nth(11)).to_be_visible(timeout=15_000)
    kind = tab.get_by_label("Kind").locator("option").nth(1).inner_text()
    tab.get_by_label("Kind").select_option(kind)
    expect(tab).to_have_url(re.compile("type="))
    expect(tab.locator("#results[aria-busy]")).to_have_count(0)
    looks = cards(tab).locator(".words > .quiet").all_inner_texts()
    assert looks
    assert all(text.startswith(kind) for text in looks)
    tab.get_by_role("button", name="Clear").click()
    expect(cards(tab).nth(11)).to_be_visible()
    before = shown(tab)
    tab.get_by_role("group", name="Other page").get_by_label("Drawn").check()
    expect(row(tab, "How this page was made")).to_contain_text("Other page: Drawn")
    assert shown(tab) != before


def test_search_as_it_is(real_visit: Visit) -> None:
    tab = real_visit.go(token=True)
    tab.locator("#suggestions button").first.click()
    name = cards(tab).first.locator(".open").inner_text(timeout=15_000)
    tab.get_by_role("searchbox").fill(name)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name=f"What looks like “{name}”")).to_be_visible()
    expect(cards(tab).first).to_contain_text(name)
    tab.get_by_role("searchbox").fill("zzzzqqqq")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name="Nothing for “zzzzqqqq”")).to_be_visible()

    # This shop has no pictures, and says so.
    small = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(small, "PNG")
    tab.locator("#picture").set_input_files(
        {"name": "red.png", "mimeType": "image/png", "buffer": small.getvalue()}
    )
    expect(tab.locator("#results .trouble p")).to_contain_text("picture")
    assert all("status of 4" in complaint for complaint in real_visit.complaints)
    real_visit.complaints.clear()


def test_the_release_as_it_is(real_visit: Visit) -> None:
    tab = real_visit.go(more="release", token=True)
    expect(tab.locator("#results")).to_contain_text("release:")
    expect(tab.locator("#results")).to_contain_text("gradient_boosting:")
    expect(tab.locator("#results")).to_contain_text("In the shadow")
    expect(tab.locator("#results .waiting")).to_have_count(0)
