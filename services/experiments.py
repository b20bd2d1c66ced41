"""Experiments: who is answered in which way, by a hash, so that it stays so.

Layers as in Tang, Agarwal, O'Brien and Meyer, "Overlapping Experiment Infrastructure", KDD 2010: each layer deals
every customer a place from 0 to 1, and an experiment takes the places of one stretch of one layer. So
those of a layer exclude each other, layers are independent, and nothing has to be stored. Which variant
somebody gets is dealt once more, by the experiment. What a variant may change belongs to one layer, so that two
layers never want two things of one answer.
"""

import hashlib
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from feature_repo import places
from feature_repo.errors import InputError, LookbookError
from pipelines.exploration import EPSILON, PLACKETT_LUCE, Exploration
from pipelines.rankers.base import LABELS, Objective
from pipelines.rerankers import BusinessRules, Chain, Reranker, RerankerError, make_chain

SETTING = "LOOKBOOK_EXPERIMENTS"
SHIPPED = Path(__file__).parent / "experiments.yaml"
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
"""Of experiments and variants; the log joins them with = and commas."""
NEAR = 1e-9
"""Shares are sums of decimal fractions."""
CHANGES = ("objective", "rerankers", "exploration")
"""What a variant may set."""


@dataclass(frozen=True)
class Variant:
    """One way to answer; what is None is as the release has it.

    Attributes:
        share: of those who are in the experiment, from 0 to 1.
        objective: what counts for how much.
        rerankers: re-ranker -> settings, in their order; instead of those of the release.
        exploration: how places are drawn.
    """

    name: str
    share: float
    objective: Objective | None = None
    rerankers: Mapping[str, Mapping[str, Any]] | None = None
    exploration: Exploration | None = None


@dataclass(frozen=True)
class Experiment:
    """Those whose place in the layer is from `start` on and before `start + share`."""

    name: str
    layer: str
    start: float
    share: float
    variants: tuple[Variant, ...]

    def variant(self, name: str) -> Variant | None:
        return next((found for found in self.variants if found.name == name), None)

    def variant_of(self, customer_id: str) -> Variant:
        """The one that a customer gets who is in it."""
        place, end = _place(f"experiment {self.name}", customer_id), 0.0
        for variant in self.variants:
            end += variant.share
            if place < end:
                return variant
        # Sums of shares may end a hair before 1.
        return next(variant for variant in reversed(self.variants) if variant.share)


@dataclass(frozen=True)
class Assigned:
    """How one customer is answered; what is None is as the release has it.

    Attributes:
        variants: experiment -> variant.
        forced: whether one of them was chosen by hand. Such answers say nothing about customers.
    """

    variants: Mapping[str, str] = field(default_factory=dict)
    objective: Objective | None = None
    rerankers: Mapping[str, Mapping[str, Any]] | None = None
    exploration: Exploration | None = None
    forced: bool = False

    def reranker(self, released: Reranker | None) -> Reranker | None:
        """The release's re-ranker, or that of the variant.

        Business rules of the release hold, last, unless the variant names its own: what may not be shown is no
        experiment.
        """
        if self.rerankers is None:
            return released
        steps = make_chain(list(self.rerankers.items())).steps
        if BusinessRules.name not in self.rerankers and released is not None:
            own = released.steps if isinstance(released, Chain) else (released,)
            steps += tuple(step for step in own if step.name == BusinessRules.name)
        return Chain(steps)


