"""The answers of the service as a plain object: a release, the online store, and nothing else."""

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter

from pipelines.explaining import article_display, explained, number_or_none, text_or_none
from pipelines.features import Features, OnlineFeatures
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import load_recommender, require_fresh
from pipelines.monitoring.served_log import ServedLog, Versions
from pipelines.online import materialized_at, online_moment
from pipelines.rankers.base import Objective
from pipelines.recommender import Recommender, customer_state, is_known
from pipelines.retrievers.base import recent_purchases
from services.schemas import (
    Customer,
    Purchase,
    Recommendation,
    Recommendations,
    ReleaseInfo,
    SampleCustomer,
)

log = logging.getLogger(__name__)

ALIAS = "production"
SHOWN_PURCHASES = 60
PURCHASE_DISPLAY = ("name", "product_type", "colour", "price")


@dataclass(frozen=True)
class Served:
    """A release, loaded."""

    release: releases.Release
    recommender: Recommender
    sample: list[dict[str, str]]
    moment: datetime
    """Everything before it is in the online store; the question is asked then, as in training."""
    versions: Versions

    @property
    def features(self) -> OnlineFeatures:
        return OnlineFeatures(self.moment)


def load_served() -> Served:
    """What the alias points at, every file checked.

    Raises:
        RegistryError: nothing is promoted, or a part is damaged.
        FeatureError: the online store is empty.
    """
    chosen = releases.get(ALIAS)
    recommender, sample = load_recommender(chosen)
    moment = online_moment(refresh=True)
    require_fresh(chosen, moment)
    return Served(chosen, recommender, sample, moment, Versions.now(chosen.tag, moment))


class Answers:
    """Answers for customers, from the release in production.

    What some requests read is logged, for `lookbook parity`: `pipelines.monitoring.served_log`.

    Raises:
        InputError: a setting of the log is wrong.
    """

    def __init__(self) -> None:
        self._log = ServedLog()
        self._served = load_served()
        self._stopped = threading.Event()

    def follow(self, every: timedelta = timedelta(seconds=2)) -> None:
        """Serve a new release soon after it is promoted; the old one answers until it is loaded."""
        threading.Thread(target=self._follow, args=(every,), daemon=True).start()

    def stop(self) -> None:
        """Follow no longer, and write what is still to be logged."""
        self._stopped.set()
        self._log.close()

    def require_features(self) -> None:
        """
        Raises:
            LookbookError: the online store cannot be read.
        """
        customer_state([""], self._served.features)

    def _follow(self, every: timedelta) -> None:
        trouble = ""
        while not self._stopped.wait(every.total_seconds()):
            try:
                moved = releases.resolve(ALIAS) != self._served.release.tag
                moved |= online_moment(refresh=True) != self._served.moment
                # Late purchases may have been brought for the same moment.
                brought = materialized_at(settled=True)
                if moved or brought not in ({}, self._served.versions.materialized_at):
                    self._served = load_served()
                    log.info("now serving %s", self._served.release.tag)
                trouble = ""
            except Exception as error:
                if str(error) != trouble:
                    log.exception("cannot load the release in production; the old one stays")
                trouble = str(error)

    def recommend(
        self, customer_id: str, k: int, objective: Objective | None = None
    ) -> Recommendations:
        """The k best articles for a customer; one who is not known gets what is popular.

        Args:
            objective: what counts for how much.

        Raises:
            ObjectiveError: the release's ranker has not learnt what is asked for.
        """
        served = self._served
        with self._log.request(served.features, served.versions) as features:
            return self._recommend(served, features, customer_id, k, objective)

    def _recommend(
        self,
        served: Served,
        features: Features,
        customer_id: str,
        k: int,
        objective: Objective | None,
    ) -> Recommendations:
        stages: dict[str, float] = {}
        started = perf_counter()
        state = customer_state([customer_id], features)
        stages["customer"] = perf_counter() - started
        moment = features.moment or served.moment
        best = served.recommender.recommend(
            [customer_id],
            features,
            moment,
            k,
            state=state,
            objective=objective,
            with_features=True,
            stages=stages,
        )
        started = perf_counter()
        rows = explained(served.recommender, best, state, features, moment, objective)
        stages["display"] = perf_counter() - started
        return Recommendations(
            customer_id=customer_id,
            known=is_known(state),
            release=served.release.tag,
            moment=moment,
            fallback=None if is_known(state) else "unknown_customer",
            stages_ms={stage: round(1000 * seconds, 2) for stage, seconds in stages.items()},
            recommendations=[Recommendation.model_validate(row) for row in rows],
        )

    def customer(self, customer_id: str) -> Customer:
        """What is known of a customer, newest purchases first."""
        served = self._served
        with self._log.request(served.features, served.versions) as features:
            state = customer_state([customer_id], features)
            recent = recent_purchases(state).head(SHOWN_PURCHASES)
            display = article_display(recent["article_id"], features)
        profile = state.to_dict("records")[0]
        age = number_or_none(profile["customer_profile__age"])
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
                    **{name: display[bought["article_id"]][name] for name in PURCHASE_DISPLAY},
                )
                for bought in recent.to_dict("records")
            ],
        )

    def sample_customers(self) -> list[SampleCustomer]:
        return [SampleCustomer(**found) for found in self._served.sample]

    def release(self) -> ReleaseInfo:
        served = self._served
        return ReleaseInfo(
            release=served.release.tag,
            alias=ALIAS,
            created=served.release.created.astimezone(UTC),
            data_cutoff=served.release.lineage.data_cutoff,
            moment=served.moment,
            parts=served.release.parts,
            metrics=served.release.metrics,
        )
