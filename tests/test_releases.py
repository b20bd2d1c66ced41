"""Releases are declared in files, planned before they are made, and refuse parts that do not fit."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from feature_repo.errors import InputError
from pipelines import features
from pipelines.cli import main
from pipelines.model_catalog import RELEASE, read_release
from pipelines.model_registry import composing, publishing, release
from pipelines.model_registry.planning import plan
from pipelines.model_registry.registry import RegistryError, open_version, save_version
from pipelines.nearest import Index

LEAST = """
per_source: {repurchase: 10, popular: 5}
ranker: logistic_regression
training_weeks: 2
training_customers: 50
"""


def declared(folder: Path, text: str) -> Path:
    file = folder / "release.yaml"
    file.write_text(text)
    return file


def test_a_declaration_says_what_a_release_is(tmp_path: Path) -> None:
    found = read_release(declared(tmp_path, LEAST + "rerankers: {dpp: {strength: 0.2}}\n"))
    assert found.retrievers == ("repurchase", "popular")
    assert (found.ranker, found.training_weeks, found.feature_service) == (
        "logistic_regression",
        2,
        "ranking",
    )
    assert found.rerankers == {"dpp": {"strength": 0.2}}
    assert found.negatives == found.weights == {}
    assert RELEASE.ranker == "gradient_boosting"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "declares nothing"),
        ("[1]", "declares nothing"),
        ("a: [", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        (LEAST + "rankr: dlrm", "there is no 'rankr'"),
        (
            LEAST.replace("logistic_regression", "magic"),
            "ranker is 'magic'; there are: gradient_boosting",
        ),
        (LEAST.replace("popular", "fame"), "per_source names 'fame'"),
        (LEAST.replace("10", "0"), "per_source of repurchase is 0: give 1 or more"),
        (LEAST.replace("10", "ten"), "per_source of repurchase is 'ten'"),
        (LEAST.replace("weeks: 2", "weeks: true"), "training_weeks is True"),
        (LEAST.replace("training_weeks: 2", ""), "lacks training_weeks"),
        (LEAST + "rerankers: [dpp]", "rerankers are settings"),
        (LEAST + "negatives: {candidates: -1}", "negatives is a number"),
        (LEAST + "weights: {ease: -1}", "weights of ease is -1"),
        (LEAST + "ranker_settings: 3", "ranker_settings are names and values"),
        (LEAST + "feature_service: 3", "feature_service is 3"),
        (LEAST.replace("logistic_regression", "[dlrm]"), "ranker is"),
        (LEAST + "ranker_settings: {treez: 3}", "logistic_regression has no setting 'treez'"),
        (LEAST + "rerankers: {magic: {}}", "No re-ranker is called 'magic'"),
        (LEAST + "rerankers: {dpp: {strength: 7}}", "The strength of dpp is 7"),
    ],
)
def test_what_cannot_be_declared_names_the_file_and_the_line(
    tmp_path: Path, text: str, said: str
) -> None:
    file = declared(tmp_path, text)
    with pytest.raises(InputError, match=said) as refused:
        read_release(file)
    assert str(file) in str(refused.value)


def test_a_plan_says_what_would_change_and_the_release_is_that(
    own_shop: Path, tmp_path: Path
) -> None:
    before = release.get("production")
    nothing = plan(RELEASE)
    assert (nothing.against, nothing.changes, nothing.to_train) == (before.tag, [], [])
    assert plan(RELEASE, "shadow").against is None

    file = declared(tmp_path, LEAST)
    said = CliRunner().invoke(main, ["release", "plan", str(file)]).stdout
    assert f"Against production, {before.tag}:" in said
    assert "- part gradient_boosting: " in said
    assert "+ part logistic_regression: not trained yet" in said
    assert "~ setting per_source.repurchase: 100 -> 10" in said
    assert "- setting weights.repurchase: 2.0" in said
    assert "lookbook train popular logistic_regression" in said or "lookbook train " in said
    declaration = ["--release", str(file)]

    def train(*models: str) -> str:
        done = CliRunner().invoke(main, ["train", *models, *declaration])
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()[-1]

    lacking = " ".join(["popular", "logistic_regression", *declaration])
    assert train("repurchase") == f"Next: lookbook train {lacking}"
    assert train("ease") == "Next: lookbook evaluate --retrievers --models ease"
    assert train("popular", "logistic_regression") == (
        f"Next: lookbook release create --release {file}"
    )
    wanted = plan(read_release(file))
    assert wanted.to_train == []
    made = CliRunner().invoke(main, ["release", "create", *declaration])
    assert made.exit_code == 0, made.output
    tag = made.stdout.strip()
    release.promote(tag)
    assert plan(read_release(file)).changes == []
    parts = {c.name: c.after.split()[0] for c in wanted.changes if c.kind == "part" and c.after}
    assert {name: release.get(tag).parts[name] for name in parts} == {
        name: f"{name}:{version}" for name, version in parts.items()
    }
    assert composing.load_recommender(release.get(tag))[0].per_source == {
        "repurchase": 10,
        "popular": 5,
    }


def test_a_release_refuses_parts_of_other_features(own_shop: Path) -> None:
    with pytest.raises(
        RegistryError, match=r"reads the feature service ranking, and the release is to"
    ):
        composing.create_release(settings=replace(RELEASE, feature_service="ranking_2"))
    old = open_version("ease")
    other = replace(old.lineage, feature_schema_hash="0ther")
    save_version("ease", lambda to: (to / "model.txt").write_text("x") and None, other, {})
    before = release.list_releases()
    with pytest.raises(RegistryError, match=r"ease:.* was trained on schema 0ther .* train again"):
        composing.create_release()
    assert release.list_releases() == before
    composing.create_release({"ease": old.tag})


def test_a_release_of_a_new_service_stands_beside_the_old(own_shop: Path) -> None:
    """A view's new version comes with a service of its own: what is in production goes on."""
    store = features.feature_store()
    from feast import FeatureService

    from feature_repo.on_demand import calendar
    from feature_repo.views.articles import article_activity
    from feature_repo.views.customer_articles import customer_article

    store.apply(
        FeatureService(name="ranking_2", features=[article_activity, customer_article, calendar])
    )
    settings = replace(
        RELEASE,
        ranker="logistic_regression",
        feature_service="ranking_2",
        training_weeks=1,
        training_customers=50,
    )
    before = release.get("production")
    publishing.train(date(2020, 9, 23), [*settings.retrievers, settings.ranker], settings)
    made = composing.create_release(settings=settings)
    assert made.feature_services["ranking_2"] == features.schema_hash("ranking_2")
    release.promote(made.tag)
    new, _ = composing.load_recommender(release.get("production"))
    assert new.ranker is not None
    assert new.ranker.feature_service == "ranking_2"
    release.rollback()
    old, _ = composing.load_recommender(release.get("production"))
    assert release.get("production").tag == before.tag
    assert old.ranker is not None
    assert old.ranker.feature_service == "ranking"


