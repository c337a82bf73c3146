"""Insert an ``nn.Identity`` into the base model wherever a variant has an additional layer.

The alignment of the two models tells which rows are new. All rows of the base stay as they are, and each new row
becomes an identity on the map it replaces. A row reads an identity only if that identity passes on what the base's row
reads, so the result always computes the same as the base.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..alignment.layer_alignment import align
from ..errors import ArgumentError

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph
    from ..registry import BlockSpec

IDENTITY = "nn.Identity"
SHARED = 0.5  # of the base's layers; a variant with fewer of them is another model
IMAGE = -1


@dataclass(frozen=True, slots=True)
class Identities:
    """The base with identities.

    Attributes:
        content: The model YAML's content.
        rows: Numbers of the ``nn.Identity`` rows in it.
        names: The layer types in the variant that they replace.
    """

    content: dict[str, Any]
    rows: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(slots=True)
class _Row:
    """A row of the result. Rows refer to each other as objects, because their numbers are not known yet."""

    base: int | None  # its number in the base; None for an identity
    reads: list[_Row | None]  # None for the image
    part: str
    name: str = ""  # of an identity: the variant's layer type

    @property
    def anchor(self) -> int:
        """The base layer whose map this row passes on."""
        if self.base is not None:
            return self.base
        return IMAGE if self.reads[0] is None else self.reads[0].anchor


def with_identities(base: dict[str, Any], variant: dict[str, Any]) -> Identities:
    """Return the base with an identity wherever ``variant`` has an additional layer.

    Args:
        base: The base's model YAML, loaded with its scale.
        variant: The variant's model YAML.

    Raises:
        ArgumentError: If the variant has too few layers of the base, or no additional layer between them.
        LayerError: If one of them cannot be built.
    """
    from ..integration.queries import layer_types, model_graph, model_sizes  # start-up time

    here, there = model_graph.build(base), model_graph.build(variant)
    pairs = align(model_sizes.layers(base), model_sizes.layers(variant)).pairs
    if len(pairs) < SHARED * len(here.layers):
        raise ArgumentError(
            f"{there.file} has only {len(pairs)} of the {len(here.layers)} layers of {here.file}; an identity control "
            "needs a variant made from the base"
        )
    rows = _rows(here, there, pairs, layer_types.installed())
    content = _content(base, rows)
    numbers = tuple(k for k, row in enumerate(rows) if row.base is None)
    if not numbers:
        raise ArgumentError(
            f"{there.file} has no additional layer that feeds a layer of {here.file}, so there is no place for an "
            "identity"
        )
    assert _contracted(model_graph.build(content)) == _contracted(here), (
        f"{there.file}: the result without its identities is not the base"
    )
    return Identities(content, numbers, tuple(rows[k].name for k in numbers))


def _contracted(graph: Graph) -> list[Any]:
    """Return the layers and their inputs without the identities."""
    through: dict[int, int] = {IMAGE: IMAGE}
    found = list[Any]()
    for layer in graph.layers:
        reads = tuple(through[r] for r in layer.reads)
        if layer.name == IDENTITY:
            through[layer.index] = reads[0]
        else:
            through[layer.index] = len(found)
            found.append((layer.name, reads, layer.args, layer.channels, layer.stride, layer.maps))
    return found


def _rows(base: Graph, variant: Graph, pairs: Mapping[int, int], specs: Mapping[str, BlockSpec]) -> list[_Row]:
    """Return the rows of the result in order, without unused identities."""
    partner = {j: i for i, j in pairs.items()} | _replaced(base, variant, pairs)
    found: dict[int, _Row] = {}  # by the base's number
    replacing: dict[int, _Row | None] = {IMAGE: None}  # by the variant's number; None for the image
    rows: list[_Row] = []

    def add_up_to(layer: int) -> _Row:
        """Add the base's layer ``layer``, and those before it that the variant does not have."""
        for i in range(layer + 1):
            if i not in found:
                reads = [None if r == IMAGE else found[r] for r in base.layers[i].reads]
                found[i] = _Row(i, reads, base.layers[i].part)
                rows.append(found[i])
        return found[layer]

    for j, layer in enumerate(variant.layers):
        i = partner.get(j)
        if i is not None:
            row = add_up_to(i)
            choices = [replacing[r] for r in layer.reads if r in replacing]
            row.reads = [_input(wanted, choices) for wanted in row.reads]
            replacing[j] = row
            continue
        source = _main_input(variant, j, specs)
        if source in replacing:
            reads = replacing[source]
            part = layer.part if reads is None or reads.part == "backbone" else "head"
            replacing[j] = _Row(None, [reads], part, layer.name)
            rows.append(replacing[j])  # type: ignore[arg-type]
    add_up_to(len(base.layers) - 1)
    return _without_unused(rows)


