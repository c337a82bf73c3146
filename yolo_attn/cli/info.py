"""``yolo-attn info model=...``: a model's layers, and what its attention layers read and cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from .. import install
from ..errors import ArgumentError
from . import words


def run(given: Sequence[str]) -> int:
    """Print Ultralytics' layer table and summary, then one row for each attention layer."""
    install()
    pairs = words.parse(given, ["model", "task"])
    if "model" not in pairs:
        raise ArgumentError("which model? write e.g. yolo-attn info model=yolo11n-ema.yaml")
    from ..integration.queries import layer_types, yolo_command

    is_yaml = pairs["model"].endswith((".yaml", ".yml"))
    model = yolo_command.open_model(
        pairs["model"], pairs.get("task"), verbose=is_yaml
    )  # building a YAML prints the table
    if not is_yaml:
        model.info(detailed=False)
    total = sum(p.numel() for p in model.model.parameters())
    sources = {m.i: _sources(m.f, m.i) for m in model.model.model}
    readers = {i: [k for k, read in sources.items() if i in read] for i in sources}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, justify in (("layer", "right"), ("type", "left"), ("reads", "left"), ("read by", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("params", justify="right")
    table.add_column("of the model", justify="right")
    for layer in model.model.model:
        parts = list(layer) if type(layer).__name__ == "Sequential" else [layer]
        spec = layer_types.spec_of(type(parts[0])) if parts else None
        if spec is None:
            continue
        name = spec.name if len(parts) == 1 else f"{spec.name} x {len(parts)}"
        by = ", ".join(map(str, readers[layer.i])) or "nobody"
        count = sum(p.numel() for p in layer.parameters())
        reads = ", ".join(map(str, sources[layer.i]))
        table.add_row(str(layer.i), name, reads, by, f"{count:,}", f"{100 * count / total:.2f} %")
    console = Console()
    if table.row_count:
        console.print(table)
    else:
        console.print("No layer of yolo-attn in this model.", highlight=False)
    return 0


def _sources(f: int | list[int], index: int) -> list[int]:
    """Return the numbers of the layers that layer ``index`` reads; -1 for the image."""
    return [x + index if x < 0 and index else x for x in (f if isinstance(f, list) else [f])]
