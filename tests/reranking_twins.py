"""The slow and plain ways to what re-rankers compute quickly: from definitions, loop by loop."""

import numpy as np

from pipelines.rerankers.base import Slate
from pipelines.rerankers.diversity import RIDGE
from pipelines.rerankers.fairness import SMOOTHING


def likeness(slate: Slate) -> np.ndarray:
    """How alike two candidates are (C x C): 1 on the diagonal, 0 beside what is not known."""
    vectors = slate.vectors
    found = (1 - RIDGE) * vectors @ vectors.T
    np.fill_diagonal(found, 1.0)
    return found


def greedy_by_determinants(slate: Slate, strength: float, k: int) -> list[int]:
    """The greedy page of a DPP, each step by the determinants of all sets that it could make."""
    alike = likeness(slate)
    chosen: list[int] = []
    while len(chosen) < min(k, len(slate)):
        worth = {}
        for i in range(len(slate)):
            if i not in chosen:
                group = [*chosen, i]
                _, logarithm = np.linalg.slogdet(alike[np.ix_(group, group)])
                quality = float(np.log(slate.relevance[group]).sum())
                worth[i] = (1 - strength) * quality + strength * float(logarithm)
        chosen.append(_first_best(worth))
    return chosen


def mmr_by_the_book(slate: Slate, strength: float, k: int) -> list[int]:
    """Carbonell and Goldstein's loop."""
    alike = slate.vectors @ slate.vectors.T
    chosen: list[int] = []
    while len(chosen) < min(k, len(slate)):
        worth = {}
        for i in range(len(slate)):
            if i not in chosen:
                nearest = max((float(alike[i, j]) for j in chosen), default=0.0)
                relevance = float(slate.relevance[i] / slate.relevance[0])
                worth[i] = (1 - strength) * relevance - strength * max(nearest, 0.0)
        chosen.append(_first_best(worth))
    return chosen


def calibrated_by_definition(
    slate: Slate, mix: np.ndarray, kind: str, strength: float, k: int
) -> list[int]:
    """Steck's greedy page, each step by the whole divergence of all pages that it could make."""
    group = slate.groups(kind)
    chosen: list[int] = []
    while len(chosen) < min(k, len(slate)):
        worth = {}
        for i in range(len(slate)):
            if i not in chosen:
                page = [*chosen, i]
                relevance = float((slate.relevance[page] / slate.relevance[0]).sum())
                worth[i] = (1 - strength) * relevance - strength * divergence(mix, group[page])
        chosen.append(_first_best(worth))
    return chosen


def divergence(mix: np.ndarray, groups: np.ndarray) -> float:
    """KL(customer's mix || page's mix), the page's smoothed with the customer's."""
    total = 0.0
    for g, wanted in enumerate(mix):
        if wanted > 0:
            shown = (1 - SMOOTHING) * float(np.mean(groups == g)) + SMOOTHING * wanted
            total += wanted * float(np.log(wanted / shown))
    return total


def _first_best(worth: dict[int, float]) -> int:
    """The earliest of those that are best, as far as rounding tells."""
    best = max(worth.values())
    return min(i for i, value in worth.items() if value > best - 1e-9)
