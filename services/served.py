"""A release, loaded, with everything beside it that an answer needs: from here on only the online store is touched."""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from pipelines.columns import Columns, decoded, texts
from pipelines.content.search import SearchIndex
from pipelines.explaining import DISPLAY_SERVICE, article_display, displayed, drivers_of
from pipelines.features import OnlineFeatures, stored_reads, warm_up
from pipelines.model_registry import release as releases
from pipelines.model_registry.composing import (
    load_recommender,
    load_search,
    require_fresh,
    require_schemas,
)
from pipelines.model_registry.registry import RegistryError
from pipelines.model_registry.release import Release
from pipelines.monitoring.served_log import Versions
from pipelines.online import online_moment
from pipelines.recommender import (
    AGE_BUCKET,
    POSTAL_CODE,
    Recommender,
    age_bucket,
    one_customer,
)
from pipelines.rerankers.base import Reranker
from pipelines.retrievers.base import top
from pipelines.warm_rows import KEY, WarmRows
from services.schemas import Context

log = logging.getLogger(__name__)

PRODUCTION, SHADOW = "production", "shadow"
"""The aliases whose releases the service loads."""
POPULAR_KEPT = 500
"""So many of the best sellers are held for those of whom nothing can be read."""
StoredRead = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""A view, its name in the online store, and its numbers and other features."""

AGE = "customer_profile__age"


@dataclass(frozen=True)
class Served:
    """A release, loaded, with what is held in memory beside it."""

    release: Release
    recommender: Recommender
    sample: list[dict[str, str]]
    moment: datetime
    """Everything before it is in the online store; the question is asked then, as in training."""
    versions: Versions
    warm: WarmRows
    nobody: Columns
    """What is known of a customer of whom nothing is known."""
    popular: tuple[str, ...]
    """What sells best everywhere, of what may be shown to everybody."""
    barred: frozenset[str]
    """What is on sale, and the shop's rules let nobody see."""
    display: tuple["StoredRead", ...]
    """What `article_display` reads."""
    gates: tuple[dict[str, Any], ...] = ()
    """What each gate said of it when it was promoted."""
    search: SearchIndex | None = None
    """None for a release from before there was search, or whose encoder is gone."""

    def features(self, context: Context | None = None) -> OnlineFeatures:
        """
        Args:
            context: what the request says of a customer of whom the store says nothing.
        """
        return OnlineFeatures(self.moment, self.warm, given_by(context))

    def remembered(self, articles: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is shown of articles as memory has it, whatever has become of the store."""
        unique = list(dict.fromkeys(articles))
        known = [article for article in unique if article in self.warm]
        wanted = [*known, *(article for article in unique if article not in self.warm)]
        places = self.warm.places_of(known)
        assert places is not None
        columns: dict[str, Any] = {KEY: texts(*wanted)}
        for view, stored, numbers, others in self.display:
            held = self.warm.remembered(stored, numbers, others, places)
            for number, name in enumerate(numbers):
                columns[f"{view}__{name}"] = values = np.full(len(wanted), np.nan)
                if held is not None:
                    values[: len(known)] = held[0][number]
            for name in others:
                columns[f"{view}__{name}"] = values = np.full(len(wanted), None, dtype=object)
                if held is not None:
                    values[: len(known)] = decoded(held[1][name])
        return displayed(Columns(columns))

    def showable(
        self,
        articles: Sequence[str],
        state: Columns,
        moment: datetime,
        reranker: Reranker | None,
        *,
        careful: bool,
    ) -> np.ndarray:
        """Whether each article may be shown to a customer (A,), by the shop's rules.

        Args:
            careful: take the rules' effect on everybody alone, which memory has.
        """
        found = self.recommender.on_sale(articles)
        if not careful:
            with suppress(Exception):
                may = self.recommender.may_be_shown(articles, state, moment, reranker)
                return np.asarray(may & found)
        return found & np.array([a not in self.barred for a in articles], dtype=bool)


def load_served(alias: str = PRODUCTION, before: Served | None = None) -> Served:
    """What an alias points at, every file checked if it is another release than before.

    Args:
        before: what was served until now: of it is kept what still holds.

    Raises:
        RegistryError: nothing is promoted, or a part is damaged.
        FeatureError: the online store is empty.
    """
    chosen = releases.get(alias)
    if before is not None and before.release.tag == chosen.tag:
        # What a tag stands for never changes.
        require_schemas(chosen)
        recommender, sample, search = before.recommender, before.sample, before.search
    else:
        recommender, sample = load_recommender(chosen)
        search = None
    if search is None and alias == PRODUCTION:
        search = _search_of(chosen)
    moment = online_moment(refresh=True)
    require_fresh(chosen, moment)
    warm = WarmRows(recommender.article_names)
    if before is not None and np.array_equal(before.warm.names, warm.names):
        warm = before.warm.numbered_by(recommender.article_names)
    keep_warm(warm, recommender)
    nobody = one_customer("", OnlineFeatures(moment))
    barred = _barred(recommender, nobody, moment)
    served = Served(
        chosen,
        recommender,
        sample,
        moment,
        Versions.now(chosen.tag, moment),
        warm,
        nobody=nobody,
        popular=_best_sellers(recommender, nobody, moment, barred),
        barred=barred,
        display=tuple(stored_reads(DISPLAY_SERVICE)),
        gates=_gates_of(chosen.tag, alias),
        search=search,
    )
    _rehearse(served)
    return served


def _gates_of(tag: str, alias: str) -> tuple[dict[str, Any], ...]:
    """What the gates said when a release last came to stand under an alias past them."""
    shown = [move.gates for move in releases.history(alias) if move.release == tag and move.gates]
    return tuple(shown[-1]["results"]) if shown else ()


def _rehearse(served: Served) -> None:
    """Answer once, so that nobody waits for what is made when it is first used."""
    if served.recommender.ranker is not None:
        served.recommender.ranker.quicken()
    for customer in [*(known["customer_id"] for known in served.sample[:1]), ""]:
        features = served.features()
        state = one_customer(customer, features)
        rows = served.recommender.candidates(state, served.moment)
        ranker = served.recommender.ranker
        if len(rows) and ranker is not None:
            rows = features.read(rows, ranker.feature_service)
            rows = served.recommender.ranked(rows, state)
            drivers_of(served.recommender, rows.take([0]), state)
        article_display(rows["article_id"][:1], features)


def _search_of(chosen: releases.Release) -> SearchIndex | None:
    try:
        return load_search(chosen)
    except RegistryError:
        # Recommendations do not need it.
        log.exception("there is no search")
        return None


def keep_warm(warm: WarmRows, recommender: Recommender) -> None:
    services = [DISPLAY_SERVICE]
    if recommender.ranker is not None:
        services.append(recommender.ranker.feature_service)
    warm_up(warm, services)


def _barred(recommender: Recommender, nobody: Columns, moment: datetime) -> frozenset[str]:
    """What is on sale, and the rules let nobody see."""
    ids = _on_sale(recommender)
    may = recommender.may_be_shown(ids, nobody, moment)
    return frozenset(article for article, ok in zip(ids, may, strict=True) if not ok)


def _on_sale(recommender: Recommender) -> list[str]:
    ids: list[str] = recommender.article_names[:-1].tolist()
    return [a for a, ok in zip(ids, recommender.on_sale(ids), strict=True) if ok]


def _best_sellers(
    recommender: Recommender, nobody: Columns, moment: datetime, barred: frozenset[str]
) -> tuple[str, ...]:
    """What sells best everywhere: what is answered from memory alone."""
    facts = recommender.facts
    if facts is not None:
        share = np.where(facts.assortment.on_sale, facts.share, -1.0)
        best = np.argsort(-share, kind="stable")
        found = facts.assortment.ids[best[share[best] >= 0]].tolist()
    else:
        rows = recommender.candidates(nobody, moment)
        found = top(recommender.fused(rows), POPULAR_KEPT)["article_id"].tolist()
    found = [article for article in found or _on_sale(recommender) if article not in barred]
    return tuple(found[:POPULAR_KEPT])


def given_by(context: Context | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if context is not None and context.age is not None:
        found |= {AGE: float(context.age), AGE_BUCKET: age_bucket(context.age)}
    if context is not None and context.postal_code is not None:
        found[POSTAL_CODE] = context.postal_code
    return found
