"""Check a model YAML: build it at every scale, describe its attention layers and report probable mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import LayerError
from ..integration.queries import model_graph as graphs
from ..integration.queries import row_sources
from ..integration.queries.model_graph import Graph, Layer
from ..messages import joined
from ..registry import BLOCKS
from . import lint, yaml_text
from .layer_text import all_named, arguments_of, named, shape
from .lint import Finding

_AT_LAYER = re.compile(r"^(.*?): layer (\d+)\b(.*)$", re.DOTALL)
_LEAST_CHANNELS = 8  # in a row of torch.nn, a number from here on is a channel count
_MOST_NUMBERS = 12  # layer numbers in a message


@dataclass(frozen=True, slots=True)
class Report:
    """The result of :func:`check`.

    Attributes:
        file: The model YAML.
        graph: The model at the requested scale, otherwise at the first scale that builds.
        scales: Its scales; empty where it has none.
        task: The task that Ultralytics derives from it.
        descriptions: One sentence for each attention layer, in order: its inputs, output and consumers.
        findings: Probable mistakes.
    """

    file: Path
    graph: Graph
    scales: tuple[str, ...]
    task: str
    descriptions: tuple[str, ...]
    findings: tuple[Finding, ...]


def check(name: str | Path, scale: str = "") -> Report:
    """Build a model YAML at all its scales, list each attention layer's inputs and consumers, and find mistakes.

    Args:
        name: A path, or the name of a model YAML of Ultralytics or this project, with or without a scale letter.
        scale: A scale that must build; by default the scale letter of the name, if it has one.

    Raises:
        LayerError: If the file does not exist, is no model YAML, or does not build at that scale or at any scale.
    """
    file = graphs.locate(name)
    content = graphs.load(name)
    text = file.read_text(encoding="utf-8", errors="ignore")
    lines = yaml_text.row_lines(text)
    scales = [s for s in graphs.scales(content) if s]
    asked = (scale or str(content.get("scale") or "")) if scales else ""
    if asked and asked not in scales:
        raise LayerError(f"{file.name}: no scale {asked!r}; it has {joined(scales)}")
    built: dict[str, Graph] = {}
    failed: dict[str, str] = {}
    for letter in scales or [""]:
        try:
            built[letter] = graphs.build(content, letter, file.name)
        except LayerError as error:
            failed[letter] = _explained(str(error), content, letter, file.name)
    wanted = asked or next(iter([*built, *failed]))
    if wanted in failed:
        raise LayerError(_with_line(failed[wanted], lines))
    graph = built[wanted]
    rows = [*content["backbone"], *content["head"]]
    found = [
        *lint.repeated_key(yaml_text.repeated_keys(text)),
        *lint.file_name(file.stem, scales),
        *_failed_scales(failed),
        *lint.bypassed_attention(graph, rows),
        *lint.unused_layer(graph),
        *lint.inside_a_stage(graph, rows),
        *lint.same_stride_twice(graph),
        *lint.fixed_class_count(rows),
        *lint.missing_head(graph),
    ]
    return Report(
        file,
        graph,
        tuple(scales),
        graphs.task(content),
        tuple(description(layer, graph) for layer in graph.layers if layer.name in BLOCKS),
        tuple(f if f.layer is None or f.layer >= len(lines) else replace(f, line=lines[f.layer]) for f in found),
    )


def description(layer: Layer, graph: Graph) -> str:
    """Return one sentence with a layer's arguments, inputs, output shape and consumers."""
    arguments = f" ({arguments_of(layer)})" if arguments_of(layer) else ""
    sources = [graph.layers[x] for x in layer.reads if x >= 0]
    inputs = joined([f"{named(source)[:-1]}, {shape(source)})" for source in sources], " and ") or "the image"
    kind = "" if not sources else "layer " if len(sources) == 1 else "layers "
    unchanged = bool(sources) and (sources[-1].channels, sources[-1].stride) == (layer.channels, layer.stride)
    output = "" if unchanged or layer is graph.head else f"; output: {shape(layer)}"
    consumers = all_named(graph.readers(layer.index)) or "none"
    return (
        f"layer {layer.index} {layer.name}{arguments} in the {layer.part}: reads {kind}{inputs}{output}; consumers: "
        f"{consumers}."
    )


def _with_line(message: str, lines: Sequence[int]) -> str:
    """Add the line of the row that a message names."""
    match = _AT_LAYER.match(message)
    if not match or int(match[2]) >= len(lines):
        return message
    return f"{match[1]}, line {lines[int(match[2])]}: layer {match[2]}{match[3]}"


def _failed_scales(failed: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each reason why some scales do not build."""
    groups: dict[tuple[int | None, str], tuple[str, list[str]]] = {}
    for letter, message in failed.items():
        match = _AT_LAYER.match(message)
        key = int(match[2]) if match else None, re.sub(r"\d+", "", message)  # equal except for channel counts
        reason = f"layer {match[2]}{match[3]}" if match else message
        groups.setdefault(key, (reason, []))[1].append(letter)
    return [
        Finding(f"does not build at scale {joined(letters)}: {reason}", layer)
        for (layer, _), (reason, letters) in groups.items()
    ]


def _explained(message: str, content: dict[str, Any], scale: str, file: str) -> str:
    """Add the probable cause of a row's failure: inputs of different strides, or fixed channel counts."""
    match = _AT_LAYER.match(message)
    index = int(match[2]) if match else 0
    if not index:
        return message
    rows = [*content["backbone"], *content["head"]]
    if index < len(rows) - 1 and lint.is_head(str(rows[index][2])):
        later = f"layer {index + 1} ({rows[index + 1][2]})"
        return f"{file}: layer {index} ({rows[index][2]}) is a head, but {later} follows it; move the head to the end"
    try:
        before = graphs.build(content, scale, file, until=index - 1)
    except LayerError:
        return message
    sources = [before.layers[x] for x in row_sources.resolve_existing(rows[index][0], index)]
    return (
        message + _different_strides(sources, before, index) + _fixed_channels([s.index for s in sources], index, rows)
    )


def _different_strides(sources: Sequence[Layer], before: Graph, index: int) -> str:
    strides = {s.stride for s in sources}
    if len(strides) < 2 or None in strides:
        return ""
    latest = max(sources, key=lambda s: s.index)  # mostly -1, which an inserted row does not change
    others = [f"layer {named(s)} has stride {s.stride}" for s in sources if s.stride != latest.stride]
    fitting = [la.index for la in before.layers[:index] if la.stride == latest.stride and la is not latest]
    choice = f"; layers of stride {latest.stride}: {joined(fitting[-_MOST_NUMBERS:])}" if fitting else ""
    return f" ({'; '.join(others)}, layer {named(latest)} has stride {latest.stride}{choice})"


def _fixed_channels(sources: Sequence[int], index: int, rows: Sequence[Sequence[Any]]) -> str:
    for suspect in (*sources, index):
        name, args = str(rows[suspect][2]), rows[suspect][3]
        if name.startswith("nn.") and any(type(a) is int and a >= _LEAST_CHANNELS for a in args):
            return (
                f" (layer {suspect} ({name}) has fixed channel counts, {list(args)}, which do not scale with the model)"
            )
    return ""
