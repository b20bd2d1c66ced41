"""Two towers on small shops: what they learn from, by hand, and what becomes of it."""

import json
import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipelines.features import MOMENT as OWN_MOMENT
from pipelines.features import OfflineFeatures
from pipelines.model_registry import publishing, registry
from pipelines.nearest import NearestError
from pipelines.negatives import NEGATIVES
from pipelines.retrievers import two_tower
from pipelines.retrievers.base import STATE_SERVICE, Asked, Past
from pipelines.retrievers.tower_data import Purchases, TowerExamples, doings
from pipelines.retrievers.two_tower import TwoTower, size_for
from pipelines.warehouse import reading
from tests.retrieval_worlds import (
    BOOTS,
    COAT,
    CUTOFF,
    EVERYBODY,
    MOMENT,
    RANDOM,
    SHIRT,
    SOCKS,
    STAR,
    Purchase,
    World,
    world,
)

QUICK = {"weeks": 4}


@pytest.fixture(scope="module")
def random_shop(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("random"), RANDOM)


@pytest.fixture(scope="module")
def fit(random_shop: World) -> Callable[..., TwoTower]:
    @cache
    def of(**settings: object) -> TwoTower:
        fitted = random_shop.fit("two_tower", CUTOFF, **{**QUICK, **settings})
        assert isinstance(fitted, TwoTower)
        return fitted

    return of


@pytest.fixture(scope="module")
def everybody(random_shop: World) -> pd.DataFrame:
    return random_shop.state(EVERYBODY)


def learnt_from(shop: World, weeks: int = 12, most: int = 1_000) -> tuple[Past, Purchases]:
    with shop.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        found = Purchases.before(past, weeks, most, seed=7)
    assert found is not None
    return past, found


# --- what they learn from -------------------------------------------------------------------------


ANN: list[Purchase] = [
    ("ann", COAT, 10),
    ("ann", SHIRT, 3),
    ("ann", SOCKS, 3),
    ("ann", STAR, 1),
    ("bob", STAR, 1),
    ("bob", BOOTS, 0),
]


@pytest.fixture(scope="module")
def anns(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("ann"), ANN)


def test_an_example_knows_what_was_bought_before_its_day_and_nothing_else(anns: World) -> None:
    past, data = learnt_from(anns)
    ids = past.assortment.ids
    known = {}
    for moment, article, week in zip(data.moment, data.article, data.week, strict=True):
        rows = data.doings.customer == moment
        bought = rows & (data.doings.weights[:, 0] > 0)
        known[moment, ids[article]] = (week, set(ids[data.doings.article[bought]]))
    # Moments are numbered by customer and day.
    assert known == {
        (0, COAT): (2, set()),
        (1, SHIRT): (1, {COAT}),
        (1, SOCKS): (1, {COAT}),
        (2, STAR): (1, {COAT, SHIRT, SOCKS}),
        (3, STAR): (1, set()),
    }
    habit, recent, _ = data.doings.weights[(data.doings.customer == 1)][0]
    assert habit == pytest.approx(math.exp(-7 / 30))
    assert recent == pytest.approx(math.exp(-7 / 7))


def test_what_was_looked_at_on_the_day_itself_is_not_known(anns: World) -> None:
    past, data = learnt_from(anns)
    session = data.doings.weights[:, 2] > 0
    seen = {
        (int(moment), past.assortment.ids[article])
        for moment, article in zip(
            data.doings.customer[session], data.doings.article[session], strict=True
        )
    }
    assert seen == {(1, COAT), (2, COAT), (2, SHIRT), (2, SOCKS)}


def test_sales_are_those_at_the_start_of_the_week(anns: World) -> None:
    past, data = learnt_from(anns)
    (star, coat), count = past.assortment.places([STAR, COAT]), len(past.assortment)
    codes = data.sales["codes"].reshape(3, count, -1)  # at the cutoff, and a week and two before
    # The coat was sold before the first week, the star was not.
    assert (codes[1, coat] != codes[1, star]).any()
    assert (codes[2, coat] == codes[2, star]).all()
    everything = set(past.assortment.ids)
    assert [{past.assortment.ids[place] for place in places} for places in data.on_sale] == [
        everything,
        # What was first sold in a later week was not on offer; what never sold may have been.
        everything - {STAR, SHIRT, SOCKS},
    ]


