"""Nearest vectors: the same answers as looking at every one, and no index where another is needed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import LookbookError
from pipelines.nearest import Index, NearestError

APPROXIMATE = ["hnsw", "ivf"]
KINDS = ["exact", *APPROXIMATE]


def vectors(count: int, dimension: int = 16, seed: int = 1, unit: bool = True) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, dimension))
    if unit:
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype("float32")


SHOP = vectors(2_000)
ASKED = vectors(40, seed=2)


@pytest.fixture(params=KINDS, scope="module")
def index(request: pytest.FixtureRequest) -> Index:
    return Index.build(SHOP, made_for="towers-1", kind=request.param)


def by_hand(
    stored: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Places and scores of the k best of each, by sorting all."""
    scores = queries.astype("float64") @ stored.T.astype("float64")
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return best, np.where(np.isfinite(best), order, -1)


def test_shapes_types_and_order(index: Index) -> None:
    scores, places = index.search(ASKED, 10)
    assert scores.shape == places.shape == (40, 10)
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)
    assert (np.diff(scores, axis=1) <= 0).all()
    at_hand = np.einsum("bkd,bd->bk", SHOP[places], ASKED)
    np.testing.assert_allclose(scores, at_hand, atol=1e-5)


def test_nearly_all_of_the_nearest_are_found(index: Index) -> None:
    _, places = index.search(ASKED, 100)
    _, truth = by_hand(SHOP, ASKED, 100)
    shared = np.mean([len(set(a) & set(b)) / 100 for a, b in zip(places, truth, strict=True)])
    assert shared >= 0.96
    assert index.recall >= 0.98
    assert (index.recall == 1.0) or index.kind != "exact"


def test_one_query_is_answered_as_among_many(index: Index) -> None:
    _, together = index.search(ASKED, 20)
    alone = np.concatenate([index.search(query[None], 20)[1] for query in ASKED])
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("share", [0.9, 0.3, 0.02])
def test_only_what_is_allowed_comes_back(index: Index, share: float) -> None:
    allowed = np.random.default_rng(3).random(len(SHOP)) < share
    scores, places = index.search(ASKED, 30, allowed)
    assert allowed[places].all()
    truth, _ = by_hand(SHOP, ASKED, 30, allowed)
    assert (scores >= truth[:, -1:] - 1e-5).mean() >= 0.95


def test_fewer_allowed_than_asked_for_leaves_places_empty(index: Index) -> None:
    allowed = np.zeros(len(SHOP), dtype=bool)
    allowed[[5, 900]] = True
    scores, places = index.search(ASKED, 4, allowed)
    assert [set(row[:2]) for row in places] == [{5, 900}] * 40
    assert (places[:, 2:] == -1).all()
    assert (scores[:, 2:] == -np.inf).all()
    assert (index.search(ASKED, 4, np.zeros(len(SHOP), dtype=bool))[1] == -1).all()


def test_more_than_there_are_gives_all(index: Index) -> None:
    _, places = index.search(ASKED[:2], 10**9)
    assert places.shape == (2, len(SHOP))
    assert (np.sort(places, axis=1) == np.arange(len(SHOP))).all()


@pytest.mark.parametrize("kind", ["auto", *KINDS])
def test_nothing_in_it(kind: str, tmp_path: Path) -> None:
    empty = Index.build(np.zeros((0, 4), "float32"), made_for="a", kind=kind)
    empty.save(tmp_path)
    for index in (empty, Index.load(tmp_path, made_for="a")):
        assert len(index) == 0
        scores, places = index.search(np.ones((3, 4)), 5)
        assert scores.shape == places.shape == (3, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_vector(kind: str) -> None:
    index = Index.build(np.ones((1, 3)), made_for="a", kind=kind)
    scores, places = index.search(np.ones((2, 3)), 5)
    assert places.tolist() == [[0], [0]]
    assert scores.tolist() == [[3.0], [3.0]]


def test_nobody_asks(index: Index) -> None:
    assert index.search(np.zeros((0, 16)), 3)[1].shape == (0, 3)
    assert index.search(ASKED, 0)[1].shape == (40, 0)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 60).flatmap(
        lambda count: st.tuples(
            st.lists(
                st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=count, max_size=count
            ),
            st.lists(st.booleans(), min_size=count, max_size=count),
        )
    ),
    st.integers(1, 40),
    st.booleans(),
)
def test_exact_is_the_sorted_list_with_equal_ones_by_place(
    stored: tuple[list[tuple[int, int]], list[bool]], k: int, masked: bool
) -> None:
    """Small whole numbers, of which many are equal."""
    rows, mask = np.array(stored[0], dtype="float32"), np.array(stored[1])
    queries = np.array([[1, 0], [0, 0], [1, -1]], dtype="float32")
    allowed = mask if masked else None
    scores, places = Index.build(rows, made_for="a").search(queries, k, allowed)
    truth, order = by_hand(rows, queries, k, allowed)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(scores, truth)


