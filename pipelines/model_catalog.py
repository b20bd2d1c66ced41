"""THE list of models: name -> class and settings, and what makes up a release."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.rankers.base import Ranker
from pipelines.rankers.gradient_boosting import GradientBoosting
from pipelines.retrievers.base import Retriever
from pipelines.retrievers.co_purchase import CoPurchase
from pipelines.retrievers.popular import Popular
from pipelines.retrievers.popular_by_age import PopularByAge
from pipelines.retrievers.popular_by_postal_code import PopularByPostalCode
from pipelines.retrievers.popular_by_product_group import PopularByProductGroup
from pipelines.retrievers.repurchase import Repurchase


@dataclass(frozen=True)
class Entry:
    """A model's class and the settings it is made with."""

    model: type
    settings: Mapping[str, Any] = field(default_factory=dict)

    def settings_in_full(self) -> dict[str, Any]:
        """Every setting with its value, also those left at their default: what a version records."""
        defaults = inspect.signature(self.model).parameters
        return {name: parameter.default for name, parameter in defaults.items()} | dict(
            self.settings
        )


RETRIEVERS: dict[str, Entry] = {
    "popular": Entry(Popular),
    "popular_by_age": Entry(PopularByAge),
    "popular_by_postal_code": Entry(PopularByPostalCode),
    "popular_by_product_group": Entry(PopularByProductGroup),
    "repurchase": Entry(Repurchase),
    "co_purchase": Entry(CoPurchase),
}

RANKERS: dict[str, Entry] = {
    "gradient_boosting": Entry(GradientBoosting),
}


@dataclass(frozen=True)
class ReleaseSettings:
    """What a release is made of.

    Attributes:
        per_source: retriever -> how many candidates it may name for a customer.
        ranker: the ranker's name.
        training_weeks: how many weeks before the cutoff the ranker learns from.
        training_customers: at most so many customers of each of those weeks.
    """

    per_source: Mapping[str, int]
    ranker: str
    training_weeks: int
    training_customers: int

    @property
    def retrievers(self) -> tuple[str, ...]:
        return tuple(self.per_source)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


RELEASE = ReleaseSettings(
    per_source={"repurchase": 100, "co_purchase": 100, "popular": 50},
    ranker="gradient_boosting",
    training_weeks=8,
    training_customers=4_000,
)


def _make(
    catalogue: dict[str, Entry], kind: str, name: str, settings: Mapping[str, Any] | None
) -> Any:
    if name not in catalogue:
        raise KeyError(f"No {kind} is called {name!r}; there are: {', '.join(catalogue)}.")
    entry = catalogue[name]
    return entry.model(**(entry.settings if settings is None else settings))


def make_retriever(name: str, settings: Mapping[str, Any] | None = None) -> Retriever:
    """A new retriever, with the settings of the catalogue or those given.

    Raises:
        KeyError: no retriever has this name.
    """
    made: Retriever = _make(RETRIEVERS, "retriever", name, settings)
    return made


def make_ranker(name: str, settings: Mapping[str, Any] | None = None) -> Ranker:
    """A new ranker, with the settings of the catalogue or those given.

    Raises:
        KeyError: no ranker has this name.
    """
    made: Ranker = _make(RANKERS, "ranker", name, settings)
    return made
