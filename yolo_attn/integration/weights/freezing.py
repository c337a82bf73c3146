"""``freeze``: the layers that a training does not change.

``backbone`` and ``transferred`` become the prefixes of parameter names that Ultralytics takes (``16``, ``23.cv2.0``).
Where the weights were aligned, numbers are those of the source's layers, and become the numbers of these layers here.
"""

from __future__ import annotations

from typing import Any

from ...alignment.transfer_summary import layers
from ...errors import ArgumentError
from ...messages import joined
from ..queries import layer_types
from ..queries.training_arguments import FREEZE_NAMES, check_freeze
from ..strict_mode import is_strict
from . import weight_sources

EXACT = "yolo_attn_frozen"  # attribute of the trainer: frozen parameters that no prefix covers


def resolve(trainer: Any) -> str | None:
    """Replace the trainer's ``freeze`` by the prefixes that Ultralytics takes; its model has its weights already.

    Returns:
        A line that says what is frozen; None where ``freeze`` is left to Ultralytics.

    Raises:
        ArgumentError: If there is no such layer, nothing was transferred, or nothing would be left to train.
    """
    freeze = trainer.args.freeze
    model = weight_sources.unwrapped(trainer.model)
    rows = getattr(model, "model", None)
    if isinstance(freeze, bool) or not isinstance(freeze, str | int | list | tuple) or rows is None:
        return None
    exact: set[str] = set()
    known = weight_sources.of(model)
    if isinstance(freeze, str):
        if freeze not in FREEZE_NAMES and not is_strict() and not layer_types.has_ours(model):
            return None
        check_freeze(freeze)
        names, exact = _by_word(freeze, model, known)
        message = f"freeze={freeze}: {_list(names)} frozen"
    elif known is None or (known["source_layers"], known["layers"]) == (len(rows), {k: k for k in range(len(rows))}):
        return None
    else:
        numbers = list(range(freeze)) if isinstance(freeze, int) else list(freeze)
        if all(isinstance(k, str) for k in numbers):
            return None  # prefixes already, as in a resumed training
        names = [str(k) for k in _mapped(numbers, freeze, known)]
        message = f"freeze={freeze} counts the layers of {known['source']}: {_list(names)} frozen here"
    frozen = tuple(f"model.{name}." for name in names)
    if not any(n not in exact and ".dfl" not in n and not n.startswith(frozen) for n, _ in model.named_parameters()):
        raise ArgumentError(f"freeze={freeze}: every layer would be frozen, and nothing is left to train; leave it out")
    trainer.args.freeze = names
    setattr(trainer, EXACT, exact)
    return message


def freeze_single_parameters(trainer: Any, model: Any) -> None:
    """Freeze the parameters that :func:`resolve` could not name by a prefix, after Ultralytics froze its own."""
    exact: set[str] = getattr(trainer, EXACT, set())
    for name, parameter in weight_sources.unwrapped(model).named_parameters() if exact else ():
        if name in exact:
            parameter.requires_grad = False


def _by_word(word: str, model: Any, known: dict[str, Any] | None) -> tuple[list[str], set[str]]:
    """Return the prefixes that ``backbone`` or ``transferred`` freezes, and the parameters that no prefix covers."""
    rows = list(model.model)
    if word == "backbone":
        count = len((getattr(model, "yaml", None) or {}).get("backbone") or ())
        if not count:
            raise ArgumentError("freeze=backbone: the model was not built from a model YAML; give layer numbers")
        if known is None:
            return [str(k) for k in range(count)], set()
        rows = rows[:count]
    elif known is None:
        raise ArgumentError(
            "freeze=transferred: no weights were loaded into this model; give pretrained=, or a model that has them"
        )
    new = set(known["new"]) if known else set()
    names: list[str] = []
    exact: set[str] = set()
    for k, layer in enumerate(rows):
        _collect(layer, str(k), new, names, exact)
    if not names and not exact:
        raise ArgumentError(
            f"freeze={word}: nothing in {'the backbone' if word == 'backbone' else 'this model'} came from "
            f"{known['source'] if known else 'elsewhere'}; leave it out"
        )
    return names, exact


def _collect(module: Any, name: str, new: set[str], names: list[str], exact: set[str]) -> None:
    """Collect the largest modules all of whose parameters came from the source."""
    own = [n for n, _ in module.named_parameters()]
    fresh = [n for n in own if f"model.{name}.{n}" in new]
    if not own or len(fresh) == len(own):
        return
    if not fresh:
        names.append(name)
        return
    exact.update(f"model.{name}.{n}" for n, _ in module.named_parameters(recurse=False) if n not in fresh)
    for child, part in module.named_children():
        if "Norm" not in type(part).__name__:  # Ultralytics would not hold its statistics, and its input is new
            _collect(part, f"{name}.{child}", new, names, exact)


def _mapped(numbers: list[Any], freeze: Any, known: dict[str, Any]) -> list[Any]:
    """Replace numbers of the source's layers by the model's; keep what is not a number."""
    last = known["source_layers"] - 1
    for number in numbers:
        if isinstance(number, int) and not 0 <= number <= last:
            raise ArgumentError(f"freeze={freeze}: {known['source']} has no layer {number}; it has 0 to {last}")
    found = [known["layers"].get(number) if isinstance(number, int) else number for number in numbers]
    return [number for number in found if number is not None]


def _list(names: list[str]) -> str:
    whole = [int(n) for n in names if n.isdecimal()]
    parts = {int(n.partition(".")[0]) for n in names if not n.isdecimal()}
    found = [layers(whole)] * bool(whole) + [f"parts of {layers(parts)}"] * bool(parts)
    return joined(found, " and ") or "no layers"
