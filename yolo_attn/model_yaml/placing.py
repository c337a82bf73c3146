"""Insert blocks into a model YAML at named places, and write an ordinary model YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from .. import atomic_files
from ..errors import ArgumentError, LayerError
from ..integration.queries import layer_types
from ..integration.queries import model_graph as graphs
from ..integration.queries.model_graph import Graph
from ..messages import joined, nearest
from ..registry import BlockSpec
from . import places, yaml_text
from .header_comment import heading
from .layer_text import all_named
from .verify_insertions import check_fit, outputs_argument

Reroute = Literal["all", "detect", "path"]
REROUTES = ("all", "detect", "path")
LEVEL = "PyramidLevel"  # the layer type that selects one map of a list


@dataclass(frozen=True, slots=True)
class Insertion:
    """A block and the places where it is inserted.

    Attributes:
        block: A layer type of the registry or of Ultralytics.
        at: Names of places, see :mod:`yolo_attn.model_yaml.places`.
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
        block: The layer type, or a list of insertions, which have the next five arguments themselves.
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
        ArgumentError: If the output exists or cannot be written.
    """
    if isinstance(block, str):
        insertions = [Insertion(block, _names(at), _names(sources), tuple(args), dict(options or {}), reroute)]
    else:
        insertions = list(block)
    if not insertions:
        raise ArgumentError("place: no block; name one, e.g. place('yolo11.yaml', 'EMA', at='neck.P3')")
    target = None if output is None else atomic_files.check_output(output, (".yaml", ".yml"), force=force)
    file = graphs.locate(base)
    original = _read(file)
    result, inserted = original, list[InsertedRow]()
    numbers: dict[int, int] = {}
    name = Path(output).name if output is not None else file.name
    for insertion in insertions:
        result, new, numbers = _insert(result, insertion, file.name, name, numbers)
        for index in sorted(row.index for row in new):
            inserted = [replace(row, index=row.index + (index <= row.index)) for row in inserted]
        inserted = sorted([*inserted, *new], key=lambda row: row.index)
    head = heading(file, original, insertions, (row.block for row in inserted), name)
    result = (head.replace("\n", "\r\n") if "\r\n" in original else head) + result
    if target is not None:
        atomic_files.write_text(target, result)
    return PlacedModel(result, tuple(inserted))


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", newline="") as opened:  # keeps the line ends
            return opened.read()
    except (OSError, UnicodeDecodeError) as error:
        raise LayerError(f"{file}: cannot be read: {error}") from error


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
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
    content = yaml.safe_load(before) if yaml_text.rows(before, base) else {}
    graph = graphs.build(content, file=base)
    numbers = numbers or {layer.index: layer.index for layer in graph.layers}
    steps = _steps(graph, insertion, content, numbers)
    result, inserted = before, list[InsertedRow]()
    moved = {layer.index: layer.index for layer in graph.layers}  # number in this graph -> number in the text so far
    now: dict[tuple[int, int], int] = {}  # (consumer, its input), both in this graph -> the new row that it reads now
    took: list[tuple[int, int]] = []  # (layer in this graph, new row that took over some of its consumers)
    for step in steps:
        after = (moved[step.before] if step.before is not None else moved[step.after] + 1) - 1
        count = len(step.rows)

        def later(index: int, after: int = after, count: int = count) -> int:
            return index + count if index > after else index

        rows = [row.moved(moved, _current_input(step, k, now)) for k, row in enumerate(step.rows)]
        redirected = {(moved[i], now.get((i, x), moved[x])): k for (i, x), k in step.redirected.items()}
        result = yaml_text.insert(result, after, rows, file=base, part=step.part, redirected=redirected)
        inserted = [replace(row, index=later(row.index)) for row in inserted]
        inserted += [InsertedRow(after + 1 + k, row.block, row.comment) for k, row in enumerate(step.rows)]
        took = [(x, later(row)) for x, row in took]
        took += sorted({(x, after + 1 + k) for (_, x), k in step.redirected.items()})
        now = {pair: later(row) for pair, row in now.items()}
        now |= {pair: after + 1 + k for pair, k in step.redirected.items()}
        moved = {old: later(new) for old, new in moved.items()}
    what = f"{insertion.block} at {joined(insertion.at)}"
    check_fit(content, yaml.safe_load(result), moved, now, took, base=base, name=name, block=what)
    stands_for = {  # layers whose consumers all read the same new row
        x: rows_.pop()
        for x in {x for _, x in now}
        if len(rows_ := {now.get((r.index, x)) for r in graph.readers(x)}) == 1 and None not in rows_
    }
    numbers = {old: stands_for.get(k) or moved[k] for old, k in numbers.items()}
    return result, sorted(inserted, key=lambda row: row.index), numbers


@dataclass(frozen=True, slots=True)
class _NewRow:
    """A row to insert. Its layer numbers are those of the graph before all steps."""

    block: str
    reads: tuple[int | tuple[str, int], ...]
    as_list: bool
    args: str
    title: str

    @property
    def comment(self) -> str:
        return f"{self.block} on {self.title}"

    def moved(self, numbers: Mapping[int, int], instead: int | None) -> yaml_text.NewRow:
        """Return the row with present numbers. ``instead`` is the present input of a row with one input."""
        reads = tuple(r if isinstance(r, tuple) else numbers[r] for r in self.reads)
        if instead is not None and not self.as_list and isinstance(self.reads[0], int):
            reads = (instead,)
        return yaml_text.NewRow(reads, self.as_list, f"1, {self.block}, {self.args}", self.comment)


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows to insert together after layer ``after`` or directly before layer ``before``, and their consumers."""

    after: int
    before: int | None
    part: str
    rows: tuple[_NewRow, ...]
    redirected: Mapping[tuple[int, int], int]  # (consumer, its input) -> which of the rows it reads instead


