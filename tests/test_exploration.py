"""Exploration: what is drawn comes as often as its propensity says."""

from collections import Counter, defaultdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import InputError
from pipelines.exploration import Exploration, explore, seed_of

DRAWS = 4_000
SMALL = [
    Exploration("epsilon", depth=3, epsilon=0.4),
    Exploration("epsilon", depth=50, epsilon=1.0),
    Exploration("plackett_luce", depth=3, temperature=0.7),
    Exploration("plackett_luce", depth=4, temperature=2.0),
]
SCORES = np.array([2.0, 1.5, 1.5, -1.0])


def probability(slate: tuple[int, ...], size: int, how: Exploration) -> list[float]:
    """Of each place of a slate, given those before, by the words of the definition."""
    found, left = [], list(range(size))
    for article in slate:
        if how.kind == "epsilon":
            among = left[: how.depth]
            chance = how.epsilon / len(among) * (article in among)
            chance += (1 - how.epsilon) * (article == left[0])
        else:
            among = [one for one in left if one < how.depth] or left[:1]
            weights = {one: np.exp(SCORES[one] / how.temperature) for one in among}
            chance = weights.get(article, 0.0) / sum(weights.values())
        found.append(float(chance))
        left.remove(article)
    return found


@pytest.mark.parametrize("how", SMALL, ids=str)
def test_propensities_are_how_often_it_comes(how: Exploration) -> None:
    """Chances of a place sum to one over what may stand there, and slates are as frequent as theirs multiply."""
    seen: Counter[tuple[int, ...]] = Counter()
    told: dict[tuple[int, ...], np.ndarray] = {}
    for seed in range(DRAWS):
        order, propensities = explore(SCORES, 2, how, seed)
        slate = tuple(int(one) for one in order[:2])
        seen[slate] += 1
        told.setdefault(slate, propensities)
        assert np.array_equal(told[slate], propensities)
    expected = {slate: probability(slate, 4, how) for slate in permutations(range(4), 2)}
    assert set(seen) <= {slate for slate, chances in expected.items() if all(chances)}
    sums: defaultdict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
    for slate, chances in expected.items():
        chance = float(np.prod(chances))
        error = np.sqrt(chance * (1 - chance) / DRAWS)
        assert abs(seen[slate] / DRAWS - chance) <= 4.5 * error, slate
        if slate in told:
            assert told[slate] == pytest.approx(chances)
            for n in range(2):
                sums[slate[:n]][slate[n]] = told[slate][n]
    for prefix, chances_there in sums.items():
        assert sum(chances_there.values()) == pytest.approx(1), prefix


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-30, 30), max_size=30),
    st.integers(0, 14),
    st.sampled_from(["epsilon", "plackett_luce"]),
    st.integers(1, 40),
    st.floats(0, 1),
    st.integers(0, 2**64 - 1),
)
def test_nobody_is_lost_and_the_rest_stays_in_order(
    scores: list[float], k: int, kind: str, depth: int, epsilon: float, seed: int
) -> None:
    how = Exploration(kind, depth=depth, epsilon=epsilon, temperature=3.0)  # type: ignore[arg-type]
    order, propensities = explore(np.array(scores), k, how, seed)
    assert sorted(order) == list(range(len(scores)))
    assert len(propensities) == min(k, len(scores))
    assert ((propensities > 0) & (propensities <= 1)).all()
    assert list(order[k:]) == sorted(order[k:])
    again, same = explore(np.array(scores), k, how, seed)
    assert np.array_equal(order, again)
    assert np.array_equal(propensities, same)


def test_without_chance_the_order_stays_also_where_scores_do_not_fall() -> None:
    order, propensities = explore(
        np.array([1.0, 9.0, 5.0]), 2, Exploration("epsilon", epsilon=0.0), 7
    )
    assert list(order) == [0, 1, 2]
    assert list(propensities) == [1.0, 1.0]


def test_what_is_deeper_is_not_drawn_and_follows_when_the_rest_is_used_up() -> None:
    how = Exploration("plackett_luce", depth=2, temperature=100.0)
    slates = {tuple(explore(np.zeros(5), 4, how, seed)[0]) for seed in range(40)}
    assert slates == {(0, 1, 2, 3, 4), (1, 0, 2, 3, 4)}
    propensities = explore(np.zeros(5), 4, how, 1)[1]
    assert list(propensities) == pytest.approx([0.5, 1, 1, 1])


def test_a_score_without_a_value_has_no_probability() -> None:
    with pytest.raises(ValueError, match="not finite"):
        explore(np.array([1.0, np.nan]), 1, Exploration("plackett_luce"), 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "greedy"}, "kind is 'greedy'"),
        ({"kind": "epsilon", "epsilon": 1.5}, "epsilon is 1.5"),
        ({"kind": "epsilon", "depth": 0}, "depth is 0"),
        ({"kind": "epsilon", "depth": 2.5}, "depth is 2.5"),
        ({"kind": "plackett_luce", "temperature": 0}, "temperature is 0"),
        ({"kind": "plackett_luce", "temperature": float("inf")}, "temperature is inf"),
    ],
)
def test_settings_that_cannot_be(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Exploration(**settings)


def test_a_seed_is_that_of_the_request() -> None:
    assert seed_of("r-1") == seed_of("r-1") != seed_of("r-2")
    assert seed_of("") < 2**64
