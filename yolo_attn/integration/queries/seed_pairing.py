"""Pair trainings by seed: the same images in the same order with the same augmentation, whatever the model.

The data loader's own random numbers give the order and the seeds of its processes; they do not depend on the model.
But if images are loaded in the training's own process (``workers=0``, and always on a CPU), augmentation shares
Python's and NumPy's random numbers with the model. A layer that draws from these, when it is built or run, would
change what the model sees. :func:`reseed` separates the two.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import ultralytics
from torch import nn
from ultralytics.data import build
from ultralytics.utils import RANK

_RESUMED = 1_000_003  # a prime, so that seeds of resumed trainings differ from others


def seeds_reach_workers() -> bool:
    """Return whether another seed gives another order of images in the installed Ultralytics.

    Build a loader under each of two seeds, and compare the order and the seeds of their processes.
    """
    found = []
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions pin memory where there is none
        for seed in (1, 2):
            torch.manual_seed(seed)
            numbers: Any = range(64)
            loader = build.build_dataloader(numbers, batch=8, workers=0, shuffle=True, rank=-1)
            found.append((list(loader.sampler), loader.generator.initial_seed()))
    return all(here != there for here, there in zip(*found, strict=True))


def describe() -> str:
    """Return a line for the report if seeds do not reach the data; empty if they do."""
    if seeds_reach_workers():
        return ""
    return (
        f"Ultralytics {ultralytics.__version__} gives every seed the same order of images and the same augmentation in "
        "its loader processes (versions since August 2026 seed them): differences are not paired by seed"
    )


def reseed(trainer: Any) -> None:
    """Make what a model sees depend on the seed only, whatever random numbers the model draws.

    Add it as a callback on ``on_pretrain_routine_start``, before the model is built. A training that starts at its
    first epoch sees what ``yolo train`` shows to a model that draws none of Python's and NumPy's random numbers.

    A resumed training continues in the order of images that it would have had, until mosaic closes and the loader
    restarts; Ultralytics would show it the batches of the first epochs again. Its augmentation differs from that of an
    uninterrupted training, and depends on the seed and the epoch only.
    """
    if isinstance(getattr(trainer, "model", None), nn.Module):
        _seed_own(_seed(trainer))  # early versions build it first; nothing else has drawn by then
    else:
        trainer.get_model = _apart()(trainer.get_model)
    trainer.add_callback("on_train_start", _begin)


def _begin(trainer: Any) -> None:
    epoch = int(trainer.start_epoch)
    if epoch:
        seed = (_seed(trainer) + _RESUMED * epoch) % 2**32
        torch.manual_seed(seed)
        _seed_own(seed)
        _continue_order(trainer.train_loader, epoch, seed)
    _keep_apart(trainer)


def _keep_apart(trainer: Any) -> None:
    """Restore Python's and NumPy's random numbers after each step of training and validation."""
    # Not by hooks of the model: they would be saved in its checkpoints.
    prepared = trainer.preprocess_batch  # draws the image size of multi_scale
    before = _state()

    def keep(_: Any) -> None:
        nonlocal before
        before = _state()

    def put_back(_: Any) -> None:
        _put_back(before)

    def preprocess_batch(batch: Any) -> Any:
        batch = prepared(batch)
        keep(batch)
        return batch

    trainer.preprocess_batch = preprocess_batch
    trainer.add_callback("on_train_batch_end", put_back)
    trainer.validator.callbacks["on_val_batch_start"].append(keep)  # images to validate on are loaded in between
    trainer.validator.callbacks["on_val_batch_end"].append(put_back)


def _seed(trainer: Any) -> int:
    """Return the seed that the trainer itself uses."""
    return int(trainer.args.seed) + 1 + RANK


def _continue_order(loader: Any, epoch: int, seed: int) -> None:
    """Set a loader to the order of images of ``epoch``, and reseed its processes."""
    sampler, generator = loader.sampler, loader.generator
    if getattr(sampler, "generator", None) is not generator or generator is None:
        return  # multi-GPU samplers depend on the epoch
    order = torch.Generator().manual_seed(generator.initial_seed())
    torch.empty((), dtype=torch.int64).random_(generator=order)  # the loader draws the seed of its processes first
    sampler.generator = order
    for _ in range(epoch):
        for _ in sampler:
            pass
    generator.manual_seed(seed)
    if getattr(loader, "iterator", None) is not None:  # early versions start to load at once
        loader.reset()


@contextmanager
def _apart() -> Iterator[None]:
    """Restore Python's and NumPy's random numbers at the end of this context."""
    before = _state()
    try:
        yield
    finally:
        _put_back(before)


def _state() -> tuple[Any, Any]:
    return random.getstate(), np.random.get_state()


def _put_back(state: tuple[Any, Any]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])


def _seed_own(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