class Experiments:
    """What a file declares.

    Attributes:
        declared: name -> experiment, in the order of the file.
        file: where they were read.
    """

    def __init__(self, declared: Mapping[str, Experiment], salts: Mapping[str, str], file: Path):
        self.declared = declared
        self.file = file
        self._salts = salts
        self._layers = {
            layer: sorted((e for e in declared.values() if e.layer == layer), key=_start)
            for layer in salts
        }

    @classmethod
    def read(cls, file: Path | None = None) -> "Experiments":
        """The experiments of a YAML file.

        Args:
            file: that of LOOKBOOK_EXPERIMENTS if None, which is relative to the project's folder; else
                `services/experiments.yaml`.

        Raises:
            InputError: the file cannot be read, or a line of it says what cannot be.
        """
        if file is None:
            file = places.PROJECT / Path(os.environ.get(SETTING) or SHIPPED).expanduser()
        said = _yaml(file)
        try:
            _require_known("it", said, ("layers", "experiments"))
            salts = dict(_layers(said.get("layers", {})))
            declared = {
                name: _experiment(name, found, salts)
                for name, found in _mapping("experiments", said.get("experiments", {})).items()
            }
            _require_room(declared)
            _require_one_layer_each(declared)
        except LookbookError as error:
            raise InputError(f"{file}: {error}") from error
        return cls(declared, salts, file)

    def assign(self, customer_id: str, forced: Mapping[str, str] | None = None) -> Assigned:
        """How a customer is answered: always the same, in every process.

        Args:
            forced: {experiment: variant} chosen by hand, whatever their share; the customer is then in no
                other experiment of that layer.

        Raises:
            InputError: there is no such experiment or variant, or two of one layer are forced.
        """
        found = {}
        chosen = dict(self._forced(forced or {}))
        for layer, experiments in self._layers.items():
            if layer in chosen:
                experiment, variant = chosen[layer]
                found[experiment.name] = variant
                continue
            place = _place(f"layer {self._salts[layer]}", customer_id)
            for experiment in experiments:
                if experiment.start <= place < experiment.start + experiment.share:
                    found[experiment.name] = experiment.variant_of(customer_id)
                    break
        changes = {
            what: next(
                (getattr(v, what) for v in found.values() if getattr(v, what) is not None), None
            )
            for what in CHANGES
        }
        return Assigned(
            {name: variant.name for name, variant in found.items()}, **changes, forced=bool(forced)
        )

    def _forced(
        self, forced: Mapping[str, str]
    ) -> Iterator[tuple[str, tuple[Experiment, Variant]]]:
        taken: dict[str, str] = {}
        for name, wanted in forced.items():
            experiment = self.declared.get(name)
            if experiment is None:
                known = ", ".join(self.declared) or "none"
                raise InputError(f"There is no experiment {name!r}; there are: {known}.")
            variant = experiment.variant(wanted)
            if variant is None:
                known = ", ".join(found.name for found in experiment.variants)
                raise InputError(
                    f"The experiment {name} has no variant {wanted!r}; it has: {known}."
                )
            if experiment.layer in taken:
                raise InputError(
                    f"The experiments {taken[experiment.layer]} and {name} are of one layer and exclude each "
                    "other: choose a variant of one of them."
                )
            taken[experiment.layer] = name
            yield experiment.layer, (experiment, variant)


def _place(salt: str, unit: str) -> float:
    """From 0 to below 1, evenly, and never to change: customers would move."""
    digest = hashlib.blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest()
    # A double holds 53 bits; with all 64 the last places would be 1.
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def _start(experiment: Experiment) -> float:
    return experiment.start


# Reading


class _Loader(yaml.SafeLoader):
    """Refuses a name that stands twice; of these YAML would take the last without a word."""


def _once(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [loader.construct_object(name, deep=True) for name, _ in node.value]
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{name!r} is no name: write it in quotes.")
        if names.count(name) > 1:
            raise InputError(f"{name!r} stands twice in one place: leave one out.")
    found: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _once)


def _yaml(file: Path) -> dict[str, Any]:
    try:
        said = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{file} cannot be read as YAML: {text}.") from error
    if not isinstance(said, dict):
        raise InputError(f"{file} declares nothing: give it layers and experiments.")
    return said


def _layers(said: Any) -> Iterator[tuple[str, str]]:
    salts: dict[str, str] = {}
    for name, own in _mapping("layers", said).items():
        own = _mapping(f"layers: {name}", own if own is not None else {})
        _require_known(f"layers: {name}", own, ("salt",))
        salt = own.get("salt", name)
        if not isinstance(salt, str) or not salt:
            raise InputError(f"layers: {name}: salt is {salt!r}: give a text.")
        if salt in salts:
            raise InputError(
                f"layers: {salts[salt]} and {name} have one salt and would not be independent: give another."
            )
        salts[salt] = name
        yield name, salt