def test_only_the_newest_purchases_teach_where_there_are_too_many(anns: World) -> None:
    past, data = learnt_from(anns, most=2)
    assert {past.assortment.ids[article] for article in data.article} == {STAR}
    past, data = learnt_from(anns, weeks=1)
    assert COAT not in {past.assortment.ids[article] for article in data.article}


def test_customers_at_moments_of_their_own_are_weighed_as_if_asked_then(random_shop: World) -> None:
    ago = np.arange(len(EVERYBODY)) % 20
    with random_shop.inside():
        moments = pd.to_datetime([MOMENT - timedelta(days=int(days)) for days in ago])
        rows = pd.DataFrame({"customer_id": EVERYBODY, OWN_MOMENT: moments})
        together = OfflineFeatures().read(rows, STATE_SERVICE)
        with reading() as con:
            assortment = Past.at(con, CUTOFF).assortment
    found = doings(Asked(together, MOMENT), assortment, ago.astype("float64"))
    for place, days in enumerate(ago):
        then = MOMENT - timedelta(days=int(days))
        alone = doings(Asked(together.iloc[[place]], then), assortment)
        own = found.customer == place
        assert found.article[own].tolist() == alone.article.tolist()
        np.testing.assert_allclose(found.weights[own], alone.weights, rtol=1e-5)


def test_columns_come_as_often_as_the_correction_says(random_shop: World) -> None:
    past, data = learnt_from(random_shop, weeks=3)
    examples = TowerExamples(data, negatives=1.0)
    count = len(past.assortment)
    chances = examples.log_q.exp().double()
    batch = examples.batch(torch.arange(20), torch.Generator().manual_seed(1))
    # How often 20 that were bought and 20 that were drawn are expected to be this article.
    place = torch.from_numpy(data.week[:20] * count + data.article[:20])
    torch.testing.assert_close(batch["log_q"][:20].exp(), 40 * examples.log_q[place].exp())
    assert chances.sum() == pytest.approx(1, abs=1e-5)

    generator = torch.Generator().manual_seed(1)
    drawn = np.zeros(len(chances))
    for _ in range(200):
        article, week = examples._draw(500, generator)
        drawn += np.bincount(week * count + article, minlength=len(chances))
    drawn /= drawn.sum()
    bought = np.bincount(data.week * count + data.article, minlength=len(chances)) / len(data)
    np.testing.assert_allclose((drawn + bought) / 2, chances, atol=2e-3)


def test_a_batch_holds_the_purchases_that_were_asked_for(random_shop: World) -> None:
    _, data = learnt_from(random_shop)
    batch = TowerExamples(data, negatives=0.5).batch(
        torch.tensor([5, 0, 9, 3]), torch.Generator().manual_seed(1)
    )
    assert len(batch["log_q"]) == 6
    assert (
        batch["ids"][batch["article"][:4]].tolist() == data.ids[data.article[[5, 0, 9, 3]]].tolist()
    )
    for row, example in enumerate([5, 0, 9, 3]):
        mine = data.doings.customer == data.moment[example]
        done = batch["done"][batch["doer"] == row]
        assert batch["ids"][done].tolist() == data.ids[data.doings.article[mine]].tolist()


def test_purchases_have_negatives_of_their_own(random_shop: World) -> None:
    with random_shop.inside(), reading() as con:
        past = Past.at(con, CUTOFF)
        data = Purchases.before(past, 3, 1_000, 7, NEGATIVES["last_transactions"](4))
    assert data is not None
    bought: dict[tuple[int, int], set[int]] = {}
    for moment, article in zip(data.moment, data.article, strict=True):
        bought.setdefault(moment, set()).add(article)
    some = 0
    for example, places in enumerate(data.own):
        moment = data.moment[example]
        mine = data.doings.article[data.doings.customer == moment]
        drawn = set(places[places >= 0])
        assert drawn <= set(mine) - bought[moment]
        assert (np.isfinite(data.own_log_q[example]) == (places >= 0)).all()
        some += len(drawn)
    assert some > 100

    batch = TowerExamples(data, 0.5).batch(torch.arange(8), torch.Generator().manual_seed(1))
    assert len(batch["article"]) == 8 + 4 + 8 * 4
    drawn_ids = batch["ids"][batch["article"][12:]].reshape(8, 4)
    there = data.own[:8] >= 0
    assert drawn_ids[there].tolist() == data.ids[data.own[:8][there]].tolist()


