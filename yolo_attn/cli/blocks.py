"""``yolo-attn blocks``: the layer types that a model YAML can use."""

from __future__ import annotations

import inspect
import re
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .. import docstrings
from ..errors import ArgumentError
from ..messages import joined, nearest
from ..registry import BROKEN_ENTRY_POINTS, BlockSpec

# Channels of P3, P4 and P5 in a model of scale n (YOLOv8, YOLO11 and YOLO26 alike).
CHANNELS_AT_N = (64, 128, 256)
READS = {"one": "one map", "list": "a list of maps", "pyramid": "a pyramid"}
ROW_STARTS = {"one": "-1, 1", "list": "[4, 6, 10], 1", "pyramid": "-1, 1"}  # from and repeats of the example rows
PARAMS = (
    "Params at n: with default options on 64, 128 and 256 channels, those of P3, P4 and P5 at scale n, or on the list "
    "of the three."
)
CHECKED = (
    "Checked: authors, against outputs of the authors' code; loop, against a literal float64 loop over the paper's "
    "equations."
)
ROWS = "In a model YAML options go by name and channels are filled in: [-1, 1, EMA, [{factor: 8}]]"


def run(*names: str, markdown: bool = False) -> int:
    """List the layer types that a model YAML can use, or describe the named ones.

    Args:
        names: Layer types to describe: options, an example row, the command that inserts them, limits.
        markdown: Print the pages of all layer types of this project as Markdown, for docs/layers.md.

    Examples:
        yolo-attn blocks
        yolo-attn blocks EMA GSoP
    """
    from ..integration.queries import layer_types  # start-up time

    known = dict(sorted(layer_types.installed().items()))
    for name in names:
        if name not in known:
            raise ArgumentError(f"unknown layer type {name!r}.{nearest(name, known)} Layer types: {joined(known)}")
    if markdown:
        ours = {k: s for k, s in known.items() if s.cls.__module__.startswith("yolo_attn.blocks.")}
        print(markdown_pages(ours), end="")
        return 0
    console = Console()
    for name in names:
        _page(console, known[name])
    if not names:
        _table(console, known)
    for entry, why in BROKEN_ENTRY_POINTS.items():
        console.print(f"did not load: {entry}: {why}", highlight=False)
    return 0


