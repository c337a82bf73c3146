"""``yolo-attn place``: insert blocks into a model YAML."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from cyclopts import App, Group, Parameter
from rich import box
from rich.console import Console
from rich.table import Column, Table

from .. import install
from ..errors import ArgumentError
from ..messages import joined
from ..model_yaml import places
from ..model_yaml.placing import Insertion, PlacedModel, place, split_names
from . import argument_parsing

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph

_right = functools.partial(Column, justify="right")
LONGEST_NAME = 255  # bytes, on common file systems
OF_BLOCK = Group("Options of a block, after its name", sort_key=1)


def run(
    model: str,
    block: str | None = None,
    *,
    at: Annotated[str, Parameter(group=OF_BLOCK)] = "",
    from_: Annotated[str, Parameter(name="--from", group=OF_BLOCK)] = "",
    args: Annotated[str, Parameter(group=OF_BLOCK)] = "",
    reroute: Annotated[Literal["all", "detect", "path"], Parameter(group=OF_BLOCK)] = "all",
    output: Annotated[str, Parameter(alias="-o")] = "",
    force: bool = False,
) -> int:
    r"""Insert blocks into a model YAML and write an ordinary model YAML, or list a model's places.

    Without a block: lists the places of the model. Several blocks: give each its own options after its name.

    Args:
        model: Model YAML: a path, or a name that Ultralytics or this project ships.
        block: Layer type to insert, see `yolo-attn blocks`.
        at: Places, joined by commas: neck.P3, backbone.end, before_neck, before_head, layer:10, each:C3k2,
            neck.each:C3k2. The block is inserted after the layer at each place.
        from_: Places of the inputs, in order, for a block that reads a list of maps.
        args: Arguments of the row, such as factor=8,residual=true.
        reroute: Consumers that read the new map: all of the old map, detect (the head alone), or path (all but the
            head).
        output: File to write. Default: print the YAML.
        force: Overwrite an existing file.

    Examples:
        yolo-attn place yolo11.yaml
        yolo-attn place yolo11.yaml EMA --at neck.P3,neck.P4 -o yolo11-mine.yaml
        yolo-attn place yolo11.yaml PMFS --at before_neck \
            --from backbone.P3,backbone.P4,backbone.P5 -o yolo11-pmfs.yaml
        yolo-attn place yolov8-seg.yaml EMA --at neck.P3 --args factor=8 \
            GSoP --at backbone.end -o yolov8-seg-mine.yaml
    """
    return _place(model, [_insertion(block, at, from_, args, reroute)] if block else [], output, force)


def call_of(app: App, given: Sequence[str]) -> functools.partial[int]:
    """Return the call that the arguments describe: each block with the options after its name.

    Raises:
        ArgumentError: For the mistakes of :func:`yolo_attn.cli.argument_parsing.bind`, in any of the blocks.
    """
    insertions = []
    for_all: dict[str, Any] = {}
    for part in _by_block(argument_parsing.normalized(app, "place", given)):
        call = argument_parsing.bind(app, "place", part)
        options = call.keywords
        for name in {"output", "force"} & set(options):
            if name in for_all:
                raise ArgumentError(f"place: --{name} is given twice")
            for_all[name] = options.pop(name)
        model, *block = call.args
        insertions += [_insertion(*block, **options)] if block else []
        if options and not block:
            raise ArgumentError(f"place: --{next(iter(options)).strip('_')} needs the name of a block, such as EMA")
    return functools.partial(_place, model, insertions, **for_all)


def _by_block(tokens: Sequence[str]) -> list[list[str]]:
    """Return the tokens of each block, every time with the model; options before the first block belong to it."""
    tokens = list(tokens)
    model = next((t for t in tokens if t.startswith("--model=") or not t.startswith("-")), None)
    if model is None:
        return [tokens]
    tokens.remove(model)
    parts: list[list[str]] = [[model.removeprefix("--model=")]]
    named = False
    for token in tokens:
        if not token.startswith("-"):
            if named:
                parts.append(parts[0][:1])
            named = True
            parts[-1].insert(1, token)
        else:
            parts[-1].append(token)
    return parts


def _place(model: str, insertions: Sequence[Insertion], output: str = "", force: bool = False) -> int:
    """Insert the blocks, or list the model's places if there are none."""
    install()
    if output and not insertions:
        raise ArgumentError("place: --output needs a block, such as EMA; without one, the places are listed")
    if force and not output:
        raise ArgumentError("place: --force needs --output; without it, nothing is written")
    if not insertions:
        _list(model)
        return 0
    from ..integration.queries import model_findings  # start-up time

    placed = place(model, insertions, output=output or None, force=force)
    if not output:
        sys.stdout.write(placed.text)
        return 0
    console = Console()
    name = _with_scale_of(model, output)
    graph, warnings = model_findings.graph_of(name)
    console.print(_table(placed, graph))
    lines = [f"Written: {output}", *(f"warning: {warning}" for warning in warnings), _how_to_train(name, output, graph)]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _with_scale_of(model: str, output: str) -> str:
    """Return the name that selects a scale of ``output``: its own, else that in the base's name, else the smallest."""
    from ..integration.queries import model_graph  # start-up time

    scales = model_graph.scales(model_graph.load(output))
    wanted = model_graph.scale_of(model)
    name = model_graph.with_scale(output, wanted if wanted in scales else scales[0])
    return name if len(os.fsencode(Path(name).name)) <= LONGEST_NAME else output


