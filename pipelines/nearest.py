"""Nearest vectors by inner product, with FAISS: exact while that is quick, by a graph or cells above.

An approximate index is measured against the exact answer when it is built, and refused if it finds too
little. It knows which towers or which encoder its vectors come from and is not opened for others.

A vectors, B queries, D numbers of each.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import faiss as faiss_with_stubs
import numpy as np

from feature_repo.errors import LookbookError
from feature_repo.places import whole_file

# Its stubs say other arguments than it takes.
faiss: Any = faiss_with_stubs

Kind = Literal["exact", "hnsw", "ivf"]

_VECTORS = "nearest.faiss"
_RECORD = "nearest.json"
_SAMPLE = 500
"""Queries on which recall is measured."""
LEAST_RECALL = 0.98
"""What an approximate index must find of the nearest to be built or opened."""
_LINKS = (32, 64)
"""Links of a vector in the graph: more are tried where the first find too little."""


class NearestError(LookbookError, ValueError):
    """An index cannot be built, opened or asked; the text says what differs and what to do."""


class Index:
    """Vectors by their place, to be searched for the largest inner products.

    Graphs are HNSW (Malkov and Yashunin, TPAMI 2020), made with inner products as they are (Morozov and
    Babenko, NeurIPS 2018). Making vectors equally long by one number more (Bachrach et al., RecSys 2014)
    finds less: of 10,000 with lognormal lengths, sigma 0.3, efSearch 128, 0.78 of the 100 nearest against
    0.99. Cells are those of k-means (Jégou et al., TPAMI 2011).

    Cost of a query: exact A x D, quick for it reads memory in a row; a graph some `effort` x links x D; cells
    A x `effort` / cells x D. Memory: 4 A D bytes, and 8 A x links for a graph.

    Few queries run in the thread that asks; for many FAISS uses all cores. The same vectors, settings
    and seed give the same file on the same kind of machine, for which a graph is made by one thread.

    Attributes:
        made_for: version of what made the vectors.
        kind: exact, hnsw or ivf.
        recall: share of the `at` nearest that it found of sample queries when built; 1 if exact.
        at: of how many nearest that is.
        effort: efSearch of a graph, nprobe of cells, 0 if exact.
    """

    def __init__(
        self,
        found: Any,
        *,
        made_for: str,
        dimension: int,
        recall: float = 1.0,
        at: int = 100,
        effort: int = 0,
    ) -> None:
        self._faiss = found
        self.made_for = made_for
        if type(found) not in _KINDS:
            raise NearestError(
                f"An index of the type {type(found).__name__} is none of ours: build it."
            )
        self.kind: Kind = _KINDS[type(found)]
        if self.kind == "ivf":
            # Where each vector lies, for `products`.
            found.make_direct_map()
        self.dimension = dimension
        self.recall = recall
        self.at = at
        self.effort = effort

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        *,
        made_for: str,
        exact_below: int = 20_000,
        kind: Literal["auto"] | Kind = "auto",
        queries: np.ndarray | None = None,
        least_recall: float = LEAST_RECALL,
        at: int = 100,
        most_effort: int = 1024,
        seed: int = 0,
        half: bool = False,
    ) -> "Index":
        """An index of the vectors that finds enough with the least effort.

        Args:
            vectors: A x D; of length 1 or any.
            made_for: version (hash) of the towers or the encoder that made them.
            exact_below: with fewer vectors `auto` is exact; otherwise the first of ivf and hnsw that finds
                enough quicker than looking at every vector would, or else exact too.
            queries: what will be asked, B x D, of which recall is measured on a sample; if None
                it is measured on the vectors themselves, with noise.
            least_recall: share of the `at` nearest that must be found, 0 to 1.
            at: how many nearest recall is measured on. Whoever asks for more is searched wider.
            most_effort: the greatest efSearch or nprobe to try.
            half: an exact index keeps numbers of two bytes, which takes half the memory and time; of unit vectors,
                products differ by some ten-thousandths then.

        Raises:
            NearestError: vectors of a wrong shape or not finite, or recall of the kind asked for below
                what is needed with every setting tried.
        """
        vectors = _matrix(vectors, None, "The vectors of an index")
        size, dimension = vectors.shape

        def exact() -> "Index":
            flat = faiss.IndexFlatIP(dimension)
            if half:
                two_bytes = faiss.ScalarQuantizer.QT_fp16
                flat = faiss.IndexScalarQuantizer(dimension, two_bytes, faiss.METRIC_INNER_PRODUCT)
                # It has nothing to learn, and must be told so.
                flat.is_trained = True
            flat.add(vectors)
            return cls(flat, made_for=made_for, dimension=dimension, at=at)

        if kind == "exact" or not size or (kind == "auto" and size < exact_below):
            return exact()
        sample = _sample(vectors, queries, seed)
        at = min(at, size)
        least = _least(vectors, sample, at)
        tried = ("ivf", "hnsw") if kind == "auto" else (kind,)
        best = 0.0
        for made in (made for name in tried for made in _MAKE[name](vectors, seed)):
            index = cls(made, made_for=made_for, dimension=dimension, at=at)
            most = index._pays_until if kind == "auto" else index._most
            # A graph keeps as many candidates as are asked for, however little the effort.
            least_effort = at if index.kind == "hnsw" else 8
            for effort in _efforts(least_effort, min(most_effort, most)):
                index.effort = effort
                scores, _ = index._approximately(sample, at, None, effort)
                # By score, for of equally near ones any may be found.
                index.recall = float((scores >= least).mean())
                if index.recall >= least_recall:
                    return index
                best = max(best, index.recall)
        if kind == "auto":
            return exact()
        raise NearestError(
            f"The {kind} index of {size:,} vectors finds {best:.3f} of the {at} nearest, and {least_recall} "
            "is needed: allow more effort, or build it with kind='auto' or 'exact'."
        )

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The vectors with the largest inner products, largest first; equal ones in order of place.

        Args:
            queries: B x D.
            k: how many; no more than there are come back.
            allowed: which vectors may come back (A,); any if None.

        Returns:
            scores B x min(k, A), float32, minus infinity where fewer are allowed, and places of the
            same shape, int64, -1 there.

        Raises:
            NearestError: queries or `allowed` of a wrong shape, or not finite.
        """
        queries = _matrix(queries, self.dimension, "Queries")
        k = max(0, min(k, len(self)))
        if allowed is not None and np.shape(allowed) != (len(self),):
            raise NearestError(
                f"allowed has the shape {np.shape(allowed)}: give one value for each of {len(self):,} vectors."
            )
        there = len(self) if allowed is None else int(np.count_nonzero(allowed))
        if not k or not there or not len(queries):
            shape = (len(queries), k)
            return np.full(shape, -np.inf, "float32"), np.full(shape, -1, "int64")
        if len(queries) >= _MANY:
            return self._nearest(queries, k, there, allowed)
        # Threads that wait for each other make one query take 40 ms on busy cores.
        with _one_thread():
            return self._nearest(queries, k, there, allowed)

    def products(self, query: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The inner products of a query (D,) with the vectors at some places (N,), float32 (N,).

        Raises:
            NearestError: a query of a wrong shape, or not finite.
        """
        query = _matrix(query[None], self.dimension, "Queries")[0]
        if not len(places):
            return np.zeros(0, dtype="float32")
        graph = self.kind == "hnsw"
        stored = faiss.downcast_index(self._faiss.storage) if graph else self._faiss
        return np.asarray(stored.reconstruct_batch(np.asarray(places, dtype="int64")) @ query)

    def save(self, folder: Path) -> None:
        """Write the index and what it was made for; the same index gives the same bytes."""
        with whole_file(folder / _VECTORS) as partial:
            if self.kind == "ivf":
                # It is made again in no time, and would be 8 bytes a vector.
                self._faiss.set_direct_map_type(faiss.DirectMap.NoMap)
            faiss.write_index(self._faiss, str(partial))
            if self.kind == "ivf":
                self._faiss.make_direct_map()
            vectors = partial.read_bytes()
        record = {name: getattr(self, name) for name in _RECORDED}
        record["checksum"] = _checksum(record, vectors)
        with whole_file(folder / _RECORD) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, made_for: str, least_recall: float = LEAST_RECALL) -> "Index":
        """A saved index.

        Args:
            made_for: version of the towers or the encoder whose queries it will be asked.
            least_recall: what it must have found when it was built.

        Raises:
            NearestError: a file is missing or damaged, the vectors are of another version, or the index
                found too little.
        """
        try:
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            vectors = (folder / _VECTORS).read_bytes()
            checksum = record.pop("checksum")
            whole = checksum == _checksum(record, vectors) and record.keys() == set(_RECORDED)
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise NearestError(
                f"The index in {folder.name} cannot be read ({error}): build it again."
            ) from error
        if not whole:
            raise NearestError(
                f"The index in {folder.name} is damaged, for its files are not as they were written: "
                "build it again."
            )
        if record["made_for"] != made_for:
            raise NearestError(
                f"The index in {folder.name} holds vectors of {record['made_for']}, and those of "
                f"{made_for} are needed: build it again with {made_for}."
            )
        if record["recall"] < least_recall:
            raise NearestError(
                f"The index in {folder.name} finds {record['recall']:.3f} of the nearest, and {least_recall} "
                "is needed: build it again with more effort, or exact."
            )
        found = faiss.deserialize_index(np.frombuffer(vectors, dtype="uint8"))
        return cls(found, **record)

    @property
    def _most(self) -> int:
        """The effort with which everything is looked at."""
        return int(self._faiss.nlist) if self.kind == "ivf" else len(self)

    @property
    def _pays_until(self) -> int:
        """The effort from which on looking at everything is as quick.

        A step in a graph costs what 128 vectors in a row cost, for they lie all over memory.
        """
        return self._most // (2 if self.kind == "ivf" else 128)

    def _nearest(
        self, queries: np.ndarray, k: int, there: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, with `there` vectors allowed."""
        effort = math.ceil(self.effort * max(1.0, k / self.at) * len(self) / there)
        if self.kind == "exact" or effort > max(self.effort, self._pays_until):
            return self._exactly(queries, k, allowed)
        scores, places = self._approximately(queries, k, allowed, effort)
        short = np.flatnonzero((places >= 0).sum(axis=1) < min(k, there))
        if len(short):
            scores[short], places[short] = self._exactly(queries[short], k, allowed)
        return scores, places

    def _approximately(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, effort: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, by looking where the nearest are likely to be."""
        chosen = _selector(allowed)
        if self.kind == "hnsw":
            settings = faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)
        else:
            settings = faiss.SearchParametersIVF(nprobe=effort, sel=chosen)
        scores, places = self._faiss.search(queries, k, params=settings)
        if self.kind == "hnsw":
            self._score_alike(queries, scores, places)
        return _in_order(scores, places)

    def _score_alike(self, queries: np.ndarray, scores: np.ndarray, places: np.ndarray) -> None:
        """Compute the scores of what was found anew, in place.

        FAISS takes four vectors of the graph at a time, and what is left one by one, which on some processors
        rounds otherwise: equal vectors then had unequal scores.
        """
        storage = faiss.downcast_index(self._faiss.storage)
        for start in range(0, len(queries), _BLOCK):
            rows = slice(start, start + _BLOCK)
            known = places[rows] >= 0
            found = storage.reconstruct_batch(np.where(known, places[rows], 0).ravel())
            found = found.reshape(*known.shape, -1)
            again = np.einsum("qkd,qd->qk", found, queries[rows])
            scores[rows] = np.where(known, again, scores[rows])

    def _exactly(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `search`, by looking at every vector."""
        chosen = _selector(allowed)
        if self.kind == "ivf":
            index, settings = self._faiss, faiss.SearchParametersIVF(nprobe=self._most, sel=chosen)
        elif self.kind == "hnsw":
            index = faiss.downcast_index(self._faiss.storage)
            settings = faiss.SearchParameters(sel=chosen)
        else:
            index, settings = self._faiss, faiss.SearchParameters(sel=chosen)
        more = min(k + _TIES, len(self))
        scores, places = _in_order(*index.search(queries, more, params=settings))
        # Where equal ones go on beyond what was asked, those of the first places are among the rest.
        open_ended = np.flatnonzero((scores[:, -1] == scores[:, k - 1]) & (places[:, -1] >= 0))
        scores, places = scores[:, :k].copy(), places[:, :k].copy()
        for start in range(0, len(open_ended) if more < len(self) else 0, _BLOCK):
            rows = open_ended[start : start + _BLOCK]
            found = _in_order(*index.search(queries[rows], len(self), params=settings))
            scores[rows], places[rows] = (part[:, :k] for part in found)
        return scores, places


_RECORDED = ("made_for", "dimension", "recall", "at", "effort")
_KINDS: dict[type, Kind] = {
    faiss.IndexFlatIP: "exact",
    faiss.IndexScalarQuantizer: "exact",
    faiss.IndexHNSWFlat: "hnsw",
    faiss.IndexIVFFlat: "ivf",
}
_MANY = 64
"""From how many queries on sharing them among threads pays."""
_TIES = 16
"""How many are looked at beyond those asked for, to see where equal ones end."""
_BLOCK = 64
"""Queries whose every score is held at a time."""


def recorded_recall(folder: Path) -> float | None:
    """What the index saved in a folder or below it found when it was built, of several the least; None if none is
    there.

    Raises:
        NearestError: its record cannot be read.
    """
    found = []
    for file in sorted(folder.rglob(_RECORD)):
        try:
            found.append(float(json.loads(file.read_text(encoding="utf-8"))["recall"]))
        except (ValueError, KeyError, TypeError) as error:
            raise NearestError(
                f"The index in {file.parent.name} cannot be read ({error})."
            ) from error
    return min(found, default=None)


def _matrix(values: np.ndarray, dimension: int | None, what: str) -> np.ndarray:
    matrix = np.ascontiguousarray(values, dtype="float32")
    if matrix.ndim != 2 or not matrix.shape[1] or dimension not in (None, matrix.shape[1]):
        wanted = "rows of numbers" if dimension is None else f"rows of {dimension} numbers"
        raise NearestError(f"{what} have the shape {matrix.shape}: give {wanted}.")
    if not np.isfinite(matrix).all():
        raise NearestError(f"{what} are not all finite: mend what made them.")
    return matrix


def _graphs(vectors: np.ndarray, seed: int) -> Iterator[Any]:
    """Graphs of the vectors, each better and larger than the one before."""
    for links in _LINKS:
        graph = faiss.IndexHNSWFlat(vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 4 * links
        graph.hnsw.rng = faiss.RandomGenerator(seed)
        with _one_thread():
            graph.add(vectors)
        yield graph


def _cells(vectors: np.ndarray, seed: int) -> Iterator[Any]:
    """The vectors in about 2 sqrt(A) cells."""
    cells = max(1, min(int(2 * math.sqrt(len(vectors))), len(vectors) // 8))
    found = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    found.cp.seed = seed
    found.cp.spherical = True
    found.cp.min_points_per_centroid = 1
    with _one_thread():
        found.train(vectors)
        found.add(vectors)
    yield found


_MAKE = {"hnsw": _graphs, "ivf": _cells}


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS uses one thread, so that what it makes does not depend on which is first."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def _efforts(least: int, most: int) -> Iterator[int]:
    """From the least to the most, each half as much again."""
    effort = min(least, most)
    yield effort
    while effort < most:
        effort = min(effort * 3 // 2, most)
        yield effort


def _sample(vectors: np.ndarray, queries: np.ndarray | None, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if queries is not None and len(queries):
        queries = _matrix(queries, vectors.shape[1], "Queries")
        return queries[rng.permutation(len(queries))[:_SAMPLE]]
    chosen = vectors[rng.permutation(len(vectors))[:_SAMPLE]]
    spread = np.linalg.norm(chosen, axis=1, keepdims=True) / np.sqrt(2 * chosen.shape[1])
    noise = rng.standard_normal(chosen.shape, dtype="float32")
    return np.asarray(chosen + 0.5 * spread * noise, dtype="float32")


def _least(vectors: np.ndarray, queries: np.ndarray, at: int) -> np.ndarray:
    """The score of each query's `at`-th nearest vector, less what rounding does (B, 1)."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    scores, _ = flat.search(queries, at)
    longest = np.linalg.norm(vectors, axis=1).max()
    rounding = 1e-6 * longest * np.linalg.norm(queries, axis=1)
    return np.asarray(scores[:, -1] - rounding)[:, None]


def _selector(allowed: np.ndarray | None) -> Any:
    if allowed is None:
        return None
    bits = np.packbits(np.asarray(allowed, dtype=bool), bitorder="little")
    return faiss.IDSelectorBitmap(bits)


def _in_order(scores: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest first, equal ones by place, none at the end with minus infinity."""
    missing = places < 0
    if missing.any():
        scores = np.where(missing, np.float32(-np.inf), scores)
        order = np.lexsort((places, missing, -scores), axis=1)
    else:
        order = np.lexsort((places, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def _checksum(record: dict[str, Any], vectors: bytes) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode() + b"\0")
    digest.update(vectors)
    return digest.hexdigest()