# --- what they make of it -------------------------------------------------------------------------


def test_towers_grow_with_what_there_is_to_learn_from() -> None:
    sizes = [size_for(10**n, 10**n // 10) for n in range(2, 9)]
    for smaller, larger in pairwise(sizes):
        assert smaller.dimension <= larger.dimension
        assert smaller.batch_size <= larger.batch_size
        assert smaller.epochs >= larger.epochs
    assert sizes[0].dimension < sizes[-1].dimension


def two_tribes() -> list[Purchase]:
    """Customers who buy shirts in one half of the shop, and others in the other half."""
    rng = np.random.default_rng(3)
    bought = [
        (f"{tribe}{n:02}", f"0{10 * rng.integers(12) + start:09}", int(rng.integers(3, 40)))
        for tribe, start in (("a", 1), ("b", 2))
        for n in range(25)
        for _ in range(10)
    ]
    return [*bought, ("ann", f"0{11:09}", 2), ("ben", f"0{12:09}", 2)]


def test_one_purchase_says_which_half_of_the_shop(tmp_path: Path) -> None:
    shop = world(tmp_path, two_tribes())
    fitted = shop.fit("two_tower")
    found = fitted.candidates(shop.state(["ann", "ben"]), MOMENT, 8)
    for customer, half in (("ann", "1"), ("ben", "2")):
        named = found.loc[found["customer_id"] == customer, "article_id"]
        assert sum(article.endswith(half) for article in named) >= 7


def test_a_new_article_is_near_its_like(tmp_path: Path) -> None:
    # Nobody has bought these two; they are made like the first half of the shop and the second.
    unsold = [f"0{991:09}", f"0{992:09}"]
    fitted = world(tmp_path, two_tribes(), unsold=unsold).fit("two_tower")
    assert isinstance(fitted, TwoTower)
    halves = [
        fitted.items[fitted.assortment.places([f"0{10 * n + half:09}" for n in range(12)])].mean(
            axis=0
        )
        for half in (1, 2)
    ]
    for article, (own, other) in zip(unsold, (halves, halves[::-1]), strict=True):
        place = fitted.assortment.places([article])[0]
        assert fitted.assortment.is_new[place]
        item = fitted.items[place]
        assert item @ own / np.linalg.norm(own) > item @ other / np.linalg.norm(other)


def test_a_request_goes_through_the_same_tower_as_training(
    fit: Callable[..., TwoTower], random_shop: World, everybody: pd.DataFrame
) -> None:
    fitted = fit()
    asked = Asked(pd.concat([random_shop.state(["nobody"]), everybody]), MOMENT)
    did = doings(asked, fitted.assortment)
    assert fitted.towers is not None
    with torch.inference_mode():
        expected = fitted.towers.customers(
            fitted.encoders.customer.encode(asked.state, MOMENT),
            torch.from_numpy(did.customer),
            torch.from_numpy(fitted.items[did.article]),
            torch.from_numpy(did.weights),
        )
    np.testing.assert_allclose(fitted.customers(asked), expected, atol=1e-5)


def test_an_mlp_on_top_orders_a_shortlist(
    fit: Callable[..., TwoTower], everybody: pd.DataFrame, tmp_path: Path
) -> None:
    judged = fit(top="mlp")
    found = judged.candidates(everybody, MOMENT, 3)
    asked = Asked(everybody, MOMENT)
    vectors = judged.customers(asked)
    products = vectors @ judged.vectors[judged.assortment.for_sale].T
    shortlist = np.argsort(-products, axis=1)[:, :12]
    for number, customer in enumerate(EVERYBODY):
        named = found.loc[found["customer_id"] == customer, "article_id"].tolist()
        places = judged.assortment.for_sale[shortlist[number]]
        scores = judged._judged(vectors[[number]], places[None])[0]
        assert named == judged.assortment.ids[places[np.argsort(-scores)[:3]]].tolist()
    judged.save(tmp_path)
    again = TwoTower(top="mlp").load(tmp_path).candidates(everybody, MOMENT, 3)
    pd.testing.assert_frame_equal(again, found, check_exact=True)


def test_an_index_of_other_towers_is_refused(fit: Callable[..., TwoTower], tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder, seed in ((mine, 7), (other, 8)):
        folder.mkdir()
        fit(seed=seed).save(folder)
    record = json.loads((mine / "nearest.json").read_text())
    assert record["made_for"] == fit().version()
    for file in other.glob("nearest.*"):
        shutil.copy(file, mine)
    with pytest.raises(NearestError, match="build it again"):
        TwoTower().load(mine)


def test_a_run_that_was_killed_goes_on(
    random_shop: World,
    everybody: pd.DataFrame,
    fit: Callable[..., TwoTower],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = random_shop.home / "training"
    steps = 0
    loss = two_tower.tower_loss

    def counted(towers: torch.nn.Module, batch: two_tower.Batch) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 40:
            raise KeyboardInterrupt
        return loss(towers, batch)

    monkeypatch.setattr(two_tower, "_SHORT", 0)
    monkeypatch.setattr(two_tower, "tower_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        random_shop.fit("two_tower", CUTOFF, **QUICK)
    assert len(list(folder.glob("two_tower-*"))) == 1
    killed_after, steps = steps, 40
    again = random_shop.fit("two_tower", CUTOFF, **QUICK)
    monkeypatch.undo()

    pd.testing.assert_frame_equal(
        again.candidates(everybody, MOMENT, 10),
        fit().candidates(everybody, MOMENT, 10),
        check_exact=True,
    )
    assert not list(folder.iterdir())
    whole = fit().size.epochs * -(-fit_purchases(random_shop) // fit().size.batch_size)
    assert killed_after < whole
    assert steps - 40 < whole


def fit_purchases(shop: World) -> int:
    return len(learnt_from(shop, weeks=4)[1])


def test_helping_processes_register_nothing(
    random_shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with random_shop.inside():
        monkeypatch.setenv("RANK", "1")
        assert publishing.train(CUTOFF, ["popular"]) == {}
        assert not list(registry.list_versions())
        monkeypatch.setenv("RANK", "0")
        assert set(publishing.train(CUTOFF, ["popular"])) == {
            "popular",
            *publishing.BESIDE,
        }


def test_products_are_not_rounded_where_training_is_of_mixed_precision() -> None:
    class Half(two_tower.Towers):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.top = None

        def forward(self, batch: two_tower.Batch) -> tuple[torch.Tensor, torch.Tensor]:
            return vectors[:8], vectors

        def scale(self) -> torch.Tensor:
            return torch.tensor(33.0)

    vectors = torch.nn.functional.normalize(
        torch.randn(16, 8, generator=torch.Generator().manual_seed(3)), dim=1
    )
    batch = {
        "article": torch.arange(16),
        "log_q": torch.zeros(16),
        "own_log_q": torch.zeros(8, 0),
    }
    exact = two_tower.tower_loss(Half(), batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = two_tower.tower_loss(Half(), batch)
    assert float(mixed) == pytest.approx(float(exact), rel=1e-6)


def test_customers_are_judged_some_at_a_time(
    fit: Callable[..., TwoTower], everybody: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = fit(top="mlp")
    whole = judged.candidates(everybody, MOMENT, 3)
    monkeypatch.setattr(two_tower, "_JUDGED", 30)
    some = judged.candidates(everybody, MOMENT, 3)
    assert some["article_id"].tolist() == whole["article_id"].tolist()
    np.testing.assert_allclose(some["score"], whole["score"], rtol=1e-5)
