"""Read text and YAML that people wrote: UTF-8, with or without a byte order mark; everything else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .errors import DataError, UserError

MOST_VALUES = 1_000_000  # in a YAML file, with its aliases expanded
# Characters of East Asian keyboards, and what YAML needs
FULL_WIDTH = dict(zip("\uff0c\uff3b\uff3d\uff5b\uff5d\uff1a\u3001", ",[]{}:,", strict=True))


def full_width_in(text: str) -> str:
    """Return a sentence about the first full-width character in a text, or nothing; it begins with a space."""
    wide = next((c for c in text if c in FULL_WIDTH), "")
    return f" It has the full-width character {wide}; write {FULL_WIDTH[wide]}" if wide else ""


def read_text(path: str | Path, error: type[UserError] = DataError) -> str:
    """Return the text of a file, with line feeds as line ends.

    Args:
        path: The file.
        error: The class to raise.

    Raises:
        UserError: ``error``, if the file does not exist, is no regular file, cannot be read, or is not UTF-8.
    """
    return decode(read_bytes(path, error), path, error).replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: str | Path, error: type[UserError] = DataError) -> bytes:
    """Return the contents of a regular file; reading a pipe or a device could wait for ever. See :func:`read_text`."""
    path = Path(path)
    try:
        if not path.is_file():
            raise error(f"{path} {'is no regular file' if path.exists() else 'does not exist'}")
        return path.read_bytes()
    except UserError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: a name with a null character
        raise error(f"{str(path)!r} cannot be read: {getattr(problem, 'strerror', None) or problem}") from None


def decode(content: bytes, name: str | Path, error: type[UserError] = DataError) -> str:
    """Return UTF-8 text without its byte order mark, line ends unchanged; ``name`` is for the message.

    Raises:
        UserError: ``error``, if ``content`` is not UTF-8; says how to convert the file.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
        raise error(f"{name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {Path(name).name} > new.txt")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{name}, line {line}: not UTF-8 (byte 0x{content[problem.start]:02x}); save it as UTF-8 in an editor, or "
            f"name its encoding: iconv -f GBK -t UTF-8 {Path(name).name} > new.txt"
        ) from None


def read_yaml(path: str | Path, error: type[UserError] = DataError) -> Any:
    """Return the value in a YAML file; see :func:`parse_yaml`."""
    return parse_yaml(read_text(path, error), path, error)


def parse_yaml(text: str, name: str | Path, error: type[UserError] = DataError) -> Any:
    """Return the value of a YAML text; ``name`` is for the message.

    Raises:
        UserError: ``error``, if it is not valid YAML (names the line), contains itself, or is very large once its
            aliases are expanded, or has a key twice (YAML would keep the last one and say nothing).
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MOST_VALUES:
            raise error(f"{name}: its aliases (*name) expand to more than {MOST_VALUES:,} values")
        if twice := _key_twice(node, set()):
            first, again = twice
            raise error(
                f"{name}, line {again.start_mark.line + 1}: the key {again.value!r} is there twice, first in line "
                f"{first.start_mark.line + 1}; only the last one would count; delete or rename one"
            )
        return loader.construct_document(node)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        what = getattr(problem, "problem", None) or " ".join(str(problem).split())
        wide = _full_width_near(text.split("\n"), mark.line) if mark else ""
        where = f", line {mark.line + 1}" if mark else ""
        raise error(f"{name}{where}: not valid YAML: {what}{wide and '.'}{wide}") from None
    except RecursionError:
        raise error(f"{name}: not valid YAML: it contains itself, or its lists are nested too deeply") from None
    except UserError:
        raise
    except ValueError as problem:  # a date such as 2024-13-01
        raise error(f"{name}: not valid YAML: {problem}") from None
    finally:
        loader.dispose()


def _full_width_near(lines: list[str], number: int) -> str:
    """Return a sentence about a full-width character in the line of an error or the one before."""
    for text, where in ((lines[number], ""), (lines[max(number - 1, 0)], f" in line {number}")):
        if wide := full_width_in(text.partition("#")[0]):
            return wide + where
    return ""


def _key_twice(node: yaml.Node, seen: set[int]) -> tuple[yaml.Node, yaml.Node] | None:
    """Return two equal keys of one mapping; None if there are none. ``seen`` holds the ids of nodes looked at."""
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return None
    seen.add(id(node))
    parts = node.value
    if isinstance(node, yaml.MappingNode):
        keys: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            is_plain = isinstance(key, yaml.ScalarNode) and key.value != "<<"  # merges may repeat
            if is_plain and keys.setdefault((key.tag, key.value), key) is not key:
                return keys[key.tag, key.value], key
        parts = [part for pair in node.value for part in pair]
    return next(filter(None, (_key_twice(part, seen) for part in parts)), None)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values in a node with its aliases expanded. ``known`` holds those of nodes seen before."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        known[id(node)] = 1 + sum(_values(part, known) for part in flat)
    return known[id(node)]
