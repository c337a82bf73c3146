"""Whether two models trained with one seed see the same images in the same order with the same augmentation.

The order comes from the data loader's own random numbers, and so do the seeds of its processes; neither knows what the
model has drawn. Where images are loaded in the training's own process (``workers=0``, and always on a CPU),
augmentation shares Python's and NumPy's random numbers with the model: a layer that draws from them, while it is built
or run, would change what the model sees. :func:`reseed` keeps the two apart.
"""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable
from typing import Any

_OF_RESUMING = 1_000_003  # a prime: seeds of resumed trainings are not those of others


def seeds_reach_workers() -> bool:
    """Return whether the installed Ultralytics gives another order of images to another seed.

    Two loaders are built under two seeds. Their random numbers give the order and the seeds of the loader's processes.
    """
    import torch
    from ultralytics.data.build import build_dataloader

    found = []
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions pin memory where there is none
        for seed in (1, 2):
            torch.manual_seed(seed)
            numbers: Any = range(64)
            loader = build_dataloader(numbers, batch=8, workers=0, shuffle=True, rank=-1)
            found.append((list(loader.sampler), loader.generator.initial_seed()))
    return all(here != there for here, there in zip(*found, strict=True))


def describe() -> str:
    """Return a line for the report where seeds do not reach the data; empty where they do."""
    import ultralytics

    if seeds_reach_workers():
        return ""
    return (
        f"Ultralytics {ultralytics.__version__} gives every seed the same order of images and its loader processes the "
        "same augmentation (it seeds them since August 2026): differences are not paired by seed"
    )


def reseed(trainer: Any) -> None:
    """Let what a model sees depend on the seed alone, whatever the model draws.

    Give it to ``on_pretrain_routine_start``, before the model is built. A training from its first epoch sees what
    ``yolo train`` shows a model that draws no numbers of Python's and NumPy's.

    A resumed training goes on in the order of images that it would have had, until mosaic closes and the loader starts
    anew; Ultralytics would show it the batches of the first epochs again. Its augmentation is another than that of a
    training that was not interrupted; it depends on the seed and the epoch alone.

    Args:
        trainer: Ultralytics' trainer.
    """
    from torch import nn

    if isinstance(
        getattr(trainer, "model", None), nn.Module
    ):  # early versions build it first; nothing else has drawn by then
        _seed_own(_seed(trainer))
    else:
        trainer.get_model = _apart(trainer.get_model)
    trainer.add_callback("on_train_start", _begin)


def _begin(trainer: Any) -> None:
    import torch

    epoch = int(trainer.start_epoch)
    if epoch:
        seed = (_seed(trainer) + _OF_RESUMING * epoch) % 2**32
        torch.manual_seed(seed)
        _seed_own(seed)
        _go_on(trainer.train_loader, epoch, seed)
    _keep_apart(trainer)


def _keep_apart(trainer: Any) -> None:
    """Have each step, of training and of validation, leave Python's and NumPy's random numbers as they were.

    Not by hooks of the model: they would go into its checkpoints.
    """
    prepared = trainer.preprocess_batch  # draws the image size of multi_scale
    before = [_state()]

    def keep(_: Any) -> None:
        before[0] = _state()

    def put_back(_: Any) -> None:
        _put_back(before[0])

    def preprocess_batch(batch: Any) -> Any:
        batch = prepared(batch)
        keep(None)
        return batch

    trainer.preprocess_batch = preprocess_batch
    trainer.add_callback("on_train_batch_end", put_back)
    trainer.validator.callbacks["on_val_batch_start"].append(keep)  # images to validate on are loaded in between
    trainer.validator.callbacks["on_val_batch_end"].append(put_back)


def _seed(trainer: Any) -> int:
    """Return the seed from which the trainer itself starts all random numbers."""
    from ultralytics.utils import RANK

    return int(trainer.args.seed) + 1 + RANK


def _go_on(loader: Any, epoch: int, seed: int) -> None:
    """Set a loader to the order of images of ``epoch``, and its processes to random numbers of their own."""
    import torch

    sampler, generator = loader.sampler, loader.generator
    if getattr(sampler, "generator", None) is not generator or generator is None:
        return  # multi-GPU samplers know the epoch
    order = torch.Generator()
    order.manual_seed(generator.initial_seed())
    torch.empty((), dtype=torch.int64).random_(generator=order)  # the loader's processes get their seed first
    sampler.generator = order
    for _ in range(epoch):
        for _ in sampler:
            pass
    generator.manual_seed(seed)
    if getattr(loader, "iterator", None) is not None:  # early versions have begun to load
        loader.reset()


def _apart(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that it leaves Python's and NumPy's random numbers as they were."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        before = _state()
        try:
            return original(*args, **kwargs)
        finally:
            _put_back(before)

    return wrapper


def _state() -> tuple[Any, Any]:
    import numpy as np

    return random.getstate(), np.random.get_state()


def _put_back(state: tuple[Any, Any]) -> None:
    import numpy as np

    random.setstate(state[0])
    np.random.set_state(state[1])


def _seed_own(seed: int) -> None:
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
