"""The torch room: the loop, the encoder, layers and losses, each against what is plainly right."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipelines.neural import losses
from pipelines.neural.encoding import (
    EncodingError,
    FeatureEncoder,
    hashed,
    padded,
    part,
    under,
)
from pipelines.neural.layers import (
    MLP,
    AttentionPooling,
    BucketEmbedding,
    FeatureEmbedding,
    HashedEmbedding,
    pooled,
)
from pipelines.neural.training import (
    Batch,
    TrainingError,
    TrainingSettings,
    mean_loss,
    seeded,
    train,
)
from pipelines.neural.weights import WeightsError, load_network, save_network
from tests.neural_worlds import (
    SHORT,
    Line,
    Noisy,
    Stopped,
    TensorExamples,
    a_line,
    a_network,
    squared,
    stopped,
    together,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make networks of this size slower, on a busy machine by far."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The loop


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_it_learns_and_says_what_it_did() -> None:
    network = a_network(dropout=0)
    said: list[str] = []
    run = TrainingSettings(epochs=60, batch_size=20, learning_rate=0.02)
    history = train(network, squared, TensorExamples(a_line()), run, progress=said.append)
    assert history.losses[0] > 1
    assert history.losses[-1] < 0.05
    assert len(history.losses) == 60
    assert len(said) >= 60
    assert said[0].startswith("epoch 1 of 60: loss ")
    assert history.examples_per_second > 0
    assert not network.training
    assert mean_loss(network, squared, TensorExamples(a_line()), batch_size=7) < 0.05


def test_every_example_comes_once_an_epoch_in_batches_of_equal_size_and_another_order() -> None:
    examples = Noisy()
    train(a_network(), squared, examples, SHORT)
    assert [len(rows) for rows in examples.asked] == [25] * 12
    first, second = torch.cat(examples.asked[:4]), torch.cat(examples.asked[4:8])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(100))
    assert not torch.equal(first, second)


def test_the_seed_decides_and_draws_outside_stay_as_they_were() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    trained = []
    for seed, before in [(1, 5), (1, 6), (2, 5)]:
        torch.manual_seed(before)
        network = a_network()
        state = torch.get_rng_state()
        train(network, squared, Noisy(), TrainingSettings(epochs=2, batch_size=30, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        trained.append(network)
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])
    torch.manual_seed(11)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5, 8, 11])
def test_a_run_that_stopped_goes_on_to_the_same_weights(stop_at: int, tmp_path: Path) -> None:
    file = tmp_path / "run.checkpoint"
    whole, halved = a_network(), a_network()
    history = train(whole, squared, Noisy(), SHORT)

    # One more batch is asked at the start, for the fingerprint.
    examples = Noisy(stop_at + 1, stopped)
    with pytest.raises(Stopped):
        train(halved, squared, examples, SHORT, checkpoint=file, checkpoint_seconds=0)
    assert file.exists()

    rest, said = Noisy(), list[str]()
    again = a_network()
    halves = train(
        again, squared, rest, SHORT, checkpoint=file, checkpoint_seconds=0, progress=said.append
    )
    assert said[0].startswith("goes on from run.checkpoint")
    assert len(rest.asked) - 1 == 12 - stop_at
    assert same(whole, again)
    assert halves.losses == history.losses
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_may_outlive_the_training(tmp_path: Path) -> None:
    file = tmp_path / "run.checkpoint"
    first, again, rest = a_network(), a_network(), Noisy()
    train(first, squared, Noisy(), SHORT, checkpoint=file, keep_checkpoint=True)
    train(again, squared, rest, SHORT, checkpoint=file, keep_checkpoint=True)
    assert same(first, again)
    assert len(rest.asked) == 1  # for the fingerprint: nothing is learnt again
    assert file.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from pipelines.neural.training import train
from pipelines.neural.weights import save_network
from tests.neural_worlds import SHORT, Noisy, a_network, squared

folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])
examples = Noisy(stop_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
network = a_network()
train(network, squared, examples, SHORT, checkpoint=folder / "checkpoint", checkpoint_seconds=0)
save_network(network, folder / "network.safetensors")
"""


