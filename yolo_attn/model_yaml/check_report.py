"""Check a model YAML: build it at every scale, describe its attention layers and report probable mistakes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import LayerError
from ..integration.queries import model_findings, row_checks
from ..integration.queries import model_graph as graphs
from ..integration.queries.layer_text import all_named, arguments_of, named, shape
from ..integration.queries.lint import Finding
from ..integration.queries.model_graph import Graph, Layer
from ..messages import joined
from ..registry import BLOCKS


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
    source = model_findings.source_of(name)
    content = graphs.load(name)
    row_checks.check_keys(content, source.file.name)
    scales = [s for s in graphs.scales(content) if s]
    asked = (scale or str(content.get("scale") or "")) if scales else ""
    if asked and asked not in scales:
        raise LayerError(f"{source.file.name}: no scale {asked!r}; it has {joined(scales)}")
    built: dict[str, Graph] = {}
    failed: dict[str, LayerError] = {}
    for letter in scales or [""]:
        try:
            built[letter] = model_findings.build(content, letter, source)
        except LayerError as error:
            failed[letter] = error
    wanted = asked or next(iter([*built, *failed]))
    if wanted in failed:
        raise failed[wanted]
    graph = built[wanted]
    found = [model_findings.located(f, source) for f in _failed_scales({s: str(e) for s, e in failed.items()})]
    return Report(
        source.file,
        graph,
        tuple(scales),
        graphs.task(content),
        tuple(description(layer, graph) for layer in graph.layers if layer.name in BLOCKS),
        tuple(found + model_findings.of_graph(graph, content, source)),
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


def _failed_scales(failed: Mapping[str, str]) -> list[Finding]:
    """Return a finding for each reason why some scales do not build."""
    groups: dict[tuple[int | None, str], tuple[str, list[str]]] = {}
    for letter, message in failed.items():
        match = model_findings.at_layer(message)
        key = int(match[2]) if match else None, re.sub(r"\d+", "", message)  # equal except for channel counts
        reason = f"layer {match[2]}{match[3]}" if match else message
        groups.setdefault(key, (reason, []))[1].append(letter)
    return [
        Finding(f"does not build at scale {joined(letters)}: {reason}", layer)
        for (layer, _), (reason, letters) in groups.items()
    ]
