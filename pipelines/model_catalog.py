"""THE list of models: name -> class and settings, and what makes up a release."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from pipelines.rankers.base import RANKING_SERVICE, Ranker
from pipelines.retrievers.base import Retriever


@dataclass(frozen=True)
class Entry:
    """A model's class, as module:class below `pipelines`, and the settings it is made with.

    The module is imported when the model is made: whoever uses none of torch's models does not wait
    for torch.
    """

    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> type:
        module, name = self.path.split(":")
        found: type = getattr(import_module(f"pipelines.{module}"), name)
        return found

    def settings_in_full(self) -> dict[str, Any]:
        """Every setting with its value, also those left at their default: what a version records."""
        return _defaults(self.model) | dict(self.settings)


def _defaults(model: type) -> dict[str, Any]:
    """The settings of a class with their defaults, also of those that it passes on to what it inherits from."""
    found: dict[str, Any] = {}
    for kind in model.__mro__:
        if "__init__" in vars(kind):
            settings = list(inspect.signature(vars(kind)["__init__"]).parameters.values())[1:]
            passed_on = [s for s in settings if s.kind is s.VAR_KEYWORD]
            found = {s.name: s.default for s in settings if s not in passed_on} | found
            if not passed_on:
                break
    return found


RETRIEVERS: dict[str, Entry] = {
    "popular": Entry("retrievers.popular:Popular"),
    "popular_by_age": Entry("retrievers.popular_by_age:PopularByAge"),
    "popular_by_postal_code": Entry("retrievers.popular_by_postal_code:PopularByPostalCode"),
    "popular_by_product_group": Entry("retrievers.popular_by_product_group:PopularByProductGroup"),
    "repurchase": Entry("retrievers.repurchase:Repurchase"),
    "co_purchase": Entry("retrievers.co_purchase:CoPurchase"),
    "item_knn": Entry("retrievers.item_knn:ItemKnn"),
    "customer_knn": Entry("retrievers.customer_knn:CustomerKnn"),
    "matrix_factorization": Entry("retrievers.matrix_factorization:MatrixFactorization"),
    "pure_svd": Entry("retrievers.pure_svd:PureSvd"),
    "ease": Entry("retrievers.ease:Ease"),
    "in_session": Entry("retrievers.in_session:InSession"),
    "similar_by_transactions": Entry("retrievers.similar:SimilarByTransactions"),
    "similar_by_metadata": Entry("retrievers.similar:SimilarByMetadata"),
    "similar_by_text": Entry("retrievers.similar:SimilarByText"),
    "similar_by_image": Entry("retrievers.similar:SimilarByImage"),
    "similar": Entry("retrievers.similar:SimilarBlended"),
    "two_tower": Entry("retrievers.two_tower:TwoTower"),
    "variational_autoencoder": Entry("retrievers.variational_autoencoder:VariationalAutoencoder"),
    "neu_mf": Entry("retrievers.neu_mf:NeuMF"),
}

RANKERS: dict[str, Entry] = {
    "gradient_boosting": Entry("rankers.gradient_boosting:GradientBoosting"),
    "logistic_regression": Entry("rankers.logistic_regression:LogisticRegression"),
    "factorization_machine": Entry("rankers.factorization_machine:FactorizationMachine"),
    "wide_and_deep": Entry("rankers.wide_and_deep:WideAndDeep"),
    "deep_fm": Entry("rankers.deep_fm:DeepFM"),
    "dlrm": Entry("rankers.dlrm:DLRM"),
    "multi_task": Entry("rankers.multi_task:MultiTask"),
    "blend": Entry("rankers.blend:Blend"),
}


@dataclass(frozen=True)
class ReleaseSettings:
    """What a release is made of.

    Attributes:
        per_source: retriever -> how many candidates it may name for a customer.
        ranker: the ranker's name.
        training_weeks: how many weeks before the cutoff the ranker learns from.
        training_customers: at most so many customers of each of those weeks.
        weights: retriever -> how much its ranks count where candidates are put in order without the
            ranker; 1 if it is not named.
        ranker_settings: those the ranker is made with; the catalogue's if None.
        negatives: strategy -> how many rows of what was not bought the ranker learns from: of "candidates" at
            most so many of each customer's own in a week, of a strategy of `negatives.NEGATIVES` so many for each
            article bought. Without "candidates" all of those.
        rerankers: re-ranker -> its settings, in the order in which they are applied.
        feature_service: what the ranker reads.
    """

    per_source: Mapping[str, int]
    ranker: str
    training_weeks: int
    training_customers: int
    weights: Mapping[str, float] = field(default_factory=dict)
    ranker_settings: Mapping[str, Any] | None = None
    negatives: Mapping[str, int] = field(default_factory=dict)
    rerankers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    feature_service: str = RANKING_SERVICE

    @property
    def retrievers(self) -> tuple[str, ...]:
        return tuple(self.per_source)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


RELEASE = ReleaseSettings(
    per_source={
        "repurchase": 100,
        "ease": 100,
        "co_purchase": 50,
        "popular_by_postal_code": 100,
        "popular_by_age": 50,
        "similar": 50,
    },
    ranker="gradient_boosting",
    training_weeks=16,
    training_customers=2_000,
    weights={"repurchase": 2.0},
    # What is not on sale or out of stock is never shown.
    rerankers={"business_rules": {}},
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


def make_ranker(
    name: str,
    settings: Mapping[str, Any] | None = None,
    feature_service: str = RANKING_SERVICE,
) -> Ranker:
    """A new ranker, with the settings of the catalogue or those given, that reads a feature service.

    Raises:
        KeyError: no ranker has this name.
    """
    made: Ranker = _make(RANKERS, "ranker", name, settings)
    made.feature_service = feature_service
    return made
