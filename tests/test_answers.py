"""The answers of the service: those of the recommender, with sessions, filters, contexts and experiments, and what is
kept of them."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.explaining import article_display, explained
from pipelines.features import OnlineFeatures
from pipelines.monitoring import answer_log
from pipelines.monitoring.answer_log import AnswerLog, AnswerLogError
from pipelines.monitoring.parity import check
from pipelines.online import push
from pipelines.recommender import age_bucket, customer_state, one_customer
from pipelines.recommending import for_customer
from pipelines.warehouse import reading
from services.answers import Answers
from services.deadlines import MILLISECONDS
from services.schemas import Context, Event, Filters, Recommendations
from services.served import load_served
from services.session import shop_now

PATIENT = ",".join(f"{stage}=5000" for stage in MILLISECONDS)
IN_SESSION = "in session"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKBOOK_DEADLINES", PATIENT)


@pytest.fixture
def answers(own_shop: Path) -> Iterator[Answers]:
    shutil.rmtree(own_shop / "answers", ignore_errors=True)
    made = Answers()
    yield made
    made.stop()


def ids(found: Recommendations) -> list[str]:
    return [row.article_id for row in found.recommendations]


def everyone() -> list[str]:
    with reading() as con:
        rows = con.execute("SELECT customer_id FROM staging.customers ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def did(customer: str, article: str, kind: str = "view", at: datetime | None = None) -> Event:
    return Event(customer_id=customer, article_id=article, kind=kind, event_time=at)


# They are those of the recommender


def test_answers_are_the_recommenders(answers: Answers) -> None:
    served, moment = answers._served, answers._served.moment
    shelf = served.popular
    known = everyone()
    sessions = {known[7]: ["view", "cart"], "new in session": ["view"], known[30]: ["dismiss"]}
    for customer, kinds in sessions.items():
        for number, kind in enumerate(kinds):
            at = moment + timedelta(minutes=number)
            answers.happened([did(customer, shelf[number], kind, at)])
    asked = [*known[::4], "somebody new", *sessions]

    batch = served.recommender.recommend(
        [customer for customer in asked if customer not in sessions],
        OnlineFeatures(moment),
        moment,
        12,
    )
    for customer in asked:
        found = answers.recommend(customer, 12)
        assert found.trouble == []
        if customer not in sessions:
            rows = batch[batch["customer_id"] == customer]
            assert ids(found) == rows["article_id"].tolist()
            scores = [row.score for row in found.recommendations]
            np.testing.assert_allclose(scores, rows["score"], rtol=1e-6)
            assert [row.source for row in found.recommendations] == rows["source"].tolist()

    for customer in [*known[:60:8], "somebody new", *sessions]:
        features = OnlineFeatures(moment)
        state = customer_state([customer], features)
        now = features.moment or moment
        rows = served.recommender.recommend([customer], features, now, 12, with_features=True)
        display = partial(article_display, features=OnlineFeatures(moment))
        said = explained(served.recommender, rows, state, display, now)
        found = answers.recommend(customer, 12)
        assert found.moment == now
        plain = [row.model_dump(exclude={"propensity"}) for row in found.recommendations]
        assert plain == said
    assert set(ids(answers.recommend(known[30], 40))).isdisjoint(shelf[:1])


def test_one_request_is_a_row_of_a_batch(shop: Path) -> None:
    """State, candidates and features of one customer in columns are those of many in frames."""
    served = Answers()._served
    moment, customers = served.moment, [*everyone()[1::16], "somebody new"]
    features = OnlineFeatures(moment)
    states = customer_state(customers, features)
    rows = served.recommender.candidates(states, moment)
    assert served.recommender.ranker is not None
    read = features.read(rows, served.recommender.ranker.feature_service)
    for customer in customers:
        own = OnlineFeatures(moment, served.warm)
        state = one_customer(customer, own)
        mine = states[states["customer_id"] == customer]
        for name in mine.columns:
            same_values(state[name], mine[name])
        candidates = served.recommender.candidates(state, moment)
        found = own.read(candidates, served.recommender.ranker.feature_service)
        expected = read[read["customer_id"] == customer]
        assert sorted(found.columns) == sorted(expected.columns)
        for name in expected.columns:
            same_values(found[name], expected[name], about=name.endswith("__score"))


def same_values(found: np.ndarray, expected: pd.Series, about: bool = False) -> None:
    if expected.dtype.kind == "M" or isinstance(expected.dtype, pd.DatetimeTZDtype):
        expected = expected.dt.tz_localize(None)
        assert (
            found.astype("datetime64[us]").tolist()
            == expected.to_numpy().astype("datetime64[us]").tolist()
        )
    elif found.dtype == object:
        plain = [[list(v) if np.ndim(v) else v for v in of] for of in (found, expected)]
        assert [None if v is None or v != v else v for v in plain[0]] == [
            None if v is None or v != v else v for v in plain[1]
        ]
    elif about:
        np.testing.assert_allclose(found, expected.to_numpy("float64"), rtol=1e-5)
    else:
        np.testing.assert_array_equal(found.astype("float64"), expected.to_numpy("float64"))


# Sessions


def test_what_happens_changes_the_next_answer(answers: Answers) -> None:
    customer = answers.sample_customers()[0].customer_id
    before = answers.recommend(customer, 12)
    waved = ids(before)[0]
    started = time.perf_counter()
    accepted = answers.happened([did(customer, waved, "dismiss")])
    after = answers.recommend(customer, 12)
    assert time.perf_counter() - started < 1
    assert (accepted.accepted, accepted.in_session) == (1, 1)
    assert after.moment == accepted.moment > before.moment
    assert waved not in ids(after)
    # Whoever looks at it again may be shown it again.
    answers.happened([did(customer, waved, "view")])
    assert answers.customer(customer).session[0].kind == "view"
    assert waved in ids(answers.recommend(customer, 100))


def test_the_command_recommends_what_the_service_does_in_a_session_too(answers: Answers) -> None:
    customer = answers.sample_customers()[0].customer_id
    before = ids(answers.recommend(customer, 12))
    answers.happened([did(customer, before[0], "dismiss"), did(customer, before[4], "purchase")])
    found, told = answers.recommend(customer, 12), for_customer(customer, k=12)
    assert [row["article_id"] for row in told.rows] == ids(found) != before
    assert [row["reason"] for row in told.rows] == [row.reason for row in found.recommendations]
    assert told.moment == found.moment


def test_somebody_new_is_known_by_what_they_do(answers: Answers) -> None:
    article = answers._served.popular[5]
    assert not answers.recommend("new here", 3).known
    answers.happened([did("new here", article, "cart")])
    found = answers.recommend("new here", 3)
    assert found.known
    (done,) = answers.customer("new here").session
    assert (done.article_id, done.kind) == (article, "cart")


def test_what_was_waved_away_leads_to_nothing_and_is_explained(answers: Answers) -> None:
    article = answers._served.popular[3]
    answers.happened([did("new here", article, "view")])
    assert answers.explain("new here", article).reason != "The customer waved it away."
    answers.happened([did("new here", article, "dismiss")])
    found = answers.recommend("new here", 20)
    assert article not in {*ids(found), *(row.because for row in found.recommendations)}
    page = answers.home("new here", 6)
    assert article not in {row.about for row in page.carousels}
    told = answers.explain("new here", article)
    assert (told.candidate, told.reason) == (False, "The customer waved it away.")


def test_what_led_to_itself_is_not_told_by_its_own_name(reader: Answers) -> None:
    rows = [
        row
        for customer in everyone()[::4]
        for row in reader.recommend(customer, 60).recommendations
        if row.because == row.article_id and row.source == "ease"
    ]
    assert rows
    assert all(row.reason.startswith("You bought it before.") for row in rows)


def test_events_that_come_twice_or_in_another_order_count_once(answers: Answers) -> None:
    moment, shelf = answers._served.moment, answers._served.popular
    events = [did("y", shelf[n], "view", moment + timedelta(seconds=n)) for n in range(4)]
    answers.happened([events[2], events[0]])
    answers.happened([events[1], events[2]])
    answers.happened([events[3], events[3]])
    session = answers.customer("y").session
    assert [done.article_id for done in session] == [event.article_id for event in events[::-1]]
    assert [done.at for done in session] == [event.event_time for event in events[::-1]]


def test_impressions_are_kept_and_change_nothing(answers: Answers) -> None:
    article = answers._served.popular[0]
    accepted = answers.happened([did("z", article, "impression")])
    assert (accepted.accepted, accepted.in_session) == (1, 0)
    assert answers.customer("z").session == []
    (kept,) = answer_log.events(lambda file, why: pytest.fail(why))
    assert kept[1].kind == "impression"


def test_an_event_of_the_future_is_refused_with_all_others(answers: Answers) -> None:
    article = answers._served.popular[0]
    later = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(InputError, match=r"events\[1\]\.event_time is .* yet to come"):
        answers.happened([did("f", article), did("f", article, at=later)])
    assert answers.customer("f").session == []
    assert list(answer_log.events(lambda file, why: pytest.fail(why))) == []


def test_the_clock_of_a_past_shop_goes_on_from_the_end_of_its_data(answers: Answers) -> None:
    moment = answers._served.moment
    assert moment.year == 2020
    first = answers.now()
    assert moment <= first < moment + timedelta(days=1)
    assert first <= answers.now()
    brought = datetime.now(UTC) - timedelta(hours=3)
    assert abs(shop_now(moment, brought) - moment - timedelta(hours=3)) < timedelta(seconds=5)
    now = datetime.now(UTC)
    assert abs(shop_now(now - timedelta(hours=5), brought) - now) < timedelta(seconds=5)
    assert abs(shop_now(moment, None) - now) < timedelta(seconds=5)


def test_two_processes_know_of_the_same_session(answers: Answers) -> None:
    article = answers._served.popular[3]
    code = (
        "import pandas as pd; from pipelines.online import push; "
        f"push(pd.DataFrame([dict(event_time='2020-09-23T08:00:00Z', customer_id='two', "
        f"article_id='{article}', kind='cart')]))"
    )
    assert answers.customer("two").session == []
    subprocess.run([sys.executable, "-c", code], cwd=places.PROJECT, check=True)
    (done,) = answers.customer("two").session
    assert (done.article_id, done.kind) == (article, "cart")
    found = answers.recommend("two", 3)
    assert found.moment == datetime(2020, 9, 23, 8, tzinfo=UTC)


# Filters and contexts

VALUES = ("product_type", "product_group", "colour", "department")


@pytest.fixture(scope="module")
def reader(built_shop: Path) -> Iterator[Answers]:
    """Answers that nobody writes beside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKBOOK_HOME", str(built_shop))
        patch.setenv("LOOKBOOK_DEADLINES", PATIENT)
        made = Answers()
        yield made
        made.stop()


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_everything_that_comes_fits_the_filter(reader: Answers, data: Any) -> None:
    everything = shelf(reader)
    asked: dict[str, Any] = {}
    for kind in data.draw(st.sets(st.sampled_from(VALUES), max_size=2)):
        there = sorted({shown[kind] for shown in everything.values() if shown[kind]})
        asked[kind] = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=4))
    price = st.none() | st.floats(0, 0.1)
    prices = data.draw(price), data.draw(price)
    asked["price_min"], asked["price_max"] = prices if None in prices else sorted(prices)
    asked["exclude"] = data.draw(st.lists(st.sampled_from(sorted(everything)), max_size=30))
    known = [found.customer_id for found in reader.sample_customers()]
    customer = data.draw(st.sampled_from([*known[::5], "nobody"]))
    found = reader.recommend(customer, 20, filters=Filters(**asked))
    assert found.trouble == []

    def fits(shown: dict[str, Any]) -> bool:
        low, high = asked["price_min"], asked["price_max"]
        priced = (low, high) == (None, None) or shown["price"] is not None
        return (
            all(shown[kind] in asked[kind] for kind in VALUES if kind in asked)
            and priced
            and (low is None or shown["price"] >= low)
            and (high is None or shown["price"] <= high)
        )

    for row in found.recommendations:
        assert fits(everything[row.article_id])
        assert row.article_id not in asked["exclude"]
    # If anything on sale fits, something comes.
    there = [a for a, shown in everything.items() if fits(shown) and a not in asked["exclude"]]
    assert bool(found.recommendations) == bool(there)


