"""``yolo-attn check``: what each layer of the registry in a model YAML reads and who reads it, and slips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LayerError
from ..registry import BLOCKS
from . import lint, written
from .diagram.style import options
from .lint import Slip, named, several, shape

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph, Layer

_AT_LAYER = re.compile(r"^(.*?): layer (\d+)\b(.*)$", re.DOTALL)
_CHANNELS = 8  # a number from here on, in a row of torch.nn, is a channel count
_LISTED = 12  # layer numbers in a message


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a model YAML.

    Attributes:
        file: The file.
        graph: The model at the scale that was asked for, else at the first that builds.
        scales: Its scales; empty where it has none.
        task: What Ultralytics takes it for.
        sentences: One for each layer of the registry, in order.
        slips: What is probably not meant.
    """

    file: Path
    graph: Graph
    scales: tuple[str, ...]
    task: str
    sentences: tuple[str, ...]
    slips: tuple[Slip, ...]


def check(name: str | Path, scale: str = "") -> Report:
    """Look through a model YAML, at all its scales.

    Args:
        name: A path, a shipped file or one of this project, with or without the scale's letter.
        scale: A scale that has to build; by default the one of the name's letter, if it has one.

    Raises:
        LayerError: If there is no such file, it is no model YAML, or it does not build at that scale, or at any.
    """
    from ..integration.queries import model_graph as graphs

    file = graphs.locate(name)
    content = graphs.load(name)
    text = file.read_text(encoding="utf-8", errors="ignore")
    lines = written.row_lines(text)
    choices = graphs.scales(content)
    asked = scale or str(content.get("scale") or "")
    if choices == [""]:
        asked = ""
    elif asked and asked not in choices:
        raise LayerError(f"{file.name}: no scale {asked!r}; it has {', '.join(choices)}")
    built: dict[str, Graph] = {}
    failed: dict[str, str] = {}
    for letter in choices:
        try:
            built[letter] = graphs.build(content, letter, file.name)
        except LayerError as error:
            failed[letter] = _explained(str(error), content, letter, file.name)
    must = asked or next(iter(built), choices[0])
    if must in failed:
        raise LayerError(_located(failed[must], lines))
    graph = built[must]
    rows = [*content["backbone"], *content["head"]]
    found = [
        *lint.keys_twice(written.written_twice(text)),
        *lint.file_name(file.stem, choices if choices != [""] else ()),
        *_scales_that_fail(failed),
        *lint.attention_passed_by(graph, rows),
        *lint.inside_a_stage(graph, rows),
        *lint.unread(graph),
        *lint.same_stride_twice(graph),
        *lint.class_count_typed(rows),
        *lint.no_head(graph),
    ]
    return Report(
        file,
        graph,
        tuple(choices) if choices != [""] else (),
        graphs.task(content),
        tuple(sentence(layer, graph) for layer in graph.layers if layer.name in BLOCKS),
        tuple(_with_line(slip, lines) for slip in found),
    )


def sentence(layer: Layer, graph: Graph) -> str:
    """Say what a layer reads and who reads it."""
    given = f" ({options(layer)})" if options(layer) else ""
    sources = [graph.layers[x] for x in layer.reads if x >= 0]
    read = [f"{named(source)[:-1]}, {shape(source)})" for source in sources] or ["the image"]
    reads = " and ".join([", ".join(read[:-1]), read[-1]] if len(read) > 1 else read)
    what = "" if not sources else "layer " if len(sources) == 1 else "layers "
    by = several(graph.readers(layer.index)) or "nobody"
    own = (sources[-1].channels, sources[-1].stride) if sources else ()
    made = f"; puts out {shape(layer)}" if own != (layer.channels, layer.stride) and layer is not graph.head else ""
    return f"layer {layer.index} {layer.name}{given} in the {layer.part}: reads {what}{reads}{made}; read by {by}."


def _with_line(slip: Slip, lines: Sequence[int]) -> Slip:
    if slip.line is None and slip.layer is not None and slip.layer < len(lines):
        return Slip(slip.text, slip.layer, lines[slip.layer])
    return slip


def _located(message: str, lines: Sequence[int]) -> str:
    """Put the line of the row that a message names behind the file's name."""
    match = _AT_LAYER.match(message)
    if not match or int(match[2]) >= len(lines):
        return message
    return f"{match[1]}, line {lines[int(match[2])]}: layer {match[2]}{match[3]}"


def _scales_that_fail(failed: dict[str, str]) -> list[Slip]:
    """Return a slip for each reason for which the model does not build at some of its scales."""
    letters: dict[tuple[int | None, str], list[str]] = {}
    reasons: dict[tuple[int | None, str], str] = {}
    for letter, message in failed.items():
        match = _AT_LAYER.match(message)
        layer = int(match[2]) if match else None
        key = layer, re.sub(r"\d+", "", message)  # the same but for channel counts
        letters.setdefault(key, []).append(letter)
        reasons.setdefault(key, f"layer {match[2]}{match[3]}" if match else message)
    return [
        Slip(f"does not build at scale {', '.join(group)}: {reasons[key]}", key[0]) for key, group in letters.items()
    ]


def _explained(message: str, content: dict[str, Any], scale: str, file: str) -> str:
    """Add to a row's failure what is wrong with what it reads: strides that differ, channel counts typed in."""
    from ..integration.queries import model_graph as graphs

    match = _AT_LAYER.match(message)
    index = int(match[2]) if match else 0
    if not index:
        return message
    rows = [*content["backbone"], *content["head"]]
    if index < len(rows) - 1 and lint.is_head(str(rows[index][2])):
        behind = f"layer {index + 1} ({rows[index + 1][2]})"
        return (
            f"{file}: layer {index} ({rows[index][2]}) is a head, but {behind} stands behind it; make it the last row"
        )
    try:
        before = graphs.build(content, scale, file, until=index - 1)
    except LayerError:
        return message
    f = rows[index][0] if isinstance(rows[index][0], list | tuple) else [rows[index][0]]
    sources = [before.layers[x + index if x < 0 else x] for x in f if isinstance(x, int) and -index <= x < index]
    return message + _strides_differ(sources, before, index) + _typed_in([*sources, index], rows)


def _strides_differ(sources: Sequence[Layer], before: Graph, index: int) -> str:
    strides = {s.stride for s in sources}
    if len(strides) < 2 or None in strides:
        return ""
    latest = max(sources, key=lambda s: s.index)  # mostly -1, which no inserted row shifts
    wrong = [s for s in sources if s.stride != latest.stride]
    right = [str(la.index) for la in before.layers[:index] if la.stride == latest.stride and la is not latest]
    other = "; ".join(f"layer {named(s)} has stride {s.stride}" for s in wrong)
    which = f"; of stride {latest.stride} are layers {', '.join(right[-_LISTED:])}" if right else ""
    return f" ({other}, layer {named(latest)} has stride {latest.stride}{which})"


def _typed_in(suspects: Sequence[Layer | int], rows: Sequence[Sequence[Any]]) -> str:
    for suspect in suspects:
        index = suspect if isinstance(suspect, int) else suspect.index
        name, args = str(rows[index][2]), rows[index][3]
        counts = [a for a in args if isinstance(a, int) and not isinstance(a, bool) and a >= _CHANNELS]
        if name.startswith("nn.") and counts:
            return f" (layer {index} ({name}) has channel counts typed in, {list(args)}, which no scale changes)"
    return ""
