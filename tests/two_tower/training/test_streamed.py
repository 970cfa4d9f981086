"""Training whose rows stay on disk, beside training that holds them in memory."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import positives as made_up
from tests.two_tower.training.test_checkpoint import KilledError, killed_at
from tests.two_tower.worlds import checkerboard, every_encoding, weighted
from two_tower.config import TrainConfig
from two_tower.data import pulled as pulled_module
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled, Split
from two_tower.data.seen import Interactions
from two_tower.errors import InputError
from two_tower.training.network import counting
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Positives
from two_tower.training.sampling.user_history import ROW_COST, UserHistory, write_user_history
from two_tower.training.streaming import source
from two_tower.training.streaming.shard_writer import ShardWriter
from two_tower.training.streaming.shards import Shards
from two_tower.training.streaming.source import Streamed, stream_decision
from two_tower.training.train import train
from two_tower.training.validation import Events, Validation

CPU = torch.device("cpu")
SMALL = {"dim": 16, "feature_dim": 16, "hidden": 32, "batch_size": 64, "device": "cpu", "stream": "on"}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull of few rows in several pieces, and these in several shards."""
    monkeypatch.setattr(pulled_module, "ROW_GROUP", 100)
    monkeypatch.setattr(ShardWriter, "_shards", lambda _, __, total: -(-total // 150))


@pytest.fixture
def folder(tmp_path: Path, small_pieces: None) -> Path:
    checkerboard().write(tmp_path / "pulled")
    return tmp_path / "pulled"


def streamed(folder: Path, scratch: Path, network: TwoTower | None = None, **settings) -> Shards:
    data = Streamed(Parts(folder), scratch, 100)
    config = TrainConfig(**SMALL | settings)
    encoders = data.fit()
    return data.positives(encoders, network or TwoTower(encoders, config), config, CPU)


@pytest.mark.parametrize("world", [checkerboard, every_encoding])
def test_encoders_from_pieces_are_those_of_all_rows(tmp_path, small_pieces, world):
    world().write(tmp_path)
    learned, longest = counting.fit_parts(Parts(tmp_path))
    assert learned == fit(world())
    lists = world().user["recent_items"].take(world().rows(Split.TRAIN)).to_pylist()
    most = next(f.max_length for f in world().contract.user if f.name == "recent_items")
    assert longest["user", "recent_items"] == min(most, max(len(one) for one in lists if one))


def test_a_sample_leaves_the_vocabularies_whole(tmp_path, small_pieces, monkeypatch):
    monkeypatch.setattr(counting, "SAMPLE", 40)
    every_encoding().write(tmp_path)
    learned, whole = counting.fit_parts(Parts(tmp_path))[0], fit(every_encoding())
    for tower in ("user", "item"):
        for one, other in zip(learned.tower(tower), whole.tower(tower), strict=True):
            assert one.vocabulary == other.vocabulary and one.table == other.table
            assert np.allclose(one.mean, other.mean, atol=np.abs(other.std or 0) * 0.6)
    assert len(Parts(tmp_path).spaced(Split.TRAIN, 40)) == 40


@pytest.mark.parametrize("buckets", [1, 7])
def test_the_user_history_is_that_of_the_whole_time_line(tmp_path, small_pieces, buckets):
    world = every_encoding()  # in which users take items again
    weight = np.ones(world.interactions.num_rows, dtype=np.float32)
    weight[3] = 0
    world = Pulled(
        world.contract,
        world.bounds,
        world.interactions.set_column(3, "weight", [weight]),
        world.user,
        world.item,
        world.catalogue,
    )
    world.write(tmp_path / "pulled")
    parts = Parts(tmp_path / "pulled")
    write_user_history(parts, tmp_path / "user_history", 200 * ROW_COST // buckets)
    history, whole = UserHistory.read(tmp_path / "user_history"), Interactions.from_pulled(world)
    rows = np.arange(parts.spans[Split.VALIDATION][1])
    kept = ~whole.repeated[rows] & (weight[rows] > 0)
    assert history.is_positive(rows).tolist() == kept.tolist() and not kept.all()
    train = world.rows(Split.TRAIN)
    assert history.count(len(train)).sum() == kept[train].sum()
    assert history.items.take(history.item).to_pylist() == world.interactions["item_id"].take(rows).to_pylist()
    begin, length = whole.spans(rows)
    assert history.length.tolist() == length.tolist()
    for row in rows:
        seen = history.seen[history.begin[row] : history.begin[row] + history.length[row]]
        assert (
            history.items.take(seen).to_pylist()
            == whole.items.take(whole.first_items[begin[row] : begin[row] + length[row]]).to_pylist()
        )


def test_an_epoch_of_shards_gives_each_positive_once(folder, tmp_path):
    shards = streamed(folder, tmp_path / "scratch")
    assert len(shards.lengths) == 7 and len(set(shards.lengths)) <= 2
    found = [(p.user[rows], p.item[rows]) for p, rows in shards.batches(50, seed=3)]
    assert len(found) == shards.steps(50)
    pairs = torch.stack([torch.cat(part) for part in zip(*found, strict=True)]).T
    assert len(pairs) == len(shards) == len(checkerboard().rows(Split.TRAIN)) == len(pairs.unique(dim=0))
    again = [p.user[rows] for p, rows in shards.batches(50, seed=3)]
    other = [p.user[rows] for p, rows in shards.batches(50, seed=4)]
    assert all(torch.equal(one, a) for (one, _), a in zip(found, again, strict=True))
    assert not all(torch.equal(one, a) for (one, _), a in zip(found, other, strict=True))
    for done in (1, 9, len(found)):
        rest = [p.user[rows] for p, rows in shards.batches(50, seed=3, done=done)]
        assert len(rest) == len(found) - done
        assert all(torch.equal(one, r) for (one, _), r in zip(found[done:], rest, strict=True))


def test_a_single_shard_gives_the_bits_of_memory(tmp_path, monkeypatch):
    """Every batch, draw and mask is the same then, and so are the weights."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for make, way in (
        (checkerboard, {"negatives": "hard"}),
        (checkerboard, {"negatives": "popularity", "sampled_negatives": 30, "loss": "bpr"}),
        (every_encoding, {}),
    ):
        world, config = make(), {**SMALL, "epochs": 1, **way}
        world.write(tmp_path / "pulled")
        one = train(tmp_path / "pulled", TrainConfig(**config), tmp_path / "one")
        other = train(world, TrainConfig(**config | {"stream": "off"}), tmp_path / "other")
        assert [e["loss"] for e in one["history"]] == [e["loss"] for e in other["history"]]
        weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other")]
        assert weights[0] == weights[1]
        assert one["best"]["recall@20"] == pytest.approx(other["best"]["recall@20"])  # users in another order
        assert not list((tmp_path / "temporary").glob("two-tower-stream-*"))  # the scratch files are gone


def test_items_from_before_a_shard_are_read_as_they_were(folder, tmp_path):
    """A row of item i says by its columns that it is i; its time is known from its place in the whole."""
    shards = streamed(folder, tmp_path / "scratch", negatives="mixed")
    whole = Positives.of(checkerboard(), fit(checkerboard()), TwoTower(fit(checkerboard()), TrainConfig()), 8192, CPU)
    start = 0
    for number, length in enumerate(shards.lengths):
        shard = shards.load(number)
        assert shard.before == shards.count.shape[0] and len(shard) == length
        assert torch.equal(shard.item[: shard.before], torch.arange(shard.before))
        for code in range(shard.before):
            before = [r for r in range(start) if whole.item[r] == code]
            of = before[-1] if before else int((whole.item == code).nonzero()[0])
            assert torch.equal(shard.item_columns.ids[code], whole.item_columns.ids[of])
        assert torch.equal(shard.item[shard.before :], whole.item[start : start + length])
        start += length


@pytest.mark.parametrize("way", [{}, {"negatives": "mixed", "sampled_negatives": 48}])
def test_streamed_training_learns_the_checkerboard(folder, tmp_path, way):
    result = train(folder, TrainConfig(**SMALL, epochs=12, patience=12, **way), tmp_path / "model")
    assert result["best"]["recall@20"] == 1


def test_streamed_training_goes_on_with_the_same_bits(tmp_path, small_pieces, monkeypatch):
    folder = tmp_path / "pulled"
    checkerboard(users=20, items=40, per_user=20).write(folder)  # three shards of two batches
    config = TrainConfig(**SMALL, epochs=2, checkpoint_seconds=0, checkpoints=str(tmp_path / "kept"))
    whole = train(folder, config, tmp_path / "whole")
    for step in (3, 7):  # in the middle of a shard
        with killed_at(step, monkeypatch), pytest.raises(KilledError):
            train(folder, config, tmp_path / "broken")
    resumed = train(folder, config, tmp_path / "broken")
    assert resumed["embedding_space"] == whole["embedding_space"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]


def test_validation_from_pieces_ranks_the_same_events(small_pieces, tmp_path, monkeypatch):
    whole = weighted(checkerboard(), [float(row % 7 > 0) for row in range(40 * 32)])
    whole.write(tmp_path / "pulled")
    data = Streamed(Parts(tmp_path / "pulled"), tmp_path / "scratch", 100)
    encoders = fit(whole)
    one, other = Validation.of(Events.of(whole), whole, encoders, CPU), data.validation(encoders, CPU)
    assert one.target.tolist() == other.target.tolist() and len(one.target) > 50
    assert all(torch.equal(one.user[name], other.user[name]) for name in one.user)
    pairs = [set(zip(v.event.tolist(), v.seen.tolist(), strict=True)) for v in (one, other)]
    assert pairs[0] == pairs[1]
    monkeypatch.setattr(source, "MAX_EVENTS", 2)
    assert 10 <= len(data.validation(encoders, CPU).target) <= 20


def test_auto_goes_by_the_memory_and_says_why(folder, monkeypatch, capsys, tmp_path):
    config = TrainConfig(**SMALL | {"stream": "auto"}, epochs=1)
    monkeypatch.setattr(source, "available", lambda: 10**12)
    assert not stream_decision(Parts(folder), config, CPU)[0]
    monkeypatch.setattr(source, "available", lambda: 10_000)
    streams, reason = stream_decision(Parts(folder), config, CPU)
    assert streams and "memory has 1e-05 GB free" in reason
    train(folder, config, tmp_path / "model")
    assert "training rows are streamed from disk, 2000 MB at a time (stream=auto: they take" in capsys.readouterr().out


def test_tables_in_memory_are_not_streamed(tmp_path):
    with pytest.raises(InputError, match="stream=on reads a pull from its folder"):
        train(checkerboard(), TrainConfig(**SMALL), tmp_path)


CHILD = """
import sys
from pathlib import Path
import torch
from two_tower.config import TrainConfig
from two_tower.training.train import train
torch.set_num_threads(1)
used = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = used()
small = {"dim": 8, "feature_dim": 8, "hidden": 8, "epochs": 1, "batch_size": 1024, "sparse_rows": 1000, "device": "cpu"}
train(Path(sys.argv[1]), TrainConfig(**small, stream=sys.argv[3], stream_megabytes=20), Path(sys.argv[2]))
print(used() - before)
"""


@pytest.mark.slow
def test_four_times_the_rows_take_little_more_memory(tmp_path, monkeypatch):
    """Kilobytes at the peak, over those of the imports: hardly more of what streams, much more of what is held."""

    def peak(rows: int, stream: str) -> int:
        monkeypatch.setattr(made_up, "USERS", rows // 25)
        folder = tmp_path / str(rows)
        if not folder.exists():
            made_up.simulated(rows).write(folder)
        command = [sys.executable, "-c", CHILD, str(folder), str(tmp_path / "model"), stream]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        return int(done.stdout.splitlines()[-1])

    few, many = (peak(rows, "on") for rows in (120_000, 480_000))
    assert many < 1.5 * few
    assert peak(480_000, "off") > 1.3 * many
