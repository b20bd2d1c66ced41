"""The Kaggle file: the same bytes however often its writer was ended, and k articles for everybody."""

import csv
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from feature_repo import places
from pipelines import feature_tables
from pipelines.features import OfflineFeatures
from pipelines.model_catalog import RELEASE
from pipelines.model_registry import composing, release
from pipelines.model_registry.registry import RegistryError
from pipelines.recommender import customer_state
from pipelines.recommending import to_file
from pipelines.steady_features import SteadyFeatures
from pipelines.warehouse import reading

CUSTOMERS, BATCH = 12, 6


class Ended(Exception):
    """What ends a run."""


@pytest.fixture
def chosen(shop: Path, tmp_path: Path) -> Path:
    """A file of customers, of whom one is unknown and one comes twice."""
    with reading() as con:
        rows = con.execute(
            "SELECT customer_id FROM staging.customers ORDER BY customer_id"
        ).fetchmany(CUSTOMERS - 1)
    ids = [row[0] for row in rows]
    file = tmp_path / "customers" / "customers.csv"
    file.parent.mkdir()
    file.write_text("\n".join(["customer_id", ids[3], "nobody", *ids]) + "\n")
    return file


def write(out: Path, customers: Path, ends: int = 0, **more: object) -> list[str]:
    """Write the file, or so many batches of it; gives what was told."""
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        if ends and sum("a second" in said for said in told) == ends:
            raise Ended

    arguments: dict[str, Any] = {"k": 12, "batch": BATCH, **more}
    with suppress(Ended):
        to_file(out, customers=customers, progress=progress, **arguments)
    return told


def test_features_that_are_read_once_are_those_of_a_join(chosen: Path) -> None:
    moment = datetime(2020, 9, 23, tzinfo=UTC)
    joined, once = OfflineFeatures(moment), SteadyFeatures(moment)
    recommender, _ = composing.load_recommender(release.get("production"))
    ids = chosen.read_text().split()[1:]
    for customers in (ids[:5], ids[5:], ["nobody"]):
        rows = recommender.candidates(customer_state(customers, joined), moment)
        # In no order, and with an index of their own.
        rows = rows.iloc[::-1].set_index(rows.index + 7)
        for service in ("ranking", "customer_state"):
            found, wanted = once.read(rows, service), joined.read(rows, service)
            pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_dtype=False)
    nothing = rows.iloc[:0]
    assert list(once.read(nothing, "ranking")) == list(joined.read(nothing, "ranking"))


def test_a_file_that_was_ended_goes_on(chosen: Path, tmp_path: Path) -> None:
    """By a kill in the middle of a batch, where nothing of ours can run any more."""
    whole = tmp_path / "whole.csv"
    told = write(whole, chosen)
    assert told[0].startswith("1 of 12 customers of ")
    assert told[0].endswith("unknown to the shop: they get what is popular.")
    assert [text.split(",")[0] for text in told[1:]] == [f"{n} of 12 customers" for n in (6, 12)]
    assert all(text.endswith(" left") for text in told[1:])

    out = tmp_path / "out" / "submission.csv"
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipelines.recommending import to_file\n"
        f"to_file(Path(sys.argv[1]), customers=Path(sys.argv[2]), k=12, batch={BATCH}, "
        "progress=lambda text: print(text, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(out), str(chosen)],
        cwd=places.PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "unknown to the shop" in process.stdout.readline()
    assert process.stdout.readline().startswith("6 of 12")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists()

    told = write(out, chosen)
    assert told[0].startswith("submission.csv goes on where an earlier run ended, after ")
    assert told[-1].startswith("12 of 12")
    assert out.read_bytes() == whole.read_bytes()
    assert [file.name for file in out.parent.iterdir()] == ["submission.csv"]


def test_a_file_of_something_else_starts_anew(chosen: Path, own_shop: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "submission.csv", tmp_path / "others.csv"
    others.write_text(chosen.read_text().replace("nobody", "somebody"))

    def started_anew(customers: Path = chosen, **more: object) -> str:
        told = write(out, customers, ends=2, **more)
        assert told[-2].startswith("6 of 12 customers")
        return told[0].removeprefix("What an earlier run left of submission.csv is ")

    write(out, chosen, ends=1)
    assert started_anew(k=3) == "of another k: it starts anew."
    assert started_anew(others, k=3) == "of other customers: it starts anew."
    earlier = datetime(2020, 9, 23, 5, tzinfo=UTC)
    assert started_anew(others, k=3, at=earlier) == "of another moment: it starts anew."
    release.promote(composing.create_release().tag)
    assert started_anew(others, k=3) == "of another release and another moment: it starts anew."


def test_everybody_gets_k_articles_where_there_are_so_many(chosen: Path, tmp_path: Path) -> None:
    recommender, _ = composing.load_recommender(release.get("production"))
    on_sale = {
        str(article)
        for found in recommender.retrievers.values()
        for article in found.assortment.ids[found.assortment.on_sale]
    }
    few, everything = tmp_path / "few.csv", tmp_path / "everything.csv"
    write(few, chosen, batch=CUSTOMERS)
    write(everything, chosen, k=len(on_sale) + 5, batch=CUSTOMERS)
    some, every = (
        list(csv.DictReader(file.read_text().splitlines())) for file in (few, everything)
    )
    assert len(some) == len(every) == CUSTOMERS
    assert {line["customer_id"] for line in some} >= {"nobody"}
    for line, more in zip(some, every, strict=True):
        articles = more["prediction"].split()
        assert len(articles) == len(set(articles))
        assert set(articles) == on_sale
        assert articles[:12] == line["prediction"].split()


def test_the_file_holds_nothing_that_rules_leave_out(
    chosen: Path, own_shop: Path, tmp_path: Path
) -> None:
    recommender, _ = composing.load_recommender(release.get("production"))
    shelf = recommender.retrievers["repurchase"].assortment
    shown = shelf.ids[shelf.on_sale][::20].tolist()
    blocked = sorted(set(shelf.ids) - set(shown))
    rules = {"business_rules": {"blocked": blocked, "bought": "leave_out"}}
    made = composing.create_release(settings=replace(RELEASE, rerankers=rules))
    release.promote(made.tag)
    out = tmp_path / "submission.csv"
    write(out, chosen)
    with reading() as con:
        bought = con.execute("SELECT DISTINCT customer_id, article_id FROM staging.purchases")
        pairs = set(bought.fetchall())
    rows = list(csv.DictReader(out.read_text().splitlines()))
    filled = 0
    for row in rows:
        articles = row["prediction"].split()
        assert set(articles) <= set(shown)
        theirs = {article for article in shown if (row["customer_id"], article) in pairs}
        assert not theirs & set(articles)
        assert len(articles) == min(12, len(shown) - len(theirs))
        filled += len(articles)
    assert filled


def test_a_release_that_has_seen_more_than_the_feature_tables_writes_no_file(
    chosen: Path, own_shop: Path, tmp_path: Path
) -> None:
    feature_tables.build(date(2020, 9, 1))
    with pytest.raises(
        RegistryError, match=r"built up to 2020-09-02.*run `lookbook features build`"
    ):
        to_file(tmp_path / "submission.csv", k=12, customers=chosen)
    assert not list(tmp_path.glob("*submission*"))
