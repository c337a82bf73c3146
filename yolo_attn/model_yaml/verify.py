"""Whether the rows that were put into a model YAML fit there: at every scale, and for everybody who reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import LayerError

if TYPE_CHECKING:
    from ..integration.queries.model_graph import Graph, Layer


def outputs_argument(graph: Graph, layer: int, content: dict[str, Any]) -> int:
    """Return the channel count, before scaling, with which a new row puts out as many channels as ``layer`` does.

    Raises:
        LayerError: If no count does at all scales.
    """
    from ..integration.queries import model_graph as graphs

    wanted = {s: graphs.build(content, s, graph.file).layers[layer].channels for s in graphs.scales(content)}
    first = graph.layers[layer].args[:1]
    written = [a for a in first if isinstance(a, int) and not isinstance(a, bool) and a > 0]
    for channels in (*written, *range(8, 4097, 8)):
        if all(graphs.scaled(channels, content, s) == c for s, c in wanted.items()):
            return channels
    raise LayerError(
        f"no count of output channels equals those of layer {layer} ({graph.layers[layer].name}) at all scales of "
        f"{graph.file}; give it as the first of the arguments, before scaling"
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
        before: The model YAML's content without the new rows.
        after: Its content with them.
        moved: Layer number before -> after.
        redirected: (reader, layer that it read), both before -> the new row that it reads, after.
        took: (layer before, new row after) that has taken over readers of it, at first or for good.
        base: Name of the file before, for messages.
        name: Name of the file after, for messages.
        block: The block that was put in.

    Raises:
        LayerError: If the new model cannot be built at a scale, or a new row puts out another map than the one whose
            readers it has taken over.
    """
    from ..integration.queries import model_graph as graphs

    for scale in graphs.scales(before):
        old = graphs.build(before, scale, base)
        new = None
        try:
            new = graphs.build(after, scale, name)
        except LayerError as error:
            for source, row in sorted(took, key=lambda pair: pair[1]):  # is a new row the reason?
                part = _until(after, scale, name, row)
                if part is not None:
                    _same_map(part.layers[row], old.layers[source], scale, block)
            at = f" (at scale {scale})" if scale else ""
            raise LayerError(f"{block} does not fit there{at}: {error}") from error
        for source, row in took:
            _same_map(new.layers[row], old.layers[source], scale, block)
        for layer in old.layers:
            now = new.layers[moved[layer.index]]
            reads = tuple(redirected.get((layer.index, s), moved.get(s, s)) for s in layer.reads)
            same = (now.name, now.reads) == (layer.name, reads)
            assert same, f"{name}: layer {now.index} ({now.name}) reads {now.reads}, not {reads}"
            if (now.channels, now.stride, now.maps) != (layer.channels, layer.stride, layer.maps):
                what = f"{_of(layer)} before, {_of(now)} after"
                raise LayerError(f"{block} changes layer {layer.index} ({layer.name}) of {base}: {what}")


def _until(after: dict[str, Any], scale: str, name: str, row: int) -> Graph | None:
    """Build the model up to one of the new rows; None if that fails."""
    from ..integration.queries import model_graph as graphs

    try:
        return graphs.build(after, scale, name, until=row)
    except LayerError:
        return None


def _same_map(new: Layer, old: Layer, scale: str, block: str) -> None:
    if (new.channels, new.stride) == (old.channels, old.stride):
        return
    at = f" at scale {scale}" if scale else ""
    raise LayerError(
        f"{block} does not fit there: it puts out {_of(new)}, but whoever reads layer {old.index} ({old.name}) needs "
        f"{_of(old)}{at}; place it behind a layer of its output's size and channels, its last source for most"
    )


def _of(layer: Layer) -> str:
    return f"{layer.channels} channels at stride {layer.stride}" if layer.channels else "no single map"
