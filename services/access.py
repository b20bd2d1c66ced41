"""What stands before every request: who may ask, how much, and how it is answered when it may not.

`guard(service)` puts it before a BentoML service with all that is mounted beside it. Each request gets an
id, a line in the log and a place in the metrics; every error is one JSON object with one sentence.
"""

import asyncio
import json
import logging
import math
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest
from http import HTTPStatus
from time import perf_counter
from typing import Any

from anyio import CancelScope
from bentoml.exceptions import BentoMLException, InvalidArgument
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as SiteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feature_repo import environment
from feature_repo.errors import InputError
from services import logs
from services.document import document
from services.rates import Buckets, neighbourhood

log = logging.getLogger(__name__)

TOKEN_FOR = ("/events", "/shadow", "/experiments", "/recommend_batch")
"""Paths that change something, say what is being tried, or take much work: these and all below them want the token."""
EVENTS = ("/events",)
PICTURES = ("/search_by_picture",)

BODY_BYTES = 2**20
PICTURE_BYTES = 6 * 2**20
DRAINED_BYTES = 16 * 2**20
"""How much of a body that is too large is still taken, unread, so that its sender hears the answer."""
ANSWER_SECONDS = 30.0
LONGEST_PATH = 200
GONE = 499
"""The status of a request whose sender has hung up, in log and metrics, as nginx has it."""

PROBES = frozenset({"/livez", "/healthz", "/readyz", "/health", "/metrics"})
"""Asked all the time by those who run the service: no limit, and no line unless they fail."""

SECONDS = Histogram(
    "lookbook_request_seconds",
    "Time until a request was answered, by the path's template.",
    ["path", "status"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
REJECTED = Counter(
    "lookbook_rejected", "Requests turned away before they were answered.", ["reason"]
)

SENTENCES = {
    400: "The request cannot be read.",
    401: "This needs the token: send the header Authorization: Bearer TOKEN.",
    404: "There is nothing at this path; /docs.json says what there is.",
    405: "This path takes another method; the header Allow says which.",
    500: "Something went wrong here; the service's log has it under this request_id.",
    503: "This cannot be answered now; try again soon. The service's log has why under this request_id.",
    504: "The answer took too long and was given up.",
}
"""For errors whose own text is none, or is for the log only."""

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
"""For answers that do not bring their own, as the page's files do."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?|https?://\[[0-9a-fA-F:]+\](:\d+)?")


@dataclass(frozen=True)
class Settings:
    """Who may ask, and how often. Rates are a second, for each client and process; 0 is no limit."""

    token: str = field(repr=False)
    rate: float = 200
    events_rate: float = 50
    pictures_rate: float = 5
    origins: tuple[str, ...] = ()
    """Web sites whose pages may ask."""
    metrics_open: bool = True
    """Whether /metrics is for everybody who reaches the service; else for who has the token."""
    answer_seconds: float = ANSWER_SECONDS

    @classmethod
    def from_environment(cls, make_token: bool = True) -> "Settings":
        """LOOKBOOK_TOKEN, LOOKBOOK_RATE_PER_SECOND (of everything together), LOOKBOOK_EVENTS_PER_SECOND,
        LOOKBOOK_PICTURES_PER_SECOND, LOOKBOOK_CORS_ORIGINS and LOOKBOOK_METRICS.

        Args:
            make_token: whether to make a token for this home where none is set.

        Raises:
            InputError: one of them cannot be used.
        """
        origins = os.environ.get("LOOKBOOK_CORS_ORIGINS", "").replace(",", " ").split()
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise InputError(
                    f"LOOKBOOK_CORS_ORIGINS has {origin!r}: give origins like https://shop.example, with commas between."
                )
        return cls(
            token=environment.token() if make_token or os.environ.get(environment.TOKEN) else "",
            rate=environment.number("LOOKBOOK_RATE_PER_SECOND", cls.rate, 0),
            events_rate=environment.number("LOOKBOOK_EVENTS_PER_SECOND", cls.events_rate, 0),
            pictures_rate=environment.number("LOOKBOOK_PICTURES_PER_SECOND", cls.pictures_rate, 0),
            origins=tuple(origins),
            metrics_open=environment.choice("LOOKBOOK_METRICS", ("open", "token")) == "open",
        )


@dataclass(frozen=True)
class Route:
    """What is asked of a request for one path."""

    template: str
    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    media_type: str = ""
    """Of a body; "" where none is read."""
    token: bool = False
    limited: bool = True
    events: bool = False
    pictures: bool = False
    files: frozenset[str] = frozenset()
    """Fields of a form that are files."""
    body_bytes: int = BODY_BYTES


def guard(service: Any, token_for: Iterable[str] = TOKEN_FOR) -> None:
    """Put access before a BentoML service, and /docs.json and /metrics beside it.

    Called once, after everything else is mounted. Endpoints are found on the service itself.

    Args:
        token_for: paths that want the token, with all that is below them.
    """
    # Uvicorn by default believes what anybody on this machine says of who is asking.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    found: dict[str, Any] = {}
    protected = tuple(token_for)

    async def described(request: Request) -> Response:
        if not found:
            found.update(document(service, lambda path: _below(path, protected)))
        return JSONResponse(found)

    beside = [SiteRoute("/docs.json", described), SiteRoute("/metrics", _metrics)]
    service.mount_asgi_app(Starlette(routes=beside), path="/")
    service.add_asgi_middleware(_from_environment, routes=routes(service, protected))


def _from_environment(app: ASGIApp, routes: Mapping[str, Route]) -> ASGIApp:
    try:
        logs.configure()
        return Access(app, routes, Settings.from_environment())
    except InputError as error:
        return _never_starts(str(error))


def _never_starts(why: str) -> ASGIApp:
    """An app that says at its start why there is none; what is raised here, Uvicorn would not mind."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": f"{scope['type']}.startup.failed", "message": why})

    return app


