"""Turn one row of a model YAML, ``[from, repeats, layer, arguments]``, into a layer's constructor arguments.

The channels come from the layers that the row reads. Options stand in a mapping at the end of the row:
``[-1, 1, GSoP, [{reduced_channels: 64}]]``.
"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

from ...errors import LayerError
from ...messages import joined, nearest
from ...registry import BlockSpec

# Option names for channel counts, which the parser fills in.
CHANNEL_OPTIONS = frozenset({"channels", "in_channels", "out_channels", "c1", "c2"})


class Text:
    """Shield a string argument: ``parse_model`` replaces strings that name one of its variables ('n', 'scale')."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Text:
        return self


class Builder:
    """Stand in for the layer's class in ``parse_model``, and call it with the row's options by name.

    Its text is the class's, because ``parse_model`` prints the layer type from it.
    """

    def __init__(self, spec: BlockSpec) -> None:
        self.spec = spec
        self.replaces_csp = spec.replaces_csp

    def __call__(self, *args: Any) -> Any:
        options: dict[str, Any] = {}
        if args and isinstance(args[-1], dict):
            *args, options = args  # type: ignore[assignment]
        return self.spec.build(*args, **options)

    def __str__(self) -> str:
        return str(self.spec.cls)


def describe(args: list[Any]) -> list[Any]:
    """Return the arguments of a row as the YAML has them, without the shields."""
    return [a.value if isinstance(a, Text) else a for a in args]


def shield(args: list[Any]) -> list[Any]:
    """Wrap the strings among a row's arguments; the string ``None`` becomes None, as in Ultralytics."""
    return [(None if a == "None" else Text(a)) if isinstance(a, str) else a for a in args]


def build_arguments(
    spec: BlockSpec, f: Any, repeats: int, args: list[Any], channels: list[int], model: dict[str, Any]
) -> tuple[Builder, list[Any], int, int]:
    """Return what ``parse_model`` needs to build a row of a registered layer type.

    Args:
        spec: The layer type.
        f: The row's ``from``, checked already.
        repeats: Its repeat count after depth scaling.
        args: Its arguments, shielded.
        channels: Output channels of all layers before it (of the image, for the first); a tuple for a pyramid.
        model: The model YAML's content, with the scale that is being built.

    Returns:
        The builder, its positional arguments (options as a mapping at the end), the number of times to build it, and
        the output's channels.

    Raises:
        LayerError: If the row does not fit the layer type.
    """
    f = list(f) if isinstance(f, tuple) else f
    if spec.inputs != "list" and isinstance(f, list):
        what = "one map" if spec.inputs == "one" else "the maps of one layer"
        raise LayerError(f"'from' is {f}, but the layer reads {what}; write one layer number, e.g. -1")
    if spec.inputs == "list" and not isinstance(f, list):
        raise LayerError(f"'from' is {f}, but the layer reads a list of maps; write e.g. [{f}] or [4, 6, 10]")
    if spec.inputs == "list" and not f:
        raise LayerError("'from' is an empty list, but the layer reads at least one map; write e.g. [4, 6, 10]")
    inputs = [channels[x] for x in f] if isinstance(f, list) else [channels[f]]
    if spec.inputs == "pyramid":
        if not isinstance(inputs[0], tuple):
            raise LayerError(f"'from' is {f}, a layer with one map, but the layer reads a list of maps from one layer")
        inputs = list(inputs[0])
    if spec.output == "argument" and not (args and not isinstance(args[0], dict)):
        same = round(inputs[0] / _width(model)[0])  # as many as it reads
        raise LayerError(f"the first argument must be the output's channels before scaling; write e.g. [{same}]")
    wanted, options = _split(spec, describe(args), inputs)

    out: Any
    first: list[Any] = [inputs[0] if spec.inputs == "one" else inputs]
    if spec.output == "argument":
        out = scaled(wanted[0], model)
        first.append(out)
    elif isinstance(spec.output, int) and not -len(inputs) <= spec.output < len(inputs):
        raise LayerError(f"'from' is {f}, but the output has the channels of input {spec.output}; write more layers")
    elif callable(spec.output):
        _check_call(spec, first, options)
        try:
            out = spec.output(inputs, options)
        except (ValueError, TypeError, LookupError) as error:
            raise LayerError(str(error)) from error
        out = tuple(out) if spec.pyramid else out
    else:
        out = inputs[0 if spec.output == "input" else spec.output]

    if repeats > 1 and spec.repeats == "never":
        raise LayerError(f"cannot be repeated {repeats} times; write 1")
    if repeats > 1 and spec.repeats == "stack" and (spec.inputs != "one" or out != inputs[0]):
        raise LayerError(f"cannot be stacked {repeats} times: it turns {inputs} channels into {out}; write 1")
    if spec.repeats == "argument":
        options, repeats = {"n": repeats, **options}, 1

    _check_call(spec, first, options)
    return Builder(spec), [*first, options] if options else first, repeats, out


