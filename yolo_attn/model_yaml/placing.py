"""Put attention layers into a model YAML by the names of places, and write an ordinary model YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from .. import atomic_files
from ..errors import ArgumentError, LayerError
from ..messages import nearest
from ..registry import BlockSpec
from . import places, yaml_text
from .header_comment import heading
from .verify import check_fit, outputs_argument

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph

Reroute = Literal["all", "detect", "path"]
REROUTES = ("all", "detect", "path")
LEVEL = "PyramidLevel"  # the layer type that picks one map of a list


@dataclass(frozen=True, slots=True)
class Insertion:
    """One block and the places that it goes to.

    Attributes:
        block: A layer type: of the registry, or one that Ultralytics knows.
        at: Names of places; see :mod:`yolo_attn.model_yaml.places`.
        sources: Names of the maps that a block with a list of inputs reads, in order.
        args: The row's positional arguments.
        options: Its options by name.
        reroute: Who reads the new map: ``"all"`` that read the old one, the model's head alone (``"detect"``), or
            all but the head (``"path"``).
    """

    block: str
    at: Sequence[str]
    sources: Sequence[str] = ()
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    reroute: Reroute = "all"


@dataclass(frozen=True, slots=True)
class Inserted:
    """A row that was put in: its number in the result, its layer type, its comment."""

    index: int
    block: str
    comment: str


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of it: the text of the new model YAML, and the rows that are new in it."""

    text: str
    inserted: tuple[Inserted, ...]


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
) -> Placed:
    """Put a block into a model YAML.

    ``place("yolo11.yaml", "EMA", at=["neck.P3", "neck.P4"], output="yolo11-ema.yaml")``; several blocks as a list of
    :class:`Insertion`, one after the other: places are names in what the ones before it made, layer numbers are those
    of the base model.

    Args:
        base: A model YAML: a path, or the name of one that Ultralytics or this project ships.
        block: The layer type, or a list of insertions (the next five arguments are then theirs).
        at: Names of places, as a list or joined by commas.
        sources: The maps that a block with a list of inputs reads, in order.
        args: The row's positional arguments.
        options: The row's options by name.
        reroute: Who reads the new map: ``"all"``, ``"detect"``, ``"path"``.
        output: The file to write; none by default.
        force: Write over a file that exists.

    Returns:
        The new model YAML's text, and what is new in it.

    Raises:
        LayerError: If there is no such model, block or place, or the block does not fit there, at any of the model's
            scales; nothing is written then.
        ArgumentError: If the output exists, or cannot be written there.
    """
    from ..integration.queries import model_graph

    if isinstance(block, str):
        insertions = [Insertion(block, _names(at), _names(sources), tuple(args), dict(options or {}), reroute)]
    else:
        insertions = list(block)
    if not insertions:
        raise ArgumentError("place: no block; name one, e.g. place('yolo11.yaml', 'EMA', at='neck.P3')")
    target = None if output is None else atomic_files.check(output, (".yaml", ".yml"), force=force)
    file = model_graph.locate(base)
    original = _read(file)
    result, inserted = original, list[Inserted]()
    numbers: dict[int, int] = {}
    name = Path(output).name if output is not None else file.name
    for insertion in insertions:
        result, new, numbers = _insert(result, insertion, file.name, name, numbers)
        shifted = [Inserted(_among(i.index, [n.index for n in new]), i.block, i.comment) for i in inserted]
        inserted = sorted([*shifted, *new], key=lambda i: i.index)
    head = heading(file, original, insertions, (i.block for i in inserted), name)
    result = (head.replace("\n", "\r\n") if "\r\n" in original else head) + result
    if target is not None:
        atomic_files.write(target, lambda path: _save(path, result))
    return Placed(result, tuple(inserted))


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", newline="") as opened:  # line ends stay as they are
            return opened.read()
    except (OSError, UnicodeDecodeError) as error:
        raise LayerError(f"{file}: cannot be read: {error}") from error


