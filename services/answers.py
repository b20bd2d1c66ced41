"""The answers of the service as a plain object: a release, the online store, and nothing else."""

import gc
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from feature_repo.errors import InputError, LookbookError
from pipelines.columns import Columns
from pipelines.content.search import NOT_THERE, SearchError, SearchIndex
from pipelines.explaining import (
    article_display,
    drivers_of,
    explained,
    number_or_none,
    text_or_none,
)
from pipelines.exploration import seed_of
from pipelines.model_registry import release as releases
from pipelines.model_registry.registry import RegistryError
from pipelines.monitoring.answer_log import AnswerLog, Shown
from pipelines.monitoring.served_log import ServedLog
from pipelines.online import materialized_at, online_moment
from pipelines.rankers.base import Objective, ObjectiveError
from pipelines.recommender import Recommender, dismissed, is_known, one_customer
from pipelines.retrievers.article_to_article import ArticleToArticle
from pipelines.retrievers.base import recent_purchases, session_lists
from services.carousels import carousels, complements
from services.deadlines import Attempt, Steps, Workers, deadlines, waited, waiting
from services.experiments import CHANGES, Assigned, Experiments
from services.filters import allowed_by, names_something_unknown
from services.request_path import Found, Question, RequestPath
from services.schemas import (
    Accepted,
    Article,
    Carousel,
    Context,
    Customer,
    Done,
    Driver,
    Event,
    ExperimentInfo,
    ExperimentsInfo,
    Explanation,
    Filters,
    FoundArticles,
    Gate,
    Home,
    NamedBy,
    Purchase,
    Recommendation,
    Recommendations,
    ReleaseInfo,
    SampleCustomer,
    ShadowReport,
    SimilarArticle,
    SimilarArticles,
    VariantInfo,
)
from services.served import PRODUCTION, SHADOW, Served, keep_warm, load_served
from services.session import accept, shop_now
from services.shadow import Shadow

log = logging.getLogger(__name__)

T = TypeVar("T")
SHOWN_PURCHASES = 60
PURCHASE_DISPLAY = ("name", "product_type", "colour", "price")
SIMILAR = ("similar", "similar_by_text", "similar_by_metadata", "similar_by_image")
"""The retrievers that say what is like an article, the first that a release has."""
EXPLAINED_DRIVERS = 12


def _shadow_tag() -> str | None:
    try:
        return releases.resolve(SHADOW)
    except RegistryError:
        return None


@dataclass(frozen=True)
class _Asked:
    """A request, and the variants by which it is answered."""

    request_id: str
    served: Served
    customer_id: str
    objective: Objective | None
    assigned: Assigned
    trouble: list[str]

    def question(
        self, k: int, filters: Filters | None, context: Context | None, *, rest: bool = False
    ) -> Question:
        reranker = None
        if self.assigned.rerankers is not None:
            reranker = self.assigned.reranker(self.served.recommender.reranker)
        return Question(
            self.customer_id,
            k,
            objective=self.objective,
            filters=filters,
            context=context,
            reranker=reranker,
            exploration=self.assigned.exploration,
            seed=seed_of(self.request_id) if self.assigned.exploration else 0,
            rest=rest,
        )


