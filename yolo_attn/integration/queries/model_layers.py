"""Describe a built model's layers for the alignment."""

from __future__ import annotations

from typing import Any

from ...alignment.layer_alignment import Layer
from . import row_sources


def describe(model: Any) -> list[Layer]:
    """Return the layers of a model that was built from a model YAML."""
    yaml = getattr(model, "yaml", None) or {}
    rows = [*(yaml.get("backbone") or []), *(yaml.get("head") or [])]
    known = len(rows) == len(model.model)
    return [
        Layer(
            *_kind(layer),
            reads=row_sources.resolve(layer.f, k),
            row=repr((rows[k][1], rows[k][3])) if known else None,
            tensors={name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()},
        )
        for k, layer in enumerate(model.model)
    ]


def _kind(layer: Any) -> tuple[str, frozenset[str]]:
    """Return the name of a layer's class and of those that it inherits from, without torch's."""
    if type(layer).__name__ == "Sequential" and len(layer) and len({type(part) for part in layer}) == 1:
        kind, family = _kind(layer[0])  # a row with a repeat count
        return f"{kind} stacked", frozenset(f"{name} stacked" for name in family)
    classes = [c for c in type(layer).__mro__ if c.__module__.partition(".")[0] not in ("torch", "builtins")]
    name = type(layer).__name__
    return name, frozenset({name, *(c.__name__ for c in classes)})


def is_list_of_layers(model: Any) -> bool:
    """Return whether a model was built from the rows of a model YAML."""
    from torch import nn

    rows = getattr(model, "model", None)
    return isinstance(rows, nn.Sequential) and len(rows) > 0 and all(hasattr(m, "f") for m in rows)


def classes_of(model: Any) -> int:
    """Return the number of classes of a model."""
    # Not from its YAML: training with other classes changes that dict, which both models may hold.
    count = getattr(model.model[-1], "nc", None)
    return count if isinstance(count, int) else len(getattr(model, "names", None) or ())