def _current_input(step: _Step, k: int, now: Mapping[tuple[int, int], int]) -> int | None:
    """Return the new row that the consumers of the step's row ``k`` read at present; None for a layer of the model.

    Raises:
        LayerError: If they read different rows.
    """
    found = {now.get(pair) for pair, row in step.redirected.items() if row == k}
    if len(found) > 1:
        row = step.rows[k]
        raise LayerError(f"{row.block} on {row.title} overlaps with another of its places; use two commands")
    return found.pop() if found else None


def _steps(graph: Graph, insertion: Insertion, content: dict[str, Any], numbers: Mapping[int, int]) -> list[_Step]:
    """Return the rows to insert, in the order of their places.

    Raises:
        LayerError: If the block, a place or a source does not exist, or they do not go together.
        ArgumentError: If ``reroute`` is unknown.
    """
    block, blocks, types = insertion.block, layer_types.installed(), graphs.types()
    spec = blocks.get(block)
    if spec is None and block not in types and not block.startswith(("nn.", "torchvision.ops.")):
        raise LayerError(
            f"unknown block {block!r}.{nearest(block, [*blocks, *types])} Blocks: {joined(sorted(blocks))}"
        )
    if insertion.reroute not in REROUTES:
        hint = nearest(str(insertion.reroute), REROUTES)
        raise ArgumentError(f"reroute={insertion.reroute!r} must be one of {joined(REROUTES)}.{hint}")
    if not insertion.at:
        raise LayerError(f"{block}: no place; name one, e.g. neck.P3. {graph.file} has {joined(places.named(graph))}")
    found = [p for n in insertion.at for p in places.find(graph, n, types=types, numbers=numbers)]
    for k, p in enumerate(found):
        if any((p.layer, p.after, p.before) == (q.layer, q.after, q.before) for q in found[:k]):
            raise LayerError(f"{block}: layer {p.layer} ({p.name}) occurs twice among the places; name it once")
    sources = list[places.Place]()
    for name in insertion.sources:
        maps = places.find(graph, name, numbers=numbers)
        if len(maps) != 1 or name.startswith("before_"):
            raise LayerError(f"source {name!r} is not a single map; name one, e.g. backbone.P3")
        sources += maps
    inputs = spec.inputs if spec else ("list" if sources else "one")
    if inputs == "pyramid":
        raise LayerError(f"{block} reads the list of maps of another layer and is placed together with that layer")
    if inputs == "one" and sources:
        raise LayerError(f"{block} reads one map, that of its place; leave out the sources {_names_of(sources)}")
    if inputs == "list":
        found = [_place_of_list(block, found, sources)]
    front = [p for p in found if p.name == "before_head" and not sources]
    steps = [_step(graph, insertion, spec, p, sources, content) for p in found if p not in front]
    at_head = [_step(graph, insertion, spec, p, sources, content) for p in front]
    if at_head:  # one row for each map that the head reads, all at one position
        redirected = {pair: k for k, step in enumerate(at_head) for pair in step.redirected}
        steps.append(replace(at_head[0], rows=tuple(step.rows[0] for step in at_head), redirected=redirected))
    return sorted(steps, key=lambda step: (step.after, step.before is not None, step.before or 0))


def _place_of_list(block: str, found: list[places.Place], sources: list[places.Place]) -> places.Place:
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


def _step(
    graph: Graph,
    insertion: Insertion,
    spec: BlockSpec | None,
    p: places.Place,
    sources: list[places.Place],
    content: dict[str, Any],
) -> _Step:
    block, args = insertion.block, list(insertion.args)
    if spec is not None and spec.output == "argument" and not args:
        args = [outputs_argument(graph, p.layer, content)]
    if insertion.options:
        args.append(dict(insertion.options))
    reads, title = (
        (tuple(s.layer for s in sources), joined(s.title for s in sources)) if sources else ((p.layer,), p.title)
    )
    rows = [_NewRow(block, reads, bool(sources), yaml_text.one_line(args), title)]
    if not sources or spec is None or not spec.pyramid:
        redirected = dict.fromkeys(_redirected(graph, insertion, p.layer, p), 0)
        return _Step(p.after, p.before, p.part, tuple(rows), redirected)
    redirected = {}
    for level, s in enumerate(sources):
        pairs = _redirected(graph, insertion, s.layer, p, required=False)
        if pairs:
            redirected |= dict.fromkeys(pairs, len(rows))
            rows.append(_NewRow(LEVEL, (("new", 0),), False, f"[{level}]", f"{s.title} of {block}"))
    if not redirected:
        raise LayerError(f"{block} at {p.name}: no later layer reads {_names_of(sources)}")
    return _Step(p.after, p.before, p.part, tuple(rows), redirected)


def _redirected(
    graph: Graph, insertion: Insertion, layer: int, p: places.Place, *, required: bool = True
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


def _names_of(found: Sequence[places.Place]) -> str:
    return joined(p.name for p in found)