def _input(wanted: _Row | None, choices: Sequence[_Row | None]) -> _Row | None:
    """Return the row to read instead of the base's ``wanted``: the variant's input, if it is the same map."""
    anchor = IMAGE if wanted is None else wanted.anchor
    same = [row for row in choices if (IMAGE if row is None else row.anchor) == anchor]
    return same[0] if same else wanted


def _without_unused(rows: list[_Row]) -> list[_Row]:
    """Return the rows without unused identities."""
    while True:
        read = {id(r) for row in rows for r in row.reads}
        kept = [row for row in rows if row.base is not None or id(row) in read]
        if len(kept) == len(rows):
            return rows
        rows = kept


def _replaced(base: Graph, variant: Graph, pairs: Mapping[int, int]) -> dict[int, int]:
    """Return the base's layer for each of the variant's layers that replaces one on the same map.

    Between two layers that both models have, a missing layer of the base is replaced by the first new row with an
    output of the same shape.
    """
    found: dict[int, int] = {}
    edges = [(-1, -1), *sorted(pairs.items())]
    for (i, j), (next_i, next_j) in itertools.pairwise(edges):
        free = iter(range(j + 1, next_j))
        for missing in range(i + 1, next_i):
            shape = _shape(base, missing)
            match = next((k for k in free if shape == _shape(variant, k)), None)
            if match is None:
                break
            found[match] = missing
    return found


def _shape(graph: Graph, index: int) -> tuple[Any, ...]:
    layer = graph.layers[index]
    return layer.channels, layer.stride, layer.maps


def _main_input(graph: Graph, index: int, specs: Mapping[str, BlockSpec]) -> int | None:
    """Return the layer whose map a row replaces; None for a row with several output maps."""
    layer = graph.layers[index]
    spec = specs.get(layer.name)
    if spec is not None and spec.inputs == "pyramid":
        return _level(graph, index)
    if layer.channels is None:
        return None
    if spec is not None and isinstance(spec.output, int):
        return layer.reads[spec.output]
    # a row that joins several maps replaces the one of the same shape
    alike = [r for r in layer.reads if r != IMAGE and _shape(graph, r) == _shape(graph, index)]
    return alike[-1] if alike else layer.reads[0]


def _level(graph: Graph, index: int) -> int | None:
    """Return the input of the pyramid whose map a ``PyramidLevel`` row returns."""
    layer = graph.layers[index]
    pyramid = graph.layers[layer.reads[0]]
    wanted = (layer.channels, layer.stride)
    found = [k for k, one in enumerate(pyramid.maps) if one == wanted]
    level = layer.args[0] if layer.args and isinstance(layer.args[0], int) else None
    if level is None or not -len(pyramid.maps) <= level < len(pyramid.maps):
        level = found[0] if len(found) == 1 else None
    return pyramid.reads[level] if level is not None and len(pyramid.reads) == len(pyramid.maps) else None


def _content(base: dict[str, Any], rows: Sequence[_Row]) -> dict[str, Any]:
    """Return the model YAML's content with these rows."""
    numbers = {id(row): k for k, row in enumerate(rows)}
    old = [*base["backbone"], *base["head"]]
    parts: dict[str, list[Any]] = {"backbone": [], "head": []}
    for k, row in enumerate(rows):
        there = [-1] if row.base is None else old[row.base][0]
        as_list = isinstance(there, list | tuple)
        reads = [
            -1 if x < 0 and (r is None or numbers[id(r)] == k - 1) else numbers[id(r)] if r is not None else IMAGE
            for x, r in zip(there if as_list else [there], row.reads, strict=True)
        ]
        repeats, *rest = [1, IDENTITY, []] if row.base is None else copy.deepcopy(old[row.base][1:])
        part = "head" if parts["head"] else row.part  # layers of the backbone come first
        parts[part].append([reads if row.base is not None and as_list else reads[0], repeats, *rest])
    return {**copy.deepcopy(base), **parts}
