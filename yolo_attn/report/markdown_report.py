"""The report in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from ..experiment.results import Results
from .charts.svg import clean
from .comparison_title import subtitle
from .tables import Table, all_tables

SPECIAL = re.compile(r"([\\`*_\[\]|~#!$])")  # characters that Markdown would interpret
# The long ones last.
SHOWN = ("accuracy", "cost", "missing", "sizes", "classes", "errors", "data", "given", "weights", "versions",
         "hardware", "runs", "effects")  # fmt: skip


def markdown(results: Results, heading: str) -> str:
    """Return the heading, the warnings, the verdicts, the tables and the notes."""
    lines = [f"# {escape(heading)}", "", escape(subtitle(results)), ""]
    lines += [f"**{escape(line)}**\n" for line in results.warnings]
    lines += [
        f"- **{escape(model.label)}**: {escape(model.effect.verdict.text)}" for model in results.models if model.effect
    ]
    lines.append("")
    tables = all_tables(results)
    if any(model.change("AP") for model in results.models):
        lines += ["![Differences to the baseline with their confidence intervals](forest.svg)", ""]
    for name in SHOWN:
        if name in tables:
            lines += [f"**{escape(tables[name].title)}**", "", *_table(tables[name]), ""]
        if name == "cost":
            lines += [f"{escape(line)}\n" for line in results.notes]
    return "\n".join(lines).strip() + "\n"


def _table(found: Table) -> list[str]:
    """Return the lines of a table; the first cell of a minor row is in italics."""
    return [
        _row(found.head),
        "|" + "".join(":--|" if k in found.texts else "--:|" for k in range(len(found.head))),
        *(_row(cells, italic=index in found.minor) for index, cells in enumerate(found.rows)),
    ]


def _row(cells: Sequence[str], *, italic: bool = False) -> str:
    first, *rest = map(escape, cells)
    return "| " + " | ".join([f"*{first}*" if italic else first, *rest]) + " |"


def escape(value: str) -> str:
    """Return text on one line that shows as it is, without markup or HTML."""
    return html.escape(SPECIAL.sub(r"\\\1", clean(value)), quote=False)