def test_a_release_refuses_what_was_trained_under_another_declaration(own_shop: Path) -> None:
    for change in ({"training_weeks": 2}, {"negatives": {"candidates": 5}}, {"weights": {}}):
        (name,) = change
        with pytest.raises(RegistryError, match=rf"was trained with {name} .* is declared with"):
            composing.create_release(settings=replace(RELEASE, **change))


def test_a_release_refuses_parts_that_cannot_be_loaded(own_shop: Path) -> None:
    """Each of their files is as it was saved; it is what stands in them that does not fit."""
    before = release.list_releases()
    settings = replace(
        RELEASE,
        per_source={"pure_svd": 20},
        weights={},
        ranker="logistic_regression",
        training_weeks=1,
        training_customers=50,
    )
    publishing.train(before[0].lineage.data_cutoff, ["pure_svd", "logistic_regression"], settings)
    good = open_version("pure_svd")

    def of_other_towers(to: Path) -> None:
        shutil.copytree(good.path, to, dirs_exist_ok=True)
        vectors = np.eye(4, dtype="float32")
        Index.build(vectors, made_for="other towers").save(to)

    def without_half(to: Path) -> None:
        shutil.copytree(good.path, to, dirs_exist_ok=True)
        next(file for file in sorted(to.iterdir()) if file.suffix != ".json").unlink()

    for write, said in ((of_other_towers, "holds vectors of other towers"), (without_half, "")):
        tag = save_version("pure_svd", write, good.lineage, {})
        with pytest.raises(RegistryError, match=rf"cannot be loaded .* its pure_svd: .*{said}"):
            composing.create_release({"pure_svd": tag}, settings=settings)
    assert release.list_releases() == before
    composing.create_release({"pure_svd": good.tag}, settings=settings)
