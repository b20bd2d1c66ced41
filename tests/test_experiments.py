"""Experiments: who gets what, and that it stays so."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from feature_repo import places
from feature_repo.errors import InputError
from pipelines.rerankers import make_chain
from services.experiments import SHIPPED, Experiments

CUSTOMERS = [f"customer-{n}" for n in range(20_000)]
FEW = CUSTOMERS[:4_000]
BOTH = {"control": {"share": 0.5}, "treated": {"share": 0.5}}


def read(tmp_path: Path, experiments: dict, layers: dict | None = None) -> Experiments:
    file = tmp_path / "experiments.yaml"
    layers = {"order": {}, "page": {}} if layers is None else layers
    file.write_text(yaml.safe_dump({"layers": layers, "experiments": experiments}, sort_keys=False))
    return Experiments.read(file)


def one(
    share: float = 0.2, start: float = 0.0, layer: str = "order", variants: dict | None = None
) -> dict:
    return {"layer": layer, "from": start, "share": share, "variants": variants or BOTH}


def groups(experiments: Experiments, name: str, customers: list[str] = FEW) -> dict[str, set[str]]:
    """{variant: customers} of those who are in the experiment."""
    found: dict[str, set[str]] = {}
    for customer in customers:
        if variant := experiments.assign(customer).variants.get(name):
            found.setdefault(variant, set()).add(customer)
    return found


def test_shares_are_those_declared(tmp_path: Path) -> None:
    variants = {"a": {"share": 0.1}, "b": {"share": 0.6}, "c": {"share": 0.3}, "off": {"share": 0}}
    experiments = read(tmp_path, {"first": one(0.2), "second": one(0.5, 0.3, variants=variants)})
    first = groups(experiments, "first", CUSTOMERS)
    second = groups(experiments, "second", CUSTOMERS)
    expected = {("first", "control"): 0.1, ("first", "treated"): 0.1}
    expected |= {("second", v): 0.5 * variants[v]["share"] for v in variants}
    for (name, variant), share in expected.items():
        found = len((first if name == "first" else second).get(variant, ()))
        error = np.sqrt(len(CUSTOMERS) * share * (1 - share))
        assert abs(found - len(CUSTOMERS) * share) <= 4 * error, (name, variant)


def test_experiments_of_one_layer_exclude_each_other_and_layers_are_independent(
    tmp_path: Path,
) -> None:
    experiments = read(
        tmp_path,
        {"first": one(0.5), "second": one(0.5, 0.5), "other": one(1.0, layer="page")},
    )
    pairs = list(product(["first", "second"], ["control", "treated"]))
    table = {(*pair, other): 0 for pair in pairs for other in BOTH}
    for customer in CUSTOMERS:
        variants = experiments.assign(customer).variants
        own = [name for name in ("first", "second") if name in variants]
        assert len(own) == 1
        table[own[0], variants[own[0]], variants["other"]] += 1
    observed = np.array([[table[*pair, other] for other in BOTH] for pair in pairs])
    assert stats.chi2_contingency(observed).pvalue > 0.001
    # And the places of a customer in two layers have nothing to do with each other.
    salted = read(tmp_path, {"a": one(0.5), "b": one(0.5, layer="page")})
    inside = np.array([["a" in (v := salted.assign(c).variants), "b" in v] for c in CUSTOMERS])
    observed = np.array([[(inside == [x, y]).all(axis=1).sum() for y in (0, 1)] for x in (0, 1)])
    assert stats.chi2_contingency(observed).pvalue > 0.001


def test_growing_keeps_those_who_were_in_and_a_new_one_moves_nobody(tmp_path: Path) -> None:
    before = read(tmp_path, {"first": one(0.2), "second": one(0.3, 0.5)})
    after = read(tmp_path, {"new": one(0.05, 0.9), "first": one(0.45), "second": one(0.3, 0.5)})
    for variant, customers in groups(before, "first").items():
        assert customers < groups(after, "first")[variant]
    assert groups(before, "second") == groups(after, "second")
    assert groups(after, "new")
    off = read(tmp_path, {"first": one(0.0), "second": one(0.3, 0.5)})
    assert groups(off, "first") == {}
    grown = {"control": {"share": 0.3}, "treated": {"share": 0.7}}
    more = groups(read(tmp_path, {"first": one(0.2, variants=grown)}), "first")
    assert groups(before, "first")["treated"] < more["treated"]


STABLE = {
    "anna": {"first": "treated"},
    "bert": {"second": "control", "other": "treated"},
    "cara": {"first": "treated"},
    "": {"first": "treated", "other": "control"},
}


def test_an_assignment_never_changes(tmp_path: Path) -> None:
    """Whoever changes the hash moves every customer of every running experiment."""
    experiments = read(
        tmp_path,
        {"first": one(0.5), "second": one(0.5, 0.5), "other": one(0.5, layer="page")},
        {"order": {}, "page": {"salt": "page-2"}},
    )
    found = {name: experiments.assign(name).variants for name in ("anna", "bert", "cara", "")}
    assert found == STABLE
    code = (
        "import sys; from pathlib import Path; from services.experiments import Experiments; "
        f"e = Experiments.read(Path({str(experiments.file)!r})); "
        "print({n: dict(e.assign(n).variants) for n in ('anna', 'bert', 'cara', '')})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=places.PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(STABLE)


def test_what_a_variant_changes_is_told_from_both_layers(tmp_path: Path) -> None:
    experiments = read(
        tmp_path,
        {
            "explore": one(
                1.0,
                variants={
                    "on": {
                        "share": 1,
                        "exploration": {"kind": "plackett_luce", "temperature": 0.5, "depth": 9},
                        "objective": {"purchase": 1, "view": 0.25},
                    }
                },
            ),
            "page": one(1.0, layer="page", variants={"on": {"share": 1, "rerankers": {"dpp": {}}}}),
        },
    )
    found = experiments.assign("anna")
    assert found.variants == {"explore": "on", "page": "on"}
    assert (found.exploration.kind, found.exploration.temperature) == ("plackett_luce", 0.5)
    assert found.exploration.depth == 9
    assert found.objective == {"purchase": 1.0, "view": 0.25}
    assert found.rerankers == {"dpp": {}}
    assert not found.forced


def test_the_rules_of_the_release_hold_whatever_the_variant() -> None:
    shipped = Experiments.read(SHIPPED)
    rules = {"blocked": ["0000000001"]}
    released = make_chain([("freshness", {}), ("business_rules", rules)])
    assert shipped.assign("anna").reranker(released) is released
    diverse = shipped.assign("anna", {"diverse_page": "diverse"})
    assert [step.name for step in diverse.reranker(released).steps] == ["dpp", "business_rules"]
    assert diverse.reranker(released).steps[1].blocked == ["0000000001"]
    assert [step.name for step in diverse.reranker(None).steps] == ["dpp"]
    assert shipped.assign("anna").reranker(None) is None


def test_what_is_shipped_is_off_and_can_be_chosen_by_hand() -> None:
    shipped = Experiments.read(SHIPPED)
    assert set(shipped.declared) == {"exploration", "diverse_page"}
    assert not any(shipped.assign(customer).variants for customer in FEW)
    found = shipped.assign("anna", {"exploration": "epsilon"})
    assert found.forced
    assert found.variants == {"exploration": "epsilon"}
    assert found.exploration.epsilon == 0.1
    assert not shipped.assign("anna", {}).forced


def test_what_is_chosen_by_hand_takes_the_place_of_its_layer_alone(tmp_path: Path) -> None:
    experiments = read(
        tmp_path,
        {"first": one(1.0), "second": one(0.0, 0.0), "other": one(1.0, layer="page")},
    )
    own = experiments.assign("anna").variants
    found = experiments.assign("anna", {"second": "treated"})
    assert found.variants == {"second": "treated", "other": own["other"]}
    for forced, said in (
        ({"third": "control"}, "no experiment 'third'; there are: first, second, other"),
        ({"first": "best"}, "first has no variant 'best'; it has: control, treated"),
        ({"first": "control", "second": "control"}, "first and second are of one layer"),
    ):
        with pytest.raises(InputError, match=said):
            experiments.assign("anna", forced)


def test_another_file_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(tmp_path, {"mine": one()})
    monkeypatch.setenv("LOOKBOOK_EXPERIMENTS", str(tmp_path / "experiments.yaml"))
    assert list(Experiments.read().declared) == ["mine"]
    monkeypatch.setenv("LOOKBOOK_EXPERIMENTS", str(tmp_path / "gone.yaml"))
    with pytest.raises(InputError, match=r"gone\.yaml cannot be read: No such file"):
        Experiments.read()
    monkeypatch.delenv("LOOKBOOK_EXPERIMENTS")
    assert Experiments.read().file == SHIPPED


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("layer: nowhere", "experiments: e: layer is 'nowhere'; there are: order, page"),
        ("share: 1.5", "experiments: e: share is 1.5: give a number from 0 to 1"),
        ("share: yes", "experiments: e: share is True"),
        ("share: .nan", "experiments: e: share is nan"),
        ("from: 0.9", "experiments: e: from 0.9 and share 0.2 end behind 1"),
        ("start: 0.9", "experiments: e has no 'start'; it has: layer, from, share, variants"),
        ("variants: {a: {share: 0.5}, b: {share: 0.4}}", "the shares of its variants sum to 0.9"),
        ("variants: {}", "the shares of its variants sum to 0"),
        ("variants: [a]", r"experiments: e: variants is \['a'\]: give names with values"),
        ("variants: {a: {share: 1, ranker: x}}", "variants: a has no 'ranker'"),
        ("variants: {a=b: {share: 1}}", "'a=b' is no name"),
        ("variants: {a: {share: 0.5}, a: {share: 1}}", "'a' stands twice"),
        ("variants: {1: {share: 1}}", "1 is no name: write it in quotes"),
        ("variants: {a: {}}", "variants: a lacks share"),
        (
            "variants: {a: {share: 1, rerankers: {dp: {}}}}",
            "variants: a: No re-ranker is called 'dp'",
        ),
        ("variants: {a: {share: 1, rerankers: {dpp: {strength: 9}}}}", "variants: a: .*strength"),
        ("variants: {a: {share: 1, rerankers: {dpp: 0.2}}}", "rerankers: dpp is 0.2"),
        (
            "variants: {a: {share: 1, objective: {click: 1}}}",
            "objective has no 'click'; it has: pur",
        ),
        ("variants: {a: {share: 1, objective: {view: -1}}}", "objective: view is -1"),
        ("variants: {a: {share: 1, objective: {}}}", "objective: no weight is above 0"),
        ("variants: {a: {share: 1, exploration: {kind: best}}}", "exploration: kind is 'best'"),
        (
            "variants: {a: {share: 1, exploration: {kind: epsilon, temperature: 1}}}",
            "exploration has no 'temperature'; it has: kind, depth, epsilon",
        ),
        (
            "variants: {a: {share: 1, exploration: {kind: epsilon, epsilon: 2}}}",
            "exploration: epsilon is 2: give a number from 0 to 1",
        ),
        ("share: [", "cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_names_the_line(tmp_path: Path, line: str, said: str) -> None:
    lines = {"layer": "order", "share": "0.2", "variants": "{a: {share: 1}}"}
    name, _, value = line.partition(": ")
    text = "".join(f"    {n}: {v}\n" for n, v in (lines | {name: value}).items())
    file = tmp_path / "own.yaml"
    file.write_text(f"layers: {{order: {{}}, page: {{}}}}\nexperiments:\n  e:\n{text}")
    with pytest.raises(InputError, match=said) as error:
        Experiments.read(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("experiments", "layers", "said"),
    [
        (
            {"a": one(0.3), "b": one(0.3, 0.2)},
            None,
            r"a \(from 0, share 0.3\) and b \(from 0.2, share 0.3\) overlap in the layer order",
        ),
        (
            {
                "a": one(variants={"x": {"share": 1, "objective": {"view": 1}}}),
                "b": one(layer="page", variants={"x": {"share": 1, "objective": {"view": 1}}}),
            },
            None,
            "a and b both set objective",
        ),
        ({}, {"order": {"salt": "page"}, "page": {}}, "order and page have one salt"),
        ({}, {"order": {"seed": 1}}, "layers: order has no 'seed'; it has: salt"),
        ({}, {"order": {"salt": 1}}, "layers: order: salt is 1: give a text"),
    ],
)
def test_experiments_that_do_not_go_together(
    tmp_path: Path, experiments: dict, layers: dict | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, experiments, layers)


def test_neighbours_whose_shares_are_no_exact_binary_numbers_share_nobody(tmp_path: Path) -> None:
    """0.1 + 0.2 ends a hair behind 0.3."""
    experiments = read(tmp_path, {"a": one(0.2, 0.1), "b": one(0.1, 0.3)})
    assert all(len(experiments.assign(customer).variants) <= 1 for customer in FEW)


def test_a_file_of_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("layers: {}\nexperiments: {}\n")
    found = Experiments.read(file)
    assert found.assign("anna").variants == {}
    file.write_text("")
    with pytest.raises(InputError, match="declares nothing"):
        Experiments.read(file)
    file.write_text("layer: {}\n")
    with pytest.raises(InputError, match="it has no 'layer'; it has: layers, experiments"):
        Experiments.read(file)
