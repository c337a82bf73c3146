"""What the options of a layer must do: none is ignored, and unknown ones are refused."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from ..integration.queries.row_arguments import CHANNEL_OPTIONS
from ..messages import joined
from ..registry import BLOCKS, BlockSpec
from .block_inputs import C, an_input, make, maps_of, randomised, require, shapes

UNKNOWN = "no_such_option"
WIDE = 8 * C  # where a limit by the number of channels no longer hides an option


def refuses_unknown_options(spec: BlockSpec) -> None:
    """Check that a misspelt option is an error. A constructor with ``**kwargs`` accepts it in silence."""
    try:
        make(spec, **{UNKNOWN: 1})
    except (TypeError, ValueError):
        return
    require(
        False,
        f"{spec.name}: __init__ accepts {UNKNOWN}=1 and ignores it, so a misspelt option trains the default without a "
        "word. Name every option in the signature; no **kwargs",
    )


def ignored_options(spec: BlockSpec) -> Iterator[str]:
    """Return one sentence for each option for which other values than its own build the same block.

    An option has an effect if it changes parameters, outputs, or what ``repr`` shows. Values that the block refuses,
    and options whose type does not say what else they can be, are left out.
    """
    for name, parameter in BLOCKS[spec.name].options().items():
        if name in CHANNEL_OPTIONS:  # rows cannot give it
            continue
        value = spec.fixed.get(name, parameter.default)
        others = _other_values(spec, name, parameter, value)
        built: list[Any] = []
        effect = any(_has_effect(spec, name, other, width, built) for width in (C, WIDE) for other in others)
        if built and not effect:
            same = joined(dict.fromkeys([value, *built]), most=4)
            yield (
                f"{spec.name}: the option {name} has no effect: {same} build the same block with the same outputs. Use "
                "it or remove it; if it only works together with another option, raise a ValueError that says so; if "
                "it changes how and not what the block computes, show it in extra_repr()"
            )


def no_option_is_ignored(spec: BlockSpec) -> None:
    """Check that each option changes the block."""
    found = list(ignored_options(spec))
    require(not found, "; ".join(found))


def differ(spec: BlockSpec, base: Any, other: Any, channels: int = C) -> bool:
    """Return whether two fresh blocks have other parameters, or with equal parameters another output."""
    a, b = _state(base), _state(other)
    if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
        return True
    if not all(torch.equal(v, b[k]) for k, v in a.items()):
        return True
    other.load_state_dict(randomised(base).state_dict())
    x = an_input(spec, size=(9, 8), channels=channels)
    outputs = []
    for block in (base, other):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(block(x))
    y, z = outputs
    return shapes(y) != shapes(z) or not all(torch.equal(m, n) for m, n in zip(maps_of(y), maps_of(z), strict=True))


def _has_effect(spec: BlockSpec, name: str, value: object, channels: int, built: list[Any]) -> bool:
    """Return whether an option's value makes another block, in eval mode or, as dropout does, in train mode.

    It is added to ``built`` unless the block refuses it.
    """
    base = make(spec, channels)
    try:
        other = make(_with(spec, name, value), channels)
    except Exception:  # refused: says nothing of the values that are not
        return False
    built.append(value)
    if repr(base) != repr(other):
        return True
    try:
        return any(differ(spec, base.train(mode), other.train(mode), channels) for mode in (False, True))
    except Exception:  # the other block fails on this input: not the same block
        return True


def _state(block: Any) -> dict[str, torch.Tensor]:
    return {k: v for k, v in block.state_dict().items() if not k.endswith("num_batches_tracked")}


def _with(spec: BlockSpec, name: str, value: object) -> BlockSpec:
    return replace(spec, fixed={**spec.fixed, name: value})


def _other_values(spec: BlockSpec, name: str, parameter: inspect.Parameter, value: object) -> list[Any]:
    """Return values that the option may have besides ``value``, from its type and from what the block says."""
    kind = _annotation(spec, name, parameter)
    values: list[Any] = []
    if isinstance(value, bool) or "bool" in kind:
        values += [True, False]
    elif isinstance(value, int) or (value is None and re.search(r"\bint\b", kind)):
        number = value if isinstance(value, int) else 0
        values += [v for v in (2 * number, number // 2, number + 1, 1, 2, 3, 4, 8, C) if v > 0]
    elif isinstance(value, float) or (value is None and "float" in kind):
        values += [0.5, *([value / 2, 2 * value] if isinstance(value, float) else [])]
    elif isinstance(value, str) or (value is None and ("str" in kind or "Literal" in kind)):
        values += re.findall(r"'([^']+)'", kind) if "Literal" in kind else _choices(spec, name)
    return [v for v in dict.fromkeys(values) if v != value]


def _annotation(spec: BlockSpec, name: str, parameter: inspect.Parameter) -> str:
    """Return an option's type as text, with named types resolved where that works."""
    try:
        return str(typing.get_type_hints(vars(spec.cls)["__init__"])[name])
    except Exception:  # no annotation, or a name that exists for type checkers only
        return "" if parameter.annotation is parameter.empty else str(parameter.annotation)


def _choices(spec: BlockSpec, name: str) -> list[str]:
    """Return the texts in quotes in the error that the block raises for a text that is no choice."""
    try:
        make(_with(spec, name, "no such choice"))
    except Exception as error:
        return [text for text in re.findall(r"'([^']+)'", str(error)) if text != "no such choice"]
    return ["no such choice"]