def _experiment(name: str, said: Any, layers: Mapping[str, str]) -> Experiment:
    where = f"experiments: {name}"
    _require_name(where, name)
    said = _mapping(where, said)
    _require_known(where, said, ("layer", "from", "share", "variants"))
    for needed in ("layer", "share", "variants"):
        if needed not in said:
            raise InputError(f"{where} lacks {needed}.")
    if said["layer"] not in layers:
        raise InputError(
            f"{where}: layer is {said['layer']!r}; there are: {', '.join(layers) or 'none'}."
        )
    start, share = (
        _share(where, "from", said.get("from", 0.0)),
        _share(where, "share", said["share"]),
    )
    if start + share > 1 + NEAR:
        raise InputError(
            f"{where}: from {start:g} and share {share:g} end behind 1: the layer has no such places."
        )
    variants = tuple(
        _variant(f"{where}: variants: {variant}", variant, own)
        for variant, own in _mapping(f"{where}: variants", said["variants"]).items()
    )
    shares = math.fsum(variant.share for variant in variants)
    if abs(shares - 1) > NEAR:
        raise InputError(f"{where}: the shares of its variants sum to {shares:g}: make it 1.")
    return Experiment(name, said["layer"], start, share, variants)


def _variant(where: str, name: str, said: Any) -> Variant:
    _require_name(where, name)
    said = _mapping(where, said)
    _require_known(where, said, ("share", *CHANGES))
    if "share" not in said:
        raise InputError(f"{where} lacks share.")
    objective, rerankers, exploration = (said.get(what) for what in CHANGES)
    if rerankers is not None:
        for reranker, own in _mapping(f"{where}: rerankers", rerankers).items():
            _mapping(f"{where}: rerankers: {reranker}", own)
        try:
            make_chain(list(rerankers.items()))
        except RerankerError as error:
            raise InputError(f"{where}: {error}") from error
    return Variant(
        name,
        _share(where, "share", said["share"]),
        None if objective is None else _objective(f"{where}: objective", objective),
        rerankers,
        None if exploration is None else _exploration(f"{where}: exploration", exploration),
    )


def _objective(where: str, said: Any) -> Objective:
    weights = _mapping(where, said)
    _require_known(where, weights, LABELS)
    for name, weight in weights.items():
        if not _is_number(weight) or not 0 <= weight < math.inf:
            raise InputError(f"{where}: {name} is {weight!r}: give a number, 0 or more.")
    if not any(weights.values()):
        raise InputError(f"{where}: no weight is above 0: give one at least.")
    return {name: float(weight) for name, weight in weights.items()}


def _exploration(where: str, said: Any) -> Exploration:
    said = _mapping(where, said)
    own = {EPSILON: "epsilon", PLACKETT_LUCE: "temperature"}
    kind = said.get("kind")
    if not isinstance(kind, str) or kind not in own:
        raise InputError(f"{where}: kind is {kind!r}: give {' or '.join(own)}.")
    _require_known(where, said, ("kind", "depth", own[kind]))
    try:
        return Exploration(**said)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _mapping(where: str, said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise InputError(f"{where} is {said!r}: give names with values, as name: {{...}}.")
    return said


def _require_known(where: str, said: Mapping[str, Any], known: Collection[str]) -> None:
    for name in said:
        if name not in known:
            raise InputError(f"{where} has no {name!r}; it has: {', '.join(known)}.")


def _require_name(where: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(
            f"{where}: {name!r} is no name: use small letters, digits, dots, dashes and underscores, at most 64."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _share(where: str, field: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{where}: {field} is {value!r}: give a number from 0 to 1.")
    return float(value)


def _require_room(declared: Mapping[str, Experiment]) -> None:
    for layer in {experiment.layer for experiment in declared.values()}:
        own = [found for found in declared.values() if found.layer == layer and found.share]
        for one, other in pairwise(sorted(own, key=_start)):
            if other.start < one.start + one.share - NEAR:
                raise InputError(
                    f"experiments: {one.name} (from {one.start:g}, share {one.share:g}) and {other.name} (from "
                    f"{other.start:g}, share {other.share:g}) overlap in the layer {layer}: give one of them other "
                    "places, or another layer."
                )


def _require_one_layer_each(declared: Mapping[str, Experiment]) -> None:
    layer_of: dict[str, Experiment] = {}
    for experiment in declared.values():
        for what in CHANGES:
            if all(getattr(variant, what) is None for variant in experiment.variants):
                continue
            other = layer_of.setdefault(what, experiment)
            if other.layer != experiment.layer:
                raise InputError(
                    f"experiments: {other.name} and {experiment.name} both set {what}, and a customer may be in both: "
                    "put them into one layer."
                )
