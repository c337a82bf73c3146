"""Verify that inserted rows fit: at every scale, and for every layer that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import LayerError
from ..integration.queries import model_graph as graphs
from ..integration.queries import row_arguments
from ..integration.queries.layer_text import named
from ..integration.queries.model_graph import Graph, Layer


def outputs_argument(graph: Graph, layer: int, content: dict[str, Any]) -> int:
    """Return the channel argument, before scaling, that gives a new row as many output channels as ``layer`` has.

    Raises:
        LayerError: If there is none for all scales.
    """
    wanted = {s: graphs.build(content, s, graph.file).layers[layer].channels for s in graphs.scales(content)}
    first = [a for a in graph.layers[layer].args[:1] if type(a) is int and a > 0]
    for channels in (*first, *range(8, 4097, 8)):
        if all(row_arguments.scaled(channels, {**content, "scale": s}) == c for s, c in wanted.items()):
            return channels
    raise LayerError(
        f"no number of output channels matches layer {named(graph.layers[layer])} at all scales of {graph.file}; give "
        "the number, before scaling, as the first argument"
    )


def check_fit(
    before: dict[str, Any],
    after: dict[str, Any],
    moved: Mapping[int, int],
    redirected: Mapping[tuple[int, int], int],
    took: Sequence[tuple[int, int]],
    *,
    base: str,
    name: str,
    block: str,
) -> None:
    """Build both models at every scale and compare them layer by layer.

    Args:
        before: Content of the model YAML without the new rows.
        after: Content with the new rows.
        moved: Layer number before -> after.
        redirected: (consumer, its input), both before -> the new row that it reads, after.
        took: (layer before, new row after) for each new row that took over consumers of the layer.
        base: File name before, for messages.
        name: File name after, for messages.
        block: The inserted block and its places, for messages.

    Raises:
        LayerError: If the new model does not build at a scale, or the output of a new row differs from the map that
            its consumers read before.
    """
    for scale in graphs.scales(before):
        fault = f"{block} does not fit{f' at scale {scale}' if scale else ''}"
        old = graphs.build(before, scale, base)
        try:
            new = graphs.build(after, scale, name)
        except LayerError as error:
            for source, row in sorted(took, key=lambda pair: pair[1]):  # is a new row the reason?
                part = _built_until(after, scale, name, row)
                if part is not None:
                    _same_map(part.layers[row], old.layers[source], fault)
            raise LayerError(f"{fault}: {error}") from error
        for source, row in took:
            _same_map(new.layers[row], old.layers[source], fault)
        for layer in old.layers:
            now = new.layers[moved[layer.index]]
            reads = tuple(redirected.get((layer.index, s), moved.get(s, s)) for s in layer.reads)
            same = (now.name, now.reads) == (layer.name, reads)
            assert same, f"{name}: layer {named(now)} reads {now.reads}, not {reads}"
            if (now.channels, now.stride, now.maps) != (layer.channels, layer.stride, layer.maps):
                raise LayerError(
                    f"{block} changes layer {named(layer)} of {base}: {_output(layer)} before, {_output(now)} after"
                )


def _built_until(after: dict[str, Any], scale: str, name: str, row: int) -> Graph | None:
    """Build the model up to one of the new rows; return None if that fails."""
    try:
        return graphs.build(after, scale, name, until=row)
    except LayerError:
        return None


def _same_map(new: Layer, old: Layer, fault: str) -> None:
    if (new.channels, new.stride) != (old.channels, old.stride):
        raise LayerError(
            f"{fault}: its output has {_output(new)}, but the consumers of layer {named(old)} need {_output(old)}; "
            "place it after a layer with the channels and stride of its output"
        )


def _output(layer: Layer) -> str:
    return f"{layer.channels} channels at stride {layer.stride}" if layer.channels else "several maps or none"
