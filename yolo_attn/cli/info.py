"""``yolo-attn info``: a model's layers, and the inputs, consumers and parameters of its attention layers."""

from __future__ import annotations

import functools

from rich import box
from rich.console import Console
from rich.table import Column, Table

from .. import install
from ..messages import joined


def run(model: str, *, task: str | None = None, imgsz: int = 640) -> int:
    """List a model's layers, and the inputs, consumers and parameters of its attention layers.

    Args:
        model: Model YAML or checkpoint: a path, or a name that Ultralytics or this project ships.
        task: Task of the model: detect, segment, classify, pose or obb. Default: read from the model.
        imgsz: Image size in pixels, for the operations.

    Examples:
        yolo-attn info yolo11n-ema.yaml
    """
    install()
    from ..integration.queries import checkpoints, gflops_count, layer_types, row_sources, yolo_command  # start-up time

    is_yaml = model.endswith((".yaml", ".yml"))
    checkpoints.warn_of_code(model)
    built = yolo_command.open_model(model, task, verbose=is_yaml)  # building from a YAML prints the table
    strides = getattr(built.model, "stride", [1])
    yolo_command.check_imgsz(imgsz, round(float(max(strides))), model)
    if not is_yaml or type(built).__name__ == "RTDETR":
        built.info(detailed=False)
    total = sum(p.numel() for p in built.model.parameters())
    inputs = {m.i: row_sources.resolve(m.f, m.i) for m in built.model.model}
    right = functools.partial(Column, justify="right")
    columns = (right("layer"), "type", "inputs", "consumers", right("params"), right("of the model"))
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for layer in built.model.model:
        parts = list(layer) if type(layer).__name__ == "Sequential" else [layer]
        spec = layer_types.spec_of(type(parts[0])) if parts else None
        if spec is None:
            continue
        name = spec.name if len(parts) == 1 else f"{spec.name} x {len(parts)}"
        consumers = joined(index for index, read in inputs.items() if layer.i in read) or "none"
        count = sum(p.numel() for p in layer.parameters())
        share = f"{100 * count / total:.2f} %"
        table.add_row(str(layer.i), name, joined(inputs[layer.i]), consumers, f"{count:,}", share)
    console = Console()
    console.print(table if table.row_count else "No layer of yolo-attn in this model.", highlight=False)
    gflops = gflops_count.model_gflops(built.model, imgsz)
    console.print(
        f"{total:,} parameters, {gflops:.2f} GFLOPs at {imgsz} px. Reports count operations in this way: fused model, "
        "eval mode, a multiply-add as two.",
        highlight=False,
    )
    return 0
