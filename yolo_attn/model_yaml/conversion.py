"""Rewrite a model YAML of another project with the layer types of this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import atomic_files
from ..errors import LayerError
from ..integration.queries import foreign_rows, layer_types, row_checks, yaml_files, yaml_text
from ..registry import BlockSpec
from ..text_files import FULL_WIDTH, parse_yaml, read_text

_NO_ANCHORS = "the heads of Ultralytics have no anchors"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one line: its number in the file, from 1, the text before and after, and the reason."""

    line: int
    before: str
    after: str
    reason: str


def convert(source: str | Path, output: str | Path, *, force: bool = False) -> list[Change]:
    """Rewrite the rows of other projects' model YAMLs: names of our layer types, and arguments without names.

    Comments and all other rows stay as they are. Also writes out missing arguments and the ASCII form of full-width
    characters, and takes away anchors, which Ultralytics' heads do not have. What it does not know stays as it is;
    :func:`yolo_attn.model_yaml.check_report.check` says what is left.

    Args:
        source: A model YAML; its name may have a scale's letter.
        output: The file to write.
        force: Replace an existing file.

    Returns:
        What was changed, in the order of the lines.

    Raises:
        LayerError: If ``source`` is no model YAML.
        ArgumentError: If ``output`` cannot be written.
    """
    source = yaml_files.resolve(str(source)) or Path(source)
    target = atomic_files.check_output(output, (".yaml", ".yml"), force=force)
    text = read_text(source, LayerError)
    text, changes = _with_ascii(text)
    row_checks.check_parts(parse_yaml(text, source.name, LayerError), source.name)
    edits = []
    for index, node in enumerate(yaml_text.row_nodes(text)):
        if isinstance(node, yaml.SequenceNode) and node.flow_style:
            edits += list(_row_edits(text, node, index))
    if any(after == "[nc]" for *_, after, reason in edits if reason == _NO_ANCHORS):
        span = yaml_text.key_span(text, "anchors")
        edits += [(*span, "", _NO_ANCHORS)] if span else []
    for start, end, after, reason in sorted(edits):
        line = text.count("\n", 0, start) + 1
        changes.append(Change(line, text[start:end].split("\n")[0].rstrip(), after, reason))
    for start, end, after, _ in sorted(edits, reverse=True):
        text = text[:start] + after + text[end:]
    atomic_files.write_text(target, text)
    return sorted(changes, key=lambda change: change.line)


def _with_ascii(text: str) -> tuple[str, list[Change]]:
    """Replace the full-width characters of rows, which YAML does not read as commas and brackets."""
    lines, changes = text.split("\n"), []
    table = str.maketrans(FULL_WIDTH)
    for number, line in enumerate(lines):
        row, hash_, comment = line.partition("#")
        ascii_ = row.translate(table)
        if row.lstrip().startswith("-") and ascii_ != row:
            lines[number] = ascii_ + hash_ + comment
            changes.append(Change(number + 1, row.strip(), ascii_.strip(), "full-width characters"))
    return "\n".join(lines), changes


def _row_edits(text: str, node: yaml.SequenceNode, index: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield the edits of one row: start, end, the new text and the reason."""
    if len(node.value) == 3:
        end = node.end_mark.index - 1
        yield end, end, ", []", "a row has four parts"
    if len(node.value) not in (3, 4) or not isinstance(node.value[2], yaml.ScalarNode):
        return
    source, _, name, *arguments = node.value
    known = layer_types.installed()
    ours = name.value if name.value in known else foreign_rows.our_name(name.value)
    args = _values(text, arguments[0]) if arguments else []
    if name.value not in known and ours:
        yield *_span(name), ours, f"the layer type is {ours} here"
    if ours:
        if arguments and (reading := foreign_rows.read(known[ours], args)):
            yield *_span(arguments[0]), yaml_text.one_line(reading.arguments), "; ".join(reading.meanings)
        yield from _source_edits(text, source, known[ours])
    elif "anchors" in args:
        rest = [a for a in args if a != "anchors"]
        yield *_span(arguments[0]), yaml_text.one_line(rest), _NO_ANCHORS


def _source_edits(text: str, node: yaml.Node, spec: BlockSpec) -> Iterator[tuple[int, int, str, str]]:
    start, end = _span(node)
    if spec.inputs == "list" and isinstance(node, yaml.ScalarNode):
        yield start, end, f"[{node.value}]", "the layer reads a list of maps"
    elif spec.inputs != "list" and isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
        yield start, end, str(node.value[0].value), "the layer reads one map"


def _values(text: str, node: yaml.Node) -> Sequence[Any]:
    value = yaml.safe_load(text[node.start_mark.index : node.end_mark.index])
    return list(value) if isinstance(value, list) else [value] if isinstance(value, Mapping) else []


def _span(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.index, node.end_mark.index
