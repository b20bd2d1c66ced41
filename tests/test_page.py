"""The page, walked in a real browser against canned answers: what a person sees, types and hears."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from services import schemas

CHROMIUM = shutil.which("chromium")
try:
    from playwright.sync_api import Browser, Page, expect, sync_playwright
except ImportError:
    sync_playwright = None

MISSING = (
    "playwright is not installed"
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
        return {"customer_id": customer_id, "known": False, **nothing, "purchases": []}
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
    }


def recommendation(rank: int, customer_id: str) -> dict[str, Any]:
    known = customer(customer_id)["known"]
    source = ["repurchase", "co_purchase", "popular"][(rank - 1) % 3] if known else "popular"
    found = article(rank - 1, gifts=customer_id == ROBIN)
    because = article(rank, gifts=customer_id == ROBIN) if source == "co_purchase" else None
    answer = found | {
        "rank": rank,
        "score": 2.5 - rank / 7,
        "source": source,
        "because": because and because["article_id"],
        "because_name": because and because["name"],
        "reason": REASONS[source].format(because and because["name"]),
        "department": found["product_type"] and "Divided+",
        "description": found["product_type"] and "In washed cotton with a soft, regular fit.",
        "drivers": [
            {"feature": "customer_article_now__purchase_weight_now", "effect": 0.4132},
            {"feature": "article_activity__t_purchases_7d", "effect": 0.1201},
            {"feature": "recency__days_since_last_sold", "effect": -0.05},
        ],
    }
    if customer_id == BOBBY:
        answer |= dict.fromkeys(
            [
                "name",
                "reason",
                "because_name",
                "product_type",
                "colour",
                "description",
                "department",
                "source",
            ],
            HOSTILE,
        )
    return answer


def recommend(customer_id: str, k: int) -> dict[str, Any]:
    return {
        "customer_id": customer_id,
        "known": customer(customer_id)["known"],
        "release": "release:20261121-4f2a91c0",
        "moment": "2020-09-23T00:00:00Z",
        "fallback": None if customer(customer_id)["known"] else "unknown_customer",
        "stages_ms": {"candidates": 12.3, "features": 40.1, "rank": 2.2, "display": 9.0},
        "recommendations": [recommendation(rank, customer_id) for rank in range(1, k + 1)],
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
    "parts": {"ranker": "gradient_boosting:7c1e", "popular": "popular:11aa"},
    "metrics": {"MAP@12": {"mean": 0.0512, "low": 0.0431, "high": 0.0598}},
}


@dataclass
class Shop:
    """The address of the canned shop, and what a test may change about it."""

    address: str
    sample: list[dict[str, str]] = field(default_factory=lambda: SAMPLE)


def canned(shop: Shop) -> Starlette:
    def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        return FileResponse(PAGE / name, headers={"Content-Security-Policy": POLICY})

    async def answer(request: Request) -> Response:
        body, path = await request.json(), request.url.path
        who = body.get("customer_id", "")
        if who == BROKEN and path == "/customer":
            return JSONResponse(
                {"detail": [{"loc": ["body", "customer_id"], "msg": "too short"}]}, 422
            )
        if who == BROKEN:
            return JSONResponse({"error": "customer_id: 'broken' is not an id"}, 400)
        answers = {
            "/sample_customers": lambda: shop.sample,
            "/customer": lambda: customer(who),
            "/recommend": lambda: recommend(who, body["k"]),
            "/release": lambda: RELEASE,
        }
        return JSONResponse(answers[path]())

    paths = ["/sample_customers", "/customer", "/recommend", "/release"]
    return Starlette(
        routes=[
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/page/", page_file),
            Route("/page/{name}", page_file),
            *(Route(path, answer, methods=["POST"]) for path in paths),
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

    def go(self, customer_id: str = "") -> "Page":
        self.tab.goto(f"{self.shop.address}/page/" + (customer_id and f"#customer={customer_id}"))
        return self.tab


@pytest.fixture
def visit(browser: "Browser", server: Shop) -> Iterator[Visit]:
    """Whatever a test does, nothing may leave the origin, run from a name or upset the console."""
    server.sample = SAMPLE
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(10_000)
    visit = Visit(tab, server, [], [])
    tab.on("request", lambda request: visit.asked.append(request.url))
    tab.on("console", lambda said: said.type == "error" and visit.complaints.append(said.text))
    tab.on("pageerror", lambda error: visit.complaints.append(str(error)))
    yield visit
    tab.wait_for_load_state("networkidle")
    assert visit.asked
    assert [url for url in visit.asked if not url.startswith(f"{server.address}/")] == []
    assert visit.complaints == []
    assert tab.evaluate("window.hacked") is None
    tab.close()


def bought(tab: "Page") -> Any:
    return tab.get_by_role("region", name="What they bought").get_by_role("listitem")


def cards(tab: "Page") -> Any:
    return tab.get_by_role("region", name="What we recommend").locator(".card")


def test_pick_a_customer_from_the_list(visit: Visit) -> None:
    tab = visit.go()
    tab.get_by_label("Customer", exact=True).click()
    tab.get_by_role("option", name="18 purchases, age 34").click()

    expect(tab.get_by_role("status")).to_have_text(
        "Customer abababab…: 18 articles bought. 12 recommendations."
    )
    assert tab.url.endswith(f"#customer={JADE}")
    expect(tab.locator("#facts")).to_contain_text("Age 34")
    expect(bought(tab).filter(visible=True)).to_have_count(12)
    expect(bought(tab).first).to_contain_text("Jade HW Skinny Denim")
    expect(bought(tab).nth(1)).to_contain_text("27 August 2020 · 2 times")
    expect(cards(tab)).to_have_count(12)
    expect(cards(tab).first).to_contain_text("You bought this 3 times, last on 3 September 2020.")
    expect(cards(tab).first).to_contain_text("Buy it again")
    expect(cards(tab).first).to_contain_text("0.0254")
    expect(tab.locator("#answer")).to_contain_text(
        "release:20261121-4f2a91c0 as of 23 September 2020, in 63.6 ms"
    )
    expect(tab.locator("#answer")).to_contain_text("Features 40.1 ms")

    tab.get_by_role("button", name="Show all 18").click()
    expect(bought(tab).filter(visible=True)).to_have_count(18)


def test_the_details_say_what_moved_the_score(visit: Visit) -> None:
    first = cards(visit.go(JADE)).first
    first.get_by_text("Details").click()
    expect(first).to_contain_text("Bought often and recently (customer and article)")
    expect(first).to_contain_text("raises the score by +0.413")
    expect(first).to_contain_text("Sales in 7 days (article)")
    expect(first).to_contain_text("lowers the score by \N{MINUS SIGN}0.05")


def test_a_card_marks_the_purchase_that_it_speaks_of(visit: Visit) -> None:
    tab = visit.go(JADE)
    cards(tab).nth(1).hover()
    expect(tab.locator(".history .linked .name")).to_have_text(["Tilly tee", "Queen Sweater"])


def test_articles_of_which_only_a_name_is_known(visit: Visit) -> None:
    tab = visit.go(ROBIN)
    expect(cards(tab)).to_have_count(12)
    cards(tab).first.get_by_text("Details").click()
    expect(cards(tab).first).to_contain_text(GIFTS[0])
    expect(cards(tab).first).to_contain_text("2.55")
    assert not {"null", "undefined", "NaN"} & set(tab.locator("main").inner_text().split())


def test_what_a_shop_does_not_know_is_left_out(visit: Visit) -> None:
    bare = recommend(JADE, 1)
    known = {"article_id", "rank", "score", "source", "reason", "drivers"}
    (only,) = bare["recommendations"]
    only |= {name: None for name in only if name not in known} | {"source": "constructor"}
    visit.tab.route("**/recommend", lambda route: route.fulfill(json=bare))
    tab = visit.go(JADE)
    cards(tab).get_by_text("Details").click()
    expect(cards(tab).get_by_role("heading")).to_have_text("Article 0706000000")
    expect(cards(tab).locator("dt")).to_have_text(["Article", "Score"])
    expect(cards(tab).locator(".price")).to_have_count(0)
    expect(cards(tab).locator(".badge")).to_have_text("Constructor")


def test_the_release_in_production(visit: Visit) -> None:
    release = visit.go().locator("#release")
    release.get_by_text("The release in production").click()
    expect(release).to_contain_text("gradient_boosting:7c1e")
    expect(release).to_contain_text("0.0512 (0.0431 to 0.0598)")


def test_an_unknown_customer_gets_what_is_popular(visit: Visit) -> None:
    tab = visit.go()
    tab.get_by_label("Customer", exact=True).fill("somebody new")
    tab.keyboard.press("Enter")
    expect(tab.locator("#facts")).to_have_text("New here: we know nothing about this customer yet")
    expect(tab.get_by_text("No purchases yet.")).to_be_visible()
    expect(tab.get_by_text("This customer is new to us")).to_be_visible()
    expect(cards(tab)).to_have_count(12)
    assert tab.url.endswith("#customer=somebody+new")


def test_a_shared_link_a_surprise_and_the_way_back(visit: Visit) -> None:
    tab = visit.go(ROBIN)
    expect(tab).to_have_title("Customer 17850 · Lookbook")
    tab.get_by_role("button", name="Surprise me").click()
    expect(tab).not_to_have_title("Customer 17850 · Lookbook")
    tab.go_back()
    expect(tab).to_have_title("Customer 17850 · Lookbook")
    expect(cards(tab)).to_have_count(12)


def test_errors_are_one_clear_sentence_and_can_be_tried_again(visit: Visit) -> None:
    tab = visit.go(BROKEN)
    expect(tab.locator("#bought .trouble p")).to_have_text("customer_id: too short")
    expect(tab.locator("#recommended .trouble p")).to_have_text(
        "customer_id: 'broken' is not an id"
    )
    expect(tab.get_by_role("status")).to_contain_text("is not an id")
    assert all("status of 4" in complaint for complaint in visit.complaints)

    tab.route("**/recommend", lambda route: route.abort())
    visit.go(JADE)
    expect(tab.locator("#recommended .trouble p")).to_contain_text("The shop cannot be reached.")
    expect(bought(tab).first).to_be_visible()
    tab.unroute("**/recommend")
    tab.get_by_role("button", name="Try again").click()
    expect(cards(tab)).to_have_count(12)

    tab.route("**/recommend", lambda route: route.fulfill(status=500, body="Traceback: secret"))
    visit.go(ROBIN)
    expect(tab.locator("#recommended .trouble p")).to_have_text(
        "The shop could not answer (error 500)."
    )
    visit.complaints.clear()  # the browser itself reports each failed request


def test_an_empty_shop_says_what_to_do(visit: Visit) -> None:
    visit.shop.sample = []
    tab = visit.go()
    expect(tab.get_by_role("heading", name="This shop is still empty")).to_be_visible()
    expect(tab.get_by_role("button", name="Surprise me")).to_be_disabled()


def test_loading_shows_where_things_will_be(visit: Visit) -> None:
    held: list[Any] = []
    visit.tab.route("**/recommend", lambda route: held.append(route))
    tab = visit.go(JADE)
    expect(bought(tab).first).to_be_visible()
    expect(tab.locator("#recommended")).to_have_attribute("aria-busy", "true")
    expect(tab.locator("#recommended .skeletons i")).to_have_count(12)
    expect(tab.get_by_role("status")).to_have_text("Loading")
    held[0].continue_()
    expect(cards(tab)).to_have_count(12)
    expect(tab.locator(".skeletons")).to_have_count(0)


def test_the_last_choice_wins(visit: Visit) -> None:
    held: list[Any] = []
    visit.tab.route("**/recommend", lambda route: held.append(route))
    tab = visit.go(JADE)
    expect(bought(tab).first).to_be_visible()
    visit.tab.unroute("**/recommend")
    visit.go(ROBIN)
    expect(cards(tab)).to_have_count(12)
    expect(cards(tab).first).to_contain_text(GIFTS[0])


def test_hostile_names_are_text(visit: Visit) -> None:
    tab = visit.go(BOBBY)
    expect(cards(tab)).to_have_count(12)
    tab.get_by_label("Customer", exact=True).fill("onerror")
    expect(tab.get_by_role("option")).to_contain_text(HOSTILE)
    cards(tab).first.get_by_text("Details").click()
    expect(tab.get_by_role("heading", name=HOSTILE)).to_have_count(12)
    expect(bought(tab).first).to_contain_text(HOSTILE)
    assert tab.locator("main img, main script").count() == 0

    tab = visit.go("%3Cimg src=x onerror=alert(1)%3E")
    expect(tab.locator("#who-title")).to_have_text("Customer <img src…")


def test_no_mouse_is_needed(visit: Visit) -> None:
    tab = visit.go()
    expect(tab.get_by_role("button", name="Surprise me")).to_be_enabled()
    press = tab.keyboard.press
    press("Tab")
    expect(tab.get_by_role("link", name="Skip to the results")).to_be_focused()
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
    expect(tab.get_by_role("status")).to_contain_text("12 recommendations")
    expect(picker).to_be_focused()

    press("Shift+Tab")
    press("Enter")
    expect(tab.locator("main")).to_be_focused()
    press("Tab")
    expect(tab.get_by_role("button", name="Show all 18")).to_be_focused()
    press("Enter")
    expect(bought(tab).nth(12)).to_be_focused()
    press("Tab")
    expect(cards(tab).first.locator("summary")).to_be_focused()
    press("Enter")
    expect(cards(tab).first.get_by_text("What moved its score")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("who", [JADE, ROBIN, BOBBY, NOBODY])
def test_a_narrow_phone_needs_no_sideways_scrolling(visit: Visit, who: str, scheme: Any) -> None:
    visit.tab.set_viewport_size({"width": 380, "height": 780})
    visit.tab.emulate_media(color_scheme=scheme)
    tab = visit.go(who)
    expect(cards(tab)).to_have_count(12)
    tab.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
    tab.get_by_label("Customer", exact=True).click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(visit: Visit, scheme: Any) -> None:
    visit.tab.emulate_media(color_scheme=scheme)
    tab = visit.go()
    expect(tab.locator("#suggestions button").first).to_be_visible()
    assert tab.evaluate(CONTRAST) == []
    visit.go(NOBODY)
    expect(cards(tab)).to_have_count(12)
    assert tab.evaluate(CONTRAST) == []
    visit.go(JADE)
    expect(tab.get_by_role("status")).to_contain_text("12 recommendations")
    tab.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
    tab.get_by_label("Customer", exact=True).click()
    assert tab.evaluate(CONTRAST) == []


def test_canned_answers_are_what_the_service_gives() -> None:
    for who in (JADE, ROBIN, NOBODY):
        schemas.Customer.model_validate(customer(who))
        schemas.Recommendations.model_validate(recommend(who, 12))
    assert [schemas.SampleCustomer.model_validate(found) for found in SAMPLE]


def test_the_real_service_answers_the_page(browser: "Browser", address: str) -> None:
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(f"{address}/")
    tab.get_by_role("button", name="Surprise me").click()
    expect(cards(tab)).to_have_count(12, timeout=15_000)
    expect(cards(tab).first.locator(".garment")).to_be_visible()
    tab.get_by_label("Customer", exact=True).fill("somebody new")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("status")).to_contain_text("12 recommendations", timeout=15_000)
    expect(cards(tab).first).to_contain_text("Popular")
    tab.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith(f"{address}/")] == []
    assert complaints == []
    tab.close()
