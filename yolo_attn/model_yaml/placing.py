"""Insert blocks into a model YAML at named places, and write an ordinary model YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .. import atomic_files
from ..errors import ArgumentError, LayerError
from ..integration.queries import layer_types, model_findings, row_checks, yaml_text
from ..integration.queries import model_graph as graphs
from ..integration.queries.layer_text import all_named
from ..integration.queries.model_graph import Graph
from ..integration.queries.yaml_text import NewRow
from ..messages import joined, nearest
from ..registry import BlockSpec
from ..text_files import decode, parse_yaml, read_bytes
from . import places
from .header_comment import heading
from .places import Place
from .verify_insertions import check_fit, outputs_argument

Reroute = Literal["all", "detect", "path"]
REROUTES = ("all", "detect", "path")
LEVEL = "PyramidLevel"  # the layer type that selects one map of a list


@dataclass(frozen=True, slots=True)
class Insertion:
    """A block and the places where it is inserted.

    Attributes:
        block: A layer type of the registry or of Ultralytics.
        at: Names of places, see :mod:`yolo_attn.model_yaml.places`, as a list or separated by commas.
        sources: For a block with a list of inputs: the names of these maps, in order.
        args: Positional arguments of the row.
        options: Arguments by name.
        reroute: The layers that read the new map: ``"all"`` that read the old one, only the head (``"detect"``), or
            all except the head (``"path"``).
    """

    block: str
    at: Sequence[str]
    sources: Sequence[str] = ()
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    reroute: Reroute = "all"


@dataclass(frozen=True, slots=True)
class InsertedRow:
    """A new row: its layer number in the result, its layer type and its comment."""

    index: int
    block: str
    comment: str


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """The result of :func:`place`: the text of the new model YAML, and its new rows."""

    text: str
    inserted: tuple[InsertedRow, ...]


def place(
    base: str | Path,
    block: str | Sequence[Insertion],
    *,
    at: str | Sequence[str] = (),
    sources: str | Sequence[str] = (),
    args: Sequence[Any] = (),
    options: Mapping[str, Any] | None = None,
    reroute: Reroute = "all",
    output: str | Path | None = None,
    force: bool = False,
) -> PlacedModel:
    """Insert a block into a model YAML: ``place("yolo11.yaml", "EMA", at="neck.P3", output="yolo11-ema.yaml")``.

    A list of :class:`Insertion` inserts several blocks, one after the other. Place names refer to the model with the
    earlier blocks in it; layer numbers are always those of the base model.

    Args:
        base: A model YAML: a path, or the name of one of Ultralytics or this project.
        block: The layer type, or a list of insertions, which then have the next five arguments.
        at: Names of places, as a list or separated by commas.
        sources: For a block with a list of inputs: the names of these maps, in order.
        args: Positional arguments of the row.
        options: Arguments by name.
        reroute: The layers that read the new map: ``"all"``, ``"detect"`` or ``"path"``, see :class:`Insertion`.
        output: The file to write; by default none.
        force: Replace an existing file.

    Returns:
        The text of the new model YAML and its new rows.

    Raises:
        LayerError: If the model, block or place does not exist, or the block does not fit there at any scale of the
            model. Nothing is written then.
        ArgumentError: If there is no block, an argument belongs in the insertions, or the output cannot be written.
    """
    if isinstance(block, str):
        block = [Insertion(block, at, sources, tuple(args), dict(options or {}), reroute)]
    elif at or sources or args or options or reroute != "all":
        raise ArgumentError("place: at, sources, args, options and reroute belong in each Insertion of the list")
    insertions = [replace(i, at=split_names(i.at), sources=split_names(i.sources)) for i in block]
    if not insertions:
        raise ArgumentError("place: no block; name one, e.g. place('yolo11.yaml', 'EMA', at='neck.P3')")
    target = None if output is None else atomic_files.check_output(output, (".yaml", ".yml"), force=force)
    file = graphs.locate(base)
    original = _read(file)
    graphs.at_scale(graphs.load(base))  # its keys, and the scale of its name
    result, inserted = original, list[InsertedRow]()
    numbers: dict[int, int] = {}
    name = Path(output).name if output is not None else file.name
    for insertion in insertions:
        result, new, numbers = _insert(result, insertion, file.name, name, numbers)
        for index in sorted(row.index for row in new):
            inserted = [replace(row, index=row.index + (index <= row.index)) for row in inserted]
        inserted = sorted([*inserted, *new], key=lambda row: row.index)
    head = heading(file, original, insertions, name)
    result = (head.replace("\n", "\r\n") if "\r\n" in original else head) + result
    if target is not None:
        atomic_files.write_text(target, result)
    return PlacedModel(result, tuple(inserted))


def _read(file: Path) -> str:
    """Return the text of a model YAML with its line ends; single carriage returns become line feeds."""
    text = decode(read_bytes(file, LayerError), file, LayerError)
    return text if "\n" in text else text.replace("\r", "\n")


def split_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of places that a list, or a text with commas, gives."""
    return tuple(n.strip() for n in value.split(",") if n.strip()) if isinstance(value, str) else tuple(value)


