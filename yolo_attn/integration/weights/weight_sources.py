"""Record on a model which of its layers and parameters came from pretrained weights.

The record is a plain dict. It stays with the model where ``train()`` builds it again, multi-GPU training pickles it or
``yolo-attn transfer`` writes it to a file. A checkpoint that a training wrote is a source of its own, so when such a
file is opened, the record moves from the model into the checkpoint's dict. Only ``resume`` takes it from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ATTRIBUTE = "yolo_attn_transfer"


def name_of(source: Any) -> str:
    """Return the name of the model whose weights are loaded: its file's, else its model YAML's."""
    file = getattr(source, "pt_path", None) or (getattr(source, "yaml", None) or {}).get("yaml_file")
    return Path(str(file)).name if file else "the source"


def of(model: Any) -> dict[str, Any] | None:
    """Return the record of a model, or None if no weights were loaded into it.

    Its keys: ``source``, the source's name; ``source_layers``, its number of layers; ``layers``, the model's layer for
    each source layer that has one; ``new``, the names of the parameters that did not come from the source entirely;
    ``trained``, whether a training changed the weights since.
    """
    found = getattr(unwrapped(model), ATTRIBUTE, None)
    return found if isinstance(found, dict) else None


def unwrapped(model: Any) -> Any:
    """Return the model inside the wrappers of multi-GPU training, compilation and distillation."""
    for inner in ("module", "_orig_mod", "student_model"):
        model = getattr(model, inner, model)
    return model


def record(model: Any, source: Any, layers: Mapping[int, int], new: Iterable[str]) -> None:
    """Record on ``model`` what came from ``source``. If the source has a record itself, join the two.

    Args:
        model: The model that got the weights.
        source: The model they came from.
        layers: The model's layer for each layer of ``source`` that has one.
        new: Names of the model's parameters that did not come from ``source`` entirely.
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
    head, number, rest = (*name.split(".", 2), "", "")[:3]
    known = head == "model" and number.isdecimal() and int(number) in layers
    return f"model.{layers[int(number)]}.{rest}" if known else ""


def mark_trained(model: Any) -> None:
    """Record that a training changed the weights."""
    known = of(model)
    if known is not None:
        setattr(unwrapped(model), ATTRIBUTE, {**known, "trained": True})


def forget(model: Any) -> None:
    """Remove a model's record."""
    if of(model) is not None:
        delattr(unwrapped(model), ATTRIBUTE)


def move_to_checkpoint(checkpoint: Any) -> None:
    """Move the record of a training's checkpoint from its model into the checkpoint's dict."""
    for model in (checkpoint.get("ema"), checkpoint.get("model")) if isinstance(checkpoint, dict) else ():
        known = of(model)
        if known is not None and known["trained"]:
            forget(model)
            checkpoint[ATTRIBUTE] = known


def restore(model: Any, checkpoint: Any) -> None:
    """Put the record of a checkpoint back on the model of a resumed training."""
    known = checkpoint.get(ATTRIBUTE) if isinstance(checkpoint, dict) else None
    if known is not None:
        setattr(unwrapped(model), ATTRIBUTE, {**known, "trained": False})
