"""``yolo-attn check``: what a model's attention layers read and who reads them, and slips."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .. import install
from . import model_words

if TYPE_CHECKING:
    from ..model_yaml.checking import Report
    from ..model_yaml.lint import Finding

USAGE = "yolo-attn check yolo11n-ema.yaml"
HELP = f"""\
yolo-attn check: what each layer of yolo-attn in a model YAML reads, who reads it, and what is probably not meant

usage: yolo-attn check MODEL [--scale LETTER] [--strict]

  MODEL             a model YAML: a path, or a name that Ultralytics or this project ships
  --scale LETTER    the scale whose channels are named; by default that of the name's letter, else the smallest
  --strict          exit status 1 where there is a warning

All scales are built. Warnings name the row's line and what would be right: attention that nobody reads, a row that
reads the map just before attention, a reference into the middle of a stage, a key written twice, a typed class count,
channel counts that hold at one scale only, a file name from which no scale or a wrong one is read.

examples:
  {USAGE}
  yolo-attn check yolo11.yaml --strict
"""


def run(given: Sequence[str]) -> int:
    """Print what was found; status 1 with ``--strict`` and a warning, 2 where the model does not build."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    install()
    model, pairs = model_words.parse(given, ["scale", "strict"], flags=["strict"], usage=USAGE)
    from ..model_yaml.checking import check

    report = check(model, pairs.get("scale", ""))
    _show(report, Console())
    return 1 if report.findings and pairs.get("strict") == "True" else 0


def _show(report: Report, console: Console) -> None:
    console.print(_wrapped(f"{report.file.name}: {_about(report)}", console, ""))
    console.print()
    for sentence in report.descriptions or ["No layer of yolo-attn in this model."]:
        console.print(_wrapped(sentence, console, "  "))
    console.print()
    for finding in report.findings:
        text = _wrapped(f"warning: {_where(finding, report)}{finding.text}", console, "")
        text.stylize("bold yellow", 0, len("warning:"))
        console.print(text)
    if not report.findings:
        scales = f" at {', '.join(report.scales)}" if len(report.scales) > 1 else ""
        console.print(_wrapped(f"No warnings; all rows built{scales}.", console, ""))


def _wrapped(text: str, console: Console, indent: str) -> Text:
    """Return the text in lines that fit, all but the first indented further."""
    width = max(console.width, 40)
    return Text(
        textwrap.fill(
            text,
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _about(report: Report) -> str:
    at = f", looked at in scale {report.graph.scale} of {', '.join(report.scales)}" if len(report.scales) > 1 else ""
    return f"{len(report.graph.layers)} layers, {report.task}{at}."


def _where(finding: Finding, report: Report) -> str:
    line = f"line {finding.line}, " if finding.line else ""
    if finding.layer is None:
        return f"{line.removesuffix(', ')}: " if line else ""
    return f"{line}layer {finding.layer} ({report.graph.layers[finding.layer].name}): "