def _table(console: Console, known: dict[str, BlockSpec]) -> None:
    """Print one line for each layer type; 80 columns are enough for ours."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("layer type", "what it does", "arXiv", "YAML"):
        table.add_column(column, no_wrap=column != "what it does")
    for name, spec in known.items():
        summary = spec.summary or plain(docstrings.summary(spec.cls))
        endings = {file.removesuffix(".yaml").partition("-")[2] for file in ready_made(name)}
        table.add_row(name, summary, spec.paper.rpartition("/")[2], joined(f"-{e}" for e in sorted(endings)))
    console.print(table)
    console.print("YAML: ready-made model YAMLs, such as yolo11n-ema.yaml.", highlight=False)
    console.print("Details of one layer type: yolo-attn blocks NAME", highlight=False)


def ready_made(block: str) -> dict[str, str]:
    """Return the shipped model YAMLs made with a block, and the arguments of `place` that made each."""
    from ..integration.queries import yaml_files  # start-up time

    found = {}
    for file in sorted(yaml_files.folder("model_yamls").glob("*.yaml")):
        made = re.search(rf"^# +yolo-attn place (\S+ {block} .*) -o", file.read_text(encoding="utf-8"), re.MULTILINE)
        if made:
            found[file.name] = made[1]
    return found


def _page(console: Console, spec: BlockSpec) -> None:
    """Print everything about one layer type."""
    sections = docstrings.sections(spec.cls)
    meaning = docstrings.arguments(spec.cls)
    facts = f"Inputs: {READS[spec.inputs]}. Parameters at scale n: {' / '.join(parameters(spec))}."
    facts += f" Checked against: {joined(spec.checked) or '-'}."
    console.print(Text(f"{spec.name} ({spec.import_path})", style="bold"))
    for paragraph in plain(sections.pop("")).split("\n\n"):
        if paragraph.startswith("="):
            header, *rows = _table_rows(paragraph)
            table = Table(*header, box=None, padding=(0, 2, 0, 0))
            for row in rows:
                table.add_row(*row)
            console.print(Padding(table, (0, 0, 1, 2)))
        else:
            _section(console, "", " ".join(paragraph.split()))
    _section(console, "", facts)
    console.print(Text("Options", style="bold"))
    for name, option in spec.options().items():
        values = joined(choices(spec, name)) or str(option.annotation).replace(" | None", "")
        default = "" if option.default is option.empty else f": {yaml_value(option.default)}"
        console.print(Padding(Text.assemble((f"{name}{default}", "bold"), f"  ({values})"), (0, 0, 0, 2), expand=False))
        console.print(Padding(Text(plain(meaning.get(name, ""))), (0, 0, 0, 6), expand=False))
    _section(console, "", "" if spec.options() else "None.")
    files = ready_made(spec.name)
    _section(console, "Row in a model YAML", example_row(spec))
    _section(console, "Insert it into a model", place_command(spec))
    if files:
        _section(console, "Ready-made model YAMLs", joined(files))
    for title, text in sections.items():
        if title not in ("Args", "Raises"):
            points = _points(title, text)
            _section(console, title, plain("\n".join(f"- {p}" for p in points) if len(points) > 1 else points[0]))
    if spec.cls.__module__.startswith("yolo_attn.blocks."):
        _section(console, "Page", f"docs/layers.md#{spec.name.lower()}")


def _section(console: Console, title: str, text: str) -> None:
    if title:
        console.print(Text(title, style="bold"))
    console.print(Padding(Text(text), (0, 0, 1, 2), expand=False))


def choices(spec: BlockSpec, option: str) -> list[str]:
    """Return the texts that an option can be, from the error that the layer raises for another text."""
    if "str" not in str(spec.options()[option].annotation):
        return []
    try:
        _build(spec, CHANNELS_AT_N[-1], **{option: "no such choice"})
    except ValueError as error:
        return re.findall(r"'(\w+)'", str(error).partition("must be one of")[2].partition(";")[0])
    return []


def example_row(spec: BlockSpec) -> str:
    """Return a row of a model YAML with the layer type, with an option at its default."""
    arguments = ["256"] if spec.output == "argument" else []
    arguments += [yaml_value(spec.options()[name].default) for name in spec.positional]
    named = [f"{name}: {yaml_value(p.default)}" for name, p in spec.options().items() if p.default is not None]
    if not spec.positional and named:
        arguments.append(f"{{{named[0]}}}")
    return f"[{ROW_STARTS[spec.inputs]}, {spec.name}, [{', '.join(arguments)}]]"


def place_command(spec: BlockSpec) -> str:
    """Return a command that inserts the layer type into a model."""
    made = ready_made("AttentionFPN" if spec.inputs == "pyramid" else spec.name)  # place adds the PyramidLevel rows
    first = made.get("yolo11-" + next(iter(made)).partition("-")[2]) if made else None
    arguments = first or f"yolo11.yaml {spec.name} --at neck.P3"
    return f"yolo-attn place {arguments} \\\n    -o yolo11-mine.yaml".replace(" --from", " \\\n    --from")


def overview(known: dict[str, BlockSpec], page: str = "") -> str:
    """Return a Markdown table of the layers, each linked to its section of ``page``."""
    lines = ["| layer | what it does | reads | params at n | checked |", "|---|---|---|---|---|"]
    for name, spec in known.items():
        params, checked = " / ".join(parameters(spec)), ", ".join(spec.checked) or "-"
        what = _md(docstrings.summary(spec.cls)).rstrip(".") + (f" ([paper]({spec.paper}))" if spec.paper else "")
        lines.append(f"| [`{name}`]({page}#{name.lower()}) | {what} | {READS[spec.inputs]} | {params} | {checked} |")
    return "\n".join(lines) + "\n"


def markdown_pages(known: dict[str, BlockSpec]) -> str:
    """Return a page about each layer type, made from its docstring."""
    lines = [
        "# The layers",
        "",
        "Made by `yolo-attn blocks --markdown` from the docstrings.",
        *("", overview(known), PARAMS, "", CHECKED, "", f"{ROWS.partition(': ')[0]}: `{ROWS.partition(': ')[2]}`."),
    ]
    for name, spec in known.items():
        parts = docstrings.sections(spec.cls)
        lines += ["", f"## {name}", ""]
        for paragraph in parts[""].split("\n\n"):
            if paragraph.startswith("="):
                header, *rows = _table_rows(paragraph)
                cells = [header, ["---"] * len(header), *rows]
                lines += [*(f"| {' | '.join(row)} |" for row in cells), ""]
            else:
                lines += [_md(paragraph), ""]
        checked = ", ".join(spec.checked) or "-"
        lines += [f"Reads {READS[spec.inputs]}. Params at n: {' / '.join(parameters(spec))}. Checked: {checked}."]
        lines += [f"Row: `{example_row(spec)}`."]
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
            lines += ["", f"**{_md(title)}**", "", *(f"- {_md(p)}" for p in _points(title, text))]
    return "\n".join(lines) + "\n"


def _table_rows(text: str) -> list[list[str]]:
    """Return the cells of a docstring's table, whose columns are marked by lines of ``=``; the header is first."""
    ruler, *lines = text.splitlines()
    starts = [column.start() for column in re.finditer("=+", ruler)]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines if line[0] != "="]


def _points(title: str, text: str) -> list[str]:
    """Return the points of a docstring's section, each on one line; in ``Shape`` each tensor is one."""
    if title != "Shape":
        return docstrings.points(text)
    return re.sub(r"\n[ \n]+", " ", text).splitlines()


def _md(text: str) -> str:
    return text.replace("``", "`")


def plain(text: str) -> str:
    """Remove the backquotes."""
    return text.replace("``", "")


def yaml_value(value: Any) -> str:
    """Return an option's value as a model YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def options(spec: BlockSpec) -> list[str]:
    """Return the options with their defaults, as a model YAML writes them."""
    from ..integration.queries.row_arguments import CHANNEL_OPTIONS  # start-up time

    shown = []
    for name, parameter in spec.options().items():
        if name not in CHANNEL_OPTIONS:
            default = parameter.default
            shown.append(name if default is inspect.Parameter.empty else f"{name}: {yaml_value(default)}")
    return shown or ["none"]


def parameters(spec: BlockSpec) -> list[str]:
    """Return the parameter counts at the channels of a scale-n model."""

    def count(channels: int) -> str:
        try:
            return f"{sum(p.numel() for p in _build(spec, channels).parameters()):,}"
        except (TypeError, ValueError):
            return "-"  # does not fit these channels with its defaults

    return [count(channels) for channels in (CHANNELS_AT_N if spec.inputs == "one" else CHANNELS_AT_N[-1:])]


def _build(spec: BlockSpec, channels: int = CHANNELS_AT_N[-1], **options: object) -> Any:
    """Build a layer for one map, or for the list of P3, P4 and P5 of a scale-n model."""
    arguments = [channels] if spec.output == "argument" else []
    return spec.build(channels if spec.inputs == "one" else list(CHANNELS_AT_N), *arguments, **options)
