"""Which layers of a model cannot be exported to a format, from the limits that the registry holds as data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ArgumentError
from ...registry import BlockSpec, ExportLimit
from . import layer_types

ALIASES = {  # of Exporter.__call__
    "tensorrt": "engine",
    "trt": "engine",
    "tflite": "litert",
    "tfjs": "litert",
    **dict.fromkeys(("mlmodel", "mlpackage", "mlprogram", "apple", "ios"), "coreml"),
}
WITHOUT_OPSET = ("torchscript", "openvino", "ncnn", "litert", "executorch", "coreml", "paddle")  # and no ONNX inside


def format_of(name: str) -> str:
    """Return the name of an export format for any name that Ultralytics takes."""
    return ALIASES.get(name.lower(), name.lower())


def takes_data(target: str) -> bool:
    """Return whether the export to a format accepts ``data``, the images of a calibration.

    Early versions of Ultralytics never refuse it, and do not list it among the arguments of any format.
    """
    from ultralytics.engine.exporter import export_formats

    formats: Any = export_formats()
    taken = dict(zip(formats["Argument"], formats.get("Arguments", []), strict=False))
    return "data" in taken.get(format_of(target), ["data"]) or not any("data" in names for names in taken.values())


def check(model: Mapping[str, Any], target: str, opset: int | None, dynamic: bool = False) -> None:
    """Raise an ArgumentError that names every layer which cannot be exported.

    Args:
        model: Content of the model YAML, as the built model keeps it.
        target: Name of the format.
        opset: The ONNX opset that the user gave, or None.
        dynamic: Whether the graph is to take any size.
    """
    if found := list(refusals(model, format_of(target), opset, dynamic)):
        raise ArgumentError(". ".join(found))


def refusals(model: Mapping[str, Any], target: str, opset: int | None, dynamic: bool = False) -> Iterator[str]:
    """Return one sentence for each layer that cannot be exported."""
    rows = [row for part in ("backbone", "head") for row in model.get(part) or []]
    for index, (_, _, name, args) in enumerate(rows):
        if (spec := layer_types.installed().get(name)) is None:
            continue
        for limit in spec.export_limits:
            if not _holds(limit, target, opset, dynamic) or not _has_options(limit, spec, args):
                continue
            what = "".join(f"{option}: {_value(spec, args, option)}, " for option in limit.options)
            where = f"layer {index} ({name}{', ' if what else ''}{what.removesuffix(', ')})"
            size = " dynamic=True" if limit.dynamic else ""
            if target in limit.formats:
                works = f"; {limit.works}" if limit.works else ""
                yield f"format={target}{size}: {where} cannot be exported, because {limit.reason}{works}"
            else:
                yield f"opset={opset}{size}: {where} needs opset={limit.opset} or later, because {limit.reason}"


def _holds(limit: ExportLimit, target: str, opset: int | None, dynamic: bool) -> bool:
    if limit.dynamic and not dynamic:
        return False
    if target in limit.formats:
        return True
    return not limit.formats and target not in WITHOUT_OPSET and opset is not None and opset < limit.opset


def _has_options(limit: ExportLimit, spec: BlockSpec, args: list[Any]) -> bool:
    return all(_value(spec, args, name) in values for name, values in limit.options.items())


def _value(spec: BlockSpec, args: list[Any], option: str) -> Any:
    """Return an option's value in a row, or its default."""
    given = args[-1] if args and isinstance(args[-1], Mapping) else {}
    by_position = args[1 if spec.output == "argument" else 0 : len(args) - bool(given)]
    given = {**dict(zip(spec.positional, by_position, strict=False)), **given}
    default = spec.options()[option].default
    return given.get(option, None if default is inspect.Parameter.empty else default)