def test_equal_vectors_come_in_order_of_place(index: Index) -> None:
    same = Index.build(np.repeat(SHOP[:40], 50, axis=0), made_for="a", kind=index.kind)
    _, places = same.search(SHOP[:3], 50)
    for own, row in enumerate(places):
        assert (row // 50 == own).all()
        assert (np.diff(row) > 0).all()


def test_lengths_may_differ() -> None:
    long = vectors(3_000, unit=False) * np.exp(vectors(3_000, 1, seed=4, unit=False) * 0.5)
    index = Index.build(long, made_for="a", kind="hnsw", at=50)
    scores, _ = index.search(ASKED, 50)
    truth, _ = by_hand(long, ASKED, 50)
    assert (scores >= truth[:, -1:] - 1e-4).mean() >= 0.95


@pytest.mark.parametrize(("count", "kind"), [(99, "exact"), (2_000, "exact"), (0, "exact")])
def test_auto_is_exact_while_that_is_as_quick(count: int, kind: str) -> None:
    assert Index.build(SHOP[:count], made_for="a", exact_below=100).kind == kind


def test_auto_looks_at_few_cells_where_they_hold_enough() -> None:
    index = Index.build(vectors(6_000, 8), made_for="a", exact_below=5_000, at=10)
    assert index.kind == "ivf"
    assert index.effort <= 154 / 2
    assert 0.98 <= index.recall <= 1


def test_an_index_that_finds_too_little_is_refused() -> None:
    wide = vectors(4_000, 128)
    with pytest.raises(
        NearestError, match=r"hnsw index of 4,000 vectors finds 0\.\d+ of the 100"
    ) as at:
        Index.build(
            wide, made_for="a", kind="hnsw", queries=vectors(50, 128, seed=9), most_effort=1
        )
    assert "0.98 is needed" in str(at.value)
    assert isinstance(at.value, LookbookError)
    with pytest.raises(NearestError, match="ivf index"):
        Index.build(wide, made_for="a", kind="ivf", most_effort=2)


def test_an_index_that_found_too_little_is_not_opened(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).standard_normal((5_000, 32), dtype="float32")
    poor = Index.build(vectors, made_for="v1", kind="ivf", least_recall=0.1)
    assert poor.recall < 0.98
    poor.save(tmp_path)
    with pytest.raises(NearestError, match=r"finds 0\.\d+ of the nearest, and 0.98 is needed"):
        Index.load(tmp_path, made_for="v1")
    assert len(Index.load(tmp_path, made_for="v1", least_recall=0.1)) == 5_000


def test_effort_grows_until_enough_is_found() -> None:
    wide = vectors(4_000, 64)
    little, much = (
        Index.build(wide, made_for="a", kind="hnsw", at=10, least_recall=least)
        for least in (0.3, 0.98)
    )
    assert little.effort < much.effort
    assert little.recall < 0.98 <= much.recall


def test_recall_is_measured_on_the_queries_that_are_given() -> None:
    """Cells far from everything that is asked need not be looked at; of other queries they must."""
    near, far = vectors(500, 8), vectors(500, 8, seed=5)
    near[:, 0], far[:, 0] = 5, -5
    both = np.concatenate([near, far])
    easy = Index.build(both, made_for="a", kind="ivf", queries=near[:50], at=1)
    hard = Index.build(both, made_for="a", kind="ivf", queries=vectors(200, 8, unit=False), at=100)
    assert easy.effort < hard.effort


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_vectors_and_seed_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        Index.build(SHOP, made_for="a", kind=kind, seed=7).save(tmp_path / name)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second


def test_another_seed_gives_another_graph(tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        Index.build(SHOP, made_for="a", kind="hnsw", seed=seed).save(tmp_path)
        files.append((tmp_path / "nearest.faiss").read_bytes())
    assert files[0] != files[1]


def test_saved_and_loaded_it_answers_the_same(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded = Index.load(tmp_path, made_for="towers-1")
    for name in ("made_for", "kind", "dimension", "recall", "at", "effort"):
        assert getattr(loaded, name) == getattr(index, name)
    for ours, theirs in zip(index.search(ASKED, 30), loaded.search(ASKED, 30), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_vectors_of_other_towers_are_refused(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path)
    with pytest.raises(NearestError, match="holds vectors of towers-1, and those of towers-2"):
        Index.load(tmp_path, made_for="towers-2")


@pytest.mark.parametrize("file", ["nearest.faiss", "nearest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_file_is_refused(file: str, damage: str, tmp_path: Path) -> None:
    Index.build(SHOP[:50], made_for="a").save(tmp_path)
    path = tmp_path / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        place = content.index(b"100") if file.endswith("json") else len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(NearestError, match="build it again"):
        Index.load(tmp_path, made_for="a")


@pytest.mark.parametrize("record", ["[]", "3", "{}", json.dumps({"checksum": "x", "made_for": 3})])
def test_a_record_of_something_else_is_refused(record: str, tmp_path: Path) -> None:
    Index.build(SHOP[:50], made_for="a").save(tmp_path)
    (tmp_path / "nearest.json").write_text(record)
    with pytest.raises(NearestError, match="build it again"):
        Index.load(tmp_path, made_for="a")


def test_what_is_no_matrix_of_numbers_is_refused(index: Index) -> None:
    for wrong in (np.ones(3), np.ones((2, 0)), np.array([[1.0, np.nan]])):
        with pytest.raises(NearestError, match="The vectors of an index"):
            Index.build(wrong, made_for="a")
    for wrong in (np.ones(16), np.ones((1, 15)), np.full((1, 16), np.inf)):
        with pytest.raises(NearestError, match="Queries"):
            index.search(wrong, 1)
    with pytest.raises(NearestError, match="allowed"):
        index.search(ASKED, 1, np.ones(3, dtype=bool))


@pytest.mark.parametrize("order", ["torch, pipelines.nearest", "pipelines.nearest, torch"])
def test_torch_and_faiss_work_in_one_process(order: str) -> None:
    """Both bring a runtime of OpenMP. Each computes with several threads before and after the other."""
    code = f"""
import {order}
import numpy as np
torch.set_num_threads(2)
pipelines.nearest.faiss.omp_set_num_threads(2)
rows = np.random.default_rng(0).standard_normal((3_000, 32)).astype("float32")
index = pipelines.nearest.Index.build(rows, made_for="a", kind="hnsw", at=10)
for _ in range(20):
    product = torch.from_numpy(rows) @ torch.from_numpy(rows[:200]).T
    places = index.search(rows[:200], 1)[1][:, 0]
    assert (places == product.argmax(dim=0).numpy()).mean() > 0.9
assert torch.get_num_threads() == pipelines.nearest.faiss.omp_get_max_threads() == 2
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


def test_products_are_those_of_the_vectors(index: Index) -> None:
    """Also of an index that was saved, whose bytes do not depend on what was asked before."""
    places = np.array([7, 0, 1_999, 7])
    np.testing.assert_allclose(index.products(ASKED[0], places), SHOP[places] @ ASKED[0], atol=1e-5)
    assert index.products(ASKED[0], np.zeros(0, "int64")).shape == (0,)
    with pytest.raises(NearestError, match="shape"):
        index.products(ASKED[0, :3], places)


def test_numbers_of_two_bytes_take_half_and_find_the_same(tmp_path: Path) -> None:
    whole = Index.build(SHOP, made_for="towers-1", kind="exact")
    half = Index.build(SHOP, made_for="towers-1", kind="exact", half=True)
    half.save(tmp_path)
    again = Index.load(tmp_path, made_for="towers-1")
    assert again.kind == "exact"
    assert (tmp_path / "nearest.faiss").stat().st_size < 0.51 * SHOP.nbytes + 500
    allowed = np.random.default_rng(3).random(len(SHOP)) < 0.3
    for those in (None, allowed):
        scores, places = again.search(ASKED, 20, those)
        np.testing.assert_allclose(scores, whole.search(ASKED, 20, those)[0], atol=1e-3)
        assert those is None or allowed[places].all()
        np.testing.assert_allclose(again.products(ASKED[3], places[3]), scores[3], atol=1e-6)
    # Equal ones stand in order of place.
    twins = np.concatenate([SHOP[:50]] * 40)
    _, places = Index.build(twins, made_for="x", half=True).search(SHOP[:1], 30)
    assert (np.diff(places[0]) > 0).all()
