"""``new_lr_mult``: scale the learning rate of the parameters that did not come from the pretrained weights."""

from __future__ import annotations

from typing import Any

from ...errors import ArgumentError
from ..queries.training_arguments import NEW_LR_MULT
from . import weight_sources


def factor_of(trainer: Any, checkpoint: Any = None) -> float | None:
    """Return the factor of a training; None if it has none.

    Some versions drop unknown arguments when they resume: then take it from the checkpoint.
    """
    value = getattr(trainer.args, NEW_LR_MULT, None)
    if value is None and getattr(trainer, "resume", False) and isinstance(checkpoint, dict):
        value = (checkpoint.get("train_args") or {}).get(NEW_LR_MULT)
        if value is not None:
            setattr(trainer.args, NEW_LR_MULT, value)
    return value


def check_source(trainer: Any) -> None:
    """Raise an ArgumentError if no weights were loaded, so that every parameter is new."""
    if weight_sources.of(trainer.model) is None:
        raise ArgumentError(
            f"{NEW_LR_MULT}={getattr(trainer.args, NEW_LR_MULT)}: no weights were loaded, so every layer is new; "
            "give pretrained=, or set lr0"
        )


def split(trainer: Any, model: Any, optimizer: Any) -> str:
    """Move the new parameters of each group to a group of their own, with the learning rate times the factor.

    The old groups keep their places, because some versions identify the biases by place; the new groups follow in the
    same order. Scheduler and warm-up scale each group's initial learning rate, so the ratio stays. Only the biases'
    warm-up, which starts at ``warmup_bias_lr``, reaches the ratio at its end.

    Returns:
        A line that says how many parameters are new, and the factor.
    """
    factor = float(getattr(trainer.args, NEW_LR_MULT))
    names = set((weight_sources.of(model) or {"new": []})["new"])
    new = {id(p) for n, p in weight_sources.unwrapped(model).named_parameters() if n in names}
    for group in list(optimizer.param_groups):
        apart = [p for p in group["params"] if id(p) in new]
        if not apart:
            continue
        if len(apart) == len(group["params"]):
            group["lr"] *= factor
            continue
        group["params"] = [p for p in group["params"] if id(p) not in new]
        optimizer.add_param_group({**group, "params": apart, "lr": group["lr"] * factor})
    return (
        f"{NEW_LR_MULT}={factor:g}: {len(new)} new parameters learn at {factor:g} times the learning rate of the others"
    )
