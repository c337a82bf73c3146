"""``yolo-attn check``: the inputs and consumers of a model's attention layers, and warnings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from .. import install
from ..messages import joined

if TYPE_CHECKING:
    from ..model_yaml.check_report import Report


def run(model: str, *, scale: str = "", strict: bool = False) -> int:
    """List the inputs and consumers of each attention layer and flag common mistakes.

    Builds the model at all its scales. A warning names the line of the row and the fix. There are warnings about
    attention layers without consumers, rows that read the map before attention instead of its result, references into
    the middle of a stage, duplicate keys, fixed class counts, channel counts that fit one scale only, and file names
    from which Ultralytics reads no scale or a wrong one.

    Args:
        model: Model YAML: a path, or a name that Ultralytics or this project ships.
        scale: Scale whose channel counts are shown. Default: the letter in the name, else the smallest scale.
        strict: Exit with status 1 if there is a warning.

    Examples:
        yolo-attn check yolo11n-ema.yaml
        yolo-attn check yolo11.yaml --strict
    """
    install()
    from ..model_yaml.check_report import check  # start-up time

    report = check(model, scale)
    _show(report, Console())
    return 1 if report.findings and strict else 0


def _show(report: Report, console: Console) -> None:
    from ..integration.queries import model_findings  # start-up time

    at = f", scale {report.graph.scale} (of {joined(report.scales)})" if len(report.scales) > 1 else ""
    about = f"{report.file.name}: {len(report.graph.layers)} layers, {report.task}{at}."
    console.print(_wrapped(about, console, ""))
    console.print()
    for sentence in report.descriptions or ["No layer of yolo-attn in this model."]:
        console.print(_wrapped(sentence, console, "  "))
    console.print()
    for finding in report.findings:
        text = _wrapped(f"warning: {model_findings.sentence(finding, report.graph)}", console, "")
        text.stylize("bold yellow", 0, len("warning:"))
        console.print(text)
    if not report.findings:
        scales = f" at {joined(report.scales)}" if len(report.scales) > 1 else ""
        console.print(_wrapped(f"No warnings; all rows built{scales}.", console, ""))


def _wrapped(text: str, console: Console, indent: str) -> Text:
    """Return the text in lines that fit, all but the first indented further."""
    width = max(console.width, 40)
    wrapper = textwrap.TextWrapper(width, indent, f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    return Text(wrapper.fill(text))
