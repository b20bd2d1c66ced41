"""The ladder of answers: each part of a running service is really broken or slow, and there is an answer all the same."""

import asyncio
import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from pipelines import online
from pipelines.features import OnlineFeatures
from pipelines.model_catalog import RELEASE
from pipelines.model_registry import composing, registry, release
from pipelines.rankers.gradient_boosting import GradientBoosting
from pipelines.rerankers import Chain, Reranker
from services import deadlines, request_path
from services.answers import Answers
from services.deadlines import (
    AT_ONCE,
    MILLISECONDS,
    MOST_THREADS,
    STAGES,
    Breakers,
    Lane,
    StageError,
    Workers,
    awaited,
    waited,
)
from services.schemas import Context, Filters, Recommendations
from tests.conftest import Serve, until

SLEEP = 0.9
"""Seconds that a slow part takes."""
SHORT = 0.15
"""Seconds that the stage with the slow part is given."""
PATIENT = ",".join(f"{stage}=5000" for stage in MILLISECONDS)
"""Nothing is too slow on a busy machine but what a test makes so."""


@pytest.fixture(scope="module")
def ruled_home(built_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shop whose release blocks what sells best, and lacks another of it in stock."""
    home = tmp_path_factory.mktemp("ruled") / "home"
    shutil.copytree(built_shop, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(home))
        served = Answers()._served
        rules = {"blocked": list(served.popular[:2]), "out_of_stock": list(served.popular[2:4])}
        settings = replace(RELEASE, rerankers={"business_rules": rules})
        release.promote(composing.create_release(settings=settings).tag)
    return home


@pytest.fixture(scope="module")
def running(ruled_home: Path) -> Iterator[Answers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(ruled_home))
        patch.setenv("LOOKBOOK_DEADLINES", PATIENT)
        answers = Answers()
        yield answers
        answers.stop()


@pytest.fixture
def answers(
    running: Answers, ruled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Answers]:
    """The service's answers, whole again after each test."""
    monkeypatch.setenv("LOOKBOOK_HOME", str(ruled_home))
    monkeypatch.setattr(deadlines, "QUEUE_AGAIN", 5.0)
    workers = running._path._workers
    monkeypatch.setattr(workers, "breakers", Breakers())
    monkeypatch.setattr(workers, "limits", dict(workers.limits))
    yield running
    until(lambda: workers._behind == 0)


@pytest.fixture
def customer(answers: Answers) -> str:
    return answers.sample_customers()[3].customer_id


def rules_of(answers: Answers) -> set[str]:
    reranker = answers._served.recommender.reranker
    assert isinstance(reranker, Chain)
    (step,) = reranker.steps
    found = {*step.settings()["blocked"], *step.settings()["out_of_stock"]}
    assert len(found) == 4
    return found


def ids(found: Recommendations) -> list[str]:
    return [row.article_id for row in found.recommendations]


Break = Callable[[Answers, pytest.MonkeyPatch], None]


# What breaks


class BrokenReranker(Reranker):
    name = "broken"

    def order(self, slate: Any, k: int) -> np.ndarray:
        raise ZeroDivisionError("broken")


class BrokenRules(BrokenReranker):
    def left_out(self, slate: Any) -> np.ndarray:
        raise ZeroDivisionError("broken")


class NoNumbers(GradientBoosting):
    """A ranker whose scores are none."""

    def _raw(self, rows: Any) -> dict[str, np.ndarray]:
        return {name: np.full(len(of), np.nan) for name, of in super()._raw(rows).items()}


def trees_gone(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender.ranker, "booster", None)
    patch.setattr(answers._served.recommender.ranker, "_compiled", None)


def no_numbers(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender.ranker, "__class__", NoNumbers)


def service_gone(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender.ranker, "feature_service", "is_not_there")


def index_gone(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender.retrievers["similar"], "likeness", None)


def retriever_missing(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.delitem(answers._served.recommender.retrievers, "ease")


def no_retriever(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    for retriever in answers._served.recommender.retrievers.values():
        patch.setattr(retriever, "propose", lambda asked, k: 1 / 0)


def reranker_broken(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    recommender = answers._served.recommender
    assert isinstance(recommender.reranker, Chain)
    patch.setattr(recommender, "reranker", Chain([*recommender.reranker.steps, BrokenReranker()]))


def rules_broken(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender, "reranker", Chain([BrokenRules()]))


def because_broken(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    for retriever in answers._served.recommender.retrievers.values():
        patch.setattr(retriever, "because", lambda asked, pairs: 1 / 0)
        patch.setattr(retriever, "reason", lambda row, led_by: 1 / 0)


def merge_broken(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._served.recommender, "_ids", None)


def log_broken(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers._path, "_log", None)


BROKEN: dict[str, tuple[Break, str | None, str]] = {
    "trees gone": (trees_gone, "no_ranker", "rank:failed"),
    "scores are no numbers": (no_numbers, "no_ranker", "rank:failed"),
    "feature service gone": (service_gone, "no_ranker", "features:failed"),
    "an index gone": (index_gone, None, "candidates.similar:failed"),
    "a retriever missing": (retriever_missing, "no_ranker", "rank:failed"),
    "no retriever": (no_retriever, "popular", "candidates:failed"),
    "candidates cannot be merged": (merge_broken, "popular_near_you", "candidates:failed"),
    "re-ranker broken": (reranker_broken, None, "rerank:failed"),
    "rules broken": (rules_broken, None, "rerank:failed"),
    "reasons broken": (because_broken, None, "display:failed"),
    "log broken": (log_broken, "popular", "answer:failed"),
}


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_what_breaks_has_its_fallback_and_comes_back(
    answers: Answers, customer: str, broken: str
) -> None:
    breaks, fallback, trouble = BROKEN[broken]
    barred = rules_of(answers)
    usual = answers.recommend(customer, 8)
    assert (usual.fallback, usual.trouble) == (None, [])
    with pytest.MonkeyPatch.context() as patch:
        breaks(answers, patch)
        found = answers.recommend(customer, 8)
        assert found.fallback == fallback
        assert trouble in found.trouble
        assert len(found.recommendations) == 8
        assert len(set(ids(found))) == 8
        assert [row.rank for row in found.recommendations] == list(range(1, 9))
        assert not barred & set(ids(found))
        assert all(row.name and row.reason for row in found.recommendations)
        if trouble == "display:failed":
            assert ids(found) == ids(usual)
        if broken == "rules broken":
            # All that may be shown in the ranker's order, as without rules of a page.
            assert ids(found) == ids(usual)

        home = answers.home(customer, 6)
        assert home.fallback == fallback
        shown = [one.article_id for row in home.carousels for one in row.articles]
        assert shown
        assert len(set(shown)) == len(shown)
        assert not barred & set(shown)

        nobody = answers.recommend("nobody", 5)
        assert len(nobody.recommendations) == 5
        assert not barred & set(ids(nobody))
        assert nobody.fallback is not None
    again = answers.recommend(customer, 8)
    assert (again.fallback, again.trouble) == (None, [])
    assert again.recommendations == usual.recommendations


KINDS = ("product_type", "product_group", "colour", "department")


@pytest.mark.parametrize("broken", [None, *BROKEN], ids=str)
def test_filters_hold_on_every_rung(answers: Answers, customer: str, broken: str | None) -> None:
    whole = answers.recommend(customer, 40).recommendations
    kind = max(KINDS, key=lambda name: len({getattr(row, name) for row in whole}))
    value = getattr(whole[7], kind)
    prices = sorted(row.price for row in whole if row.price is not None)
    low, high = prices[5], prices[-5]
    barred = rules_of(answers)
    with pytest.MonkeyPatch.context() as patch:
        if broken:
            BROKEN[broken][0](answers, patch)
        of_kind = answers.recommend(customer, 5, filters=Filters(**{kind: [value]}))
        assert of_kind.recommendations
        assert {getattr(row, kind) for row in of_kind.recommendations} == {value}
        priced = answers.recommend(customer, 5, filters=Filters(price_min=low, price_max=high))
        assert priced.recommendations
        assert all(row.price and low <= row.price <= high for row in priced.recommendations)
        gone = [row.article_id for row in whole[:20]]
        others = answers.recommend(customer, 5, filters=Filters(exclude=gone))
        assert len(others.recommendations) == 5
        assert not {*gone} & set(ids(others))
        nothing = answers.recommend(customer, 5, filters=Filters(colour=["No colour at all"]))
        assert nothing.recommendations == []
        assert not barred & {a for found in (of_kind, priced, others) for a in ids(found)}


def test_nobody_finds_what_the_rules_bar(answers: Answers) -> None:
    barred = rules_of(answers)
    assert answers._served.barred == barred
    search = answers._served.search
    assert search is not None
    for article in barred:
        assert article in search.by_text(article, 5)[0]
        for filters in (None, Filters(price_min=0), Filters(exclude=["0000000000"])):
            found = answers.search(article, 20, filters)
            assert not barred & {one.article_id for one in found.articles}


@pytest.mark.parametrize("broken", ["no retriever", "candidates cannot be merged"])
def test_what_was_waved_away_stays_away_on_the_last_rungs(answers: Answers, broken: str) -> None:
    from services.schemas import Event

    who = f"waves {broken}"
    context = Context(age=33)
    with pytest.MonkeyPatch.context() as patch:
        BROKEN[broken][0](answers, patch)
        first = ids(answers.recommend(who, 3, context=context))[0]
        event = Event(customer_id=who, article_id=first, kind="dismiss")
        answers.happened([event])
        assert first not in ids(answers.recommend(who, 3, context=context))


# The online store


def truncated(file: Path) -> None:
    with file.open("r+b") as store:
        store.truncate(file.stat().st_size // 2)


def garbage(file: Path) -> None:
    (file.parent / "other").write_bytes(b"no store " * 5000)
    (file.parent / "other").replace(file)


def removed(file: Path) -> None:
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("breaks", [truncated, garbage, removed])
def test_without_the_store_answers_come_from_memory(
    answers: Answers, customer: str, breaks: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = places.home() / "online"
    usual = answers.recommend(customer, 8)
    shutil.copytree(folder, tmp_path / "kept")
    near = Context(age=33)
    try:
        breaks(folder / "data.mdb")
        for _ in range(8):  # until the breaker has opened, and beyond
            found = answers.recommend(customer, 8)
            assert found.fallback == "popular"
            assert found.trouble[0] in ("customer:failed", "customer:resting")
            assert len(found.recommendations) == 8
            assert not rules_of(answers) & set(ids(found))
            assert all(row.name and row.price for row in found.recommendations)
        assert "customer:resting" in found.trouble
        assert answers.recommend("nobody", 5, context=near).fallback == "popular_near_you"
        colour = found.recommendations[-1].colour
        filtered = answers.recommend(customer, 5, filters=Filters(colour=[colour]))
        assert {row.colour for row in filtered.recommendations} == {colour}
        (row,) = answers.home(customer, 6).carousels
        assert len(row.articles) == 6
        similar = answers.similar(ids(usual)[0], 4)
        assert similar.known
        assert all(one.name for one in similar.articles)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", folder)
    answers._path._workers.breakers.rest_until.clear()
    again = answers.recommend(customer, 8)
    assert (again.fallback, again.recommendations) == (None, usual.recommendations)


def test_an_empty_store_is_one_without_rows_and_articles_keep_their_names(
    answers: Answers, customer: str
) -> None:
    folder = places.home() / "online"
    shutil.move(folder, folder.with_name("aside"))
    try:
        for _ in range(2):
            with pytest.raises(Exception, match="online store"):
                online.online_moment()
            found = answers.recommend(customer, 3)
            assert all(row.name for row in found.recommendations)
    finally:
        shutil.move(folder.with_name("aside"), folder)


# What is slow


def slowed(patch: pytest.MonkeyPatch, of: Any, name: str, seconds: float = SLEEP) -> None:
    """Make a method take longer."""
    quick = getattr(of, name)

    def slow(*given: Any, **named: Any) -> Any:
        time.sleep(seconds)
        return quick(*given, **named)

    patch.setattr(of, name, slow)


def slow_customer(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    slowed(patch, request_path, "one_customer")


def slow_retriever(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    slowed(patch, answers._served.recommender.retrievers["ease"], "propose")


def slow_features(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    quick = OnlineFeatures.read

    def read(self: OnlineFeatures, rows: Any, service: str) -> Any:
        time.sleep(SLEEP if service == "ranking" else 0)
        return quick(self, rows, service)

    patch.setattr(OnlineFeatures, "read", read)


def slow_ranker(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    slowed(patch, answers._served.recommender.ranker, "_raw")


def slow_reranker(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    assert isinstance(answers._served.recommender.reranker, Chain)
    slowed(patch, answers._served.recommender.reranker.steps[0], "arranged")


def slow_display(answers: Answers, patch: pytest.MonkeyPatch) -> None:
    for retriever in answers._served.recommender.retrievers.values():
        slowed(patch, retriever, "because")


SLOW: dict[str, tuple[Break, str | None, str]] = {
    "customer": (slow_customer, "popular", "customer:slow"),
    "candidates": (slow_retriever, "popular_near_you", "candidates.ease:slow"),
    "features": (slow_features, "no_ranker", "features:slow"),
    "rank": (slow_ranker, "no_ranker", "rank:slow"),
    "rerank": (slow_reranker, None, "rerank:slow"),
    "display": (slow_display, None, "display:slow"),
}


@pytest.mark.parametrize("stage", SLOW)
def test_what_is_too_slow_is_left_behind(answers: Answers, customer: str, stage: str) -> None:
    slows, fallback, trouble = SLOW[stage]
    usual = answers.recommend(customer, 8)
    workers = answers._path._workers
    workers.limits[stage] = SHORT
    with pytest.MonkeyPatch.context() as patch:
        slows(answers, patch)
        started = time.perf_counter()
        found = answers.recommend(customer, 8)
        took = time.perf_counter() - started
        assert took < SLEEP
        assert (found.fallback, trouble in found.trouble) == (fallback, True)
        assert len(found.recommendations) == 8
        assert not rules_of(answers) & set(ids(found))
        assert all(row.name for row in found.recommendations)
        assert found.stages_ms[stage] >= 1000 * SHORT
        if stage in ("rerank", "display"):
            assert ids(found) == ids(usual)
        started = time.perf_counter()
        assert answers.home(customer, 6).carousels
        assert time.perf_counter() - started < SLEEP
    until(lambda: workers._behind == 0)
    again = answers.recommend(customer, 8)
    assert (again.fallback, again.recommendations) == (None, usual.recommendations)


@pytest.mark.parametrize("stage", ["rerank", "candidates"])
def test_a_second_attempt_that_is_slow_too_ends_in_memory(
    answers: Answers, customer: str, stage: str
) -> None:
    workers = answers._path._workers
    workers.limits |= {stage: SHORT, "rank": SHORT, "rescue": SHORT}
    with pytest.MonkeyPatch.context() as patch:
        slow_ranker(answers, patch)
        for retriever in answers._served.recommender.retrievers.values():
            slowed(patch, retriever, "because")
            if stage == "candidates":
                slowed(patch, retriever, "propose")
        if stage == "rerank":
            slow_reranker(answers, patch)
        started = time.perf_counter()
        found = answers.recommend(customer, 8)
        assert time.perf_counter() - started < SLEEP
    assert "rescue:slow" in found.trouble
    assert found.fallback == ("popular" if stage == "candidates" else "no_ranker")
    assert len(found.recommendations) == 8
    assert not rules_of(answers) & set(ids(found))


def test_retrievers_that_are_not_asked_in_time_are_done_without(
    answers: Answers, customer: str
) -> None:
    answers._path._workers.limits["candidates"] = 1.0
    with pytest.MonkeyPatch.context() as patch:
        slowed(patch, answers._served.recommender.retrievers["repurchase"], "propose", 0.75)
        found = answers.recommend(customer, 8)
    assert found.fallback is None
    assert "candidates.ease:late" in found.trouble
    assert len(found.recommendations) == 8


def test_when_all_places_are_taken_the_answer_comes_from_memory(
    answers: Answers, customer: str
) -> None:
    workers = answers._path._workers
    over = threading.Event()
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        limits = dict.fromkeys(STAGES, 30.0)
        taken = [threading.Event() for _ in range(AT_ONCE)]
        for place in taken:
            attempt = deadlines.Attempt(limits, workers.breakers)
            crowd.submit(
                lambda attempt=attempt, place=place: waited(
                    workers.run(attempt, lambda: (place.set(), over.wait(20)))
                )
            )
        assert all(place.wait(5) for place in taken)
        workers.limits["queue"] = 0.05
        try:
            found = answers.recommend(customer, 8)
            assert (found.fallback, found.trouble) == ("popular", ["queue:slow"])
            assert len(found.recommendations) == 8
            assert answers.home(customer, 6).carousels
        finally:
            over.set()
    workers.limits["queue"] = 5.0
    assert answers.recommend(customer, 8).fallback is None


def test_a_breaker_opens_and_closes(
    answers: Answers, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "REST_SECONDS", 0.3)
    with pytest.MonkeyPatch.context() as patch:
        trees_gone(answers, patch)
        tries = [answers.recommend(customer, 3).trouble for _ in range(deadlines.TRIES)]
        assert tries == [["rank:failed"]] * deadlines.TRIES
        assert answers.recommend(customer, 3).trouble == ["rank:resting"]
        time.sleep(0.35)
        # One tries, and the rest begins anew.
        assert answers.recommend(customer, 3).trouble == ["rank:failed"]
        assert answers.recommend(customer, 3).trouble == ["rank:resting"]
    assert answers.recommend(customer, 3).trouble == ["rank:resting"]
    time.sleep(0.35)
    assert answers.recommend(customer, 3).trouble == []
    assert answers.recommend(customer, 3).fallback is None


def test_only_the_retriever_to_blame_rests(answers: Answers, customer: str) -> None:
    answers._path._workers.limits["candidates"] = SHORT
    with pytest.MonkeyPatch.context() as patch:
        slowed(patch, answers._served.recommender.retrievers["ease"], "propose", SHORT * 2)
        for _ in range(deadlines.TRIES):
            assert "candidates.ease:slow" in answers.recommend(customer, 3).trouble
        found = answers.recommend(customer, 3)
    assert found.trouble == ["candidates.ease:resting"]
    assert found.fallback is None


@pytest.mark.parametrize("tries", [deadlines.TRIES, 10**6])
def test_two_hundred_slow_requests_leave_nothing_behind(
    answers: Answers, customer: str, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    monkeypatch.setattr(deadlines, "TRIES", tries)
    usual = answers.recommend(customer, 5)
    workers = answers._path._workers
    workers.limits |= {"rank": 0.02, "queue": 0.3}
    with pytest.MonkeyPatch.context() as patch:
        slowed(patch, answers._served.recommender.ranker, "_raw", 0.5)
        with ThreadPoolExecutor(8) as crowd:
            found = list(crowd.map(lambda _: answers.recommend(customer, 5), range(200)))
        assert {len(one.recommendations) for one in found} == {5}
        assert {one.fallback for one in found} <= {"no_ranker", "popular"}
        assert "no_ranker" in {one.fallback for one in found}
        barred = rules_of(answers)
        assert not any(barred & set(ids(one)) for one in found)
    until(lambda: workers._behind == 0)
    ours = [t for t in threading.enumerate() if t.name.startswith("lookbook-request")]
    assert len(ours) <= MOST_THREADS
    workers.limits |= {"rank": 5.0, "queue": 5.0}
    workers.breakers.rest_until.clear()
    with ThreadPoolExecutor(8) as crowd:
        after = list(crowd.map(lambda _: answers.recommend(customer, 5), range(32)))
    assert all(one.recommendations == usual.recommendations for one in after)
    ours = [t for t in threading.enumerate() if t.name.startswith("lookbook-request")]
    assert len(ours) >= AT_ONCE


# Workers


def test_what_work_raises_is_raised_and_gives_its_place_back() -> None:
    workers = Workers(dict.fromkeys(STAGES, 1.0))
    for error in (TimeoutError("late"), KeyError("no")):
        for _ in range(2 * AT_ONCE):

            def work(error: Exception = error) -> None:
                raise error

            with pytest.raises(type(error)):
                waited(workers.run(workers.attempt(), work))
    assert waited(workers.run(workers.attempt(), lambda: 1)) == 1
    assert asyncio.run(awaited(workers.run(workers.attempt(), lambda: 2))) == 2
    workers.close()
    workers.limits["queue"] = 0.05
    closed = workers.attempt()
    assert waited(workers.run(closed, lambda: 1)) is None
    assert closed.trouble == ["queue:slow"]


def test_a_stage_that_nobody_waits_for_is_not_begun() -> None:
    workers = Workers(dict.fromkeys(STAGES, 1.0) | {"rank": 0.05})
    attempt, begun = workers.attempt(), threading.Event()

    def work() -> str:
        with pytest.raises(StageError), attempt.stage("rank"):
            time.sleep(0.3)
        with pytest.raises(StageError), attempt.stage("rerank"):
            begun.set()
        return "late"

    assert waited(workers.run(attempt, work)) is None
    assert (attempt.trouble, workers.breakers.failures) == (["rank:slow"], {"rank": 1})
    until(lambda: workers._behind == 0)
    assert not begun.is_set()
    assert waited(workers.run(workers.attempt(), lambda: "soon")) == "soon"


def test_a_crew_that_was_left_behind_altogether_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "MOST_THREADS", AT_ONCE + 1)
    workers = Workers(dict.fromkeys(STAGES, 0.05))
    over = threading.Event()

    def work(attempt: deadlines.Attempt) -> Any:
        def hangs() -> None:
            with attempt.stage("rank"):
                over.wait(20)

        return waited(workers.run(attempt, hangs))

    for _ in range(3 * AT_ONCE):
        assert work(workers.attempt()) is None
    assert workers._behind == AT_ONCE + 1
    over.set()
    until(lambda: workers._behind == 0)
    workers.limits["queue"] = 5.0
    for _ in range(3 * AT_ONCE):
        assert waited(workers.run(workers.attempt(), lambda: "back")) == "back"


@pytest.mark.parametrize("wrong", ["rank", "rank=0", "rank=x", "rank=-1", "rank=nan", "love=5"])
def test_deadlines_that_cannot_be_are_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"LOOKBOOK_DEADLINES says .* the stages are queue, "):
        deadlines.deadlines(wrong)
    assert deadlines.deadlines("rank=50, features=100")["rank"] == 0.05


# Loading


def test_a_model_that_is_broken_before_it_is_loaded_leaves_the_old_release(own_shop: Path) -> None:
    answers = Answers()
    first, customer = answers.release().release, answers.sample_customers()[0].customer_id
    usual = answers.recommend(customer, 5).recommendations
    second = composing.create_release().tag
    release.promote(second)
    ranker = registry.open_version(release.get(second).parts["gradient_boosting"])
    trees = ranker.path / "trees.txt"
    whole = trees.read_bytes()
    trees.chmod(0o600)
    trees.write_bytes(whole[: len(whole) // 2])
    answers.follow(every=timedelta(milliseconds=30))
    try:
        time.sleep(0.5)
        assert answers.release().release == first
        assert answers.recommend(customer, 5).recommendations == usual
        trees.write_bytes(whole)
        until(lambda: answers.release().release == second)
        assert answers.recommend(customer, 5).recommendations == usual
    finally:
        answers.stop()


def test_releases_change_while_requests_run(own_shop: Path) -> None:
    answers = Answers()
    customers = [known.customer_id for known in answers.sample_customers()[:6]]
    usual = {who: ids(answers.recommend(who, 5)) for who in customers}
    tags = [answers.release().release, composing.create_release().tag]
    answers.follow(every=timedelta(milliseconds=30))
    over = threading.Event()

    def ask(who: str) -> list[tuple[str | None, bool, str]]:
        found = []
        while not over.is_set():
            one = answers.recommend(who, 5)
            found.append((one.fallback, ids(one) == usual[who], one.release))
        return found

    try:
        with ThreadPoolExecutor(2) as crowd:
            asked = [crowd.submit(ask, who) for who in customers[:2]]
            for tag in (tags[1], tags[0], tags[1]):
                release.promote(tag)
                until(lambda tag=tag: answers.release().release == tag)
            over.set()
        said = [one for of in asked for one in of.result()]
    finally:
        over.set()
        answers.stop()
    # On a busy machine an answer may be late; it is never another one.
    assert {same for fallback, same, _ in said if fallback is None} == {True}
    assert {tag for *_, tag in said} == set(tags)


# A release with less in it


@pytest.mark.parametrize("without", ["facts", "ranker", "reranker", "co_purchase", "near"])
def test_a_release_may_lack_parts(
    answers: Answers, customer: str, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    served = answers._served
    whole = served.recommender
    changes: dict[str, Any] = {
        "facts": {"facts": None, "reranker": None},
        "ranker": {"ranker": None},
        "reranker": {"reranker": None},
        "co_purchase": {"retrievers": dict(whole.retrievers)},
        "near": {"retrievers": dict(whole.retrievers), "ranker": None},
    }[without]
    gone = {"co_purchase": ["co_purchase"], "near": ["popular_by_postal_code", "popular_by_age"]}
    for name in gone.get(without, []):
        del changes["retrievers"][name]
    recommender = replace(whole, **changes)
    from services.served import _barred, _best_sellers

    barred = _barred(recommender, served.nobody, served.moment)
    popular = _best_sellers(recommender, served.nobody, served.moment, barred)
    assert len(popular) > 20
    changed = replace(served, recommender=recommender, popular=popular, barred=barred)
    monkeypatch.setattr(answers, "_served", changed)

    found = answers.recommend(customer, 8)
    assert len(found.recommendations) == 8
    # Without a ranker there is nothing simpler than usual; a ranker that misses columns cannot rank.
    assert found.fallback == ("no_ranker" if without == "co_purchase" else None)
    assert answers.home(customer, 6).carousels
    assert answers.recommend("nobody", 5).recommendations
    assert answers.goes_with(ids(found)[0], 3).articles or without in ("co_purchase", "facts")
    with pytest.MonkeyPatch.context() as patch:
        no_retriever(answers, patch)
        last = answers.recommend("nobody", 5)
    assert (last.fallback, len(last.recommendations)) == ("popular", 5)
    assert {row.reason for row in last.recommendations} == {"Popular."}


# Over HTTP


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def post(url: str, body: Any, token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_over_http_there_is_an_answer_without_store_and_whole_ones_with_it(
    ruled_home: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(ruled_home, home)
    monkeypatch.setenv("LOOKBOOK_HOME", str(home))
    monkeypatch.setenv("LOOKBOOK_DEADLINES", PATIENT)
    online_folder = home / "online"
    shutil.copytree(online_folder, tmp_path / "kept")
    with serve(home) as address:
        samples = post(f"{address}/sample_customers", {})[1]
        body = {"customer_id": samples[3]["customer_id"], "k": 6}
        status, usual = post(f"{address}/recommend", body)
        assert (status, usual["fallback"], usual["trouble"]) == (200, None, [])
        # A name that is no text is told so, whoever asks.
        assert post(f"{address}/recommend", {"customer_id": "\ud800"})[0] == 400
        truncated(online_folder / "data.mdb")
        for surface in ("recommend", "home"):
            status, found = post(f"{address}/{surface}", body)
            assert (status, found["fallback"]) == (200, "popular")
            assert found["trouble"][0] in ("customer:failed", "customer:resting")
        assert len(post(f"{address}/recommend", body)[1]["recommendations"]) == 6
        status, health = get(f"{address}/health")
        assert (status, health["status"]) == (200, "degraded")
        assert str(home) not in json.dumps(health)
        assert get(f"{address}/health?strict=1")[0] == 503
        event = {"customer_id": "x", "article_id": usual["recommendations"][0]["article_id"]}
        said = {"events": [event | {"kind": "view"}]}
        token = (home / "token").read_text().strip()
        assert post(f"{address}/events", said, token)[0] == 503
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as response:
            metrics = response.read().decode()
        assert 'lookbook_fallbacks_total{reason="popular"}' in metrics
        assert 'lookbook_trouble_total{what="customer:failed"}' in metrics
        for file in (tmp_path / "kept").iterdir():
            (online_folder / f"{file.name}.new").write_bytes(file.read_bytes())
            (online_folder / f"{file.name}.new").replace(online_folder / file.name)

        def whole() -> bool:
            return post(f"{address}/recommend", body)[1]["fallback"] is None

        until(whole)
        assert post(f"{address}/recommend", body)[1]["recommendations"] == usual["recommendations"]
        assert get(f"{address}/health")[1]["status"] == "ok"


# What else reads the store


@pytest.fixture
def hangs(answers: Answers) -> Iterator[Callable[..., Any]]:
    """What reads no end; the threads that it holds come back after the test."""
    let_go = threading.Event()

    def never(*_: Any, **__: Any) -> Any:
        let_go.wait(30)
        raise LookbookError("let go")

    limits = answers._path._workers.limits
    limits |= dict.fromkeys(("articles", "profile", "explain", "health"), 0.05)
    yield never
    let_go.set()


def test_a_store_that_hangs_holds_up_nothing_else_either(
    answers: Answers, customer: str, hangs: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    article = answers._served.popular[0]
    usual = answers.similar(article, 5)
    with monkeypatch.context() as patch:
        patch.setattr("services.answers.article_display", hangs)
        patch.setattr("services.answers.one_customer", hangs)
        started = time.perf_counter()
        found = answers.similar(article, 5)
        assert [one.article_id for one in found.articles] == [
            one.article_id for one in usual.articles
        ]
        assert [one.name for one in found.articles] == [one.name for one in usual.articles]
        for ask in (answers.customer, partial(answers.explain, article_id=article)):
            with pytest.raises(LookbookError, match="cannot be read now"):
                ask(customer)
        assert not waited(answers.reads())
        assert time.perf_counter() - started < 5
    assert waited(answers.reads())


def test_who_is_too_busy_to_look_is_not_degraded(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = answers._path._workers
    workers.limits["queue"] = 0.01
    with monkeypatch.context() as patch:
        patch.setattr(workers, "_jobs", SimpleNamespace(put=lambda job: None))
        assert waited(answers.reads())


def test_where_few_retrievers_answer_best_sellers_fill_up(
    answers: Answers, customer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("broken")

    barred = rules_of(answers)
    recommender = answers._served.recommender
    few = replace(recommender, per_source=dict.fromkeys(recommender.per_source, 2))
    monkeypatch.setattr(answers, "_served", replace(answers._served, recommender=few))
    for name, retriever in few.retrievers.items():
        if name != "repurchase":
            monkeypatch.setattr(retriever, "propose", fails, raising=False)
    found = answers.recommend(customer, 12)
    assert found.fallback is None
    assert len({*ids(found)}) == 12
    assert not barred & {*ids(found)}
    filled = [row for row in found.recommendations if row.source == "best_sellers"]
    assert filled
    assert all(row.reason.startswith("Sells well.") for row in filled)
    page = answers.home(customer, 8)
    assert len({row.name: row for row in page.carousels}["top_picks"].articles) == 8


def test_long_work_goes_on_one_at_a_time_and_few_wait_for_it() -> None:
    async def all_at_once() -> tuple[int, list[str]]:
        lane, at_once, most, refused = Lane(3), 0, 0, []

        async def one(name: str) -> None:
            nonlocal at_once, most
            try:
                async with lane.place():
                    at_once += 1
                    most = max(most, at_once)
                    await asyncio.sleep(0.01)
                    at_once -= 1
            except LookbookError:
                refused.append(name)

        await asyncio.gather(*(one(str(n)) for n in range(6)))
        # Whoever gives up while waiting leaves the place to others.
        holder = asyncio.create_task(one("holder"))
        await asyncio.sleep(0)
        waiter = asyncio.create_task(one("waiter"))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.gather(holder, waiter, return_exceptions=True)
        async with lane.place():
            return most, refused

    most, refused = asyncio.run(all_at_once())
    assert most == 1
    assert len(refused) == 2
