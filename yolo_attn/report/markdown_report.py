"""The report in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .charts.svg import clean
from .tables import Table, all_tables, effect, label

# What Markdown or the HTML in it would take for its own.
SPECIAL = re.compile(r"([\\`*_\[\]|~#!$])")
SHOWN = ("accuracy", "cost", "effects", "sizes", "classes", "errors", "runs", "missing", "data", "recipe", "weights",
         "versions", "hardware")  # fmt: skip


def markdown(results: Mapping[str, Any]) -> str:
    """Return what must be read first, the verdicts, the tables and their captions."""
    lines = [f"**{text(line)}**\n" for line in results["first"]]
    lines += [
        f"- **{text(label(model))}**: {text(model['effect']['verdict']['text'])}"
        for model in results["models"]
        if model["effect"]
    ]
    lines.append("")
    tables = all_tables(results)
    if any(effect(model, "AP") for model in results["models"]):
        lines += ["![Differences to the baseline with their intervals](forest.svg)", ""]
    for name in SHOWN:
        if name in tables:
            lines += [f"**{text(tables[name].title)}**", "", *table(tables[name]), ""]
        if name == "cost":
            lines += [f"{text(line)}\n" for line in results["caption"]]
    return "\n".join(lines).strip() + "\n"


def table(found: Table) -> list[str]:
    """Return the lines of a table; rows that belong to the one above are in italics."""
    return [
        _row(found.head),
        "|:--|" + "--:|" * (len(found.head) - 1),
        *(_row(cells, slanted=index in found.minor) for index, cells in enumerate(found.rows)),
    ]


def _row(cells: Sequence[str], *, slanted: bool = False) -> str:
    first, *rest = (text(cell) for cell in cells)
    return "| " + " | ".join([f"*{first}*" if slanted else first, *rest]) + " |"


def text(value: str) -> str:
    """Return text that is shown as it is: no markup, no HTML, one line."""
    plain = SPECIAL.sub(r"\\\1", clean(value))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
