"""``yolo-attn blocks``: the layers that a model YAML can use."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .. import docstrings
from ..errors import ArgumentError
from ..messages import nearest
from ..registry import BROKEN_ENTRY_POINTS, BlockSpec

# Channels of P3, P4 and P5 in a model of scale n (YOLOv8, YOLO11 and YOLO26 alike).
CHANNELS_AT_N = (64, 128, 256)
READS = {"one": "one map", "list": "a list of maps", "pyramid": "a pyramid"}
PARAMS = (
    "Params at n: with default options on 64, 128 and 256 channels, those of P3, P4 and P5 at scale n, or on the list "
    "of the three."
)
CHECKED = (
    "Checked: authors, against outputs of the authors' code; loop, against a literal float64 loop over the paper's "
    "equations."
)
ROWS = "In a model YAML options go by name and channels are filled in: [-1, 1, EMA, [{factor: 8}]]"


def run(given: Sequence[str]) -> int:
    """Print the table, the pages of the layers that are named, or (``--markdown``) the pages of all as Markdown."""
    from ..integration.queries import layer_types

    known = dict(sorted(layer_types.installed().items()))
    if list(given) == ["--markdown"]:
        ours = {k: s for k, s in known.items() if s.cls.__module__.startswith("yolo_attn.blocks.")}
        print(markdown(ours), end="")
        return 0
    for name in given:
        if name not in known:
            what = f"unknown layer {name!r}.{nearest(name, known)} Layers: {', '.join(known)}"
            raise ArgumentError(f"{what}; --markdown for the pages of all" if name.startswith("-") else what)
    console = Console()
    for name in given:
        _page(console, known[name])
    if not given:
        _table(console, known)
    for entry, why in BROKEN_ENTRY_POINTS.items():
        console.print(f"did not load: {entry}: {why}", highlight=False)
    return 0


def _table(console: Console, known: dict[str, BlockSpec]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)  # 80 columns wide: that is what a pipe gets
    table.add_column("layer, what it reads,\nchecked against, paper", no_wrap=True)
    table.add_column("options", no_wrap=True)
    table.add_column("params\nat n", justify="right", no_wrap=True)
    for name, spec in known.items():
        paper = spec.paper.split("://")[-1].replace("arxiv.org/abs/", "arXiv:")
        facts = [READS[spec.inputs], ", ".join(spec.checked) or "-", paper]
        about = Text("\n  ").join([Text(name, style="bold"), *map(Text, filter(None, facts))])
        table.add_row(about, "\n".join(options(spec)), "\n".join(parameters(spec)))
        table.add_section()
    console.print(table)
    console.print("Limits", style="bold")
    for name, spec in known.items():
        limits = docstrings.points(docstrings.sections(spec.cls).get("Limits", ""))
        if limits:
            console.print(Text(name, style="bold"))
        console.print(Padding(_list(limits), (0, 0, 0, 2)), end="")
    console.print()
    for line in (PARAMS, CHECKED, ROWS, "yolo-attn blocks NAME says what a layer does and what each option means."):
        console.print(line, highlight=False, markup=False)


def _list(texts: list[str]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row("-", Text(plain(text)))
    return grid


def _page(console: Console, spec: BlockSpec) -> None:
    """Print what there is to know about one layer."""
    parts = docstrings.sections(spec.cls)
    console.print(Text(f"{spec.name} ({spec.import_path})", style="bold"))
    console.print(Padding(Text(plain(parts.pop(""))), (0, 0, 1, 2)))
    facts = f"reads {READS[spec.inputs]}; params at n: {' / '.join(parameters(spec))}"
    facts += f"; checked: {', '.join(spec.checked) or '-'}{f'; {spec.paper}' if spec.paper else ''}"
    console.print(Padding(Text(facts), (0, 0, 1, 2)))
    console.print(Text("  Options in a row"))
    meaning = docstrings.arguments(spec.cls)
    for option in options(spec):
        name = option.partition(":")[0]
        console.print(Padding(Text(f"{option}  {plain(meaning.get(name, ''))}"), (0, 0, 0, 4)))
    for title, text in parts.items():
        if title not in ("Args", "Raises"):
            console.print(Padding(Text(f"\n{title}\n{plain(text)}"), (0, 0, 0, 2)))
    console.print()


def overview(known: dict[str, BlockSpec], page: str = "") -> str:
    """Return a Markdown table of the layers, each linked to its section of ``page``."""
    lines = ["| layer | what it does | reads | params at n | checked |", "|---|---|---|---|---|"]
    for name, spec in known.items():
        params, checked = " / ".join(parameters(spec)), ", ".join(spec.checked) or "-"
        what = _md(docstrings.summary(spec.cls)).rstrip(".") + (f" ([paper]({spec.paper}))" if spec.paper else "")
        lines.append(f"| [`{name}`]({page}#{name.lower()}) | {what} | {READS[spec.inputs]} | {params} | {checked} |")
    return "\n".join(lines) + "\n"


def markdown(known: dict[str, BlockSpec]) -> str:
    """Return a page about each layer, made of its docstring."""
    lines = [
        "# The layers",
        "",
        "Made by `yolo-attn blocks --markdown` from the docstrings.",
        *("", overview(known), PARAMS, "", CHECKED, "", f"{ROWS.partition(': ')[0]}: `{ROWS.partition(': ')[2]}`."),
    ]
    for name, spec in known.items():
        parts = docstrings.sections(spec.cls)
        lines += ["", f"## {name}", "", _md(parts[""]), ""]
        checked = ", ".join(spec.checked) or "-"
        lines += [f"Reads {READS[spec.inputs]}. Params at n: {' / '.join(parameters(spec))}. Checked: {checked}."]
        lines += [f"Class: `{spec.import_path}`.{f' Paper: {spec.paper}' if spec.paper else ''}", ""]
        meaning = docstrings.arguments(spec.cls)
        if shown := options(spec):
            lines += ["| option | meaning |", "|---|---|"]
            for option in shown:
                text = _md(meaning.get(option.partition(":")[0], "")).replace("|", "\\|")
                lines.append(f"| `{option}` | {text} |" if option != "none" else "| none | |")
        for title, text in parts.items():
            if title in ("", "Args", "Raises"):
                continue
            body = docstrings.points(text) if title != "Shape" else text.splitlines()
            lines += ["", f"**{title}**", "", *(f"- {_md(p)}" for p in _joined(body))]
    return "\n".join(lines) + "\n"


def _joined(lines: list[str]) -> list[str]:
    """Put lines that are indented behind the one before them."""
    out: list[str] = []
    for line in lines:
        if out and line.startswith(" "):
            out[-1] += " " + line.strip()
        elif line.strip():
            out.append(line)
    return out


def _md(text: str) -> str:
    return text.replace("``", "`")


def plain(text: str) -> str:
    """Take the backquotes away."""
    return text.replace("``", "")


def written(value: Any) -> str:
    """Return an option's value as a model YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def options(spec: BlockSpec) -> list[str]:
    """Return the options with their defaults, as a model YAML writes them."""
    from ..integration.queries.row_arguments import CHANNEL_OPTIONS

    shown = []
    for name, parameter in spec.options().items():
        if name not in CHANNEL_OPTIONS:
            default = parameter.default
            shown.append(name if default is inspect.Parameter.empty else f"{name}: {written(default)}")
    return shown or ["none"]


def parameters(spec: BlockSpec) -> list[str]:
    """Return the parameter counts at the channels of a scale-n model."""

    def count(*args: Any) -> str:
        try:
            return f"{sum(p.numel() for p in spec.build(*args).parameters()):,}"
        except (TypeError, ValueError):
            return "-"  # does not fit these channels with its defaults

    if spec.inputs != "one":
        return [count(list(CHANNELS_AT_N))]
    if spec.output == "argument":
        return [count(c, c) for c in CHANNELS_AT_N]
    return [count(c) for c in CHANNELS_AT_N]
