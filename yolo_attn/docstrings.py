"""The sections of a layer's docstring: what ``yolo-attn blocks`` and placed model YAMLs show of it."""

from __future__ import annotations

import inspect
import re
import textwrap

HEAD = re.compile(r"^(Shape|Args|Raises|Deviations from [^:]*|Limits):(.*)$")


def sections(cls: type) -> dict[str, str]:
    """Return the parts of a class's docstring by their titles; ``""`` is what stands before the first one."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if head := HEAD.match(line):
            title = head[1]
            found[title] = [head[2].strip()]
        else:
            found[title].append(line)
    return {k: _clean("\n".join(v)) for k, v in found.items()}


def summary(cls: type) -> str:
    """Return the first sentence."""
    return " ".join(sections(cls)[""].split("\n\n")[0].split())


def arguments(cls: type) -> dict[str, str]:
    """Return what the section Args says of each argument, on one line each."""
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*|\n(?=\n))*)", sections(cls).get("Args", ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def points(text: str) -> list[str]:
    """Return the numbered points of a section, each on one line; the whole text where it has none."""
    numbered = re.split(r"^ *\d+\. ", text, flags=re.MULTILINE)
    return [" ".join(p.split()) for p in (numbered if len(numbered) > 1 else [text]) if p.strip()]


def _clean(text: str) -> str:
    """Take the markup of cross references away and the indentation of a section."""
    text = re.sub(r":(?:class|func|meth|mod):`~?([^`]*)`", r"``\1``", text)
    return textwrap.dedent(text.strip("\n")).strip()
