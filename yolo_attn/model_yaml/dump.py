"""A model YAML's content as text: its keys in order, and each row on a line of its own, numbered."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

PARTS = ("backbone", "head")
_OF_LOADING = ("scale", "yaml_file")  # what Ultralytics adds to the content when it reads the file


def dump(content: dict[str, Any], comment: str = "") -> str:
    """Return the text of a model YAML.

    Args:
        content: Its keys; those that Ultralytics adds when it reads a file are left out.
        comment: Put in front, wrapped and behind ``#``.
    """
    rest = {k: v for k, v in content.items() if k not in (*PARTS, *_OF_LOADING)}
    lines = textwrap.wrap(comment, 118, break_long_words=False, break_on_hyphens=False)
    out = [*(f"# {line}" for line in lines), ""]
    for key, value in rest.items():
        if isinstance(value, dict) and value:
            out += [f"{_line(key)}:", *(f"  {_line(k)}: {_line(v)}" for k, v in value.items())]
        else:
            out.append(f"{_line(key)}: {_line(value)}")
    number = 0
    for part in PARTS:
        out += ["", f"{part}:" if content[part] else f"{part}: []"]
        for row in content[part]:
            out.append(f"  - {_line(list(row))} # {number}")
            number += 1
    return "\n".join(out) + "\n"


def _line(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()
