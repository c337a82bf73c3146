"""``yolo-attn place``: put blocks into a model YAML by the names of places."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from .. import install
from ..errors import ArgumentError
from ..messages import nearest
from ..model_yaml import places
from ..model_yaml.placing import REROUTES, Insertion, PlacedModel, place

USAGE = "yolo-attn place yolo11.yaml EMA --at neck.P3,neck.P4,neck.P5 -o yolo11-ema.yaml"
HELP = f"""\
yolo-attn place: put blocks into a model YAML, and write an ordinary model YAML

usage: yolo-attn place BASE                                  the places that BASE has
       yolo-attn place BASE BLOCK --at PLACES [BLOCK ...] [-o OUT] [--force]

  BASE              a model YAML: a path, or a name that Ultralytics or this project ships
  BLOCK             a layer type (yolo-attn blocks); several, each with its own words behind it
  --at PLACES       names joined by commas: backbone.P3, backbone.end, neck.P3, before_neck, before_head, layer:10,
                    each:C3k2, backbone.each:C3k2, neck.each:C3k2
  --from PLACES     for a block that reads a list of maps: which, in order
  --args A,B=C      the row's arguments: factor=8,residual=true
  --reroute WHO     who reads the new map: all that read the old one (default), detect (the head alone), path (all
                    but the head)
  -o OUT            the file to write; without it the YAML is printed
  --force           write over a file that exists

examples:
  {USAGE}
  yolo-attn place yolo11.yaml PMFS --from backbone.P3,backbone.P4,backbone.P5 --at before_neck -o yolo11-pmfs.yaml
  yolo-attn place yolov8-seg.yaml EMA --at neck.P3 --args factor=8 GSoP --at backbone.end -o yolov8-seg-mine.yaml
"""
_OF_BLOCK = ("at", "from", "args", "reroute")
_OF_ALL = ("output", "force")


def run(given: Sequence[str]) -> int:
    """Place the blocks, or list the model's places where no block is given."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    install()
    base, blocks, words = parse(given)
    if not blocks:
        _list(base)
        return 0
    output = words.get("output")
    placed = place(base, blocks, output=output, force="force" in words)
    if output is None:
        sys.stdout.write(placed.text)
        return 0
    console = Console()
    console.print(_table(placed, output))
    console.print(f"Written: {output}", highlight=False, markup=False, soft_wrap=True)
    return 0


def parse(given: Sequence[str]) -> tuple[str, list[Insertion], dict[str, str]]:
    """Split the words into the base, the blocks with their words, and the words for all.

    Raises:
        ArgumentError: For an unknown word, one without a value, one given twice, or one before the block it is about.
    """
    bare: list[str] = []
    blocks: list[tuple[str, dict[str, str]]] = []
    for_all: dict[str, str] = {}
    queue = list(given)
    while queue:
        word = queue.pop(0)
        match = re.match(r"(?:--?)?([a-z]+)=(.*)", word, re.DOTALL)
        if match and match[1] in (*_OF_BLOCK, *_OF_ALL, "o"):
            name, value = match[1], match[2]
        elif word.startswith("-"):
            name = word.lstrip("-")
            value = "" if name == "force" else (queue.pop(0) if queue else "")
        elif not bare:
            bare.append(word)
            continue
        elif "=" in word:
            raise ArgumentError(
                f"{word!r} is no word of place.{nearest(word.partition('=')[0], [*_OF_BLOCK, *_OF_ALL])}"
            )
        else:
            blocks.append((word, {}))
            continue
        name = "output" if name == "o" else name
        if name not in (*_OF_BLOCK, *_OF_ALL):
            hint = nearest(name, [*_OF_BLOCK, *_OF_ALL]) or " Words: --at, --from, --args, --reroute, -o, --force"
            raise ArgumentError(f"unknown word {word!r}.{hint}")
        if name != "force" and not value:
            raise ArgumentError(f"word {word!r} has no value; e.g. {USAGE}")
        if name in _OF_BLOCK and not blocks:
            raise ArgumentError(f"{word!r} stands before the block that it is about; e.g. {USAGE}")
        holder = for_all if name in _OF_ALL else blocks[-1][1]
        if name in holder:
            raise ArgumentError(f"word {word!r} is given twice{'' if name in _OF_ALL else f' for {blocks[-1][0]}'}")
        holder[name] = value
    if not bare:
        raise ArgumentError(f"which model? e.g. {USAGE}")
    return bare[0], [_insertion(block, words) for block, words in blocks], for_all