def _how_to_train(name: str, output: str, graph: Graph) -> str:
    """Return the command that trains a model, with the letter of the scale in its name."""
    from ..integration.queries import model_graph  # start-up time

    scale = f"; {graph.scale} is the scale" if name != output else ""
    if model_graph.task(model_graph.load(output)) == "detect":
        return f"Train it: yolo train model={shlex.quote(name)} data=digits.yaml imgsz=128 (or your own data{scale})"
    return f"Train it: yolo train model={shlex.quote(name)} data=DATA (DATA: your own{scale})"


def _insertion(block: str, at: str = "", from_: str = "", args: str = "", reroute: str = "all") -> Insertion:
    if not at:
        raise ArgumentError(f"{block}: give its place, such as --at neck.P3. List the places: yolo-attn place MODEL")
    positional, options = arguments(args, block)
    inputs = split_names(from_)
    if from_ and not inputs:
        raise ArgumentError(f"{block}: --from {from_} names no place")
    return Insertion(block, split_names(at), inputs, tuple(positional), options, reroute)  # type: ignore[arg-type]


def arguments(text: str, block: str) -> tuple[list[Any], dict[str, Any]]:
    """Read ``1024,heads=4,kernel_sizes=[3,5]`` as positional arguments and options, with YAML values.

    Raises:
        ArgumentError: If a part is no value, or a positional argument follows an option.
    """
    args: list[Any] = []
    options: dict[str, Any] = {}
    for part in re.split(r",(?![^\[]*\])", text) if text else []:
        name, equals, given = part.strip().partition("=")
        try:
            value = yaml.safe_load(given if equals else name)
        except yaml.YAMLError:
            raise ArgumentError(f"{block}: --args {part!r} is not YAML; write for example factor=8") from None
        if not equals:
            if options:
                raise ArgumentError(f"{block}: --args {part!r} follows an option; positional arguments come first")
            args.append(value)
        elif not name.isidentifier() or name in options:
            raise ArgumentError(f"{block}: --args {part!r}: {'given twice' if name in options else 'no option name'}")
        else:
            options[name] = value
    return args, options


def _list(model: str) -> None:
    """Print the places of a model."""
    from ..integration.queries import model_findings  # start-up time

    graph, warnings = model_findings.graph_of(model)
    columns = ("place", _right("after layer"), "type", _right("stride"), _right("channels"), "consumers")
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for name, found in places.named(graph).items():
        for place_ in found:
            layer = graph.layers[place_.layer]
            by = joined(f"{r.index} {r.name}" for r in graph.readers(layer.index) if r.index > place_.after)
            table.add_row(name, str(layer.index), layer.name, str(layer.stride), str(layer.channels), by)
    console = Console()
    console.print(table)
    at = f" at scale {graph.scale}" if graph.scale else ""
    console.print(f"{graph.file}{at}. Also: {places.FORMS}.", highlight=False, markup=False)
    for warning in warnings:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)


def _table(placed: PlacedModel, graph: Graph) -> Table:
    table = Table(_right("layer"), "type", "place", "inputs", "consumers", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in placed.inserted:
        layer = graph.layers[row.index]
        inputs = joined(f"{r} {graph.layers[r].name}" for r in layer.reads)
        consumers = joined(f"{r.index} {r.name}" for r in graph.readers(row.index))
        table.add_row(str(row.index), row.block, row.comment.partition(" on ")[2], inputs, consumers)
    return table
