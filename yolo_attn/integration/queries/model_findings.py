"""Why a model YAML cannot be built, and the probable mistakes in one that can: the same answer for every command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import LayerError
from ...messages import joined
from ...text_files import decode, parse_yaml, read_bytes
from . import lint, lint_keys, model_graph, row_checks, row_sources, yaml_text
from .layer_text import named
from .lint import Finding
from .model_graph import Graph, Layer

_AT_LAYER = re.compile(r"^(.*?): layer (\d+)\b(.*)$", re.DOTALL)
_NEXT_LAYER = re.compile(r"; layer (\d+)( \([\w.]+\):|:)")
_LEAST_CHANNELS = 8  # in a row of torch.nn, a number from here on is a channel count
_MOST_NUMBERS = 12  # layer numbers in a message


@dataclass(frozen=True, slots=True)
class Source:
    """The file of a model YAML.

    Attributes:
        file: Its path, without the scale's letter.
        text: Its text.
        content: The value of the text.
        rows: The line of each row, from 1.
    """

    file: Path
    text: str
    content: Mapping[str, Any]
    rows: tuple[int, ...]

    @property
    def keys(self) -> dict[str, int]:
        """The line of each top-level key."""
        return yaml_text.key_lines(self.text)


def source_of(name: str | Path) -> Source:
    """Read the file that Ultralytics reads for a model YAML's name.

    Raises:
        LayerError: If there is none, it cannot be read, or it is no model YAML.
    """
    file = model_graph.locate(name)
    text = decode(read_bytes(file, LayerError), file, LayerError)
    content = parse_yaml(text, file.name, LayerError)
    row_checks.check_parts(content, file.name)
    return Source(file, text, content, tuple(yaml_text.row_lines(text)))


def build(content: dict[str, Any], scale: str, source: Source | None) -> Graph:
    """Build a model YAML's content as :func:`model_graph.build`; the error says the line and the probable cause."""
    file = source.file.name if source and "yaml_file" not in content else row_checks.file_of(content)
    try:
        return model_graph.build(content, scale, file)
    except LayerError as error:
        message = _explained(str(error), content, scale, file)
        raise LayerError(with_line(message, source) if source else message) from None


def of_graph(graph: Graph, content: Mapping[str, Any], source: Source) -> list[Finding]:
    """Return the probable mistakes in a model that builds, with their lines.

    Args:
        graph: The model at one scale.
        content: What it was built from.
        source: Its file.
    """
    rows = [*content["backbone"], *content["head"]]
    scales = [str(s) for s in source.content.get("scales") or ()]
    found = [
        *lint_keys.unscaled(source.content, source.keys),
        *lint_keys.ignored_keys(source.content, source.keys, source.file.stem),
        *lint.file_name(source.file.stem, scales),
        *lint.bypassed_attention(graph, rows),
        *lint.unused_layer(graph),
        *lint.inside_a_stage(graph, rows),
        *lint.same_stride_twice(graph),
        *lint.fixed_class_count(rows),
        *lint.missing_head(graph),
    ]
    return [located(finding, source) for finding in found]


def located(finding: Finding, source: Source) -> Finding:
    """Return a finding with the line of the layer that it is about."""
    is_row = finding.layer is not None and finding.layer < len(source.rows)
    return replace(finding, line=source.rows[finding.layer]) if is_row else finding  # type: ignore[index]


def graph_of(name: str | Path, scale: str = "") -> tuple[Graph, list[str]]:
    """Build a model YAML as a graph; return it with a sentence for each probable mistake.

    Args:
        name: A path, or the name of a file that Ultralytics or this project ships, with or without the scale's letter.
        scale: A scale; by default that of the name.

    Raises:
        LayerError: If there is no such model, or it cannot be built at that scale.
    """
    source, content = source_of(name), model_graph.load(name)
    graph = build(content, scale, source)
    return graph, [sentence(finding, graph) for finding in of_graph(graph, content, source)]


def sentence(finding: Finding, graph: Graph) -> str:
    """Return ``line 50, layer 23 (Detect): reads ...``."""
    line = f"line {finding.line}" if finding.line else ""
    layer = "" if finding.layer is None else f"layer {named(graph.layers[finding.layer])}"
    where = ", ".join(filter(None, [line, layer]))
    return f"{where}: {finding.text}" if where else finding.text


def at_layer(message: str) -> re.Match[str] | None:
    """Match a message about a layer: its file, the layer's number and what follows."""
    return _AT_LAYER.match(message)


def with_line(message: str, source: Source) -> str:
    """Name the file, and the line of each row, in a message about layers."""
    match = at_layer(message)
    if not match or int(match[2]) >= len(source.rows):
        return message

    def located_(found: re.Match[str]) -> str:
        return f"; line {source.rows[int(found[1])]}: layer {found[1]}{found[2]}"

    others = _NEXT_LAYER.sub(located_, match[3])
    return f"{source.file.name}, line {source.rows[int(match[2])]}: layer {match[2]}{others}"


def _explained(message: str, content: dict[str, Any], scale: str, file: str) -> str:
    """Add the probable cause of a row's failure: inputs of different strides, or fixed channel counts."""
    match = at_layer(message)
    index = int(match[2]) if match else 0
    try:
        row_checks.check(model_graph.at_scale(content, scale, file))
        if not index:
            return message
        before = model_graph.build(content, scale, file, until=index - 1)
    except LayerError:  # the message says what is wrong with the row itself
        return message
    rows = [*content["backbone"], *content["head"]]
    if index < len(rows) - 1 and lint.is_head(str(rows[index][2])):
        later = f"layer {index + 1} ({rows[index + 1][2]})"
        return f"{file}: layer {index} ({rows[index][2]}) is a head, but {later} follows it; move the head to the end"
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
