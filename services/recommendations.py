"""The BentoML service: typed and thin over `Answers`, with the page beside it.

Run it with `bentoml serve services.recommendations:Recommender` from the project's folder.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Before bentoml is imported: nothing is reported to anybody.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

import bentoml
from bentoml.exceptions import InvalidArgument, ServiceUnavailable
from prometheus_client import Histogram
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from feature_repo.errors import LookbookError
from pipelines.rankers.base import ObjectiveError
from services import access
from services.answers import Answers
from services.schemas import (
    Customer,
    CustomerId,
    HowMany,
    Recommendations,
    ReleaseInfo,
    SampleCustomer,
    Weights,
)

log = logging.getLogger(__name__)

UNREADABLE = "Features cannot be read now; the service's log says why."
PAGE = Path(__file__).parent / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

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


async def _no_icon(request: Request) -> Response:
    return Response(status_code=204)


_answers: Answers | None = None


async def _health(request: Request) -> Response:
    """200 once a release is loaded, and as long as features can be read."""
    if _answers is None:
        return JSONResponse({"status": "starting"}, status_code=503)
    try:
        _answers.require_features()
    except LookbookError:
        log.exception("features cannot be read")
        return JSONResponse({"status": "unwell", "reason": UNREADABLE}, status_code=503)
    now = _answers.release()
    return JSONResponse({"status": "ok", "release": now.release, "moment": now.moment.isoformat()})


site = Starlette(
    routes=[
        Route("/", _to_page),
        Route("/health", _health),
        Route("/favicon.ico", _no_icon),
        Mount("/page", _Page(directory=PAGE, html=True)),
    ]
)


@contextmanager
def _unavailable() -> Iterator[None]:
    """What cannot be answered now is that, and no bug; why is for the log, as it names files."""
    try:
        yield
    except ObjectiveError:
        raise
    except LookbookError as error:
        log.exception("cannot answer")
        raise ServiceUnavailable(UNREADABLE) from error


@bentoml.asgi_app(site, path="/")
@bentoml.service(
    name="lookbook",
    # `access` gives up first, counts and logs: BentoML's metrics have a row for every path that anybody tries.
    traffic={"timeout": 2 * access.ANSWER_SECONDS},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Recommender:
    """Recommendations from the release in production."""

    def __init__(self) -> None:
        global _answers
        self.answers = _answers = Answers()
        self.answers.follow()

    @bentoml.on_shutdown
    def close(self) -> None:
        with suppress(AttributeError):
            self.answers.stop()

    @bentoml.api
    def recommend(
        self, customer_id: CustomerId, k: HowMany = 12, objective: Weights | None = None
    ) -> Recommendations:
        """The articles that the customer is most likely to buy, best first, each with its reason.

        `objective` weighs purchase, cart and view, for a release whose ranker has learnt them.
        """
        try:
            with _unavailable():
                weights = None if objective is None else {str(n): w for n, w in objective.items()}
                answer = self.answers.recommend(customer_id, k, weights)
        except ObjectiveError as error:
            raise InvalidArgument(str(error)) from error
        for stage, milliseconds in answer.stages_ms.items():
            STAGE_SECONDS.labels(stage).observe(milliseconds / 1000)
        return answer

    @bentoml.api
    def customer(self, customer_id: CustomerId) -> Customer:
        """What is known of a customer: attributes and the articles last bought."""
        with _unavailable():
            return self.answers.customer(customer_id)

    @bentoml.api
    def sample_customers(self) -> list[SampleCustomer]:
        """Customers to look at, from those with the longest history to those without any."""
        return self.answers.sample_customers()

    @bentoml.api
    def release(self) -> ReleaseInfo:
        """The release being served: parts, data cutoff, metrics."""
        return self.answers.release()


access.guard(Recommender)
