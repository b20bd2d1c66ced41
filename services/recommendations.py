"""The BentoML service: typed and thin over `Answers`, with the page beside it.

Run it with `bentoml serve services.recommendations:Recommender` from the project's folder.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

# Before bentoml is imported: nothing is reported to anybody.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
# And before any library starts threads: such as wait for each other would otherwise burn a core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import bentoml
from bentoml.exceptions import InvalidArgument, NotFound, ServiceUnavailable
from bentoml.validators import ContentType
from prometheus_client import Counter, Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from pipelines.content.search import SearchError
from pipelines.data.adapters.served import BATCH
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import RegistryError
from pipelines.monitoring import answer_log, served_log
from pipelines.rankers.base import ObjectiveError
from services import access, logs
from services.answers import Answers
from services.deadlines import Lane, LaneFullError, awaited, deadlines
from services.experiments import Experiments
from services.schemas import (
    Accepted,
    ArticleId,
    ArticleIds,
    Context,
    Customer,
    CustomerId,
    CustomerIds,
    Each,
    Events,
    ExperimentsInfo,
    Explanation,
    Filters,
    FoundArticles,
    Home,
    HowMany,
    Query,
    Recommendations,
    ReleaseInfo,
    SampleCustomer,
    ShadowReport,
    SimilarArticles,
    Variants,
    Weights,
)
from services.served import PRODUCTION
from services.shadow import Shadow

log = logging.getLogger(__name__)

UNREADABLE = "Features cannot be read now; the service's log says why."
PAGE = Path(__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

THREADS = 32
"""Requests of a process that may be under way; few of them are worked on at a time (`deadlines.AT_ONCE`)."""

BATCHES_WAITING = 8
"""Batches of a process that may wait for the one that is under way."""
BATCH_SECONDS = 5
"""After which one that found no place may ask again."""

Answer = TypeVar("Answer", Recommendations, Home)

FALLBACKS = Counter(
    "lookbook_fallbacks", "Answers that were simpler than usual, by why.", ["reason"]
)
TROUBLE = Counter(
    "lookbook_trouble", "Parts of answers that did not do their work, as stage:why.", ["what"]
)
STAGE_SECONDS = Histogram(
    "lookbook_stage_seconds",
    "Time that a stage of a recommendation took.",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
)


class _Page(StaticFiles):
    """The page's files, with headers that keep everything else out of it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


async def _to_page(request: Request) -> Response:
    # BentoML's own index loads scripts from outside; the shop's page stands there instead.
    return RedirectResponse("/page/")


