"""Re-rankers: from the ranker's order of a customer's candidates to the order that is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.rerankers.base import Chain, Reranker, RerankerError
from pipelines.rerankers.business_rules import BusinessRules
from pipelines.rerankers.diversity import Dpp, Mmr
from pipelines.rerankers.fairness import Calibrated, Exposure
from pipelines.rerankers.freshness import Freshness

RERANKERS: dict[str, type[Reranker]] = {
    kind.name: kind for kind in (Dpp, Mmr, Freshness, Calibrated, Exposure, BusinessRules)
}
"""Name -> class, in the order in which to read about them."""


def make_reranker(name: str, settings: Mapping[str, Any] | None = None) -> Reranker:
    """A new re-ranker, with its own settings or those given.

    Raises:
        RerankerError: no re-ranker has this name, it has no such setting, or not with this value.
    """
    if name not in RERANKERS:
        raise RerankerError(f"No re-ranker is called {name!r}; there are: {', '.join(RERANKERS)}.")
    made = RERANKERS[name]()
    unknown = set(settings or {}) - set(made.settings())
    if unknown:
        raise RerankerError(
            f"The re-ranker {name} has no setting {sorted(unknown)[0]!r}; it has: "
            f"{', '.join(made.settings())}."
        )
    try:
        return RERANKERS[name](**(settings or {}))
    except (TypeError, ValueError) as error:
        raise RerankerError(
            f"The re-ranker {name} cannot be made with {dict(settings or {})}: {error}."
        ) from error


def make_chain(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> Chain:
    """Re-rankers by name and settings, one after the other, as `Chain.settings` gives them.

    Raises:
        RerankerError: one of them cannot be made.
    """
    return Chain([make_reranker(name, settings) for name, settings in steps])
