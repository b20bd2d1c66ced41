"""Retrievers that foretell a customer's next week: what they learn, and what they cannot know."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from pipelines.retrievers.base import Past, Retriever
from pipelines.retrievers.neu_mf import NeuMF, NeuMFNetwork
from pipelines.retrievers.next_week import NextWeek, Rows
from pipelines.retrievers.variational_autoencoder import MultVAE
from pipelines.warehouse import reading
from tests.retrieval_worlds import CUTOFF, MOMENT, Purchase, World, world

BOTH = ["variational_autoencoder", "neu_mf"]

SUMMER = [f"00000001{n:02}" for n in range(8)]
WINTER = [f"00000002{n:02}" for n in range(8)]


def two_tastes() -> list[Purchase]:
    """Everybody buys two things a week of a taste of their own, and seldom the same again."""
    rng = np.random.default_rng(3)
    return [
        (f"{taste}{n:02}", str(article), 7 * week + 3)
        for taste, articles in (("s", SUMMER), ("w", WINTER))
        for n in range(20)
        for week in range(5)
        for article in rng.choice(articles, 2, replace=False)
    ]


LAST_WEEK = [*(("sue", SUMMER[n], 2) for n in range(2)), *(("wim", WINTER[n], 2) for n in range(2))]
"""Of two more customers, whom the networks have seen in no week before which they had bought."""


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("tastes"), [*two_tastes(), *LAST_WEEK])


@pytest.fixture(params=BOTH, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str, tastes: World) -> NextWeek:
    found = tastes.fit(name)
    assert isinstance(found, NextWeek)
    return found


def test_whoever_came_yesterday_is_answered_by_taste(fitted: NextWeek, tastes: World) -> None:
    found = fitted.candidates(tastes.state(["sue", "wim"]), MOMENT, 8)
    for customer, articles in (("sue", SUMMER), ("wim", WINTER)):
        of_customer = found.loc[found["customer_id"] == customer, "article_id"]
        assert set(of_customer) == set(articles)


def test_what_nobody_knows_of_is_not_guessed(fitted: NextWeek, tastes: World) -> None:
    assert fitted.candidates(tastes.state(["nobody"]), MOMENT, 8).empty


@pytest.mark.parametrize("name", BOTH)
def test_before_anything_is_learnt_the_scores_are_what_sold(name: str, tmp_path: Path) -> None:
    # All purchases are of one week, so there is no week with something before it.
    sales = {SUMMER[0]: 3, SUMMER[1]: 5, SUMMER[2]: 1}
    purchases = [(f"c{n}", article, 2) for article, times in sales.items() for n in range(times)]
    there = world(tmp_path, [*purchases, ("ann", SUMMER[2], 2)])
    found = there.fit(name)
    assert isinstance(found, NextWeek)
    first = Rows(np.array([0]), np.array([0]), np.array([1.0], dtype="float32"))
    nothing = found.scores(first)[0]
    assert np.exp(nothing) == pytest.approx(np.array([3, 5, 2]) / 10, rel=1e-5)
    own = found.candidates(there.state(["ann"]), MOMENT, 3)
    assert own["article_id"].tolist() == [SUMMER[2], SUMMER[1], SUMMER[0]]


def weeks_of(there: World, found: Retriever, cutoff: date = CUTOFF) -> pd.DataFrame:
    """The examples as rows: customer, days from the first day to the cutoff, bought, before."""
    assert isinstance(found, NextWeek)
    with there.inside(), reading() as con:
        weeks = found.weeks_before(Past.at(con, cutoff))
    ids = found.assortment.ids[found.known]
    return pd.DataFrame(
        {
            "customer": weeks.customer,
            "days_ago": [
                (pd.Timestamp(cutoff) - pd.Timestamp(start)).days for start in weeks.start
            ],
            "bought": [tuple(ids[row.indices]) for row in weeks.bought],
            "before": [tuple(ids[row.indices]) for row in weeks.before],
            "weight": [tuple(row.data.tolist()) for row in weeks.before],
        }
    )


def test_an_example_knows_only_what_was_before_its_week(tmp_path: Path) -> None:
    a, b, c = SUMMER[:3]
    # The week of days 1 to 7 and that of days 8 to 14; of the third nothing is before.
    purchases = [("ann", a, 20), ("ann", b, 14), ("ann", a, 8), ("ann", c, 7), ("ann", c, 1)]
    there = world(tmp_path, [*purchases, ("ann", a, 0), ("bob", b, 3), ("bob", c, 5)])

    found = weeks_of(there, there.fit("variational_autoencoder"))

    assert found["customer"].tolist() == ["ann", "ann"]
    assert found["days_ago"].tolist() == [7, 14]
    assert found["bought"].tolist() == [(c,), (a, b)]
    assert found["before"].tolist() == [(a, b), (a,)]
    assert found["weight"][0] == pytest.approx(
        (np.exp(-13 / 30) + np.exp(-1 / 30), np.exp(-7 / 30)), rel=1e-6
    )
    assert found["weight"][1] == pytest.approx((np.exp(-6 / 30),), rel=1e-6)


def test_the_newest_weeks_are_kept(tmp_path: Path) -> None:
    purchases = [("ann", SUMMER[week % 2], 7 * week + 1) for week in range(5)]
    there = world(tmp_path, purchases)
    found = weeks_of(there, there.fit("variational_autoencoder", examples=2))
    assert found["days_ago"].tolist() == [7, 14]
    found = weeks_of(there, there.fit("variational_autoencoder", weeks=3))
    assert found["days_ago"].tolist() == [7, 14, 21]


def test_an_article_that_sold_too_little_is_not_known(name: str, tastes: World) -> None:
    found = tastes.fit(name, articles=5)
    assert isinstance(found, NextWeek)
    assert len(found.known) == 5
    named = found.candidates(tastes.state(["s01", "w01"]), MOMENT, 100)
    assert set(named["article_id"]) <= set(found.assortment.ids[found.known])


def test_another_seed_gives_another_network(name: str, tastes: World, fitted: NextWeek) -> None:
    asked = tastes.state(["s01"])
    other = tastes.fit(name, seed=8).candidates(asked, MOMENT, 16)
    assert other["score"].tolist() != fitted.candidates(asked, MOMENT, 16)["score"].tolist()


def test_a_request_is_what_the_network_says(fitted: NextWeek) -> None:
    """Serving works the network out in numpy, in parts; the network itself is the twin."""
    rng = np.random.default_rng(5)
    size = len(fitted.known)
    dense = np.where(rng.random((6, size)) < 0.3, rng.random((6, size)), 0).astype("float32")
    dense[:, 0] = 0.1
    bought = sparse.csr_matrix(dense)
    shares = Rows.of(bought).as_shares()
    batch = {
        "before": torch.from_numpy(bought.indices.astype("int64")),
        "starts": torch.from_numpy(bought.indptr.astype("int64")),
    }
    network = fitted.network
    if isinstance(network, MultVAE):
        row = np.repeat(np.arange(6), np.diff(bought.indptr))
        lengths = np.sqrt(np.bincount(row, shares.value.astype("float64") ** 2))
        batch["scaled"] = torch.from_numpy((shares.value / lengths[row]).astype("float32"))
        batch["own"] = torch.from_numpy(bought.data)
        batch["before_row"] = torch.from_numpy(row)
        with torch.no_grad():
            expected = network(batch)[0]
    else:
        assert isinstance(network, NeuMFNetwork)
        batch["share"] = torch.from_numpy(shares.value)
        batch["asked"] = torch.arange(size).expand(6, size)
        batch["own"] = torch.from_numpy(dense)
        with torch.no_grad():
            expected = network(batch)
    np.testing.assert_allclose(
        fitted.all_scores(Rows.of(bought)),
        expected.numpy()[:, fitted.offered],
        rtol=1e-4,
        atol=1e-4,
    )


def test_chances_are_those_of_the_whole_assortment(tmp_path: Path) -> None:
    """Everybody buys 4 of 40 articles a week, 8 negatives are drawn: a network that says the same of all
    pairs does best to say 4 / 40."""
    rng = np.random.default_rng(4)
    purchases = [
        (f"c{n:02}", f"0{article:09}", 7 * week + 3)
        for week in range(4)
        for n in range(40)
        for article in rng.choice(40, 4, replace=False)
    ]
    there = world(tmp_path, purchases)
    found = there.fit("neu_mf", negatives=1)
    assert isinstance(found, NextWeek)
    with there.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        loss, examples = found.lesson(past, found.weeks_before(past), 1)
    batch = examples.batch(torch.arange(len(examples)), torch.Generator().manual_seed(1))
    said = torch.tensor(np.log(4 / 36), requires_grad=True)

    class Same(torch.nn.Module):
        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return said.expand(batch["asked"].shape)

    loss(Same(), batch).backward()
    assert said.grad is not None
    assert abs(float(said.grad)) < 1e-4


def test_an_example_shows_other_negatives_of_its_pool_each_time(tastes: World) -> None:
    model = tastes.fit("neu_mf", positives=2, negatives=2)
    assert isinstance(model, NeuMF)
    with tastes.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        _, examples = model.lesson(past, model.weeks_before(past), 10)
    rows = torch.arange(len(examples))
    shown = [examples.batch(rows, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    negatives = [batch["asked"][:, 2:] for batch in shown]
    assert negatives[0].shape[1] == 4
    assert (negatives[0] != negatives[1]).any()
    # None is shown twice, and each had the same chance.
    assert all(len(set(row.tolist())) == 4 for row in negatives[0])
    torch.testing.assert_close(shown[0]["kept"], shown[1]["kept"])