def scaled(channels: Any, model: dict[str, Any]) -> int:
    """Scale a channel count of a model YAML by the model's width, as ``parse_model`` does."""
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise LayerError(f"the first argument must be the output's channels before scaling, got {channels!r}")
    width, most = _width(model)
    return math.ceil(min(channels, most) * width / 8) * 8


def _width(model: dict[str, Any]) -> tuple[float, float]:
    """Return the width multiple, and the maximum of channel counts before it."""
    width, most = model.get("width_multiple", 1.0), math.inf
    if scales := model.get("scales"):
        _, width, most = scales[model.get("scale") or next(iter(scales))]
    return width, most


def _split(spec: BlockSpec, args: list[Any], inputs: list[int]) -> tuple[list[Any], dict[str, Any]]:
    """Split a row's arguments into the output's channels, if the layer takes them, and checked options by name."""
    options: dict[str, Any] = {}
    if args and isinstance(args[-1], dict):
        *args, options = args
    known = {k: p for k, p in spec.options().items() if k not in CHANNEL_OPTIONS}
    takes = f"The options are {joined(known)}" if known else "The layer has no options"
    leading = ["output channels"] if spec.output == "argument" else []
    if len(args) > len(leading) + len(spec.positional):
        example = next((f"{k}: {p.default}" for k, p in known.items() if isinstance(p.default, int)), "")
        by_name = f"options go by name, e.g. [{{{example}}}]" if example else "options go by name in a mapping"
        if not known:
            by_name = "the layer has no options, write []"
        counts = inputs[0] if spec.inputs == "one" else inputs
        raise LayerError(
            f"arguments {args}: do not write channel counts, they come from the layers read ({counts} channels); "
            f"{by_name}"
        )
    for option in options:
        if not isinstance(option, str) or option in CHANNEL_OPTIONS:
            raise LayerError(f"option {option!r} comes from the layers read ({inputs} channels); leave it out. {takes}")
        if option not in known:
            raise LayerError(f"unknown option {option!r}.{nearest(option, known)} {takes}")
    by_position = dict(zip(spec.positional, args[len(leading) :], strict=False))
    if twice := by_position.keys() & options.keys():
        raise LayerError(f"option {min(twice)!r} is given by position and by name; write it once")
    return args[: len(leading)], {k: _number(v) for k, v in {**by_position, **options}.items()}


def _number(value: Any) -> Any:
    """Return the number that YAML 1.1 reads as text: ``1e-5`` is a string there, ``1.0e-5`` is not."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value) else value


def _check_call(spec: BlockSpec, args: list[Any], options: dict[str, Any]) -> None:
    try:
        inspect.signature(spec.cls).bind(*args, **options)
    except TypeError as error:
        second = [p for p in spec.options().values() if p.default is p.empty][:1]
        hint = ""
        if second and spec.output != "argument":
            hint = f'; if {second[0].name!r} is its output\'s channels, register the class with output="argument"'
        raise LayerError(f"{error}; its options are {joined(spec.options()) or 'none'}{hint}") from None