class Answers:
    """Answers for customers, from the release in production.

    What some requests read is logged, for `lookbook parity`: `pipelines.monitoring.served_log`.

    Raises:
        InputError: a setting of the environment is wrong.
        RegistryError: nothing is promoted, or a part is damaged.
        FeatureError: the online store is empty.
    """

    def __init__(self) -> None:
        limits = deadlines()
        self._experiments = Experiments.read()
        self._shadow = Shadow()
        self._log = ServedLog()
        self._answered = AnswerLog()
        self._served = _loaded()
        self._path = RequestPath(Workers(limits), self._log)
        self._stopped = threading.Event()
        self._shadow_trouble = ""

    def follow(self, every: timedelta = timedelta(seconds=2)) -> None:
        """Serve a new release soon after it is promoted; the old one answers until it is loaded."""
        threading.Thread(target=self._follow, args=(every,), daemon=True).start()

    def stop(self) -> None:
        """Follow no longer, and write what is still to be logged."""
        self._stopped.set()
        self._shadow.stop()
        self._path.close()
        self._log.close()
        self._answered.close()

    def reads(self) -> Steps[bool]:
        """Whether the online store can be read; while there is too much to do to know, it counts as if it could."""
        found, attempt = yield from self._path.reading(
            "health", lambda: one_customer("", self._served.features())
        )
        return found is not None or (attempt.busy and not self._path.stuck)

    def _follow(self, every: timedelta) -> None:
        trouble = ""
        self._follow_shadow()
        while not self._stopped.wait(every.total_seconds()):
            try:
                before = self._served
                moved = releases.resolve(PRODUCTION) != before.release.tag
                moved |= online_moment(refresh=True) != before.moment
                # Late purchases may have been brought for the same moment.
                brought = materialized_at(settled=True)
                if moved or brought not in ({}, before.versions.materialized_at):
                    self._served = _loaded(before)
                    log.info("now serving %s", self._served.release.tag)
                    if self._served.release.tag != before.release.tag:
                        self._shadow.begin_anew()
                else:
                    keep_warm(before.warm, before.recommender)
                trouble = ""
            except Exception as error:
                if str(error) != trouble:
                    log.exception("cannot load the release in production; the old one stays")
                trouble = str(error)
            self._follow_shadow()

    def _follow_shadow(self) -> None:
        """Let the release under the alias `shadow`, if there is one, answer copies of requests."""
        now = self._shadow.served
        try:
            tag = _shadow_tag()
            if tag is None:
                self._shadow.take(None)
                return
            if now is not None and (tag, self._served.moment) == (now.release.tag, now.moment):
                keep_warm(now.warm, now.recommender)
                return
            self._shadow.take(load_served(SHADOW, before=self._served))
            log.info("copies of requests go to %s", tag)
            self._shadow_trouble = ""
        except Exception as error:
            if str(error) != self._shadow_trouble:
                log.exception("cannot load the release under the alias shadow")
            self._shadow_trouble = str(error)
            self._shadow.take(None)

    # Recommendations

    def recommending(
        self,
        customer_id: str,
        k: int,
        objective: Objective | None = None,
        filters: Filters | None = None,
        context: Context | None = None,
        variants: Mapping[str, str] | None = None,
        surface: str = "recommend",
    ) -> Steps[Recommendations]:
        """The k best articles for a customer; one who is not known gets what is popular.

        Args:
            objective: what counts for how much.
            filters: what may be among them.
            context: what the caller knows of a customer whom the shop does not know.
            variants: {experiment: variant} of those that are chosen by hand.
            surface: where it will be shown, for the log.

        Raises:
            ObjectiveError: the release's ranker has not learnt what is asked for.
            InputError: there is no such experiment or variant.
        """
        served = self._served
        asked = self._asked(served, customer_id, objective, variants)
        question = asked.question(k, filters, context)
        objective = question.objective
        if names_something_unknown(filters, served):
            asked.trouble.append("filters:unknown_value")

        def dress(found: Found) -> list[dict[str, Any]]:
            return found.in_words(served.recommender, found.rows, objective)

        rows, found, attempt = yield from self._path.answer(question, served, dress)
        if "propensity" in found.rows:
            for row, chance in zip(rows, found.rows["propensity"], strict=True):
                row["propensity"] = float(chance)
        self._remember(
            asked,
            surface,
            found,
            [
                Shown(
                    row["article_id"],
                    row["rank"],
                    None,
                    row["source"],
                    row["score"],
                    row.get("propensity", 1.0),
                )
                for row in rows
            ],
        )
        if found.fallback is None:
            self._shadow.copy(question, [row["article_id"] for row in rows], attempt.spent)
        return Recommendations(
            **self._said(asked, found, attempt),
            recommendations=[Recommendation.model_validate(row) for row in rows],
        )

    recommend = waiting(recommending)

    def homing(
        self,
        customer_id: str,
        k: int = 8,
        objective: Objective | None = None,
        context: Context | None = None,
        variants: Mapping[str, str] | None = None,
    ) -> Steps[Home]:
        """The customer's page: carousels with at most k articles each. Nothing of it is drawn by an experiment, for what
        a carousel gives up to another has no simple probability.

        Raises:
            ObjectiveError, InputError: as in `recommend`.
        """
        served = self._served
        asked = self._asked(served, customer_id, objective, variants)
        question = asked.question(k, None, context, rest=True)
        objective = question.objective

        def dress(found: Found) -> list[Carousel]:
            return carousels(served.recommender, found, k, objective)

        rows, found, attempt = yield from self._path.answer(question, served, dress)
        self._remember(
            asked,
            "home",
            found,
            [
                Shown(one.article_id, one.rank, row.name, one.source, one.score, 1.0)
                for row in rows
                for one in row.articles
            ],
        )
        return Home(**self._said(asked, found, attempt), carousels=rows)

    home = waiting(homing)

    def _asked(
        self,
        served: Served,
        customer_id: str,
        objective: Objective | None,
        variants: Mapping[str, str] | None,
    ) -> _Asked:
        assigned = self._experiments.assign(customer_id, variants)
        trouble = []
        if objective is None and assigned.objective is not None:
            objective = assigned.objective
            try:
                if served.recommender.ranker is not None:
                    served.recommender.ranker.require(objective)
            except ObjectiveError:
                # The experiment was made for a release with another ranker.
                objective = None
                trouble.append("experiment:objective")
        return _Asked(uuid.uuid4().hex, served, customer_id, objective, assigned, trouble)

    def _remember(self, asked: _Asked, surface: str, found: Found, shown: Sequence[Shown]) -> None:
        self._answered.answered_soon(
            request_id=asked.request_id,
            customer_id=asked.customer_id,
            surface=surface,
            asked_at=self.now(),
            moment=found.moment,
            release=asked.served.release.tag,
            shown=shown,
            variants=asked.assigned.variants,
            forced=asked.assigned.forced,
            fallbacks=[found.fallback] if found.fallback else [],
        )

    def _said(self, asked: _Asked, found: Found, attempt: Attempt) -> dict[str, Any]:
        fallback = found.fallback
        if fallback is None and not found.known:
            fallback = "unknown_customer"
        return {
            "request_id": asked.request_id,
            "customer_id": asked.customer_id,
            "known": found.known,
            "release": asked.served.release.tag,
            "moment": found.moment,
            "fallback": fallback,
            "trouble": [*asked.trouble, *attempt.trouble],
            "variants": dict(asked.assigned.variants),
            "stages_ms": {stage: round(1000 * s, 2) for stage, s in attempt.spent.items()},
        }

    # Articles

    def similar(self, article_id: str, k: int) -> SimilarArticles:
        """Articles like this one, also of those that nobody has bought yet."""
        served = self._served
        retrievers = served.recommender.retrievers
        name = next((name for name in SIMILAR if name in retrievers), None)
        retriever = retrievers[name] if name else None
        if not isinstance(retriever, ArticleToArticle):
            return self._articles(article_id, [], [], "", served)
        found = retriever.similar_articles([article_id], k + len(served.barred))
        found = found[~found["similar_id"].isin(served.barred)].head(k)
        return self._articles(
            article_id,
            found["similar_id"].tolist(),
            found["score"].tolist(),
            retriever.reason({}, "{about}"),
            served,
        )

    def goes_with(self, article_id: str, k: int) -> SimilarArticles:
        """What is bought together with this article and is of another kind."""
        served = self._served
        found = complements(served.recommender, article_id, k + len(served.barred))
        found = [article for article in found if article not in served.barred][:k]
        score = [1.0 / rank for rank in range(1, len(found) + 1)]
        return self._articles(
            article_id, found, score, "Often bought together with {about}.", served
        )

    def search(
        self, query: str, k: int, filters: Filters | None = None, customer_id: str | None = None
    ) -> FoundArticles:
        """Articles on sale by words, or by the beginning of their id.

        Args:
            customer_id: who searches, for the log.

        Raises:
            InputError: the query is empty or too long.
            SearchError: the release has no search.
        """
        served = self._served
        found = _require_search(served).by_text(query, k, allowed_by(filters, served))
        return self._found(*found, f"Matches “{' '.join(query.split())}”.", served, customer_id)

    def search_by_picture(
        self, picture: bytes, k: int, customer_id: str | None = None
    ) -> FoundArticles:
        """Articles on sale that look like a picture.

        Raises:
            InputError: it is no picture that can be read.
            SearchError: the release has no search, or the shop no pictures.
        """
        served = self._served
        found = _require_search(served).by_picture(picture, k, allowed_by(None, served))
        return self._found(*found, "Looks like your picture.", served, customer_id)

    def _found(
        self,
        found: np.ndarray,
        score: np.ndarray,
        reason: str,
        served: Served,
        customer_id: str | None,
    ) -> FoundArticles:
        ids = found.tolist()
        articles = _listed(ids, score.tolist(), reason, self._shown(ids, served))
        request_id = uuid.uuid4().hex
        if customer_id is not None:
            self._answered.answered_soon(
                request_id=request_id,
                customer_id=customer_id,
                surface="search",
                asked_at=self.now(),
                moment=served.moment,
                release=served.release.tag,
                shown=[
                    Shown(one.article_id, one.rank, None, "search", one.score) for one in articles
                ],
            )
        return FoundArticles(request_id=request_id, release=served.release.tag, articles=articles)

    def _articles(
        self,
        article_id: str,
        found: Sequence[str],
        score: Sequence[float],
        reason: str,
        served: Served,
    ) -> SimilarArticles:
        shown = self._shown([article_id, *found], served)
        about = shown[article_id]["name"] or article_id
        return SimilarArticles(
            article_id=article_id,
            known=any(value is not None for value in shown[article_id].values()),
            release=served.release.tag,
            articles=_listed(found, score, reason.replace("{about}", about), shown),
        )

    def _shown(self, articles: Sequence[str], served: Served) -> Mapping[str, Mapping[str, Any]]:
        """What is shown of articles, from memory if it cannot be read soon."""
        found, attempt = waited(
            self._path.reading("articles", lambda: article_display(articles, served.features()))
        )
        if found is None:
            log.warning("articles are shown as memory has them: %s", ", ".join(attempt.trouble))
            return served.remembered(articles)
        return found

    # Customers

    def happened(self, events: Sequence[Event]) -> Accepted:
        """Take events: the next answer knows them.

        Raises:
            InputError: an event is of the future, or long past.
            AnswerLogError, OnlineStoreError: they cannot be written. Send them again: an event that comes twice
                with the same time counts once.
        """
        now = self.now()
        in_session = accept(events, now, self._answered)
        return Accepted(accepted=len(events), in_session=in_session, moment=now)

    def now(self) -> datetime:
        """The shop's present (UTC)."""
        brought = self._served.versions.materialized_at.values()
        return shop_now(self._served.moment, min(brought, default=None))

    def customer(self, customer_id: str) -> Customer:
        """What is known of a customer, newest purchases first.

        Raises:
            LookbookError: it cannot be read now.
        """
        served = self._served

        def read() -> tuple[
            Columns, pd.DataFrame, dict[str, np.ndarray], dict[str, dict[str, Any]]
        ]:
            with self._log.request(served.features(), served.versions) as features:
                state = one_customer(customer_id, features)
                recent = recent_purchases(state).head(SHOWN_PURCHASES)
                session = session_lists(state)
                named = [*recent["article_id"], *session["article_id"]]
                return state, recent, session, article_display(named, features)

        state, recent, session, display = self._read("profile", read)
        profile = {name: np.asarray(state[name])[0] for name in state.columns}
        age = number_or_none(profile["customer_profile__age"])

        def shown(article: str) -> dict[str, Any]:
            return {name: display[article][name] for name in PURCHASE_DISPLAY}

        return Customer(
            customer_id=customer_id,
            known=is_known(state),
            age=None if age is None else int(age),
            age_bucket=text_or_none(profile["customer_profile__age_bucket"]),
            postal_code=text_or_none(profile["customer_profile__postal_code"]),
            club_member_status=text_or_none(profile["customer_profile__club_member_status"]),
            purchases=[
                Purchase(
                    article_id=bought["article_id"],
                    last_bought=(datetime(1970, 1, 1) + timedelta(days=bought["day"])).date(),
                    times=bought["times"],
                    **shown(bought["article_id"]),
                )
                for bought in recent.to_dict("records")
            ],
            session=[
                Done(
                    article_id=article,
                    kind=kind,
                    at=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(moment)),
                    **{name: value for name, value in shown(article).items() if name != "price"},
                )
                for article, kind, moment in zip(
                    session["article_id"], session["kind"], session["moment"], strict=True
                )
            ],
        )

    def _read(self, stage: str, work: Callable[[], T]) -> T:
        """
        Raises:
            LookbookError: it fails, or takes longer than the stage may.
        """
        found, attempt = waited(self._path.reading(stage, work))
        if found is None:
            raise LookbookError(f"{', '.join(attempt.trouble) or stage}: this cannot be read now.")
        return found

    def explain(
        self,
        customer_id: str,
        article_id: str,
        objective: Objective | None = None,
        context: Context | None = None,
    ) -> Explanation:
        """Why an article stands where it stands for a customer, or why it does not.

        Raises:
            InputError: the release does not know the article.
            LookbookError: features cannot be read.
        """
        served = self._served
        recommender = served.recommender
        if article_id not in served.warm:
            raise InputError(
                f"article_id {article_id} is no article that the release {served.release.tag} knows: name one that it "
                "recommends or finds."
            )
        if recommender.ranker is not None:
            recommender.ranker.require(objective)
        # By the rules and the weights by which the customer is answered.
        asked = self._asked(served, customer_id, objective, None)
        question = asked.question(0, None, context)
        return self._read("explain", lambda: _explanation(article_id, question, served))

    def experiments(self, customer_id: str) -> ExperimentsInfo:
        """What is being tried, and what of it the customer gets."""
        declared = self._experiments.declared.values()
        return ExperimentsInfo(
            experiments=[
                ExperimentInfo(
                    name=one.name,
                    layer=one.layer,
                    share=one.share,
                    variants=[
                        VariantInfo(
                            name=variant.name,
                            share=variant.share,
                            changes=[
                                name for name in CHANGES if getattr(variant, name) is not None
                            ],
                        )
                        for variant in one.variants
                    ],
                )
                for one in declared
            ],
            assigned=dict(self._experiments.assign(customer_id).variants),
        )

    def shadow(self) -> ShadowReport:
        """How the release under the alias `shadow` does beside the one in production."""
        return self._shadow.report(self._served.release.tag)

    def sample_customers(self) -> list[SampleCustomer]:
        return [SampleCustomer(**found) for found in self._served.sample]

    def release(self) -> ReleaseInfo:
        served = self._served
        return ReleaseInfo(
            release=served.release.tag,
            alias=PRODUCTION,
            created=served.release.created.astimezone(UTC),
            data_cutoff=served.release.lineage.data_cutoff,
            moment=served.moment,
            parts=served.release.parts,
            metrics=served.release.metrics,
            gates=[Gate.model_validate(one) for one in served.gates],
        )


