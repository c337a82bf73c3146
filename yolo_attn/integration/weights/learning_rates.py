"""``new_lr_mult``: another learning rate for the parameters that did not come from the pretrained weights."""

from __future__ import annotations

from typing import Any

from ...errors import ArgumentError
from . import provenance

WORD = "new_lr_mult"


def factor_of(trainer: Any, checkpoint: Any = None) -> float | None:
    """Return the factor that a training uses; None if it uses none.

    Args:
        trainer: Ultralytics' trainer.
        checkpoint: The checkpoint that is resumed: some versions drop words that they do not know from its arguments.
    """
    value = getattr(trainer.args, WORD, None)
    if value is None and getattr(trainer, "resume", False) and isinstance(checkpoint, dict):
        value = (checkpoint.get("train_args") or {}).get(WORD)
        if value is not None:
            setattr(trainer.args, WORD, value)
    return value


def check_value(value: Any) -> None:
    """Check the word's value.

    Raises:
        ArgumentError: If it is not a number above 0.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9):
        raise ArgumentError(f"{WORD}={value} must be a number above 0, e.g. {WORD}=10")


def check_source(trainer: Any) -> None:
    """Check that it is known which parameters are new.

    Raises:
        ArgumentError: If no weights were loaded.
    """
    if provenance.of(trainer.model) is None:
        raise ArgumentError(
            f"{WORD}={getattr(trainer.args, WORD)}: no weights were loaded, so every layer is new; give pretrained=, "
            "or set lr0"
        )


def split(trainer: Any, model: Any, optimizer: Any) -> str:
    """Move the new parameters of each group to a group of their own, with the learning rate times the factor.

    A group that is split keeps its place, since some versions tell the biases by it; those of the new ones follow
    behind in the same order. Scheduler and warm-up go by each group's first learning rate, so the ratio stays; only the
    biases' warm-up, which comes down from ``warmup_bias_lr``, reaches it at its end.

    Args:
        trainer: Ultralytics' trainer.
        model: The model, maybe wrapped.
        optimizer: What Ultralytics made for it.

    Returns:
        A line that says what was done.
    """
    factor = float(getattr(trainer.args, WORD))
    inner = provenance.unwrapped(model)
    known = provenance.of(inner) or {"new": []}
    names = set(known["new"])
    new = {id(p) for n, p in inner.named_parameters() if n in names}
    for group in list(optimizer.param_groups):
        apart = [p for p in group["params"] if id(p) in new]
        if not apart:
            continue
        if len(apart) == len(group["params"]):
            group["lr"] *= factor
            continue
        group["params"] = [p for p in group["params"] if id(p) not in new]
        optimizer.add_param_group({**group, "params": apart, "lr": group["lr"] * factor})
    return f"{WORD}={factor:g}: {len(new)} new parameters learn at {factor:g} times the learning rate of the others"