def run_script(
    code: str, folder: Path, *words: str, processes: int = 1
) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(code)
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*launch, str(script), str(folder), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    assert run_script(KILLED, tmp_path, "6").returncode == -9
    assert (tmp_path / "checkpoint").exists()
    assert not (tmp_path / "network.safetensors").exists()
    done = run_script(KILLED, tmp_path, "-1")
    assert done.returncode == 0, done.stderr
    whole = a_network()
    train(whole, squared, Noisy(), SHORT)
    assert same(whole, load_network(a_network(), tmp_path / "network.safetensors"))
    assert not (tmp_path / "checkpoint").exists()


def left_behind(file: Path) -> None:
    with pytest.raises(Stopped):
        train(a_network(), squared, Noisy(6, stopped), SHORT, checkpoint=file, checkpoint_seconds=0)


def test_a_checkpoint_of_another_run_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    others = {
        "settings": (a_network(), Noisy(), TrainingSettings(epochs=3, batch_size=30)),
        "network": (a_network(dropout=0.3), Noisy(), SHORT),
        "rows": (a_network(), TensorExamples(a_line(99)), SHORT),
        "values": (a_network(), TensorExamples(a_line()), SHORT),
    }
    for name, (network, examples, run) in others.items():
        left_behind(file)
        said: list[str] = []
        train(network, squared, examples, run, checkpoint=file, progress=said.append)
        assert "of other settings or examples" in said[0], name
        assert not file.exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "nothing"])
def test_a_damaged_checkpoint_is_not_used(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint"
    left_behind(file)
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        # In the numbers of a weight, where only a checksum can tell.
        at = content.index(a_number(file))
        content[at] ^= 0xFF
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "foreign": b"{}" * 50}
    file.write_bytes(damaged.get(damage, content))
    said: list[str] = []
    network, whole = a_network(), a_network()
    train(network, squared, Noisy(), SHORT, checkpoint=file, progress=said.append)
    train(whole, squared, Noisy(), SHORT)
    assert ("is damaged" in said[0]) == (damage != "nothing")
    assert same(network, whole)


def a_number(file: Path) -> bytes:
    saved = torch.load(file, weights_only=True)["network"]["layers.0.weight"]
    return saved.numpy().tobytes()


def test_patience_goes_back_to_the_best_weights_also_after_a_stop(tmp_path: Path) -> None:
    figures = [3.0, 1.0, 2.0, 1.5, 0.5]
    seen: list[dict[str, Tensor]] = []

    def figure(network: nn.Module) -> float:
        assert not network.training
        seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return figures[len(seen) - 1]

    run = TrainingSettings(epochs=5, batch_size=30, patience=2)
    file = tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        train(a_network(), squared, Noisy(13, stopped), run, validation=figure, checkpoint=file)
    assert len(seen) == 3
    network = a_network()
    history = train(network, squared, Noisy(), run, validation=figure, checkpoint=file)
    assert history.validations == figures[:4]
    assert len(history.losses) == 4
    assert all(torch.equal(network.state_dict()[name], seen[1][name]) for name in seen[1])


@pytest.mark.parametrize(("cosine", "second"), [(False, 1.0), (True, 0.5)])
def test_the_learning_rate_falls_along_a_cosine(cosine: bool, second: float) -> None:
    seen = [a_network(dropout=0).state_dict()["layers.2.bias"].clone()]

    def kept(network: nn.Module) -> float:
        seen.append(network.state_dict()["layers.2.bias"].clone())
        return 0.0

    # Two steps, of Adam, which at first are as long as the learning rate.
    run = TrainingSettings(epochs=2, batch_size=100, learning_rate=0.01, cosine=cosine)
    train(a_network(dropout=0), squared, TensorExamples(a_line()), run, validation=kept)
    assert (seen[1] - seen[0]).abs().item() == pytest.approx(0.01, rel=0.01)
    assert (seen[2] - seen[1]).abs().item() == pytest.approx(0.01 * second, rel=0.02)


def test_what_cannot_be_trained_says_so() -> None:
    with pytest.raises(TrainingError, match="nothing to learn"):
        train(a_network(), squared, TensorExamples({"x": torch.zeros(0, 3)}))
    examples = TensorExamples({"x": torch.full((4, 3), torch.inf), "y": torch.zeros(4)})
    with pytest.raises(TrainingError, match="no number any more in epoch 1"):
        train(a_network(), squared, examples)
    with pytest.raises(ValueError, match="one length"):
        TensorExamples({"x": torch.zeros(3), "y": torch.zeros(4)})


