"""The text of a model YAML: where its rows stand, and putting rows in between.

Only what has to change is rewritten, the ``from`` numbers that move and the index comments; comments, spacing and
quoting stay as they were. PyYAML's ``compose`` gives the place of every value in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from ..errors import LayerError

PARTS = ("backbone", "head")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # five times as fast where PyYAML was built with it


@dataclass(frozen=True, slots=True)
class Reference:
    """One number of a row's ``from``: its place in the text, the number as written, the layer that it means."""

    start: int
    end: int
    written: int
    layer: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row ``[from, repeats, layer, arguments]``.

    Attributes:
        index: Its layer number.
        part: ``"backbone"`` or ``"head"``.
        start: Where ``[`` stands in the text.
        end: Where the text behind ``]`` begins.
        line: Number of the line of ``[``, from 1.
        references: What its ``from`` names.
        in_brackets: The list of rows is written in brackets itself, rows apart by commas.
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
    """A row to put in: what it reads, the rest of it as text, and its comment.

    Attributes:
        reads: Layers that it reads. A number is a layer of the text as it was; ``("new", k)`` is the k-th new row.
        as_list: Write ``from`` as a list.
        rest: What follows ``from``: ``1, EMA, [{factor: 8}]``.
        comment: Comment behind the row's number.
    """

    reads: tuple[int | tuple[str, int], ...]
    as_list: bool
    rest: str
    comment: str


def rows(text: str, file: str) -> list[Row]:
    """Return all rows of a model YAML's text.

    Raises:
        LayerError: If it is not valid YAML, no model, or holds rows whose text cannot be edited.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise LayerError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    found: list[Row] = []
    seen: set[int] = set()
    for part in PARTS:
        lists = [value for key, value in pairs if key.value == part]
        if not lists or not isinstance(lists[-1], yaml.SequenceNode):
            raise LayerError(f"{file}: a model YAML needs the lists 'backbone' and 'head' of rows, {part!r} is none")
        for item in lists[-1].value:
            line = item.start_mark.line + 1
            if not isinstance(item, yaml.SequenceNode) or len(item.value) != 4 or not item.flow_style:
                raise LayerError(f"{file}: line {line}: a row must be written [from, repeats, layer, arguments]")
            if id(item) in seen:
                raise LayerError(f"{file}: line {line}: a row by YAML alias (*name) cannot be moved; write it out")
            seen.add(id(item))
            index = len(found)
            references = tuple(_reference(n, index, file) for n in _from(item.value[0]))
            brackets = bool(lists[-1].flow_style)
            found.append(Row(index, part, item.start_mark.index, item.end_mark.index, line, references, brackets))
    return found


def _from(node: yaml.Node) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]


def _reference(node: yaml.Node, index: int, file: str) -> Reference:
    try:
        written = int(str(node.value))
    except ValueError:
        line = node.start_mark.line + 1
        raise LayerError(f"{file}: line {line}: 'from' must hold layer numbers, got {node.value!r}") from None
    layer = written + index if written < 0 else written
    if index and not 0 <= layer < index:
        raise LayerError(
            f"{file}: line {node.start_mark.line + 1}: layer {index} reads {written}, a layer that does not exist there"
        )
    return Reference(node.start_mark.index, node.end_mark.index, written, layer if index else -1)


def insert(
    text: str,
    after: int,
    new: Sequence[NewRow],
    *,
    file: str,
    part: str,
    redirected: Mapping[tuple[int, int], int],
) -> str:
    """Put rows in behind layer ``after``.

    Args:
        text: The model YAML.
        after: Number of the layer behind which the rows go.
        new: The rows, in order.
        file: Its name, for messages.
        part: The list that they belong to: that of layer ``after``, or ``"head"`` behind the last backbone layer.
        redirected: (reader, layer that it reads now) -> which of the new rows it reads from now on.

    Returns:
        The new text, in which everybody else reads what was read before.
    """
    old = rows(text, file)
    count = len(new)

    def moved(layer: int) -> int:
        return layer + count if layer > after else layer

    edits: list[tuple[int, int, str]] = []
    for row in old[after + 1 :]:
        for ref in row.references:
            k = redirected.get((row.index, ref.layer))
            target = after + 1 + k if k is not None else moved(ref.layer)
            number = target if ref.written >= 0 else target - moved(row.index)
            if number != ref.written:
                edits.append((ref.start, ref.end, str(number)))
        tail = text[row.end : _end_of_line(text, row.end)]
        comment = re.match(rf"(\s*,?\s*#\s*){row.index}(?!\d)", tail)
        if comment:
            edits.append((row.end + comment.end(1), row.end + comment.end(), str(moved(row.index))))
    lines = []
    for k, row_ in enumerate(new):
        number = after + 1 + k
        reads = [after + 1 + r[1] if isinstance(r, tuple) else r for r in row_.reads]
        f = str(reads) if row_.as_list else str(-1 if reads[0] == number - 1 else reads[0])
        lines.append((f"[{f}, {row_.rest}]", f"# {number} {row_.comment}"))
    edits.append(_block(text, old, after, part, lines))
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _block(text: str, old: list[Row], after: int, part: str, lines: list[tuple[str, str]]) -> tuple[int, int, str]:
    """Return the edit that puts the new lines behind their predecessor, or before the first row of the head."""
    newline = "\r\n" if "\r\n" in text else "\n"
    first_of_head = old[after].part != part
    neighbour = old[after + 1] if first_of_head else old[after]
    line_start = text.rfind("\n", 0, neighbour.start) + 1
    lead = text[line_start : neighbour.start]
    if not neighbour.in_brackets:
        written = [f"{lead}{row} {comment}" for row, comment in lines]
        if first_of_head:
            return line_start, line_start, "".join(w + newline for w in written)
        end = _end_of_line(text, neighbour.end)
        return end, end, "".join(newline + w for w in written)
    indent = " " * len(lead)
    if first_of_head:
        written = [f"{row}, {comment}{newline}{indent}" for row, comment in lines]
        return neighbour.start, neighbour.start, "".join(written)
    end = _end_of_line(text, neighbour.end)
    if re.fullmatch(r"\s*,\s*(#.*)?", text[neighbour.end : end]):  # the next row has a line of its own
        return end, end, "".join(f"{newline}{indent}{row}, {comment}" for row, comment in lines)
    # More of the list on the same line: a comment would swallow it.
    return neighbour.end, neighbour.end, "".join(f",{newline}{indent}{row}" for row, _ in lines)