def shelf(answers: Answers) -> dict[str, dict[str, Any]]:
    """What is shown of every article on sale."""
    served = answers._served
    facts = served.recommender.facts
    assert facts is not None
    on_sale = facts.assortment.ids[facts.assortment.on_sale].tolist()
    return article_display(on_sale, OnlineFeatures(served.moment))


@pytest.mark.parametrize("ages", [range(121)])
def test_age_buckets_are_those_of_the_warehouse(ages: range) -> None:
    sql = (places.PROJECT / "feature_repo/sql/staging/customers.sql").read_text()
    with duckdb.connect() as con:
        con.execute(
            "CREATE SCHEMA raw; CREATE TABLE raw.customers AS SELECT range AS customer_id, NULL AS "
            '"FN", NULL AS "Active", NULL AS club_member_status, NULL AS fashion_news_frequency, '
            f"range AS age, NULL AS postal_code FROM range({len(ages)})"
        )
        found = con.execute(f"SELECT age, age_bucket FROM ({sql}) ORDER BY age").fetchall()
    assert [age_bucket(age) for age in ages] == [bucket for _, bucket in found]


def test_what_the_request_says_counts_where_the_shop_knows_nothing(reader: Answers) -> None:
    young, old = (reader.recommend("nobody", 40, context=Context(age=age)) for age in (18, 70))
    assert {young.known, old.known} == {False}
    assert young.fallback == "unknown_customer"
    for found in (young, old):
        assert "popular_by_age" in {row.source for row in found.recommendations}
    assert ids(young) != ids(old)
    seen = reader.explain("nobody", ids(young)[0], context=Context(age=18)).features
    assert seen["customer_profile__age"] == 18
    # What the shop knows counts more.
    for customer in (found.customer_id for found in reader.sample_customers()[:10]):
        if reader.customer(customer).age is not None and reader.customer(customer).postal_code:
            break
    usual = reader.recommend(customer, 10)
    told = reader.recommend(customer, 10, context=Context(age=99, postal_code="elsewhere"))
    assert told.recommendations == usual.recommendations
    assert told.known


