"""Put attention layers into a model YAML by the names of places, and write an ordinary model YAML."""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from ..errors import LayerError, WordError
from ..registry import BlockSpec, nearest
from . import places, text
from .fit import check_fit, outputs_argument

if TYPE_CHECKING:
    from ..integration.graph import Graph

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
        WordError: If the output exists, or cannot be written there.
    """
    from ..integration import graph

    if isinstance(block, str):
        insertions = [Insertion(block, _names(at), _names(sources), tuple(args), dict(options or {}), reroute)]
    else:
        insertions = list(block)
    if not insertions:
        raise WordError("place: no block; name one, e.g. place('yolo11.yaml', 'EMA', at='neck.P3')")
    target = None if output is None else _writable(Path(output), force)
    file = graph.locate(base)
    original = file.read_text(encoding="utf-8")
    result, inserted = original, list[Inserted]()
    numbers: dict[int, int] = {}
    name = Path(output).name if output is not None else file.name
    for insertion in insertions:
        result, new, numbers = _insert(result, insertion, file.name, name, numbers)
        shifted = [Inserted(_behind(i.index, [n.index for n in new]), i.block, i.comment) for i in inserted]
        inserted = sorted([*shifted, *new], key=lambda i: i.index)
    head = _head(file, original, insertions, inserted, name)
    if target is not None:
        _write(target, head + result)
    return Placed(head + result, tuple(inserted))


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(n.strip() for n in value.split(",") if n.strip()) if isinstance(value, str) else tuple(value)


def _behind(index: int, new: list[int]) -> int:
    """Return a row's number after rows were put in that got the numbers ``new``."""
    for n in sorted(new):
        index += n <= index
    return index


