"""``yolo-attn blocks``: the layer types that a model YAML can use."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from .. import docstrings
from ..errors import ArgumentError
from ..messages import joined, nearest
from ..registry import BROKEN_ENTRY_POINTS, BlockSpec

OURS = "yolo_attn.blocks."
# Channels of P3, P4 and P5 in a model of scale n (YOLOv8, YOLO11 and YOLO26 alike).
CHANNELS_AT_N = (64, 128, 256)
READS = {"one": "one map", "list": "a list of maps", "pyramid": "a pyramid"}
ROW_STARTS = {"one": "-1, 1", "list": "[4, 6, 10], 1", "pyramid": "-1, 1"}  # from and repeats of the example rows
NOTES = """\
Params at n: with default options on 64, 128 and 256 channels, those of P3, P4 and P5 at scale n, or on the list of the
three.

Checked: authors, against outputs of the authors' code; loop, against a literal float64 loop over the paper's equations.

In a model YAML options go by name and channels are filled in: `[-1, 1, EMA, [{factor: 8}]]`."""


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
    if markdown and names:
        raise ArgumentError("blocks: --markdown prints the pages of all layer types; omit the names")
    if markdown:
        ours = {k: s for k, s in known.items() if s.cls.__module__.startswith(OURS)}
        print(markdown_pages(ours), end="")
        return 0
    console = Console()
    for name in names:
        console.print(Markdown(_section(known[name]).replace("``", "`"), hyperlinks=False))
        if known[name].cls.__module__.startswith(OURS):
            console.print(f"\nPage: docs/layers.md#{name.lower()}", highlight=False)
    if not names:
        _print_table(console, known)
    for entry, why in BROKEN_ENTRY_POINTS.items():
        console.print(f"did not load: {entry}: {why}", highlight=False)
    return 0


def _print_table(console: Console, known: dict[str, BlockSpec]) -> None:
    """Print one line for each layer type; 80 columns are enough for ours."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("layer type", "what it does", "arXiv", "YAML"):
        table.add_column(column, no_wrap=column != "what it does")
    for name, spec in known.items():
        summary = spec.summary or docstrings.summary(spec.cls).replace("``", "")
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


def choices(spec: BlockSpec, option: str) -> list[str]:
    """Return the texts that an option can be, from the error that the layer raises for another text."""
    if "str" not in str(options(spec)[option].annotation):
        return []
    try:
        _build(spec, CHANNELS_AT_N[-1], **{option: "no such choice"})
    except ValueError as error:
        return re.findall(r"'(\w+)'", str(error).partition("must be one of")[2].partition(";")[0])
    return []


def example_row(spec: BlockSpec) -> str:
    """Return a row of a model YAML with the layer type, with an option at its default."""
    arguments = ["256"] if spec.output == "argument" else []
    arguments += [yaml_value(options(spec)[name].default) for name in spec.positional]
    named = [f"{name}: {yaml_value(p.default)}" for name, p in options(spec).items() if p.default is not None]
    if not spec.positional and named:
        arguments.append(f"{{{named[0]}}}")
    return f"[{ROW_STARTS[spec.inputs]}, {spec.name}, [{', '.join(arguments)}]]"


def place_command(spec: BlockSpec) -> str:
    """Return a command that inserts the layer type into a model."""
    made = ready_made("AttentionFPN" if spec.inputs == "pyramid" else spec.name)  # place adds the PyramidLevel rows
    first = made.get("yolo11-" + next(iter(made)).partition("-")[2]) if made else None
    command = f"yolo-attn place {first or f'yolo11.yaml {spec.name} --at neck.P3'} -o yolo11-mine.yaml"
    together = re.sub(r"( --?\w+) ", "\\1\0", command)  # an option and its value stay on one line
    lines = textwrap.wrap(together, 76, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return " \\\n".join(lines).replace("\0", " ")


def markdown_pages(known: dict[str, BlockSpec]) -> str:
    """Return the page docs/layers.md: an overview, then a section about each layer type."""
    rows = [["layer", "what it does", "reads", "params at n", "checked"]]
    for name, spec in known.items():
        what = docstrings.summary(spec.cls).rstrip(".") + (f" ([paper]({spec.paper}))" if spec.paper else "")
        params, checked = " / ".join(parameters(spec)), joined(spec.checked) or "-"
        rows.append([f"[`{name}`](#{name.lower()})", what, READS[spec.inputs], params, checked])
    head = "# The layers\n\nMade by `yolo-attn blocks --markdown` from the docstrings."
    return "\n\n".join([head, _table(rows), NOTES, *map(_section, known.values())]).replace("``", "`") + "\n"


def _section(spec: BlockSpec) -> str:
    """Return everything about one layer type as Markdown, from its docstring and its entry in the registry."""
    text, meaning = docstrings.sections(spec.cls), docstrings.arguments(spec.cls)
    paragraphs = text.pop("").split("\n\n")
    files = joined(f"`{file}`" for file in ready_made(spec.name))
    rows = [["option", "meaning"]]
    for name, option in options(spec).items():
        values = joined(choices(spec, name)) or str(option.annotation).replace(" | None", "")
        default = "" if option.default is option.empty else f": {yaml_value(option.default)}"
        rows.append([f"`{name}{default}`", f"({values}) {meaning.get(name, '')}"])
    parts = [
        f"## {spec.name}",
        *(_table(_cells(paragraph)) if paragraph.startswith("=") else paragraph for paragraph in paragraphs),
        f"Reads {READS[spec.inputs]}. Params at n: {' / '.join(parameters(spec))}. Checked: "
        f"{joined(spec.checked) or '-'}.\nClass: `{spec.import_path}`.{f' Paper: {spec.paper}' if spec.paper else ''}",
        f"Row in a model YAML: `{example_row(spec)}`. Insert it into a model:",
        f"~~~bash\n{place_command(spec)}\n~~~",
        *([f"Ready-made: {files}."] if files else []),
        _table(rows) if rows[1:] else "No options.",
    ]
    for title, body in text.items():
        if title not in ("Args", "Raises"):
            # In Shape each tensor is a point; its lines after the first are indented.
            points = re.sub(r"\n\s+", " ", body).splitlines() if title == "Shape" else docstrings.points(body)
            parts += [f"**{title}**", "\n".join(f"- {point}" for point in points)]
    return "\n\n".join(parts)


def _table(rows: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its header."""
    header, *rest = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rest])


def _cells(text: str) -> list[list[str]]:
    """Return the rows of a docstring's table, whose columns are marked by lines of ``=``."""
    ruler, *lines = text.splitlines()
    starts = [column.start() for column in re.finditer("=+", ruler)]
    ends = [*starts[1:], None]
    return [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines if line[0] != "="]


def yaml_value(value: Any) -> str:
    """Return an option's value as a model YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple | list) else str(value)


def options(spec: BlockSpec) -> dict[str, inspect.Parameter]:
    """Return the options that a row can give, by name."""
    from ..integration.queries.row_arguments import CHANNEL_OPTIONS  # start-up time

    return {name: option for name, option in spec.options().items() if name not in CHANNEL_OPTIONS}


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