def _loaded(before: Served | None = None) -> Served:
    """The release in production. It stays for long, so the garbage collector need not look through all of it again
    and again while a request waits."""
    served = load_served(before=before)
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    return served


def _explanation(article_id: str, question: Question, served: Served) -> Explanation:
    """Why an article stands where it stands in the answer to a question."""
    recommender, features = served.recommender, served.features(question.context)
    state = one_customer(question.customer_id, features)
    moment = features.moment or served.moment
    reranker, objective = question.reranker, question.objective
    named = recommender.candidates(state, moment, reranker=reranker)
    candidate = article_id in set(named["article_id"])
    # Whoever asks why it is not there learns what the ranker would have said.
    rows = (
        named
        if candidate
        else recommender.candidates(state, moment, matching=[article_id], reranker=reranker)
    )
    if recommender.ranker is not None:
        rows = features.read(rows, recommender.ranker.feature_service)
    rows = recommender.ranked(rows, state, objective)
    page = recommender.page(rows, state, moment, len(rows), with_rest=True, reranker=reranker)
    shown = np.flatnonzero(page["article_id"] == article_id)
    at = np.flatnonzero(rows["article_id"] == article_id)
    one = rows.take(at) if len(at) else None
    display = article_display([article_id], features)[article_id]
    reason, drivers = "Nothing that we know leads to it.", list[Driver]()
    if (question.customer_id, article_id) in dismissed(state):
        reason = "The customer waved it away."
    seen: dict[str, float | str | None] = {}
    if one is not None:
        (said,) = explained(
            recommender,
            one,
            state,
            partial(article_display, features=features),
            moment,
            objective,
            ranked=recommender.ranker is not None,
        )
        reason = said["reason"] if candidate else reason
        found = drivers_of(recommender, one, state, EXPLAINED_DRIVERS, whole=True)
        drivers = [Driver(**driver) for driver in found[0]]
        seen = {name: _plain(np.asarray(one[name])[0]) for name in one.columns if "__" in name}
    return Explanation(
        customer_id=question.customer_id,
        article=Article(article_id=article_id, **display),
        release=served.release.tag,
        moment=moment,
        candidate=candidate,
        shown=bool(len(shown)),
        rank=int(shown[0]) + 1 if len(shown) and candidate else None,
        candidates=len(named),
        score=None if one is None else number_or_none(one["score"][0]),
        chance=None if one is None or "chance" not in one else number_or_none(one["chance"][0]),
        named_by=_named_by(recommender, one) if one is not None else [],
        drivers=drivers,
        features=seen,
        reason=reason,
    )


def _require_search(served: Served) -> SearchIndex:
    if served.search is None:
        raise SearchError(NOT_THERE)
    return served.search


def _listed(
    found: Sequence[str],
    score: Sequence[float],
    reason: str,
    shown: Mapping[str, Mapping[str, Any]],
) -> list[SimilarArticle]:
    """Articles in their order, all for the same reason."""
    return [
        SimilarArticle(article_id=article, rank=rank, score=value, reason=reason, **shown[article])
        for rank, (article, value) in enumerate(zip(found, score, strict=True), start=1)
    ]


def _named_by(recommender: Recommender, one: Columns) -> list[NamedBy]:
    """The retrievers that named the article of this row, the best rank first."""
    found = []
    for name in recommender.retrievers:
        rank, score = (float(one[f"{name}__{what}"][0]) for what in ("rank", "score"))
        if not np.isnan(rank):
            found.append(NamedBy(source=name, rank=int(rank), score=score))
    return sorted(found, key=lambda named: named.rank)


def _plain(value: Any) -> float | str | None:
    """A feature's value as JSON has it; a list as how long it is."""
    if np.ndim(value):
        return float(len(value))
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else f"{value.astype('datetime64[s]')}Z"
    if isinstance(value, str):
        return value
    return number_or_none(value)