TOGETHER = """
import os, sys
from pathlib import Path

import torch

from pipelines.neural.training import (
    TrainingSettings, is_main, mean_loss, process_count, train, wait_for_all)
from pipelines.neural.weights import save_network
from tests.neural_worlds import (
    Noisy, Stopped, TensorExamples, a_line, a_network, squared, stopped, together)

folder, rank = Path(sys.argv[1]), os.environ["RANK"]
assert process_count() == 2
if is_main():
    (folder / "from_main").touch()
wait_for_all()
assert (folder / "from_main").exists()

network = together()
with torch.no_grad():  # whatever each began with, they go on with the main one's
    for parameter in network.parameters():
        parameter.add_(float(rank))
said, held_out = [], TensorExamples(a_line())
history = train(network, squared, TensorExamples(a_line(101)),
    TrainingSettings(epochs=4, batch_size=10, learning_rate=0.1, patience=3), progress=said.append,
    validation=lambda network: mean_loss(network, squared, held_out))
assert bool(said) == is_main()
save_network(network, folder / f"{rank}.safetensors")
(folder / f"{rank}.losses").write_text(repr(history.losses))

halves = TrainingSettings(epochs=3, batch_size=10, learning_rate=0.01)
for examples in (Noisy(9, stopped, noise=0), Noisy(noise=0)):
    network = a_network(dropout=0)
    try:
        train(network, squared, examples, halves, checkpoint=folder / "checkpoint",
            checkpoint_seconds=0)
    except Stopped:
        assert (folder / "checkpoint").exists()
assert len(examples.asked) == 1 + 15 - 8
save_network(network, folder / f"halves{rank}.safetensors")
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_processes")
    done = run_script(TOGETHER, folder, processes=2)
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_learn_the_same_network(two_processes: Path) -> None:
    first = load_network(together(), two_processes / "0.safetensors")
    second = load_network(together(), two_processes / "1.safetensors")
    assert same(first, second)
    said = [(two_processes / f"{rank}.losses").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    found = json.loads(said[0])
    assert len(found) == 4
    assert found[-1] < 0.5 * found[0]


def test_two_processes_with_half_batches_are_one_with_whole_ones_also_after_a_stop(
    two_processes: Path,
) -> None:
    alone = a_network(dropout=0)
    run = TrainingSettings(epochs=3, batch_size=20, learning_rate=0.01)
    train(alone, squared, TensorExamples(a_line()), run)
    assert not (two_processes / "checkpoint").exists()
    for rank in range(2):
        found = load_network(a_network(dropout=0), two_processes / f"halves{rank}.safetensors")
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


# Weights on disk


def test_weights_are_read_as_written_and_the_same_weights_are_the_same_bytes(
    tmp_path: Path,
) -> None:
    network = a_network()
    save_network(network, tmp_path / "one")
    save_network(a_network(), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with seeded(4):
        other = Line()
    assert not same(network, other)
    assert same(network, load_network(other, tmp_path / "one"))


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "network.safetensors"
    save_network(MLP(3, 8, 1), file)
    with pytest.raises(WeightsError, match=r"0.bias is 8 in the file and 9 in the network"):
        load_network(MLP(3, 9, 1), file)
    with pytest.raises(WeightsError, match=r"4.bias is missing in the file"):
        load_network(MLP(3, 8, 1, 1), file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_network(MLP(3, 8, 1), file)
    with pytest.raises(WeightsError, match=r"absent.safetensors cannot be read"):
        load_network(MLP(3, 8, 1), tmp_path / "absent.safetensors")


# Losses

small = st.integers(1, 5)
seeds = st.integers(0, 2**31)


def least(parameters: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    """The parameters, where the loss is least."""
    optimizer = torch.optim.LBFGS([parameters], max_iter=300, line_search_fn="strong_wolfe")

    def again() -> Tensor:
        optimizer.zero_grad()
        lost = loss()
        lost.backward()
        return lost

    optimizer.step(again)
    return parameters.detach()


@pytest.mark.parametrize("corrected", [True, False])
def test_scores_are_what_is_bought_and_not_how_negatives_were_drawn(corrected: bool) -> None:
    bought, drawn = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    negatives = torch.arange(3).repeat_interleave((3000 * drawn).round().long())
    log_q = drawn.log() if corrected else torch.zeros(3)
    scores = torch.zeros(3, requires_grad=True)

    def loss() -> Tensor:
        lost = [
            losses.sampled_softmax(
                scores[n : n + 1], scores[negatives][None], log_q[n : n + 1], log_q[negatives]
            )
            for n in range(3)
        ]
        return (bought * torch.stack(lost)).sum()

    found = least(scores, loss).softmax(0)
    assert torch.allclose(found, bought, atol=0.01) == corrected


@given(seeds, small, small, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=40)
def test_sampled_softmax(seed: int, rows: int, count: int, shared: bool, masked: bool) -> None:
    with seeded(seed):
        positive, own_q = torch.randn(rows), torch.rand(rows).log()
        negatives = torch.randn(rows, count)
        negative_q = (torch.rand(count) if shared else torch.rand(rows, count)).log()
        hits = torch.rand(rows, count) < 0.5 if masked else None
    expected = 0.0
    for i in range(rows):
        own = math.exp(float(positive[i] - own_q[i]))
        others = 0.0
        for j in range(count):
            if hits is None or not hits[i, j]:
                q = negative_q[j] if shared else negative_q[i, j]
                others += math.exp(float(negatives[i, j] - q))
        expected -= math.log(own / (own + others)) / rows
    found = losses.sampled_softmax(positive, negatives, own_q, negative_q, hits=hits)
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@given(seeds, small, st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=40)
def test_binary_cross_entropy(seed: int, rows: int, kept: float) -> None:
    with seeded(seed):
        logits, labels = torch.randn(rows), (torch.rand(rows) < 0.5).float()
    expected = 0.0
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        chance = 1 / (1 + math.exp(-logit))
        # Among the rows that were kept, negatives are rarer.
        among_kept = chance / (chance + (1 - chance) * kept)
        expected -= math.log(among_kept if label else 1 - among_kept) / rows
    found = losses.binary_cross_entropy(logits, labels, kept=kept)
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_chances_are_those_of_the_whole_data_after_down_sampling() -> None:
    bought, kept = 50, 0.02
    negatives = round(9950 * kept)
    labels = torch.cat([torch.ones(bought), torch.zeros(negatives)])
    logit = torch.zeros(1, requires_grad=True)
    least(logit, lambda: losses.binary_cross_entropy(logit.expand(len(labels)), labels, kept=kept))
    assert torch.sigmoid(logit).item() == pytest.approx(50 / 10_000, rel=0.01)


@given(seeds, small, small, small)
@settings(deadline=None, max_examples=40)
def test_multinomial_vae(seed: int, rows: int, articles: int, latent: int) -> None:
    with seeded(seed):
        logits, bought = torch.randn(rows, articles), torch.randint(0, 3, (rows, articles)).float()
        mean, log_variance = torch.randn(2, rows, latent)
    expected = 0.0
    for i in range(rows):
        below = sum(math.exp(float(x)) for x in logits[i])
        for a in range(articles):
            expected -= float(bought[i, a]) * math.log(math.exp(float(logits[i, a])) / below)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    expected += 0.3 * float(divergence.sum())
    found = losses.multinomial_vae(logits, bought, mean, log_variance, beta=0.3)
    assert float(found) == pytest.approx(expected / rows, rel=1e-3, abs=1e-4)


@given(seeds, small, small, small)
@settings(deadline=None, max_examples=40)
def test_listwise_softmax(seed: int, customers: int, rows: int, objectives: int) -> None:
    with seeded(seed):
        whose = torch.arange(customers).repeat(rows)
        logits = 3 * torch.randn(len(whose), objectives)
        labels = (torch.rand(len(whose), objectives) < 0.5).float()
        weights = torch.rand(len(whose)) + 0.1
    lost = []
    for customer in range(customers):
        own = [row for row in range(len(whose)) if whose[row] == customer]
        for one in range(objectives):
            total = sum(float(weights[row]) * math.exp(float(logits[row, one])) for row in own)
            came = [row for row in own if labels[row, one]]
            shares = [math.exp(float(logits[row, one])) / total for row in came]
            if came:
                lost.append(-sum(map(math.log, shares)) / len(came))
    found = losses.listwise_softmax(logits, labels, whose, weights=weights)
    expected = sum(lost) / max(1, len(lost))
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_list_without_rows_and_one_in_which_nothing_came_lose_nothing() -> None:
    none = torch.zeros(0, 2)
    assert losses.listwise_softmax(none, none, none[:, 0].long()) == 0
    logits = torch.randn(4, 1, requires_grad=True)
    lost = losses.listwise_softmax(logits, torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))
    lost.backward()
    assert lost == 0
    assert torch.equal(logits.grad, torch.zeros(4, 1))


# Layers


def test_pooling_is_the_weighted_mean_and_padding_counts_for_nothing() -> None:
    sequence = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 5.0]] * 3])
    weights = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(pooled(sequence, weights), torch.tensor([[2.5, 5.0], [0.0, 0.0]]))
    with seeded(1):
        attention = AttentionPooling(2)
    query, whose = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    found = attention(query, sequence, weights, whose)
    padding = sequence.clone().index_fill_(1, torch.tensor([2]), 77.0)
    assert torch.equal(found, attention(query, padding, weights, whose))
    assert torch.equal(found[1], torch.zeros(2))
    assert 1 <= found[0, 0] <= 3
    # Several may ask the same sequence.
    again = attention(query[[0, 1, 0]], sequence, weights, whose[[0, 1, 0]])
    assert torch.allclose(again, found[[0, 1, 0]])


def test_hashes_are_spread_stable_and_collide_only_by_chance() -> None:
    ids = hashed([f"{n:010}" for n in range(2000)])
    # The same on every machine, for ever: saved tables depend on it.
    assert ids[:2].tolist() == [1687202400898467691, 5321788248641264622]
    assert len(set(ids.tolist())) == 2000
    layer = HashedEmbedding(1000, 4, hashes=2)
    rows = layer(ids)
    assert rows.shape == (2000, 4)
    # 2,000 ids in 1,000 buckets collide; with two hashes hardly any pair shares both.
    assert len({tuple(row) for row in rows.tolist()}) > 1990
    one = HashedEmbedding(1000, 4, hashes=1)
    used = len({tuple(row) for row in one(ids).tolist()})
    assert used == pytest.approx(1000 * (1 - math.exp(-2)), rel=0.05)
    assert torch.equal(layer(ids.reshape(20, 100)), rows.reshape(20, 100, 4))


def test_each_field_has_rows_of_its_own() -> None:
    layer = BucketEmbedding([2, 3], 4)
    assert layer.table.weight.shape == (5, 4)
    found = layer(torch.tensor([[0, 0], [1, 2]]))
    assert torch.equal(found, layer.table.weight[torch.tensor([[0, 2], [1, 4]])])


# The encoder


def some_rows(count: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "customer_id": [f"c{n}" for n in range(count)],
            "v__spend": np.where(rng.random(count) < 0.2, np.nan, rng.lognormal(size=count)),
            "v__times": pd.array([None if n % 9 == 0 else n % 3 for n in range(count)], "Int64"),
            "v__member": rng.random(count) < 0.5,
            "v__odd": [None if n % 4 == 0 else float(n) for n in range(count)],
            "v__one": 1.0,
            "v__empty": None,
            "v__colour": rng.choice(np.array(["red", "blue", "teal", None], dtype=object), count),
            "v__text_embedding": [None if n % 5 == 0 else [n, 1.0, -1.0] for n in range(count)],
            "v__recent": [[f"a{k}" for k in range(n % 6)] for n in range(count)],
            "v__moment": pd.Timestamp("2020-01-01", tz="UTC"),
        }
    )


def an_encoder(**settings: Any) -> FeatureEncoder:
    return FeatureEncoder(**settings).fit(some_rows())


def test_the_spec_names_what_was_learnt() -> None:
    spec = an_encoder(buckets=10).spec
    assert spec.fields == (
        *("v__spend", "v__times", "v__member", "v__odd"),
        *("v__colour", "v__text_embedding"),
    )
    assert spec.codes == (11, 4, 3, 11, 1 + 3 + 4)
    assert spec.numbers == 4
    assert spec.vectors == (4,)


def test_numbers_become_equally_full_buckets_and_places() -> None:
    rows = some_rows(1000)
    encoded = FeatureEncoder(buckets=10).fit(rows).encode(rows)
    codes, numbers = encoded["codes"][:, 0].numpy(), encoded["numbers"][:, 0].numpy()
    missing = rows["v__spend"].isna().to_numpy()
    assert (codes[missing] == 0).all()
    assert (numbers[missing] == 0).all()
    assert np.bincount(codes[~missing])[1:].min() >= 0.9 * (~missing).sum() / 10
    spend = rows["v__spend"].to_numpy()[~missing]
    order = np.argsort(spend)
    assert (np.diff(codes[~missing][order]) >= 0).all()
    assert (np.diff(numbers[~missing][order]) >= 0).all()
    assert numbers.min() == -1
    assert numbers.max() == 1
    # Few values: a code each.
    assert sorted(set(encoded["codes"][:, 1].tolist())) == [0, 1, 2, 3]
    assert set(encoded["numbers"][:, 2].tolist()) == {-1.0, 1.0}


@given(
    st.lists(
        st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, 2.0, math.inf, -math.inf]),
        min_size=1,
        max_size=60,
    ),
    st.lists(st.none() | st.floats(allow_nan=True, width=32), max_size=40),
    st.integers(1, 8),
)
@settings(deadline=None, max_examples=150)
def test_any_number_has_a_code_and_one_row_has_it_as_many_have(
    training: list[float | None], asked: list[float | None], buckets: int
) -> None:
    frame = pd.DataFrame({"v__x": pd.Series(training, dtype="float64")})
    encoder = FeatureEncoder(buckets=buckets).fit(frame)
    values = [*training, *asked]
    many = encoder.encode({"v__x": values})
    for row, value in enumerate(values):
        one = encoder.encode({"v__x": [value]})
        assert torch.equal(one["codes"][0], many["codes"][row])
        assert torch.equal(one["numbers"][0], many["numbers"][row])
        if encoder.numbers:
            edges = encoder.numbers["v__x"][1:-1]
            empty = value is None or math.isnan(value)
            code = 0 if empty else 1 + sum(value >= edge for edge in edges)  # type: ignore[operator]
            assert int(one["codes"][0, 0]) == code < encoder.spec.codes[0]
            assert -1 <= float(one["numbers"][0, 0]) <= 1


def test_texts_have_codes_by_how_often_they_came_and_others_share_hashed_ones() -> None:
    texts = ["b"] * 3 + ["a"] * 2 + ["c"] * 2 + [None] + ["d"]
    rows = pd.DataFrame({"v__t": pd.Series(texts, dtype=object)})
    encoder = FeatureEncoder(vocabulary=3, unseen=1).fit(rows)
    assert encoder.texts == {"v__t": ["b", "a", "c"]}
    assert encoder.spec.codes == (7,)
    asked = ["b", "a", "c", None, math.nan, pd.NA, "d", "never seen"]
    codes = encoder.encode({"v__t": asked})["codes"][:, 0].tolist()
    assert codes[:6] == [1, 2, 3, 0, 0, 0]
    assert set(codes[6:]) <= {4, 5, 6}
    assert encoder.encode({"v__t": asked * 10})["codes"][:, 0].tolist() == codes * 10
    for kind in ("category", "string"):
        found = encoder.encode(rows.astype({"v__t": kind}))
        assert torch.equal(found["codes"], encoder.encode(rows)["codes"])


def test_texts_that_were_never_seen_may_be_as_missing() -> None:
    rows = pd.DataFrame({"v__t": pd.Series(["b", "b", "a", None], dtype=object)})
    encoder = FeatureEncoder(unseen=0).fit(rows)
    assert encoder.spec.codes == (3,)
    asked = ["a", "never seen", None, "b"]
    assert encoder.encode({"v__t": asked})["codes"][:, 0].tolist() == [2, 0, 0, 1]


def test_vectors() -> None:
    encoded = an_encoder().encode(some_rows())
    assert encoded["vectors"][0].tolist() == [0, 0, 0, 0]
    assert encoded["vectors"][3].tolist() == [3, 1, -1, 1]


def test_a_frame_a_dict_and_a_saved_encoder_give_the_same(tmp_path: Path) -> None:
    rows, encoder = some_rows(), an_encoder()
    encoder.save(tmp_path / "encoder.json")
    again = FeatureEncoder.load(tmp_path / "encoder.json")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "encoder.json").read_bytes() == (tmp_path / "again.json").read_bytes()
    assert again.spec == encoder.spec
    assert again.columns == encoder.columns
    expected = encoder.encode(rows)
    plain = {name: rows[name].tolist() for name in encoder.columns}
    for found in (again.encode(rows), again.encode(plain)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    for row in range(20):
        one = again.encode({name: values[row : row + 1] for name, values in plain.items()})
        assert all(torch.equal(one[name][0], expected[name][row]) for name in expected)


def test_rows_that_do_not_fit_and_files_that_are_no_encoder_say_so(tmp_path: Path) -> None:
    encoder = an_encoder()
    with pytest.raises(EncodingError, match="lack v__colour"):
        encoder.encode(some_rows().drop(columns="v__colour"))
    with pytest.raises(EncodingError, match="v__text_embedding must be lists of 3 numbers"):
        encoder.encode({**some_rows(1).to_dict("list"), "v__text_embedding": [[1.0, 2.0]]})
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(EncodingError, match=r"encoder.json cannot be read"):
        FeatureEncoder.load(tmp_path / "encoder.json")


def test_nothing_to_encode_and_no_rows_are_harmless() -> None:
    rows = some_rows()[["customer_id", "v__one", "v__empty", "v__moment"]]
    encoded = FeatureEncoder().fit(rows).encode(rows)
    assert {name: tuple(tensor.shape) for name, tensor in encoded.items()} == {
        "codes": (200, 0),
        "numbers": (200, 0),
        "vectors": (200, 0),
    }
    none = an_encoder().encode(some_rows().iloc[:0])
    assert none["codes"].shape == (0, 5)


def test_encoded_rows_become_fields() -> None:
    encoder = an_encoder()
    with seeded(2):
        layer = FeatureEmbedding(encoder.spec, 6)
    encoded = encoder.encode(some_rows())
    fields = layer.fields(encoded)
    assert fields.shape == (200, 6, 6) == (200, layer.field_count, layer.width)
    assert layer(encoded).shape == (200, layer.size)
    both = {**under("customer", encoded), **under("article", {"codes": torch.zeros(1)})}
    assert part("customer", both).keys() == encoded.keys()
    assert part("article", both).keys() == {"codes"}


def test_padded_takes_the_first_of_each_list() -> None:
    places, weights = padded(
        np.array([0, 0, 0, 2]), np.array([7, 8, 9, 5]), np.array([1.0, 2.0, 3.0, 4.0]), 3, 2
    )
    assert places.tolist() == [[7, 8], [0, 0], [5, 0]]
    assert weights.tolist() == [[1, 2], [0, 0], [4, 0]]


def test_a_model_learns_from_every_kind_of_column() -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "v__number": rng.normal(size=1500),
            "v__text": rng.choice(["x", "y"], 1500),
            "v__picture_embedding": list(rng.normal(size=(1500, 2))),
        }
    )
    chances = {
        "v__number": rows["v__number"] > 0.5,
        "v__text": rows["v__text"] == "x",
        "v__picture_embedding": rows["v__picture_embedding"].str[1] > 0,
    }
    encoder = FeatureEncoder().fit(rows)
    encoded = encoder.encode(rows)

    def loss(network: nn.Module, batch: Batch) -> Tensor:
        return losses.binary_cross_entropy(network(batch).squeeze(1), batch["label"])

    for name, label in chances.items():
        with seeded(1):
            embedding = FeatureEmbedding(encoder.spec, 4)
            network = nn.Sequential(embedding, MLP(embedding.size, 16, 1))
        labels = torch.tensor(label.to_numpy(dtype="float32"))
        examples = TensorExamples({**encoded, "label": labels})
        run = TrainingSettings(epochs=6, batch_size=100, learning_rate=0.02)
        assert train(network, loss, examples, run).losses[-1] < 0.25, name


def test_the_package_itself_imports_no_torch() -> None:
    code = "import sys, pipelines.neural; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