def _insert(
    before: str, insertion: Insertion, base: str, name: str, numbers: dict[int, int]
) -> tuple[str, list[InsertedRow], dict[int, int]]:
    """Insert one block at all of its places.

    Args:
        before: The text before.
        insertion: The block and its places.
        base: Name of the base file, for messages.
        name: Name of the result, for messages.
        numbers: Layer number of the base model -> number of the layer that stands for it; empty for the first block.

    Returns:
        The text after, the new rows, and ``numbers`` after.
    """
    content = parse_yaml(before, base, LayerError)
    row_checks.check_parts(content, base)
    lines = tuple(yaml_text.row_lines(before))
    graph = model_findings.build(content, "", model_findings.Source(Path(base), before, content, lines))
    numbers = numbers or {layer.index: layer.index for layer in graph.layers}
    rows: list[NewRow] = []
    redirected: dict[tuple[int, int], int] = {}  # (consumer, its input) -> which of the rows it reads instead
    took: list[tuple[int, int]] = []  # (layer, which of the rows takes over consumers of it)
    spec, found, sources = _places(graph, insertion, numbers)
    for p in found:
        for row, pairs in _rows_at(p, graph, insertion, spec, sources, content, len(rows)):
            present = {redirected.get(pair) for pair in pairs}  # what the row's consumers read at present
            if len(present) > 1:
                raise LayerError(f"{row.comment} overlaps with another of its places; use two commands")
            instead = next(iter(present), None)
            if instead is not None and not sources:
                row = replace(row, reads=(("new", instead),))
            took += [(layer, len(rows)) for _, layer in pairs[:1]]
            redirected |= dict.fromkeys(pairs, len(rows))
            rows.append(row)
    result = yaml_text.insert(before, rows, redirected, base)
    at = [row.after + 1 + k for k, row in enumerate(rows)]
    moved = {layer.index: layer.index + sum(row.after < layer.index for row in rows) for layer in graph.layers}
    now = {pair: at[k] for pair, k in redirected.items()}
    what = f"{insertion.block} at {joined(insertion.at)}"
    took_over = [(layer, at[k]) for layer, k in took]
    check_fit(content, parse_yaml(result, name, LayerError), moved, now, took_over, base=base, name=name, block=what)
    stands_for = {  # layers whose consumers all read the same new row
        x: rows_.pop()
        for x in {x for _, x in now}
        if len(rows_ := {now.get((r.index, x)) for r in graph.readers(x)}) == 1 and None not in rows_
    }
    inserted = [InsertedRow(number, row.block, row.comment) for number, row in zip(at, rows, strict=True)]
    return result, inserted, {old: stands_for.get(k) or moved[k] for old, k in numbers.items()}


def _places(
    graph: Graph, insertion: Insertion, numbers: Mapping[int, int]
) -> tuple[BlockSpec | None, list[Place], list[Place]]:
    """Return the block's entry in the registry, its places in the order of the file, and the places of its sources.

    Raises:
        LayerError: If the block, a place or a source does not exist, or they do not go together.
        ArgumentError: If ``reroute`` is unknown.
    """
    block, blocks, types = insertion.block, layer_types.installed(), layer_types.ultralytics_layers()
    spec = blocks.get(block)
    if spec is None and block not in types and not block.startswith(("nn.", "torchvision.ops.")):
        hint = nearest(block, [*blocks, *types])
        raise LayerError(f"unknown layer type {block!r}.{hint} Layer types of yolo-attn: {joined(sorted(blocks))}")
    if insertion.reroute not in REROUTES:
        hint = nearest(str(insertion.reroute), REROUTES)
        raise ArgumentError(f"reroute={insertion.reroute!r} must be one of {joined(REROUTES)}.{hint}")
    if not insertion.at:
        raise LayerError(f"{block}: no place; name one, e.g. neck.P3. {graph.file} has {joined(places.named(graph))}")
    found = [p for n in insertion.at for p in places.find(graph, n, numbers)]
    found = sorted(found, key=lambda p: (p.after, p.before_next))
    for k, p in enumerate(found):
        if any((p.layer, p.after, p.before_next) == (q.layer, q.after, q.before_next) for q in found[:k]):
            raise LayerError(f"{block}: layer {p.layer} ({p.name}) occurs twice among the places; name it once")
    sources: list[Place] = []
    for name in insertion.sources:
        maps = places.find(graph, name, numbers)
        if len(maps) != 1 or name.startswith("before_"):
            raise LayerError(f"source {name!r} is not a single map; name one, e.g. backbone.P3")
        sources += maps
    inputs = spec.inputs if spec else ("list" if sources else "one")
    if inputs == "pyramid":
        raise LayerError(f"{block} reads the list of maps of another layer and is placed together with that layer")
    if inputs == "one" and sources:
        raise LayerError(f"{block} reads one map, that of its place; leave out the sources {_names_of(sources)}")
    return spec, [_place_of_list(block, found, sources)] if inputs == "list" else found, sources