class _Pictures(StaticFiles):
    """The pictures of articles, as ARTICLE.jpg, from a folder in which they lie as Kaggle has them: 010/0108775015.jpg."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not _PICTURE.fullmatch(path):
            return Response(status_code=404)
        response = await super().get_response(f"{path[:3]}/{path}", scope)
        response.headers["Cache-Control"] = "public, max-age=86400"
        return response


_PICTURE = re.compile(r"\d{10}\.jpg")
_PICTURES = os.environ.get("LOOKBOOK_PICTURES", "")


def _is_served() -> bool:
    """Whether this is `bentoml serve`: whoever packages the service needs no release."""
    return "bentoml" in Path(sys.argv[0]).parts[-2:] and "serve" in sys.argv


def _require_settings() -> None:
    """End with one sentence where a setting is wrong, or there is nothing to serve: found out later, in a worker, BentoML
    would start that again and again."""
    try:
        if _PICTURES and not Path(_PICTURES).is_dir():
            raise InputError(
                f"LOOKBOOK_PICTURES is {_PICTURES!r}: give a folder of pictures, or leave it out."
            )
        for read in (
            partial(access.Settings.from_environment, make_token=False),
            deadlines,
            Experiments.read,
            Shadow,
            served_log.Settings.from_environment,
            answer_log.Settings.from_environment,
            logs.level,
        ):
            read()
        if _is_served():
            releases.get(PRODUCTION)
    except RegistryError as error:
        raise SystemExit(f"Error: {error} LOOKBOOK_HOME is {places.home()}.") from None
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None


_require_settings()


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204)


_answers: Answers | None = None


async def _health(request: Request) -> Response:
    """200 once a release is loaded, for then there is an answer to everything; `degraded` while features cannot be
    read and answers come from memory. With `?strict=1` that is a 503."""
    if _answers is None:
        return JSONResponse({"status": "starting"}, status_code=503)
    now = _answers.release()
    said = {"status": "ok", "release": now.release, "moment": now.moment.isoformat()}
    if not await awaited(_answers.reads()):
        strict = request.query_params.get("strict") == "1"
        said |= {"status": "degraded", "reason": UNREADABLE}
        return JSONResponse(said, status_code=503 if strict else 200)
    return JSONResponse(said)


site = Starlette(
    routes=[
        Route("/", _to_page),
        Route("/health", _health),
        Route("/favicon.ico", _no_icon),
        Mount("/page", _Page(directory=PAGE, html=True)),
        *([Mount("/pictures", _Pictures(directory=_PICTURES))] if _PICTURES else []),
    ]
)


@contextmanager
def _told(field: str) -> Iterator[None]:
    """What is wrong with a question is the caller's to know; what is wrong here is for the log, as it names files.

    Args:
        field: what is wrong, if something is that no type forbids, unless it is the weights, or what is said begins
            with a place in it.
    """
    try:
        yield
    except ObjectiveError as error:
        access.blame("objective")
        raise InvalidArgument(str(error)) from error
    except InputError as error:
        place, _, _ = str(error).partition(" ")
        access.blame(place if place.startswith(f"{field}[") else field)
        raise InvalidArgument(str(error)) from error
    except SearchError as error:
        raise NotFound(str(error)) from error
    except LookbookError as error:
        log.exception("cannot answer")
        raise ServiceUnavailable(UNREADABLE) from error


_SECONDS: dict[str, Any] = {}
"""Stage -> its histogram: to look it up takes longer than to add to it."""


def _sent(answer: Answer) -> Answer:
    """The answer as it goes out. BentoML would copy it into a model of its own, and check each field of it once more."""
    ready: Any = Response(answer.model_dump_json(), media_type="application/json")
    return ready


def _measured(answer: Answer) -> Answer:
    for stage, milliseconds in answer.stages_ms.items():
        if (seconds := _SECONDS.get(stage)) is None:
            seconds = _SECONDS[stage] = STAGE_SECONDS.labels(stage)
        seconds.observe(milliseconds / 1000)
    if answer.fallback is not None:
        FALLBACKS.labels(answer.fallback).inc()
    for trouble in answer.trouble:
        TROUBLE.labels(trouble).inc()
    return answer


@bentoml.asgi_app(site, path="/")
@bentoml.service(
    name="lookbook",
    # `access` gives up first, counts and logs: BentoML's metrics have a row for every path that anybody tries.
    traffic={"timeout": 2 * access.ANSWER_SECONDS},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    threads=THREADS,
)
class Recommender:
    """Recommendations from the release in production."""

    def __init__(self) -> None:
        global _answers
        self.answers = _answers = Answers()
        self.answers.follow()
        self.batches = Lane(BATCHES_WAITING)

    @bentoml.on_shutdown
    def close(self) -> None:
        with suppress(AttributeError):
            self.answers.stop()

    @bentoml.api
    async def recommend(
        self,
        customer_id: CustomerId,
        k: HowMany = 12,
        objective: Weights | None = None,
        filters: Filters | None = None,
        context: Context | None = None,
        variants: Variants | None = None,
    ) -> Recommendations:
        """The articles that the customer is most likely to buy, best first, each with its reason.

        `objective` weighs purchase, cart and view, for a release whose ranker has learnt them; `filters` says what may
        be among them; `context` tells age and postal code of a customer whom the shop does not know; `variants` chooses
        the variants of experiments by hand, which wants the token.
        """
        _require_token_for(variants)
        with _told("variants"):
            steps = self.answers.recommending(
                customer_id, k, _plain(objective), filters, context, variants
            )
            answer = _measured(await awaited(steps))
        return _sent(answer)

    @bentoml.api
    async def recommend_batch(
        self,
        customer_ids: CustomerIds,
        k: HowMany = 12,
        objective: Weights | None = None,
        filters: Filters | None = None,
    ) -> list[Recommendations]:
        """The same for several customers, in their order, for who has the token. It counts as so many requests, and gives
        way to those for which somebody waits."""
        found = []
        try:
            async with self.batches.place():
                access.charge(len(customer_ids) - 1)
                for customer_id in customer_ids:
                    await access.require_listener()
                    with _told("customer_ids"):
                        steps = self.answers.recommending(
                            customer_id, k, _plain(objective), filters, surface=BATCH
                        )
                        found.append(_measured(await awaited(steps)))
        except LaneFullError:
            raise access.too_many("batches at once", BATCH_SECONDS) from None
        return found

    @bentoml.api
    async def home(
        self,
        customer_id: CustomerId,
        k: Each = 8,
        objective: Weights | None = None,
        context: Context | None = None,
        variants: Variants | None = None,
    ) -> Home:
        """The customer's page: carousels with at most k articles each, no article twice."""
        _require_token_for(variants)
        with _told("variants"):
            steps = self.answers.homing(customer_id, k, _plain(objective), context, variants)
            answer = _measured(await awaited(steps))
        return _sent(answer)

    @bentoml.api
    def similar(self, article_id: ArticleId, k: HowMany = 12) -> SimilarArticles:
        """Articles like this one, also of those that nobody has bought yet."""
        with _told("article_id"):
            return self.answers.similar(article_id, k)

    @bentoml.api
    def similar_batch(self, article_ids: ArticleIds, k: HowMany = 12) -> list[SimilarArticles]:
        """The same for several articles, in their order. It counts as so many requests."""
        access.charge(len(article_ids) - 1)
        with _told("article_ids"):
            return [self.answers.similar(article_id, k) for article_id in article_ids]

    @bentoml.api
    def goes_with(self, article_id: ArticleId, k: HowMany = 12) -> SimilarArticles:
        """What is bought together with this article and is of another kind."""
        with _told("article_id"):
            return self.answers.goes_with(article_id, k)

    @bentoml.api
    def search(
        self,
        query: Query,
        k: HowMany = 24,
        filters: Filters | None = None,
        customer_id: CustomerId | None = None,
    ) -> FoundArticles:
        """Articles on sale by words, or by the beginning of their id."""
        with _told("query"):
            return self.answers.search(query, k, filters, customer_id)

    @bentoml.api
    def search_by_picture(
        self,
        picture: Annotated[Path, ContentType("image/*")],
        k: HowMany = 24,
        customer_id: CustomerId | None = None,
    ) -> FoundArticles:
        """Articles on sale that look like a picture: a JPEG, PNG or WebP of at most 5 MB, in a form."""
        with _told("picture"):
            return self.answers.search_by_picture(picture.read_bytes(), k, customer_id)

    @bentoml.api
    def events(self, events: Events) -> Accepted:
        """What customers did; the next answer knows it. Either all are taken or none."""
        with _told("events"):
            return self.answers.happened(events)

    @bentoml.api
    def customer(self, customer_id: CustomerId) -> Customer:
        """What is known of a customer: attributes, the articles last bought, and the session."""
        with _told("customer_id"):
            return self.answers.customer(customer_id)

    @bentoml.api
    def explain(
        self,
        customer_id: CustomerId,
        article_id: ArticleId,
        objective: Weights | None = None,
        context: Context | None = None,
    ) -> Explanation:
        """Why an article stands where it stands for a customer, or why it does not."""
        with _told("article_id"):
            return self.answers.explain(customer_id, article_id, _plain(objective), context)

    @bentoml.api
    def experiments(self, customer_id: CustomerId) -> ExperimentsInfo:
        """What is being tried, and what of it the customer gets."""
        return self.answers.experiments(customer_id)

    @bentoml.api
    def shadow(self) -> ShadowReport:
        """How the release under the alias `shadow` answers a copy of the traffic, beside the one in production."""
        return self.answers.shadow()

    @bentoml.api
    def sample_customers(self) -> list[SampleCustomer]:
        """Customers to look at, from those with the longest history to those without any."""
        return self.answers.sample_customers()

    @bentoml.api
    def release(self) -> ReleaseInfo:
        """The release being served: parts, data cutoff, metrics."""
        return self.answers.release().model_copy(update={"pictures": bool(_PICTURES)})


def _require_token_for(variants: Mapping[Any, str] | None) -> None:
    """To choose variants by hand, and to hear which there are, is for those who run the shop."""
    if variants:
        access.require_token()


def _plain(objective: Mapping[Any, float] | None) -> dict[str, float] | None:
    return None if objective is None else {str(name): weight for name, weight in objective.items()}


def _without_more(service: Any) -> None:
    """A field that no endpoint has is an error, and no slip of the pen is passed over."""
    for api in service.apis.values():
        api.input_spec.model_config["extra"] = "forbid"
        api.input_spec.model_rebuild(force=True)


_without_more(Recommender)
access.guard(Recommender)
