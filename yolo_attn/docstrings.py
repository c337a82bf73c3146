"""Read the sections of a block's docstring, for ``yolo-attn blocks``, the documentation and placed model YAMLs."""

from __future__ import annotations

import inspect
import re
import textwrap

HEAD = re.compile(r"^(Shape|Args|Raises|Deviations from [^:]*|Limits):", re.MULTILINE)


def sections(cls: type) -> dict[str, str]:
    """Return the parts of a class's docstring by title; ``""`` is the part before the first title."""
    first, *rest = HEAD.split(inspect.cleandoc(cls.__doc__ or ""))
    titles = [" ".join(title.split()) for title in rest[::2]]
    return {"": _clean(first), **dict(zip(titles, map(_clean, rest[1::2]), strict=True))}


def summary(cls: type) -> str:
    """Return the first sentence."""
    return " ".join(sections(cls)[""].split("\n\n")[0].split())


def arguments(cls: type) -> dict[str, str]:
    """Return the text of each argument in the section Args, on one line each."""
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*|\n(?=\n))*)", sections(cls).get("Args", ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def points(text: str) -> list[str]:
    """Return the numbered points of a section, on one line each; the whole text if it has none."""
    numbered = re.split(r"^ *\d+\. ", text, flags=re.MULTILINE)
    return [" ".join(p.split()) for p in (numbered if len(numbered) > 1 else [text]) if p.strip()]


def _clean(text: str) -> str:
    """Remove cross-reference markup and indentation."""
    text = re.sub(r":(?:class|func|meth|mod):`~?([^`]*)`", r"``\1``", text)
    return textwrap.dedent(text.lstrip(" ").strip("\n")).strip()