def _insertion(block: str, words: dict[str, str]) -> Insertion:
    args, options = arguments(words.get("args", ""), block)
    reroute: Any = words.get("reroute", "all")
    if reroute not in REROUTES:
        raise ArgumentError(f"reroute={reroute!r} must be one of {', '.join(REROUTES)}.{nearest(reroute, REROUTES)}")
    split = [tuple(n.strip() for n in words.get(w, "").split(",") if n.strip()) for w in ("at", "from")]
    if not split[0]:
        raise ArgumentError(f"{block}: no place; give --at, e.g. {USAGE}. A model's places: yolo-attn place MODEL.yaml")
    return Insertion(block, split[0], split[1], tuple(args), options, reroute)


def arguments(words: str, block: str) -> tuple[list[Any], dict[str, Any]]:
    """Return ``1024,heads=4,kernel_sizes=[3,5]`` as positional arguments and options, values read as YAML.

    Raises:
        ArgumentError: If that is no list of values.
    """
    args: list[Any] = []
    options: dict[str, Any] = {}
    for part in re.split(r",(?![^\[]*\])", words) if words else []:
        name, equals, written = part.strip().partition("=")
        try:
            value = yaml.safe_load(written if equals else name)
        except yaml.YAMLError:
            raise ArgumentError(
                f"{block}: --args {part!r} has no value that YAML can read; write e.g. factor=8"
            ) from None
        if not equals:
            if options:
                raise ArgumentError(
                    f"{block}: --args {part!r} stands behind an option; positional arguments come first"
                )
            args.append(value)
        elif not name.isidentifier() or name in options:
            raise ArgumentError(f"{block}: --args {part!r}: {'twice' if name in options else 'no option name'}")
        else:
            options[name] = value
    return args, options


def _list(base: str) -> None:
    """Print the places of a model."""
    from ..integration.queries import model_graph as graphs

    graph = graphs.build(graphs.load(base))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("place", "behind layer", "type", "stride", "channels", "read by"):
        table.add_column(column, justify="right" if column in ("behind layer", "stride", "channels") else "left")
    for name, found in places.named(graph).items():
        for place_ in found:
            layer = graph.layers[place_.layer]
            by = ", ".join(f"{r.index} {r.name}" for r in graph.readers(layer.index) if r.index > place_.after)
            table.add_row(name, str(layer.index), layer.name, str(layer.stride), str(layer.channels), by)
    console = Console()
    console.print(table)
    at = f" at scale {graph.scale}" if graph.scale else ""
    console.print(f"{graph.file}{at}. Also: {places.FORMS}.", highlight=False, markup=False)


def _table(placed: PlacedModel, output: str) -> Table:
    from ..integration.queries import model_graph as graphs

    graph = graphs.build(yaml.safe_load(placed.text), file=output)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, justify in (("layer", "right"), ("type", "left"), ("place", "left"), ("reads", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("read by", justify="left")
    for row in placed.inserted:
        layer = graph.layers[row.index]
        reads = ", ".join(f"{r} {graph.layers[r].name}" for r in layer.reads)
        by = ", ".join(f"{r.index} {r.name}" for r in graph.readers(row.index))
        table.add_row(str(row.index), row.block, row.comment.partition(" on ")[2], reads, by)
    return table
