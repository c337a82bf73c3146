"""What a training does with pretrained weights: ``BaseTrainer`` and ``YOLO.train`` with our words."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...alignment.layer_alignment import parse_pins
from ...errors import UserError
from ..queries import layer_types
from ..weights import freezing, learning_rates, loading, provenance


def told_how_to_load(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``Model.load``, which gets two words: ``partial=True``, ``map="6=7"``."""

    @functools.wraps(original)
    def load(self: Any, *args: Any, partial: bool | None = None, map: str | None = None, **kwargs: Any) -> Any:
        with loading.loading(partial=partial, pins=parse_pins(map) if map else None):
            return original(self, *args, **kwargs)

    return load


def loading_as_told(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``Model.train``, which itself loads weights before the trainer does; early versions forget to."""
    aware = "pretrained" in original.__code__.co_consts

    @functools.wraps(original)
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = getattr(self, "trainer", None)
        try:
            with loading.loading(partial=kwargs.get("partial") is True or None):
                weights = kwargs.get("pretrained")
                if isinstance(weights, str | Path) and not aware and layer_types.has_ours(self.model):
                    self.load(weights)
                return original(self, *args, **kwargs)
        except UserError:
            if getattr(self, "trainer", None) is not before:
                remove_unused_folder(self.trainer)
            raise

    return train


def prepared(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``BaseTrainer.setup_model``: afterwards it is known what came from where, so ``freeze`` can be resolved."""

    @functools.wraps(original)
    def setup_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _leaving_nothing_behind(self):
            with loading.loading(partial=getattr(self.args, "partial", False) is True or None):
                checkpoint = original(self, *args, **kwargs)
            if getattr(self, "resume", False):
                provenance.restore(self.model, checkpoint)
            frozen = freezing.resolve(self)
            if frozen is not None:
                loading.say(frozen)
            if learning_rates.factor_of(self, checkpoint) is not None:
                learning_rates.check_source(self)
        return checkpoint

    return setup_model


def with_groups_of_new_parameters(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``BaseTrainer.build_optimizer``."""

    @functools.wraps(original)
    def build_optimizer(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        freezing.freeze_the_rest(self, model)
        optimizer = original(self, model, *args, **kwargs)
        if learning_rates.factor_of(self) is not None:
            loading.say(learning_rates.split(self, model, optimizer))
        return optimizer

    return build_optimizer


def saying_it_was_trained(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``BaseTrainer.save_model``: what is saved is a source in its own right."""

    @functools.wraps(original)
    def save_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        averaged = provenance.unwrapped(self.ema.ema) if self.ema else None
        if averaged is not None:
            if layer_types.has_ours(averaged) or learning_rates.factor_of(self) is not None:
                provenance.mark_trained(averaged)
            else:
                provenance.forget(averaged)  # a stock model's checkpoint holds nothing of ours
        return original(self, *args, **kwargs)

    return save_model


@contextmanager
def _leaving_nothing_behind(trainer: Any) -> Iterator[None]:
    try:
        yield
    except UserError:
        remove_unused_folder(trainer)
        raise


def remove_unused_folder(trainer: Any) -> None:
    """Remove the folder of a run that ended before it began: nothing in it but its arguments."""
    folder = Path(getattr(trainer, "save_dir", None) or "")
    if getattr(trainer, "resume", False) or not (folder / "args.yaml").is_file():
        return
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    if found <= {"args.yaml", "weights"}:
        shutil.rmtree(folder)