def _place_of_list(block: str, found: list[Place], sources: list[Place]) -> Place:
    """Return the one place of a block that reads a list of maps."""
    if not sources:
        raise LayerError(f"{block} reads a list of maps; name them, e.g. --from backbone.P3,backbone.P4,backbone.P5")
    if {p.name for p in found} == {"before_head"}:
        found = [p for p in found if p.layer == sources[-1].layer] or found[-1:]
    if len(found) > 1:
        raise LayerError(f"{block} reads a list of maps and needs a single place, got {_names_of(found)}")
    late = [s for s in sources if s.layer > found[0].after]
    if late:
        raise LayerError(
            f"{block} at {found[0].name} follows layer {found[0].after} and cannot read {late[0].name}, layer "
            f"{late[0].layer}"
        )
    return found[0]


def _rows_at(
    p: Place,
    graph: Graph,
    insertion: Insertion,
    spec: BlockSpec | None,
    sources: Sequence[Place],
    content: dict[str, Any],
    first: int,
) -> list[tuple[NewRow, list[tuple[int, int]]]]:
    """Return the rows of one place, each with the pairs (consumer, its input) that it takes over.

    A pyramid has one more row for each of its maps that a later layer reads. ``first`` is the number of new rows before
    these.
    """
    block, args = insertion.block, list(insertion.args)
    if spec is not None and spec.output == "argument" and not args:
        args = [outputs_argument(graph, p.layer, content)]
    if insertion.options:
        args.append(dict(insertion.options))
    read = sources or [p]
    comment = f"{block} on {joined(s.title for s in read)}"
    reads = tuple(s.layer for s in read)
    row = NewRow(p.after, p.part, reads, block, yaml_text.one_line(args), comment, as_list=bool(sources))
    if not sources or spec is None or not spec.pyramid:
        return [(row, _redirected(graph, insertion, p.layer, p))]
    out: list[tuple[NewRow, list[tuple[int, int]]]] = [(row, [])]
    for level, s in enumerate(sources):
        if pairs := _redirected(graph, insertion, s.layer, p, required=False):
            comment = f"{LEVEL} on {s.title} of {block}"
            out.append((NewRow(p.after, p.part, (("new", first),), LEVEL, f"[{level}]", comment), pairs))
    if len(out) == 1:
        raise LayerError(f"{block} at {p.name}: no later layer reads {_names_of(sources)}")
    return out


def _redirected(
    graph: Graph, insertion: Insertion, layer: int, p: Place, *, required: bool = True
) -> list[tuple[int, int]]:
    """Return the pairs (consumer, ``layer``) that change over to the new row.

    Raises:
        LayerError: If there are none although they are required.
    """
    later = [r for r in graph.readers(layer) if r.index > p.after]
    head = graph.head
    chosen = {"all": later, "detect": [r for r in later if r is head], "path": [r for r in later if r is not head]}
    if not chosen[insertion.reroute] and required:
        remedy = "reroute=all" if insertion.reroute != "all" else "another place"
        raise LayerError(
            f"{insertion.block} at {p.name} with reroute={insertion.reroute} has no consumers; use {remedy}. Layer "
            f"{layer} is read by {all_named(later) or 'no later layer'}"
        )
    return [(r.index, layer) for r in chosen[insertion.reroute]]


def _names_of(found: Sequence[Place]) -> str:
    return joined(p.name for p in found)
