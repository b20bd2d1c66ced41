"""THE list of models: name -> class and settings; and what a release is, as the files in releases/ declare it."""

import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.rankers.base import RANKING_SERVICE, Ranker
from pipelines.rerankers import RerankerError, make_chain
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


GATES: dict[str, dict[str, float]] = {
    "quality": {"may_lose": 0.05, "weeks": 2, "customers": 5_000},
    "parts": {"may_lose": 0.1, "customers": 1_000},
    "segments": {"of_all": 0.1, "may_lose": 0.1, "customers": 100},
    "calibration": {"least": 0.75, "most": 1.33, "entropy": 1.0},
    "coverage": {"least": 0.01},
    "parity": {"customers": 20, "different": 0},
    "leak_lab": {"rows": 60, "leaks": 0},
    "latency": {"milliseconds": 250, "share": 0.95, "requests": 100},
    "index_recall": {"least": 0.98},
    "size": {"megabytes": 4_000},
}
"""What a release may have to show before it comes into production -> thresholds unless others are declared;
`pipelines.model_registry.gates` says what each means."""


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
        retriever_settings: retriever -> its settings; the catalogue's where they are left out.
        negatives: strategy -> how many rows of what was not bought the ranker learns from: of "candidates" at
            most so many of each customer's own in a week, of a strategy of `negatives.NEGATIVES` so many for each
            article bought. Without "candidates" all of those.
        rerankers: re-ranker -> its settings, in the order in which they are applied.
        feature_service: what the ranker reads.
        gates: gate of `GATES` -> its thresholds, the usual ones where they are left out; a gate that is not named
            is not asked.
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
    gates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    retriever_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def retrievers(self) -> tuple[str, ...]:
        return tuple(self.per_source)

    def settings_of(self, model: str) -> dict[str, Any]:
        """Every setting that a retriever, or the ranker, is made with."""
        if model == self.ranker:
            return RANKERS[model].settings_in_full() | dict(self.ranker_settings or {})
        return RETRIEVERS[model].settings_in_full() | dict(self.retriever_settings.get(model, {}))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_release(file: Path) -> ReleaseSettings:
    """The release that a YAML file declares, by the names of `ReleaseSettings`; what is left out is the default.

    Raises:
        InputError: the file cannot be read, or a line of it says what cannot be.
    """
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read as YAML: {text}.") from error
    known = {one.name: one for one in fields(ReleaseSettings)}
    if not isinstance(said, dict):
        raise InputError(f"{file} declares nothing: give it {', '.join(known)}.")
    for name, value in said.items():
        if name not in known:
            raise InputError(f"{file}: there is no {name!r}; there are: {', '.join(known)}.")
        if why := _unfit(name, value):
            raise InputError(f"{file}: {name} {why}.")
    missing = [n for n, one in known.items() if n not in said and _is_needed(one)]
    if missing:
        raise InputError(f"{file} lacks {missing[0]}: every release has it.")
    # Whoever wants to be asked nothing says so: `gates: {}`.
    found = ReleaseSettings(**{"gates": {gate: {} for gate in GATES}, **said})
    models = {found.ranker: (RANKERS[found.ranker], found.ranker_settings or {})}
    models |= {name: (RETRIEVERS[name], own) for name, own in found.retriever_settings.items()}
    for model, (entry, own) in models.items():
        there = entry.settings_in_full()
        for name in own:
            if name not in there:
                raise InputError(
                    f"{file}: {model} has no setting {name!r}; it has: {', '.join(there)}."
                )
    try:
        # Before anything is trained for them.
        make_chain(list(found.rerankers.items()))
    except RerankerError as error:
        raise InputError(f"{file}: {error}") from error
    return found


def _is_needed(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _unfit(name: str, value: Any) -> str:
    """What is wrong with a line of a release's file; nothing if it is right."""
    if name in ("per_source", "weights"):
        least, kind = (1, int) if name == "per_source" else (0, (int, float))
        if not isinstance(value, dict) or (not value and name == "per_source"):
            return "is a number for each retriever, as ease: 100"
        for retriever, number in value.items():
            if retriever not in RETRIEVERS:
                return f"names {retriever!r}; there are: {', '.join(RETRIEVERS)}"
            if not isinstance(number, kind) or isinstance(number, bool) or number < least:
                return f"of {retriever} is {number!r}: give {least} or more"
    elif name == "ranker" and (not isinstance(value, str) or value not in RANKERS):
        return f"is {value!r}; there are: {', '.join(RANKERS)}"
    elif name in ("training_weeks", "training_customers"):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            return f"is {value!r}: give a whole number, 1 or more"
    elif name == "feature_service" and not isinstance(value, str):
        return f"is {value!r}: give a name"
    elif name == "negatives" and not (
        isinstance(value, dict) and all(isinstance(n, int) and n >= 0 for n in value.values())
    ):
        return "is a number for each strategy, as candidates: 100"
    elif name == "rerankers" and not (
        isinstance(value, dict) and all(isinstance(own, dict) for own in value.values())
    ):
        return "are settings for each re-ranker, as dpp: {strength: 0.2}"
    elif name == "retriever_settings":
        if not isinstance(value, dict) or not all(isinstance(own, dict) for own in value.values()):
            return "are settings for each retriever, as ease: {ridge: 500}"
        if strange := [retriever for retriever in value if retriever not in RETRIEVERS]:
            return f"names {strange[0]!r}; there are: {', '.join(RETRIEVERS)}"
    elif name == "gates":
        return _unfit_gates(value)
    elif name == "ranker_settings" and not (value is None or isinstance(value, dict)):
        return "are names and values, as trees: 200"
    return ""


def _unfit_gates(value: Any) -> str:
    if not isinstance(value, dict):
        return "are thresholds for each gate, as coverage: {least: 0.02}"
    for gate, thresholds in value.items():
        if gate not in GATES:
            return f"name {gate!r}; there are: {', '.join(GATES)}"
        if not isinstance(thresholds, dict):
            return f"of {gate} are {thresholds!r}: give thresholds, or {{}} for the usual ones"
        for name, number in thresholds.items():
            if name not in GATES[gate]:
                return f"of {gate} name {name!r}; there are: {', '.join(GATES[gate])}"
            whole = name in ("weeks", "customers", "rows", "requests")
            most = 1 if name in ("may_lose", "of_all", "share") else math.inf
            kind = int if whole else (int, float)
            able = isinstance(number, kind) and not isinstance(number, bool)
            if not able or not whole <= number <= most or number == math.inf:
                span = "a share from 0 to 1" if most == 1 else f"{int(whole)} or more"
                return f"of {gate}: {name} is {number!r}, and must be {span}"
    return ""


DEFAULT = Path(__file__).parent / "releases" / "default.yaml"
RELEASE = read_release(
    places.PROJECT / Path(os.environ.get("LOOKBOOK_RELEASE") or DEFAULT).expanduser()
)
"""What is trained, evaluated and served unless another is named: the file that LOOKBOOK_RELEASE names (a
relative path is below the project), or `DEFAULT`."""


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
