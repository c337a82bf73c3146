"""Which layers and parameters of a model came from pretrained weights, kept on the model itself.

``train()`` builds the model again and loads the weights from the first one, multi-GPU training pickles it for its
processes, ``yolo-attn transfer`` writes it to a file: the record goes along, a plain dict. A checkpoint that a training
wrote is a source in its own right, so there the record moves from the model into the checkpoint's dict when the file is
opened; only ``resume`` takes it from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ATTRIBUTE = "yolo_attn_transfer"


def name_of(source: Any) -> str:
    """Return what to call the model whose weights are loaded: its file, else its model YAML."""
    file = getattr(source, "pt_path", None) or (getattr(source, "yaml", None) or {}).get("yaml_file")
    return Path(str(file)).name if file else "the source"


def of(model: Any) -> dict[str, Any] | None:
    """Return the record of a model, or None if no weights were loaded into it.

    It holds ``source``, its name; ``source_layers``, how many layers that has; ``layers``, the model's layer for each
    source layer that has one; ``new``, the names of the parameters that did not come from it, wholly; ``trained``,
    whether a training has gone on from there.
    """
    found = getattr(unwrapped(model), ATTRIBUTE, None)
    return found if isinstance(found, dict) else None


def unwrapped(model: Any) -> Any:
    """Return the model inside the wrappers of multi-GPU training, compilation and distillation."""
    for inner in ("module", "_orig_mod", "student_model"):
        model = getattr(model, inner, model)
    return model


def record(model: Any, source: Any, layers: Mapping[int, int], new: Iterable[str]) -> None:
    """Keep on ``model`` what came from ``source``.

    Args:
        model: The model that got the weights.
        source: The model they came from. If that had them from elsewhere, the two steps are joined.
        layers: The model's layer for each layer of ``source`` that has one.
        new: Names of the model's parameters that did not come from ``source``, wholly.
    """
    before = of(source)
    now: dict[str, Any] = {
        "source": name_of(source),
        "source_layers": len(source.model),
        "layers": dict(layers),
        "new": sorted(new),
        "trained": False,
    }
    if before is not None and not before["trained"]:
        own = {name for name, _ in model.named_parameters()}
        carried = {renamed(name, layers) for name in before["new"]} & own
        now |= {"source": before["source"], "source_layers": before["source_layers"]}
        now["layers"] = {i: layers[j] for i, j in before["layers"].items() if j in layers}
        now["new"] = sorted(carried | set(now["new"]))
    setattr(model, ATTRIBUTE, now)


def renamed(name: str, layers: Mapping[int, int]) -> str:
    """Return a parameter's name with its layer's number in another model; empty if the layer is not there."""
    head, _, rest = name.partition(".")
    number, _, rest = rest.partition(".")
    if head != "model" or not number.isdecimal() or int(number) not in layers:
        return ""
    return f"model.{layers[int(number)]}.{rest}"


def layers_differ(known: Mapping[str, Any], count: int) -> bool:
    """Say whether the source's list of layers is another one than the model's, which has ``count``."""
    numbers = range(known["source_layers"])
    return count != len(numbers) or any(known["layers"].get(k) != k for k in numbers)


def mark_trained(model: Any) -> None:
    """Note on a model that is being saved that a training has changed it."""
    known = of(model)
    if known is not None:
        setattr(unwrapped(model), ATTRIBUTE, {**known, "trained": True})


def forget(model: Any) -> None:
    """Take the record off a model."""
    if of(model) is not None:
        delattr(unwrapped(model), ATTRIBUTE)


def move_to_checkpoint(checkpoint: Any) -> None:
    """Take the record of a training's checkpoint off its model and keep it in the checkpoint's dict."""
    if not isinstance(checkpoint, dict):
        return
    for key in ("ema", "model"):
        model = checkpoint.get(key)
        known = of(model)
        if known is not None and known["trained"]:
            delattr(unwrapped(model), ATTRIBUTE)
            checkpoint[ATTRIBUTE] = known


def restore(model: Any, checkpoint: Any) -> None:
    """Give the model of a training that is resumed the record that its checkpoint had."""
    known = checkpoint.get(ATTRIBUTE) if isinstance(checkpoint, dict) else None
    if known is not None:
        setattr(unwrapped(model), ATTRIBUTE, {**known, "trained": False})