def test_a_context_near_whom_nobody_lives_is_answered(reader: Answers) -> None:
    found = reader.recommend("nobody", 5, context=Context(age=0, postal_code="\0 nowhere"))
    assert len(found.recommendations) == 5
    assert reader.home("nobody", 5, context=Context(age=120)).carousels


# Experiments and what is kept of answers


@pytest.fixture
def tried(own_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """Answers with an experiment in each layer."""
    shutil.rmtree(own_shop / "answers", ignore_errors=True)
    served = load_served()
    named = served.recommender.candidates(served.nobody, served.moment)["article_id"]
    sponsored = [article for article in served.popular if article not in set(named)][:1]
    explores = {"kind": "epsilon", "epsilon": 0.5, "depth": 20}
    rules = {"business_rules": {"sponsored": sponsored, "slots": [2]}}
    declared = {
        "layers": {"order": {}, "page": {}},
        "experiments": {
            "draws": {
                "layer": "order",
                "share": 0.0,
                "variants": {
                    "usual": {"share": 0.5},
                    "epsilon": {"share": 0.5, "exploration": explores},
                },
            },
            "loves": {
                "layer": "page",
                "from": 0.0,
                "share": 0.0,
                "variants": {"views": {"share": 1.0, "rerankers": {"mmr": {"strength": 0.9}}}},
            },
            "pays": {
                "layer": "page",
                "from": 0.5,
                "share": 0.0,
                "variants": {"slots": {"share": 1.0, "rerankers": rules}},
            },
            "aims": {
                "layer": "order",
                "from": 0.5,
                "share": 0.0,
                "variants": {"views": {"share": 1.0, "objective": {"view": 1.0}}},
            },
        },
    }
    file = tmp_path / "experiments.yaml"
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    monkeypatch.setenv("LOOKBOOK_EXPERIMENTS", str(file))
    made = Answers()
    yield made
    made.stop()


def test_the_rules_of_an_experiment_hold_on_the_page_and_in_explanations(
    own_shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = load_served().popular
    barred = list(shelf[:60])
    variants = {"all": {"share": 1.0, "rerankers": {"business_rules": {"blocked": barred}}}}
    declared = {
        "layers": {"page": {}},
        "experiments": {"bars": {"layer": "page", "share": 1.0, "variants": variants}},
    }
    file = tmp_path / "experiments.yaml"
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    monkeypatch.setenv("LOOKBOOK_EXPERIMENTS", str(file))
    answers = Answers()
    customer = answers.sample_customers()[0].customer_id
    answers.happened([did(customer, article, "cart") for article in barred[:4]])
    assert not {*barred} & {*ids(answers.recommend(customer, 50))}
    page = answers.home(customer, 12)
    assert not {*barred} & {one.article_id for row in page.carousels for one in row.articles}
    assert not answers.explain(customer, barred[0]).shown
    answers.stop()


def test_an_answer_does_not_wait_for_the_log(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = answers.sample_customers()[0].customer_id
    answers.recommend(customer, 3)
    let_go, usual = threading.Event(), AnswerLog.answered

    def hangs(self: AnswerLog, **said: Any) -> None:
        let_go.wait(30)
        usual(self, **said)

    monkeypatch.setattr(AnswerLog, "answered", hangs)
    monkeypatch.setattr(answer_log, "MOST_WAITING", 3)
    answers._answered.close()
    started = time.perf_counter()
    found = [answers.recommend(customer, 3) for _ in range(8)]
    assert time.perf_counter() - started < 10
    let_go.set()
    answers._answered.close()
    # The first, the one that was being written, and those that had room to wait.
    assert {one.request_id for one in found[:3]} <= {answer.request_id for answer in kept()}
    assert 4 <= len(kept()) <= 5


def kept() -> list[answer_log.Answer]:
    return list(answer_log.answers(lambda file, why: pytest.fail(why)))


def test_drawn_places_are_logged_with_their_probability(tried: Answers) -> None:
    customer = tried.sample_customers()[0].customer_id
    usual = tried.recommend(customer, 12)
    assert usual.variants == {}
    drawn = [tried.recommend(customer, 12, variants={"draws": "epsilon"}) for _ in range(6)]
    assert len({tuple(ids(found)) for found in drawn}) > 1
    tried._answered.close()
    logged = {answer.request_id: answer for answer in kept()}
    assert len(logged) == 7
    assert not logged[usual.request_id].forced
    for found in drawn:
        answer = logged[found.request_id]
        assert answer.forced
        assert answer.variants == found.variants == {"draws": "epsilon"}
        assert [one.propensity for one in answer.shown] == [
            row.propensity for row in found.recommendations
        ]
        assert [one.article_id for one in answer.shown] == ids(found)
        assert [one.position for one in answer.shown] == list(range(1, 13))
        for row in found.recommendations:
            # The best that is left comes with at least half of all, another with a share of the rest.
            assert row.propensity == pytest.approx(0.5 / 20) or row.propensity == pytest.approx(
                0.5 + 0.5 / 20
            )
    assert {row.propensity for row in usual.recommendations} == {1.0}


def test_paid_places_are_not_drawn(tried: Answers) -> None:
    # To somebody new no retriever names the article that is paid for.
    customer = "somebody new"
    both = {"draws": "epsilon", "pays": "slots"}
    usual = tried.recommend(customer, 100)
    page = tried.recommend(customer, 12, variants={"pays": "slots"})
    second = page.recommendations[1]
    assert (second.source, second.reason) == ("sponsored", "Sponsored.")
    assert second.article_id not in ids(usual)
    for _ in range(5):
        found = tried.recommend(customer, 12, variants=both)
        assert found.recommendations[1].article_id == second.article_id
        assert found.recommendations[1].propensity == 1.0
        assert len(set(ids(found))) == 12


def test_a_variants_page_and_an_objective_that_the_ranker_lacks(tried: Answers) -> None:
    customer = tried.sample_customers()[0].customer_id
    usual = tried.recommend(customer, 12)
    other = tried.recommend(customer, 12, variants={"loves": "views"})
    assert ids(other) != ids(usual)
    aimed = tried.recommend(customer, 12, variants={"aims": "views"})
    assert aimed.trouble == ["experiment:objective"]
    assert aimed.recommendations == usual.recommendations
    for wrong in ({"no": "such"}, {"loves": "no"}, {"loves": "views", "pays": "slots"}):
        with pytest.raises(InputError):
            tried.recommend(customer, 12, variants=wrong)
    tried._answered.close()
    assert [answer.variants for answer in kept()] == [{}, {"loves": "views"}, {"aims": "views"}]


def test_every_answer_is_one_line(answers: Answers) -> None:
    customer = answers.sample_customers()[0].customer_id
    listed, page = answers.recommend(customer, 5), answers.home(customer, 4)
    nobody = answers.recommend("nobody", 3)
    answers._path._workers.limits["queue"] = 0.01
    answers._path._workers.close()
    busy = answers.recommend(customer, 2)
    answers._answered.close()
    logged = kept()
    assert [answer.request_id for answer in logged] == [
        found.request_id for found in (listed, page, nobody, busy)
    ]
    assert [answer.surface for answer in logged] == ["recommend", "home", "recommend", "recommend"]
    assert [answer.fallbacks for answer in logged] == [(), (), (), ("popular",)]
    assert [(one.carousel, one.article_id, one.position) for one in logged[1].shown] == [
        (row.name, one.article_id, one.rank) for row in page.carousels for one in row.articles
    ]
    assert {answer.release for answer in logged} == {answers.release().release}


def test_a_log_that_cannot_be_written_costs_no_answer_but_refuses_events(
    answers: Answers,
) -> None:
    customer = answers.sample_customers()[0].customer_id
    usual = answers.recommend(customer, 5)
    folder = places.home() / "answers"
    answers._answered.close()
    folder.rename(folder.with_name("aside"))
    folder.write_text("not a folder")
    try:
        found = answers.recommend(customer, 5)
        assert found.recommendations == usual.recommendations
        article = ids(found)[0]
        with pytest.raises(AnswerLogError, match="Events cannot be written"):
            answers.happened([did(customer, article, "dismiss")])
        assert article in ids(answers.recommend(customer, 5))
    finally:
        folder.unlink()
        folder.with_name("aside").rename(folder)
    answers.happened([did(customer, article, "dismiss")])
    assert article not in ids(answers.recommend(customer, 5))


# Parity


def test_what_was_served_is_what_the_warehouse_says(
    own_shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKBOOK_SERVED_SAMPLE", "1")
    answers = Answers()
    customers = [found.customer_id for found in answers.sample_customers()[:3]]
    shelf = answers._served.popular

    def ask() -> None:
        for customer in [*customers, "somebody new", IN_SESSION]:
            answers.recommend(customer, 12)
            answers.home(customer, 6)
            answers.customer(customer)
            answers.explain(customer, shelf[0])
        answers.recommend("other", 3, context=Context(age=30))
        answers.recommend(customers[0], 3, filters=Filters(price_max=0.05))

    ask()
    now = answers._served.moment
    events = [
        did(customer, shelf[number], kind, now + timedelta(seconds=1 + number))
        for number, (customer, kind) in enumerate(
            [(IN_SESSION, "view"), (customers[0], "cart"), (customers[1], "dismiss")]
        )
    ]
    answers.happened(events)
    # The shop tells its warehouse what happened too.
    frame = pd.DataFrame([event.model_dump() for event in events])
    push(frame[["event_time", "customer_id", "article_id", "kind"]], warehouse=True)
    ask()
    answers.stop()
    report = check()
    assert report.total.different == 0, [str(one) for one in report.differences[:5]]
    assert report.total.compared == report.total.equal + report.total.late
    assert {"customer_state", "ranking", "article_display"} <= set(report.services)
    assert report.requests >= 30
    assert report.moments >= 4
    assert not report.skipped