def _save(path: Path, content: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(content)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(n.strip() for n in value.split(",") if n.strip()) if isinstance(value, str) else tuple(value)


def _among(index: int, new: list[int]) -> int:
    """Return a row's number after rows were put in that got the numbers ``new``."""
    for n in sorted(new):
        index += n <= index
    return index


def _insert(
    before: str, insertion: Insertion, base: str, name: str, numbers: dict[int, int]
) -> tuple[str, list[Inserted], dict[int, int]]:
    """Put one block at all of its places; ``numbers``: the base's layer numbers -> those of what stands for them."""
    from ..integration.queries import layer_types
    from ..integration.queries import model_graph as graphs

    content = yaml.safe_load(before) if yaml_text.rows(before, base) else {}
    graph = graphs.build(content, file=base)
    numbers = numbers or {layer.index: layer.index for layer in graph.layers}
    spec = layer_types.installed().get(insertion.block)
    known = graphs.types()
    if spec is None and insertion.block not in known and not insertion.block.startswith(("nn.", "torchvision.ops.")):
        choices = [*layer_types.installed(), *known]
        ours = ", ".join(sorted(layer_types.installed()))
        raise LayerError(f"unknown block {insertion.block!r}.{nearest(insertion.block, choices)} Blocks: {ours}")
    if insertion.reroute not in REROUTES:
        hint = nearest(str(insertion.reroute), REROUTES)
        raise ArgumentError(f"reroute={insertion.reroute!r} must be one of {', '.join(REROUTES)}.{hint}")
    if not insertion.at:
        has = ", ".join(places.named(graph))
        raise LayerError(f"{insertion.block}: no place; name one, e.g. neck.P3. {base} has {has}")
    found = [p for n in insertion.at for p in places.find(graph, n, is_type=known, numbers=numbers)]
    twice = [
        p
        for k, p in enumerate(found)
        if any((p.layer, p.after, p.before) == (q.layer, q.after, q.before) for q in found[:k])
    ]
    if twice:
        raise LayerError(f"{insertion.block}: layer {twice[0].layer} ({twice[0].name}) is named twice; name it once")
    sources = [_source(graph, n, numbers) for n in insertion.sources]
    steps = _steps(graph, insertion, spec, found, sources, content)
    result, inserted = before, list[Inserted]()
    moved = {layer.index: layer.index for layer in graph.layers}  # this graph's numbers -> those of the text so far
    now: dict[tuple[int, int], int] = {}  # (reader, layer), in this graph's numbers -> new row read instead
    took: list[tuple[int, int]] = []  # (layer, new row that puts out its map for some readers)
    for step in steps:
        after = (moved[step.before] if step.before is not None else moved[step.after] + 1) - 1
        rows = [r.moved(moved, _current(step, k, now)) for k, r in enumerate(step.rows)]
        redirected = {(moved[i], now.get((i, x), moved[x])): k for (i, x), k in step.redirected.items()}
        result = yaml_text.insert(result, after, rows, file=base, part=step.part, redirected=redirected)
        count = len(rows)
        inserted = [Inserted(_later(i.index, after, count), i.block, i.comment) for i in inserted]
        inserted += [Inserted(after + 1 + k, row.block, row.comment) for k, row in enumerate(step.rows)]
        took = [(x, _later(row, after, count)) for x, row in took]
        took += sorted({(x, after + 1 + k) for (_, x), k in step.redirected.items()})
        now = {pair: _later(row, after, count) for pair, row in now.items()}
        now |= {pair: after + 1 + k for pair, k in step.redirected.items()}
        moved = {old: _later(new, after, count) for old, new in moved.items()}
    check_fit(content, yaml.safe_load(result), moved, now, took, base=base, name=name, block=insertion.block)
    stands_for = {  # a layer all of whose readers read one new row
        x: rows_.pop()
        for x in {x for _, x in now}
        if len(rows_ := {now.get((r.index, x)) for r in graph.readers(x)}) == 1 and None not in rows_
    }
    numbers = {old: stands_for.get(k) or moved[k] for old, k in numbers.items()}
    return result, sorted(inserted, key=lambda i: i.index), numbers


def _later(index: int, after: int, count: int) -> int:
    """Return a row's number after ``count`` rows were put in behind row ``after``."""
    return index + count if index > after else index


def _current(step: _Step, k: int, now: Mapping[tuple[int, int], int]) -> int | None:
    """Return the new row that the readers of the step's row ``k`` read at present, or None: a layer of the model.

    Raises:
        LayerError: If some of them read one row and some another.
    """
    found = {now.get(pair) for pair, row in step.redirected.items() if row == k}
    if len(found) > 1:
        raise LayerError(
            f"{step.rows[k].block} on {step.rows[k].title} overlaps with another of its places; place them by two "
            "commands"
        )
    return found.pop() if found else None


@dataclass(frozen=True, slots=True)
class _NewRow:
    """A row to put in, with its block's name; numbers are those of the model before the step."""

    block: str
    reads: tuple[int | tuple[str, int], ...]
    as_list: bool
    args: str
    title: str

    @property
    def comment(self) -> str:
        return f"{self.block} on {self.title}"

    def moved(self, numbers: Mapping[int, int], instead: int | None) -> yaml_text.NewRow:
        """Return the row in present numbers; ``instead``: what a row with one input reads by now."""
        reads = tuple(r if isinstance(r, tuple) else numbers[r] for r in self.reads)
        if instead is not None and not self.as_list and isinstance(self.reads[0], int):
            reads = (instead,)
        return yaml_text.NewRow(reads, self.as_list, f"1, {self.block}, {self.args}", self.comment)


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows that go in together behind layer ``after`` or right before layer ``before``, and who reads which of them."""

    after: int
    before: int | None
    part: str
    rows: tuple[_NewRow, ...]
    redirected: Mapping[tuple[int, int], int]


def _source(graph: Graph, name: str, numbers: Mapping[int, int]) -> places.Place:
    found = places.find(graph, name, numbers=numbers)
    if len(found) != 1 or name.startswith("before_"):
        raise LayerError(f"source {name!r} is no single map; name one, e.g. backbone.P3")
    return found[0]


def _steps(
    graph: Graph,
    insertion: Insertion,
    spec: BlockSpec | None,
    found: list[places.Place],
    sources: list[places.Place],
    content: dict[str, Any],
) -> list[_Step]:
    """Return the rows to put in, place by place."""
    block = insertion.block
    inputs = spec.inputs if spec else ("list" if sources else "one")
    if inputs == "pyramid":
        raise LayerError(f"{block} reads the list that one other layer puts out; it is placed with that layer")
    if inputs == "one" and sources:
        raise LayerError(f"{block} reads one map, that of its place; leave the sources ({_joined(sources)}) out")
    if inputs == "list" and not sources:
        raise LayerError(f"{block} reads a list of maps; name them, e.g. --from backbone.P3,backbone.P4,backbone.P5")
    if inputs == "list":
        if len(found) > 1 and {p.name for p in found} == {"before_head"}:
            found = [p for p in found if p.layer == sources[-1].layer] or found[-1:]
        if len(found) > 1:
            raise LayerError(f"{block} reads a list of maps and goes to one place; got {_joined(found)}")
        late = [s for s in sources if s.layer > found[0].after]
        if late:
            raise LayerError(
                f"{block} at {found[0].name} stands behind layer {found[0].after} and cannot read {late[0].name}, "
                f"layer {late[0].layer}"
            )
    front = [p for p in found if p.name == "before_head" and not sources]
    steps = [_step(graph, insertion, spec, p, sources, content) for p in found if p not in front]
    at_head = [_step(graph, insertion, spec, p, sources, content) for p in front]
    if at_head:  # one row for each map that the head reads, all at one point
        taken = {pair: k for k, step in enumerate(at_head) for pair in step.redirected}
        first = at_head[0]
        steps.append(_Step(first.after, first.before, first.part, tuple(step.rows[0] for step in at_head), taken))
    return sorted(steps, key=lambda step: (step.after, step.before is not None, step.before or 0))


def _step(
    graph: Graph,
    insertion: Insertion,
    spec: BlockSpec | None,
    p: places.Place,
    sources: list[places.Place],
    content: dict[str, Any],
) -> _Step:
    args = list(insertion.args)
    if spec is not None and spec.output == "argument" and not args:
        args = [outputs_argument(graph, p.layer, content)]
    if insertion.options:
        args.append(dict(insertion.options))
    written = yaml.safe_dump(args, default_flow_style=True, width=1_000_000, sort_keys=False).strip()
    if not sources:
        row = _NewRow(insertion.block, (p.layer,), False, written, p.title)
        return _Step(p.after, p.before, p.part, (row,), dict.fromkeys(_readers(graph, insertion, p.layer, p), 0))
    reads = tuple(s.layer for s in sources)
    row = _NewRow(insertion.block, reads, True, written, ", ".join(s.title for s in sources))
    if spec is None or not spec.pyramid:
        return _Step(p.after, p.before, p.part, (row,), dict.fromkeys(_readers(graph, insertion, p.layer, p), 0))
    rows, redirected = [row], dict[tuple[int, int], int]()
    for level, s in enumerate(sources):
        pairs = _readers(graph, insertion, s.layer, p, must=False)
        if pairs:
            redirected |= dict.fromkeys(pairs, len(rows))
            rows.append(_NewRow(LEVEL, (("new", 0),), False, f"[{level}]", f"{s.title} of {insertion.block}"))
    if not redirected:
        raise LayerError(f"{insertion.block} at {p.name}: nobody behind it reads {_joined(sources)}")
    return _Step(p.after, p.before, p.part, tuple(rows), redirected)


def _readers(
    graph: Graph, insertion: Insertion, layer: int, p: places.Place, *, must: bool = True
) -> list[tuple[int, int]]:
    """Return the (reader, layer) pairs that change over to the new row.

    Raises:
        LayerError: If nobody would read the new row, and somebody must.
    """
    behind = [r for r in graph.readers(layer) if r.index > p.after]
    head = graph.head
    wanted = {"all": behind, "detect": [r for r in behind if r is head], "path": [r for r in behind if r is not head]}
    chosen = [(r.index, layer) for r in wanted[insertion.reroute]]
    if not chosen and must:
        who = ", ".join(f"{r.index} ({r.name})" for r in behind) or "no layer behind it"
        ways = "reroute=all" if insertion.reroute != "all" else "another place"
        raise LayerError(
            f"{insertion.block} at {p.name} with reroute={insertion.reroute}: nobody would read it; layer {layer} is "
            f"read by {who}; use {ways}"
        )
    return chosen


def _joined(found: Iterable[places.Place]) -> str:
    return ", ".join(p.name for p in found)
