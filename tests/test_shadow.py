"""A release in the shadow: what it would answer is compared, and nothing of it reaches a customer."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.model_registry import composing, release
from services.answers import Answers
from services.deadlines import MILLISECONDS
from services.schemas import Recommendations
from services.served import load_served
from services.shadow import ANSWERED, Shadow, _compared, rank_biased_overlap
from tests.conftest import until


@pytest.fixture
def answers(own_shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setenv("LOOKBOOK_SHADOW_SAMPLE", "1")
    monkeypatch.setenv("LOOKBOOK_DEADLINES", ",".join(f"{stage}=5000" for stage in MILLISECONDS))
    made = Answers()
    yield made
    made.stop()


def ask(answers: Answers, count: int = 6) -> list[Recommendations]:
    return [answers.recommend(known.customer_id, 8) for known in answers.sample_customers()[:count]]


def compared(answers: Answers, requests: int) -> Any:
    until(lambda: answers.shadow().requests + answers.shadow().failed >= requests)
    return answers.shadow()


def test_without_a_shadow_nothing_is_copied(answers: Answers) -> None:
    ask(answers, 2)
    report = answers.shadow()
    assert (report.release, report.requests, report.overlap) == (None, 0, None)


def test_a_release_agrees_with_itself(answers: Answers) -> None:
    answers._shadow.take(load_served(before=answers._served))
    ask(answers)
    report = compared(answers, 6)
    assert (report.requests, report.failed) == (6, 0)
    assert (report.same_first, report.overlap, report.rank_overlap) == (1.0, 1.0, 1.0)
    assert set(report.milliseconds) == {
        f"{who}_{what}" for who in ("production", "shadow") for what in ("p50", "p99")
    }


def test_a_broken_shadow_never_touches_production(answers: Answers) -> None:
    usual = ask(answers)
    served = load_served(before=answers._served)
    broken = replace(served, recommender=replace(served.recommender, retrievers={}))
    answers._shadow.take(broken)
    again = ask(answers)
    assert [found.recommendations for found in again] == [found.recommendations for found in usual]
    assert {tuple(found.trouble) for found in again} == {()}
    report = compared(answers, 6)
    assert (report.failed, report.requests) == (6, 0)
    assert answers._path._workers.breakers.failures == {}
    # It may be taken away and put right.
    answers._shadow.take(served)
    ask(answers, 2)
    until(lambda: answers.shadow().requests == 2)


def test_a_slow_shadow_holds_nobody_up_and_what_is_too_much_is_dropped(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    served = load_served(before=answers._served)
    recommender = replace(served.recommender)
    retriever = recommender.retrievers["ease"]
    quick = type(retriever).propose

    def slow(asked: Any, k: int) -> Any:
        held.wait(20)
        return quick(retriever, asked, k)

    slow_one = type(retriever)().__class__.__new__(type(retriever))
    slow_one.__dict__.update(retriever.__dict__)
    monkeypatch.setattr(slow_one, "propose", slow, raising=False)
    slowed = replace(recommender, retrievers={**recommender.retrievers, "ease": slow_one})
    answers._shadow.take(replace(served, recommender=slowed))
    customer = answers.sample_customers()[0].customer_id
    started = time.perf_counter()
    for _ in range(70):
        answers._shadow.copy(_question(answers, customer), [], {"customer": 0.01})
    assert time.perf_counter() - started < 1
    assert answers.recommend(customer, 3).trouble == []
    assert answers.shadow().skipped >= 5
    held.set()
    until(lambda: answers.shadow().requests >= 60)


def test_what_production_answered_simply_is_not_compared(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers._shadow.take(answers._served)
    customer = answers.sample_customers()[0].customer_id
    copied: list[Any] = []
    monkeypatch.setattr(answers._shadow, "copy", lambda *said: copied.append(said))
    ranker = answers._served.recommender.ranker
    with monkeypatch.context() as patch:
        patch.setattr(type(ranker), "judge", lambda *_, **__: 1 / 0)
        assert answers.recommend(customer, 3).fallback == "no_ranker"
    assert copied == []
    assert answers.recommend(customer, 3).fallback is None
    ((_, shown, spent),) = copied
    assert len(shown) == 3
    assert {*spent} >= {*ANSWERED}


def _question(answers: Answers, customer: str) -> Any:
    asked = answers._asked(answers._served, customer, None, None)
    return asked.question(8, None, None)


def test_the_alias_decides_and_a_new_release_in_production_begins_anew(answers: Answers) -> None:
    first = answers.release().release
    second = composing.create_release().tag
    release.promote(second, alias="shadow")
    answers.follow(every=timedelta(milliseconds=50))
    until(lambda: answers.shadow().release == second)
    ask(answers, 3)
    report = compared(answers, 3)
    assert (report.production, report.overlap) == (first, 1.0)
    # The shadow goes into production.
    release.promote("shadow")
    until(lambda: answers.release().release == second)
    until(lambda: answers.shadow().requests == 0)
    assert answers.shadow().production == second


# Numbers


def by_definition(one: list[str], other: list[str], p: float) -> float:
    """Rank-biased overlap of lists of one length as the paper has it, extrapolated (equation 32): the agreements at each
    depth d weigh (1 - p) / p * p^d, and the last one stands for all that follows."""
    depth = len(one)
    agreements = [len({*one[:d]} & {*other[:d]}) / d for d in range(1, depth + 1)]
    beyond = agreements[-1] * p**depth
    return beyond + sum((1 - p) / p * a * p**d for d, a in enumerate(agreements, start=1))


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.permutations(range(9))] * 2, st.just(n))))
def test_rank_biased_overlap_is_the_papers(drawn: tuple[list[int], list[int], int]) -> None:
    one, other = ([str(n) for n in of[: drawn[2]]] for of in drawn[:2])
    found = rank_biased_overlap(one, other)
    assert found == pytest.approx(by_definition(one, other, 0.9))
    assert found == pytest.approx(rank_biased_overlap(other, one))
    assert -1e-12 <= found <= 1 + 1e-12
    assert rank_biased_overlap(one, one) == pytest.approx(1)
    assert rank_biased_overlap(one, [f"other {n}" for n in one]) == 0


def test_known_overlaps() -> None:
    assert rank_biased_overlap([], []) == 1
    assert rank_biased_overlap([], ["a"]) == 0
    # The same two, the other way round: agreement 0 at the first place and 1 from the second on.
    assert rank_biased_overlap(["a", "b"], ["b", "a"]) == pytest.approx(0.9)
    assert rank_biased_overlap(["a", "b"], ["a", "c"]) == pytest.approx(0.1 + 0.9 * 0.5)
    assert _compared(["a", "b"], ["a", "c"])[:2] == (1.0, 0.5)
    assert _compared([], []) == (1.0, 1.0, 1.0)
    assert _compared(["a"], [])[:2] == (0.0, 0.0)


def test_a_share_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_SHADOW_SAMPLE", "2")
    with pytest.raises(Exception, match="LOOKBOOK_SHADOW_SAMPLE"):
        Shadow()
