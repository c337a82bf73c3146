"""Models trained with one seed see the same images with the same augmentation, interrupted or not."""

import random
from pathlib import Path

import numpy as np
import pytest
import support
import torch
from test_ultralytics_versions import last_lines, of, version  # noqa: F401  a fixture
from torch import nn
from ultralytics import YOLO
from ultralytics.data import build

from yolo_attn.integration.queries import seed_pairing


class InterruptionError(Exception):
    """Ends a training in the middle."""


class Seen:
    """The batches of a training: the files of each, and the sum of its pixels."""

    def __init__(self, workers, stop_at=None):
        self.batches, self.workers, self.stop_at = [], workers, stop_at

    def watch(self, model, paired=True):
        # On a CPU Ultralytics loads in the training's own process, whatever workers= says.
        model.add_callback("on_pretrain_routine_start", lambda t: setattr(t.args, "workers", self.workers))
        if paired:
            model.add_callback("on_pretrain_routine_start", seed_pairing.reseed)
        model.add_callback("on_train_start", self.begin)
        model.add_callback("on_train_epoch_start", self.stop)
        return model

    def begin(self, trainer):
        assert trainer.train_loader.num_workers == self.workers
        prepared = trainer.preprocess_batch

        def note(batch):
            files = tuple(Path(file).stem for file in batch["im_file"])
            self.batches.append((files, int(batch["img"].long().sum())))
            return prepared(batch)

        trainer.preprocess_batch = note

    def stop(self, trainer):
        if trainer.epoch == self.stop_at:
            self.stop_at = None
            raise InterruptionError

    @property
    def order(self):
        return [files for files, _ in self.batches]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return support.tiny_data(tmp_path_factory.mktemp("pairing") / "data", images=8)


class Rude(nn.Module):
    """A layer that draws Python's and NumPy's random numbers, when built and when run."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels) / channels)
        random.random()
        np.random.rand(3)

    def forward(self, x):
        random.random()
        np.random.rand(3)
        return x + x * self.weight.view(-1, 1, 1)


MODEL = """
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [-1, 1, LAYER, []]
  - [[2, 3, 5], 1, Detect, [nc]]
"""


@pytest.fixture
def base(tmp_path):
    file = tmp_path / "base.yaml"
    file.write_text(MODEL.replace("LAYER", "nn.Identity"))
    return str(file)


@pytest.fixture
def rude(tmp_path, own_layers):
    own_layers.register("Rude", paper="https://arxiv.org/abs/0000.00000")(Rude)
    file = tmp_path / "rude.yaml"
    file.write_text(MODEL.replace("LAYER", "Rude"))
    return str(file)


def train(model, seed, workers, data, folder, *, paired=True, stop_at=None):
    seen = Seen(workers, stop_at)
    arguments = {"imgsz": 64, "batch": 4, "plots": False, "val": True, "device": "cpu", "close_mosaic": 0}
    try:
        seen.watch(YOLO(model), paired).train(
            data=str(data), epochs=3, seed=seed, project=str(folder), name="run", exist_ok=True, **arguments
        )
    except InterruptionError:
        seen.watch(YOLO(folder / "run" / "weights" / "last.pt"), paired).train(resume=True)
    assert len(seen.batches) == 6
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_one_seed_one_sequence_of_batches(workers, data, base, rude, tmp_path):
    seen = train(base, 0, workers, data, tmp_path)
    assert len(set(seen.batches)) == 6
    assert train(rude, 0, workers, data, tmp_path).batches == seen.batches
    other = train(base, 1, workers, data, tmp_path)
    reached = seed_pairing.seeds_reach_workers()  # as the installed version does; older ones not
    assert (other.order != seen.order) is reached
    assert (other.batches != seen.batches) is (reached or workers == 0)
    resumed = train(base, 0, workers, data, tmp_path, stop_at=1)
    assert resumed.order == seen.order
    assert resumed.batches[:2] == seen.batches[:2]
    assert {pixels for _, pixels in resumed.batches[2:]}.isdisjoint(pixels for _, pixels in seen.batches)
    assert train(rude, 0, workers, data, tmp_path, stop_at=1).batches == resumed.batches


@pytest.mark.slow
def test_what_ultralytics_does_by_itself(data, base, rude, tmp_path):
    plain = train(base, 0, 0, data, tmp_path, paired=False)
    assert train(base, 0, 0, data, tmp_path).batches == plain.batches  # the seed's own, not another
    assert train(rude, 0, 0, data, tmp_path, paired=False).batches != plain.batches
    resumed = train(base, 0, 0, data, tmp_path, paired=False, stop_at=1)
    assert resumed.batches[2:] == plain.batches[:4]  # the first epochs once more


def test_of_every_version(version, tmp_path):  # noqa: F811  a fixture
    number, env = version
    out = support.run(
        """
        from yolo_attn.integration.queries import seed_pairing
        print("=", seed_pairing.seeds_reach_workers(), seed_pairing.describe())
        """,
        tmp_path,
        **env,
    )
    (line,) = last_lines(out)
    assert line.startswith(f"False Ultralytics {number} gives every seed" if of(number) <= (8, 4, 120) else "True")


def test_asking_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert bool(seed_pairing.describe()) is not seed_pairing.seeds_reach_workers()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.initial_seed() == 5


def test_seeds_that_do_not_reach_them_are_said(monkeypatch):
    original = build.build_dataloader

    def as_before(*args, **kwargs):  # as Ultralytics did until August 2026
        loader = original(*args, **kwargs)
        loader.generator.manual_seed(6148914691236517205 - 1)
        return loader

    monkeypatch.setattr(build, "build_dataloader", as_before)
    monkeypatch.setattr("ultralytics.__version__", "8.4.0")
    assert seed_pairing.seeds_reach_workers() is False
    assert seed_pairing.describe().startswith("Ultralytics 8.4.0 ")
