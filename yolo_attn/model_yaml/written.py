"""What only the text of a model YAML shows: the line of each row, and keys that are written twice.

Unlike :mod:`yolo_attn.model_yaml.yaml_text`, which edits rows, this takes whatever Ultralytics can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml


@dataclass(frozen=True, slots=True)
class Twice:
    """A key that a mapping has more than once; YAML keeps the last.

    Attributes:
        key: The key.
        lines: Where it stands, from 1.
        values: What stands behind it each time, as written; empty for a list or a mapping.
        top: It is a key of the file itself, not of a mapping inside.
    """

    key: str
    lines: tuple[int, ...]
    values: tuple[str, ...]
    top: bool


def row_lines(text: str) -> list[int]:
    """Return the line of each row, from 1; empty where the text cannot be read that way."""
    pairs = _pairs(text)
    lines: list[int] = []
    for part in ("backbone", "head"):
        lists = [value for key, value in pairs if key.value == part]
        if lists and isinstance(lists[-1], yaml.SequenceNode):
            lines += [row.start_mark.line + 1 for row in lists[-1].value]
    return lines


def written_twice(text: str) -> list[Twice]:
    """Return the keys that stand twice in one mapping, in the order of their last line."""
    found = []
    root = _root(text)
    for mapping in _mappings(root):
        keys: dict[str, list[tuple[yaml.Node, yaml.Node]]] = {}
        for key, value in mapping.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                keys.setdefault(str(key.value), []).append((key, value))
        for name, pairs in keys.items():
            if len(pairs) > 1:
                lines = tuple(key.start_mark.line + 1 for key, _ in pairs)
                values = tuple(str(v.value) if isinstance(v, yaml.ScalarNode) else "" for _, v in pairs)
                found.append(Twice(name, lines, values, mapping is root))
    return sorted(found, key=lambda t: t.lines[-1])


def _root(text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # Ultralytics repairs some files, e.g. those with control characters
        return None
    return node


def _pairs(text: str) -> list[tuple[yaml.Node, yaml.Node]]:
    root = _root(text)
    return list(root.value) if isinstance(root, yaml.MappingNode) else []


def _mappings(node: yaml.Node | None, seen: frozenset[int] = frozenset()) -> Iterator[yaml.MappingNode]:
    """Yield a node and all within it that are mappings; an alias inside itself ends there."""
    if node is None or id(node) in seen:
        return
    seen = seen | {id(node)}
    if isinstance(node, yaml.MappingNode):
        yield node
        for key, value in node.value:
            yield from _mappings(key, seen)
            yield from _mappings(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _mappings(item, seen)