def _insert(
    before: str, insertion: Insertion, base: str, name: str, numbers: dict[int, int]
) -> tuple[str, list[Inserted], dict[int, int]]:
    """Put one block at all of its places; ``numbers``: the base's layer numbers -> those of what stands for them."""
    from ..integration import graph as graphs
    from ..integration import layers

    content = yaml.safe_load(before) if text.rows(before, base) else {}
    graph = graphs.build(content, file=base)
    numbers = numbers or {layer.index: layer.index for layer in graph.layers}
    spec = layers.installed().get(insertion.block)
    known = graphs.types()
    if spec is None and insertion.block not in known and not insertion.block.startswith(("nn.", "torchvision.ops.")):
        choices = [*layers.installed(), *known]
        ours = ", ".join(sorted(layers.installed()))
        raise LayerError(f"unknown block {insertion.block!r}.{nearest(insertion.block, choices)} Blocks: {ours}")
    if insertion.reroute not in REROUTES:
        hint = nearest(str(insertion.reroute), REROUTES)
        raise WordError(f"reroute={insertion.reroute!r} must be one of {', '.join(REROUTES)}.{hint}")
    if not insertion.at:
        raise LayerError(f"{insertion.block}: no place; name one, e.g. neck.P3. {base} has {', '.join(places.named(graph))}")
    found = [p for n in insertion.at for p in places.find(graph, n, is_type=known, numbers=numbers)]
    twice = [p for k, p in enumerate(found) if any((p.layer, p.after) == (q.layer, q.after) for q in found[:k])]
    if twice:
        raise LayerError(f"{insertion.block}: layer {twice[0].layer} ({twice[0].name}) is named twice; name it once")
    sources = [_source(graph, n, numbers) for n in insertion.sources]
    steps = _steps(graph, insertion, spec, found, sources, content)
    result, inserted = before, list[Inserted]()
    moved = {layer.index: layer.index for layer in graph.layers}  # this step's graph -> the text so far
    stands_for: dict[int, int] = {}
    redirects: dict[tuple[int, int], int] = {}  # in numbers of this step's graph: (reader, source) -> id of a new row
    for step in sorted(steps, key=lambda s: s.after):
        after = moved[step.after]
        rows = [r.moved(moved) for r in step.rows]
        redirected = {(moved[reader], moved[source]): k for (reader, source), k in step.redirected.items()}
        result = text.insert(result, after, rows, file=base, part=step.part, redirected=redirected)
        start, count = after + 1, len(rows)
        inserted = [Inserted(i.index + count * (i.index > after), i.block, i.comment) for i in inserted]
        stands_for = {k: v + count * (v > after) for k, v in stands_for.items()}
        redirects = {k: v + count * (v > after) for k, v in redirects.items()}
        moved = {k: v + count * (v > after) for k, v in moved.items()}
        inserted += [Inserted(start + k, row.block, row.comment) for k, row in enumerate(step.rows)]
        redirects |= {pair: start + k for pair, k in step.redirected.items()}
        stands_for |= {source: start + k for (_, source), k in step.redirected.items() if insertion.reroute == "all"}
    check_fit(content, yaml.safe_load(result), moved, redirects, base=base, name=name, block=insertion.block)
    numbers = {old: stands_for.get(now, moved[now]) for old, now in numbers.items()}
    return result, sorted(inserted, key=lambda i: i.index), numbers


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

    def moved(self, numbers: Mapping[int, int]) -> text.NewRow:
        reads = tuple(r if isinstance(r, tuple) else numbers[r] for r in self.reads)
        return text.NewRow(reads, self.as_list, f"1, {self.block}, {self.args}", self.comment)


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows that go in together behind one layer, and who reads which of them."""

    after: int
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
    steps: dict[int, _Step] = {}
    for p in found:
        step = _step(graph, insertion, spec, p, sources, content)
        old = steps.get(p.after)
        if old is not None:  # before_head: several maps at one point
            count = len(old.rows)
            more = {pair: k + count for pair, k in step.redirected.items()}
            step = _Step(p.after, p.part, (*old.rows, *step.rows), {**old.redirected, **more})
        steps[p.after] = step
    return list(steps.values())


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
        return _Step(p.after, p.part, (row,), {pair: 0 for pair in _readers(graph, insertion, p.layer, p)})
    reads = tuple(s.layer for s in sources)
    row = _NewRow(insertion.block, reads, True, written, ", ".join(s.title for s in sources))
    if spec is None or not spec.pyramid:
        return _Step(p.after, p.part, (row,), {pair: 0 for pair in _readers(graph, insertion, p.layer, p)})
    rows, redirected = [row], dict[tuple[int, int], int]()
    for level, s in enumerate(sources):
        pairs = _readers(graph, insertion, s.layer, p, must=False)
        if pairs:
            redirected |= dict.fromkeys(pairs, len(rows))
            rows.append(_NewRow(LEVEL, (("new", 0),), False, f"[{level}]", f"{s.title} of {insertion.block}"))
    if not redirected:
        raise LayerError(f"{insertion.block} at {p.name}: nobody behind it reads {_joined(sources)}")
    return _Step(p.after, p.part, tuple(rows), redirected)


def _readers(
    graph: Graph, insertion: Insertion, layer: int, p: places.Place, *, must: bool = True
) -> list[tuple[int, int]]:
    """Return the (reader, layer) pairs that change over to the new row.

    Raises:
        LayerError: If nobody would read the new row, and somebody must.
    """
    behind = [r for r in graph.readers(layer) if r.index > p.after]
    head = graph.head
    wanted = {"all": lambda r: True, "detect": lambda r: r is head, "path": lambda r: r is not head}[insertion.reroute]
    chosen = [(r.index, layer) for r in behind if wanted(r)]
    if not chosen and must:
        who = ", ".join(f"{r.index} ({r.name})" for r in behind) or "no layer behind it"
        ways = "reroute=all" if insertion.reroute != "all" else "another place"
        raise LayerError(
            f"{insertion.block} at {p.name} with reroute={insertion.reroute}: nobody would read it; layer {layer} is read "
            f"by {who}; use {ways}"
        )
    return chosen


def _joined(found: Iterable[places.Place]) -> str:
    return ", ".join(p.name for p in found)


def command(base: str, insertions: Sequence[Insertion], output: str) -> str:
    """Return the command that makes these insertions."""
    words = ["yolo-attn", "place", base]
    for i in insertions:
        words += [i.block, "--at", ",".join(i.at)]
        if i.sources:
            words += ["--from", ",".join(i.sources)]
        pairs = [_flow(a) for a in i.args] + [f"{k}={_flow(v)}" for k, v in i.options.items()]
        if pairs:
            words += ["--args", ",".join(pairs)]
        if i.reroute != "all":
            words += ["--reroute", i.reroute]
    return shlex.join([*words, "-o", output])


def _flow(value: Any) -> str:
    dumped = yaml.safe_dump([value], default_flow_style=True, width=1_000_000).strip()
    return dumped[1:-1].replace(", ", ",")


def _head(
    base: Path, original: str, insertions: Sequence[Insertion], inserted: Sequence[Inserted], output: str
) -> str:
    """Return the comment at the head of the file: what is in it, and the command that made it."""
    from ..integration import graph, layers

    lines = [f"# {base.stem} with {' and '.join(dict.fromkeys(i.block for i in insertions))}, made by"]
    lines.append(f"#   {command(base.name, insertions, output)}")
    shipped = graph.origin(base)
    lines.append(f"# from {base.name}{f' of {shipped}' if shipped else ''}, sha256 {fingerprint(original)}.")
    for block in dict.fromkeys(i.block for i in inserted):
        spec = layers.installed().get(block)
        if spec is not None and block != LEVEL:
            lines.append(f"# {block}: {(spec.cls.__doc__ or '').strip().splitlines()[0].rstrip('.')}. {spec.paper}")
    if "summary:" in original:
        lines.append("# Layer and parameter counts below are the base model's.")
    return "\n".join(lines) + "\n\n"


def fingerprint(original: str) -> str:
    """Return what a base file's text is recognised by."""
    return hashlib.sha256(original.encode()).hexdigest()[:12]


def _writable(output: Path, force: bool) -> Path:
    if output.suffix not in (".yaml", ".yml"):
        raise WordError(f"output {str(output)!r} must end in .yaml")
    if not output.parent.is_dir():
        raise WordError(f"output {str(output)!r}: the folder {str(output.parent)!r} does not exist")
    if output.exists() and not force:
        raise WordError(f"output {str(output)!r} exists; give another name, or --force to write over it")
    return output


def _write(output: Path, content: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, output)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise WordError(f"output {str(output)!r} cannot be written: {error.strerror}") from error