def routes(service: Any, token_for: Iterable[str] = TOKEN_FOR) -> dict[str, Route]:
    """Every path of a BentoML service by its template; a template that ends in /* has all below it."""
    protected = tuple(token_for)
    found = {
        path: Route(path, limited=path not in PROBES)
        for path in ("/livez", "/healthz", "/readyz", "/schema.json", "/static_content/*")
    }
    for app, _, _ in service.mount_apps:
        for site in app.routes:
            if isinstance(site, Mount):
                found[f"{site.path}/*"] = found[site.path] = Route(f"{site.path}/*")
            elif isinstance(site, SiteRoute):
                found[site.path] = Route(
                    site.path, frozenset(site.methods or ()), limited=site.path not in PROBES
                )
    for api in service.apis.values():
        pictures = _below(api.route, PICTURES)
        found[api.route] = Route(
            api.route,
            frozenset({"POST"}),
            media_type=api.input_spec.mime_type(),
            token=_below(api.route, protected),
            events=_below(api.route, EVENTS),
            pictures=pictures,
            files=frozenset(api.input_spec.multipart_fields),
            body_bytes=PICTURE_BYTES if pictures else BODY_BYTES,
        )
    return found


def _below(path: str, tops: Iterable[str]) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in tops)


async def _metrics(request: Request) -> Response:
    """The metrics of all processes of the service together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


_EXCHANGE: ContextVar["_Exchange | None"] = ContextVar("exchange", default=None)
"""The request that is being answered; there is none where nothing stands before the service, as in a notebook."""


def require_token() -> None:
    """
    Raises:
        BentoMLException: 401, as who asks has no token.
    """
    exchange = _EXCHANGE.get()
    if exchange is not None and not exchange.known:
        raise _refusal(exchange, _no_token())


def charge(requests: int) -> None:
    """Count the request that is being answered as so many more.

    Raises:
        BentoMLException: 429, as who asks has asked too much.
    """
    exchange = _EXCHANGE.get()
    if exchange is not None and requests > 0:
        try:
            exchange.take(requests)
        except _Refused as refused:
            raise _refusal(exchange, refused) from refused


def too_many(what: str, seconds: int) -> BentoMLException:
    """A 429 to be raised.

    Args:
        seconds: after which to ask again.
    """
    refused = _too_many(what, seconds)
    exchange = _EXCHANGE.get()
    return BentoMLException(str(refused)) if exchange is None else _refusal(exchange, refused)


def blame(field: str) -> None:
    """Name the field that is wrong, for the answer that is about to say why."""
    exchange = _EXCHANGE.get()
    if exchange is not None:
        exchange.wrong = field


async def require_listener() -> None:
    """
    Raises:
        BentoMLException: whoever asked has hung up.
    """
    exchange = _EXCHANGE.get()
    if exchange is None or exchange.receive is None:
        return
    message: Message = {}
    with CancelScope() as now:
        # As Starlette looks: what is there comes at once, and nothing is waited for.
        now.cancel()
        message = await exchange.receive()
    if message.get("type") == "http.disconnect":
        exchange.gone, exchange.reason = True, "gone"
        raise InvalidArgument("Who asked has hung up.")


def _refusal(exchange: "_Exchange", refused: "_Refused") -> BentoMLException:
    exchange.reason, exchange.headers = refused.reason, refused.headers
    REJECTED.labels(refused.reason).inc()
    said = BentoMLException(str(refused))
    said.error_code = HTTPStatus(refused.status)
    return said


def _no_token() -> "_Refused":
    return _Refused(401, "token", headers={"WWW-Authenticate": 'Bearer realm="lookbook"'})


def _too_many(what: str, seconds: int) -> "_Refused":
    said = f"Too many {what}: ask again in {seconds} s."
    return _Refused(429, "rate", said, {"Retry-After": str(seconds)})


class _Refused(Exception):
    """A request that is turned away."""

    def __init__(
        self, status: int, reason: str, sentence: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence or SENTENCES[status])
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


class _Gone(Exception):
    """Who asked has hung up."""


@dataclass
class _Exchange:
    """A request under way, and the answer to it as it goes out."""

    id: str
    client: str
    route: Route | None
    send: Send
    started: float = field(default_factory=perf_counter)
    status: int = 0
    reason: str = ""
    clock: asyncio.Timeout | None = None
    known: bool = False
    """Whether who asks has the token."""
    take: Callable[[int], None] = lambda requests: None
    """Counts as so many more requests."""
    receive: Receive | None = None
    gone: bool = False
    """Whether nobody listens any more."""
    headers: dict[str, str] = field(default_factory=dict)
    """For an answer that is an error, as is what is wrong."""
    wrong: str = ""
    _error: Message | None = None
    _body: bytearray = field(default_factory=bytearray)

    async def answer(self, message: Message) -> None:
        """Pass a message on; what is an error is held until it is whole, and put into our words."""
        if message["type"] == "http.response.start":
            if self.clock is not None:
                self.clock.reschedule(None)
            self.status = GONE if self.gone else message["status"]
            if self.status >= 400:
                self._error = message
            else:
                await self.send({**message, "headers": self._with_ours(message["headers"])})
        elif self._error is None:
            await self.send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._answer_error(self._error["headers"])

    async def _answer_error(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        found = problem(self.status, bytes(self._body), self.id)
        if self.wrong:
            found.setdefault("field", self.wrong)
        said = json.dumps(found, ensure_ascii=False)
        content = said.encode("utf-8", "replace")
        kept = [pair for pair in headers if pair[0] not in (b"content-length", b"content-type")]
        kept += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        kept += [(name.lower().encode(), text.encode()) for name, text in self.headers.items()]
        if self.status == 503:
            kept.append((b"retry-after", b"5"))
        start = {"type": "http.response.start", "status": self.status}
        await self.send({**start, "headers": self._with_ours(kept)})
        await self.send({"type": "http.response.body", "body": content})

    def _with_ours(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        # What the service is made with is for nobody to know.
        kept = [pair for pair in headers if pair[0] != b"server"]
        there = {name for name, _ in kept}
        kept += [pair for pair in HEADERS.items() if pair[0] not in there]
        if b"etag" not in there and b"cache-control" not in there:
            kept.append((b"cache-control", b"no-store"))
        kept.append((b"x-request-id", self.id.encode()))
        return kept


def problem(status: int, body: bytes, request_id: str) -> dict[str, Any]:
    """What is said of an error: `error` is one sentence, `field` where one is wrong.

    Args:
        body: what was said of it inside: by us, by BentoML, by pydantic (`detail`), or in plain text.
    """
    try:
        said: Any = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, list) and said:
        # BentoML wraps some errors into a list.
        said = said[0]
    found = dict(said) if isinstance(said, dict) else {}
    if (status >= 500 or status == 401) and "error" in found:
        # Made for the log; of a token BentoML has words of its own.
        found = {}
    if isinstance(details := found.get("detail"), list):
        found["detail"] = [
            {name: each.get(name) for name in ("type", "loc", "msg")}
            for each in details
            if isinstance(each, dict)
        ]
        found |= _of_fields(found["detail"])
    sentence = found.pop("error", "") or SENTENCES.get(status) or "This cannot be answered."
    return {"error": str(sentence), **found, "request_id": request_id}


def _of_fields(details: list[dict[str, Any]]) -> dict[str, str]:
    """The first wrong field, and a sentence of it."""
    if not details:
        return {}
    name = ".".join(map(str, details[0]["loc"] or ()))
    more = f" ({len(details) - 1} more in detail)" if len(details) > 1 else ""
    said = str(details[0]["msg"]).rstrip(".")
    if not name:
        return {"error": f"{said}{more}."}
    return {"error": f"{name}: {said}{more}.", "field": name}


class Access:
    """ASGI middleware: checks a request before the service sees it, and words every error.

    Args:
        routes: by path, as `routes` finds them.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, Route], settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._routes = dict(routes)
        if not settings.metrics_open and (metrics := self._routes.get("/metrics")):
            self._routes["/metrics"] = Route(metrics.template, metrics.methods, token=True)
        self._mounts = tuple(path[:-1] for path in routes if path.endswith("/*"))
        self._token = settings.token.encode()
        on = settings.rate > 0
        self._all = Buckets(settings.rate)
        self._events = Buckets(settings.events_rate if on else 0)
        self._pictures = Buckets(settings.pictures_rate if on else 0)
        self._inner: ASGIApp = self._checked
        if settings.origins:
            self._inner = CORSMiddleware(
                self._checked,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
                expose_headers=["X-Request-ID", "Retry-After"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = _header(scope, b"x-request-id")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        client = scope["client"][0] if scope.get("client") else "unknown"
        exchange = _Exchange(request_id, client, self._route(scope["path"]), send)
        marks = logs.REQUEST_ID.set(request_id), _EXCHANGE.set(exchange)
        try:
            await self._inner(scope, receive, exchange.answer)
        finally:
            _account(scope, exchange)
            logs.REQUEST_ID.reset(marks[0])
            _EXCHANGE.reset(marks[1])

    def _route(self, path: str) -> Route | None:
        route = self._routes.get(path)
        if route is None:
            for mount in self._mounts:
                if path.startswith(mount):
                    return self._routes[f"{mount}*"]
        return route

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request, if it may pass, and else why not; within the time that an answer has."""
        exchange = _EXCHANGE.get()
        assert exchange is not None
        whole = False
        clock = asyncio.timeout(self._settings.answer_seconds)
        try:
            async with clock as exchange.clock:
                route = self._allowed(scope, exchange)
                if _has_body(scope):
                    body = await _body(scope, receive, route.body_bytes)
                    if route.files:
                        await _require_files(scope, body, route.files)
                    exchange.receive = receive
                    receive = _again(body, receive)
                whole = True
                await self._app(scope, receive, send)
            return
        except _Gone:
            exchange.status, exchange.reason = GONE, "gone"
            return
        except _Refused as found:
            refused = found
        except Exception:
            if clock.expired():
                late = "The request did not arrive whole in time."
                refused = _Refused(504, "time") if whole else _Refused(408, "time", late)
            else:
                log.exception("cannot answer")
                refused = _Refused(500, "")
            if exchange.status:
                # The answer has begun, so only its connection can be cut.
                raise
        exchange.clock = None
        exchange.reason = refused.reason
        if refused.reason:
            REJECTED.labels(refused.reason).inc()
        said = JSONResponse({"error": str(refused)}, refused.status, refused.headers)
        await said(scope, receive, send)

    def _allowed(self, scope: Scope, exchange: _Exchange) -> Route:
        """What the request is for.

        Raises:
            _Refused: it may not pass.
        """
        route = exchange.route
        known = exchange.known = self._knows(_header(scope, b"authorization"))
        exchange.take = partial(self._take, self._all, exchange.client, known)
        if route is None or route.limited:
            self._take(self._all, exchange.client, known)
        if route is None:
            raise _Refused(404, "path")
        method = scope["method"]
        if method not in route.methods:
            allow = {"Allow": ", ".join(sorted(route.methods))}
            raise _Refused(405, "method", headers=allow)
        if route.token and not known:
            raise _no_token()
        if route.events:
            self._take(self._events, exchange.client, known)
        if route.pictures:
            self._take(self._pictures, exchange.client, known)
        sent, _, more = _header(scope, b"content-type").decode("latin-1").lower().partition(";")
        sent = sent.strip()
        if sent.startswith("multipart/") and "boundary=" not in more:
            raise _Refused(
                415, "type", "The header Content-Type names no boundary of the form's parts."
            )
        if route.media_type and sent != route.media_type and (sent or _has_body(scope)):
            asked = f"Send the body as {route.media_type}, and say so in the header Content-Type."
            raise _Refused(415, "type", asked)
        return route

    def _knows(self, authorization: bytes) -> bool:
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(given.strip(), self._token)

    def _take(self, buckets: Buckets, client: str, known: bool, requests: int = 1) -> None:
        # Who has the token is one client, from wherever they ask.
        wait = buckets.wait(TOKEN_CLIENT if known else neighbourhood(client), requests)
        if wait:
            raise _too_many("requests", max(1, math.ceil(wait)))


TOKEN_CLIENT = "token"


def _header(scope: Scope, name: bytes) -> bytes:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def _has_body(scope: Scope) -> bool:
    length = _header(scope, b"content-length")
    return bool(length.strip(b"0")) or bool(_header(scope, b"transfer-encoding"))


async def _body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, which was found to be within the limit.

    Raises:
        _Refused: it is larger. No more than the limit has then been kept.
        _Gone: who sends it has hung up.
    """
    declared = _header(scope, b"content-length")
    size = int(declared) if declared.isdigit() else 0
    chunks: list[bytes] = []
    taken = 0
    more = True
    while more:
        if size > limit:
            chunks.clear()
            # Whoever is cut off while sending does not hear why, so a little more is taken.
            if max(size - limit, taken) > DRAINED_BYTES:
                raise _TooLarge(limit, close=True)
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        chunk = message.get("body", b"")
        taken += len(chunk)
        size = max(size, taken)
        if size <= limit:
            chunks.append(chunk)
        more = message.get("more_body", False)
    if size > limit:
        raise _TooLarge(limit)
    return b"".join(chunks)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that has the whole body, and then what `receive` has."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


async def _require_files(scope: Scope, body: bytes, fields: Iterable[str]) -> None:
    """To know that files are files: of a text BentoML takes the address of one, and fetches it.

    Raises:
        _Refused: one is a text, or the form cannot be read.
    """
    try:
        async with Request(scope, _again(body, _nothing)).form() as form:
            texts = [name for name in fields if any(isinstance(v, str) for v in form.getlist(name))]
    except (HTTPException, MultiPartException) as error:
        raise _Refused(400, "form", "The form cannot be read.") from error
    if texts:
        raise _Refused(400, "form", f"{texts[0]}: send the file itself, with a file name.")


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class _TooLarge(_Refused):
    def __init__(self, limit: int, close: bool = False) -> None:
        sentence = f"The body is too large: at most {limit / 2**20:g} MB."
        super().__init__(413, "size", sentence, {"Connection": "close"} if close else None)


def _account(scope: Scope, exchange: _Exchange) -> None:
    """The request's place in the metrics, and its line in the log: nothing of its query or its body."""
    seconds = perf_counter() - exchange.started
    template = exchange.route.template if exchange.route else "other"
    status = exchange.status or 500
    SECONDS.labels(template, str(status)).observe(seconds)
    level = logging.ERROR if status >= 500 else logging.INFO
    if status < 400 and scope["path"] in PROBES:
        level = logging.DEBUG
    if not log.isEnabledFor(level):
        return
    fields = {
        "method": scope["method"],
        "path": scope["path"][:LONGEST_PATH],
        "status": status,
        "ms": round(1000 * seconds, 2),
        "client": exchange.client,
    }
    if exchange.reason:
        fields["reason"] = exchange.reason
    log.log(level, "request", extra={logs.FIELDS: fields})
