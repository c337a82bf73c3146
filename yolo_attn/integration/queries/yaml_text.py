"""Read, edit and write the text of a model YAML.

An edit changes only the ``from`` numbers and index comments that move. Comments, spacing and quotes stay as they are.
PyYAML's ``compose`` gives the position of every value in the text.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ...errors import LayerError
from . import row_sources

PARTS = ("backbone", "head")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # five times as fast where PyYAML was built with it
_ADDED_BY_ULTRALYTICS = ("scale", "yaml_file")  # when it loads a file


@dataclass(frozen=True, slots=True)
class Reference:
    """One number in a row's ``from``: its position in the text, the number, and the layer that it names."""

    start: int
    end: int
    number: int
    layer: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row ``[from, repeats, layer type, arguments]``.

    Attributes:
        index: Its layer number.
        part: ``"backbone"`` or ``"head"``.
        start: Position of ``[`` in the text.
        end: Position after ``]``.
        line: Line of ``[``, from 1.
        references: The numbers in its ``from``.
        in_brackets: The list of rows is itself in brackets, with commas between the rows.
    """

    index: int
    part: str
    start: int
    end: int
    line: int
    references: tuple[Reference, ...]
    in_brackets: bool


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to insert.

    Attributes:
        after: The layer that it follows. Several rows after one layer follow each other.
        part: The list that gets the row: that of layer ``after``, or ``"head"`` after the last backbone layer.
        reads: Its inputs. A number is a layer of the text before the edit; ``("new", k)`` is the k-th new row.
        block: Its layer type.
        args: Its arguments as text.
        comment: The comment after the row's number.
        as_list: Write ``from`` as a list.
    """

    after: int
    part: str
    reads: tuple[int | tuple[str, int], ...]
    block: str
    args: str = "[]"
    comment: str = ""
    as_list: bool = False


def rows(text: str, file: str) -> list[Row]:
    """Return all rows of a model YAML's text.

    Raises:
        LayerError: If the text is not valid YAML, not a model, or has rows that cannot be edited.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise LayerError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    found: list[Row] = []
    seen: set[int] = set()
    for part, node in _row_lists(root):
        if not isinstance(node, yaml.SequenceNode):
            raise LayerError(f"{file}: {part!r} is missing; a model YAML needs the row lists 'backbone' and 'head'")
        for item in node.value:
            where = f"{file}: line {item.start_mark.line + 1}"
            if not isinstance(item, yaml.SequenceNode) or len(item.value) != 4 or not item.flow_style:
                raise LayerError(f"{where}: write the row as [from, repeats, layer type, arguments]")
            if id(item) in seen:
                raise LayerError(f"{where}: a YAML alias (*name) as a row cannot be edited; write the row in full")
            seen.add(id(item))
            references = tuple(_references(item.value[0], len(found), file))
            span = item.start_mark.index, item.end_mark.index, item.start_mark.line + 1
            found.append(Row(len(found), part, *span, references, bool(node.flow_style)))
    return found


def row_nodes(text: str) -> list[yaml.Node]:
    """Return the node of each row. Accept any text that Ultralytics can load; skip what has no row list."""
    nodes = [node for _, node in _row_lists(_root(text)) if isinstance(node, yaml.SequenceNode)]
    return [row for node in nodes for row in node.value]


def row_lines(text: str) -> list[int]:
    """Return the line of each row of :func:`row_nodes`, from 1."""
    return [row.start_mark.line + 1 for row in row_nodes(text)]


def key_lines(text: str) -> dict[str, int]:
    """Return the line of each top-level key, from 1."""
    root = _root(text)
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return {str(key.value): key.start_mark.line + 1 for key, _ in pairs}


def key_span(text: str, key: str) -> tuple[int, int] | None:
    """Return the positions of the lines of a top-level key and its value in the text; None if there is none."""
    root = _root(text)
    for name, value in root.value if isinstance(root, yaml.MappingNode) else []:
        if name.value == key:
            end = value.end_mark.index
            if text[end - 1 : end] != "\n":  # a list in brackets, or a scalar
                end = min(_end_of_line(text, end) + 1, len(text))
            return name.start_mark.index, end
    return None


def to_text(content: Mapping[str, Any], comment: str = "") -> str:
    """Return a model YAML's content as text, one numbered row per line.

    Args:
        content: The keys in order. Keys that Ultralytics adds when it loads a file are left out.
        comment: A comment for the top of the file.
    """
    lines = textwrap.wrap(comment, 118, break_long_words=False, break_on_hyphens=False)
    out = [*(f"# {line}" for line in lines), ""]
    for key, value in content.items():
        if key in (*PARTS, *_ADDED_BY_ULTRALYTICS):
            continue
        if isinstance(value, dict) and value:
            out += [f"{one_line(key)}:", *(f"  {one_line(k)}: {one_line(v)}" for k, v in value.items())]
        else:
            out.append(f"{one_line(key)}: {one_line(value)}")
    number = 0
    for part in PARTS:
        out += ["", f"{part}:" if content[part] else f"{part}: []"]
        for row in content[part]:
            out.append(f"  - {one_line(list(row))} # {number}")
            number += 1
    return "\n".join(out) + "\n"


def one_line(value: object) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def insert(text: str, new: Sequence[NewRow], redirected: Mapping[tuple[int, int], int], file: str) -> str:
    """Insert rows; all inputs that are not redirected stay the same.

    Args:
        text: The model YAML.
        new: The rows, in order.
        redirected: (consumer, its input) -> which of the new rows it reads instead.
        file: File name for messages.
    """
    old = rows(text, file)

    def moved(source: int | tuple[str, int]) -> int:
        """Return the number in the new text."""
        if isinstance(source, tuple):
            return new[source[1]].after + 1 + source[1]
        return source + sum(row.after < source for row in new)

    edits: list[tuple[int, int, str]] = []
    for row in old[new[0].after + 1 :]:
        for ref in row.references:
            pair = row.index, ref.layer
            target = moved(("new", redirected[pair]) if pair in redirected else ref.layer)
            number = target if ref.number >= 0 else target - moved(row.index)
            if number != ref.number:
                edits.append((ref.start, ref.end, str(number)))
        tail = text[row.end : _end_of_line(text, row.end)]
        comment = re.match(rf"(\s*,?\s*#\s*){row.index}(?!\d)", tail)
        if comment:
            edits.append((row.end + comment.end(1), row.end + comment.end(), str(moved(row.index))))
    for (after, part), together in itertools.groupby(enumerate(new), lambda pair: (pair[1].after, pair[1].part)):
        lines = []
        for k, row_ in together:
            reads = [moved(source) for source in row_.reads]
            f = str(reads) if row_.as_list else str(-1 if reads[0] == after + k else reads[0])
            lines.append((f"[{f}, 1, {row_.block}, {row_.args}]", f"# {after + 1 + k} {row_.comment}"))
        edits.append(_insertion(text, old, after, part, lines))
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _root(text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError:  # Ultralytics repairs some files, e.g. those with control characters
        return None
    return node


def _row_lists(root: yaml.Node | None) -> list[tuple[str, yaml.Node | None]]:
    """Return each part's name and its node, None where the text has none."""
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    nodes = {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}
    return [(part, nodes.get(part)) for part in PARTS]


def _references(node: yaml.Node, index: int, file: str) -> Iterator[Reference]:
    for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        where = f"{file}: line {item.start_mark.line + 1}"
        try:
            number = int(str(item.value))
        except ValueError:
            raise LayerError(f"{where}: 'from' must be layer numbers, got {item.value!r}") from None
        (layer,) = row_sources.resolve(number, index)
        if index and not 0 <= layer < index:
            raise LayerError(f"{where}: layer {index} reads {number}, but there is no such layer before it")
        yield Reference(item.start_mark.index, item.end_mark.index, number, layer)


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _insertion(text: str, old: list[Row], after: int, part: str, lines: list[tuple[str, str]]) -> tuple[int, int, str]:
    """Return the edit that puts the new lines after the previous row, or before the first row of the head."""
    newline = "\r\n" if "\r\n" in text else "\n"
    first_of_head = old[after].part != part
    neighbour = old[after + 1] if first_of_head else old[after]
    line_start = text.rfind("\n", 0, neighbour.start) + 1
    lead = text[line_start : neighbour.start]
    if not neighbour.in_brackets:
        full = [f"{lead}{row} {comment}" for row, comment in lines]
        if first_of_head:
            return line_start, line_start, "".join(line + newline for line in full)
        end = _end_of_line(text, neighbour.end)
        return end, end, "".join(newline + line for line in full)
    indent = " " * len(lead)
    if first_of_head:
        return neighbour.start, neighbour.start, "".join(f"{r}, {comment}{newline}{indent}" for r, comment in lines)
    end = _end_of_line(text, neighbour.end)
    if re.fullmatch(r"\s*,\s*(#.*)?", text[neighbour.end : end]):  # the next row has its own line
        return end, end, "".join(f"{newline}{indent}{row}, {comment}" for row, comment in lines)
    # More of the list follows on this line: a comment would hide it.
    return neighbour.end, neighbour.end, "".join(f",{newline}{indent}{row}" for row, _ in lines)
