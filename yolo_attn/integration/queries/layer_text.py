"""Describe a layer in a few words, for findings, drawings and tables."""

from __future__ import annotations

from collections.abc import Iterable

from ...messages import joined
from .model_graph import Layer, level


def named(layer: Layer) -> str:
    """Return ``17 (EMA)``."""
    return f"{layer.index} ({layer.name})"


def all_named(layers: Iterable[Layer]) -> str:
    """Return ``18 (Conv), 19 (Concat) and 26 (Detect)``."""
    return joined(map(named, layers), " and ")


def arguments_of(layer: Layer) -> str:
    """Return a layer's arguments: ``factor=32``."""
    parts = []
    for value in layer.args:
        parts += [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else [str(value)]
    return ", ".join(parts)


def shape(layer: Layer) -> str:
    """Return the shape of a layer's output: ``64 channels, stride 8 = P3``."""
    if layer.channels is None or layer.stride is None:
        return f"{len(layer.maps)} maps" if layer.maps else "no map"
    name = level(layer.stride)
    return f"{layer.channels} channels, stride {layer.stride}{f' = {name}' if name else ''}"


def size(layer: Layer, imgsz: int) -> str:
    """Return the size of a layer's output for an image size: ``64x80x80``, ``64+128x80x80``, or empty for no map."""
    maps = layer.maps if layer.channels is None or layer.stride is None else ((layer.channels, layer.stride),)
    channels = [str(c) for c, _ in maps]
    if len({stride for _, stride in maps}) == 1:
        side = round(imgsz / maps[0][1])
        return f"{'+'.join(channels)}x{side}x{side}"
    return f"{len(maps)} maps: {', '.join(channels)}" if maps else ""
