"""``yolo-attn blocks``: the layers that a model YAML can use."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ..registry import BROKEN_ENTRY_POINTS, BlockSpec
from . import words

# Channels of P3, P4 and P5 in a model of scale n (YOLOv8, YOLO11 and YOLO26 alike).
CHANNELS_AT_N = (64, 128, 256)


def run(given: Sequence[str]) -> int:
    """Print the table."""
    words.parse(given, [])
    from ..integration import layers

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("reads", no_wrap=True)
    table.add_column("options", no_wrap=True)
    table.add_column("params\nat n", justify="right", no_wrap=True)
    table.add_column("paper", overflow="fold")
    for name, spec in sorted(layers.installed().items()):
        reads = "list" if spec.inputs == "list" else "1 map"
        table.add_row(name, reads, "\n".join(options(spec)), "\n".join(parameters(spec)), spec.paper.split("://")[-1])
    console = Console()
    console.print(table)
    console.print(
        "Params at n: with default options on 64, 128 and 256 channels, those of P3, P4 and P5 at scale n,\n"
        "or on the list of the three. In a model YAML options go by name and channels are filled in:\n"
        "[-1, 1, EMA, [{factor: 8}]]",
        highlight=False,
        soft_wrap=True,
    )
    for entry, why in BROKEN_ENTRY_POINTS.items():
        console.print(f"did not load: {entry}: {why}", highlight=False)
    return 0


def options(spec: BlockSpec) -> list[str]:
    """Return the options with their defaults, as a model YAML writes them."""
    from ..integration.rows import CHANNEL_WORDS

    shown = []
    for name, parameter in spec.options().items():
        if name not in CHANNEL_WORDS:
            default = parameter.default
            shown.append(name if default is parameter.empty else f"{name}: {'null' if default is None else default}")
    return shown or ["none"]


def parameters(spec: BlockSpec) -> list[str]:
    """Return the parameter counts at the channels of a scale-n model."""

    def count(*args: object) -> str:
        try:
            return f"{sum(p.numel() for p in spec.cls(*args).parameters()):,}"
        except (TypeError, ValueError):
            return "-"  # does not fit these channels with its defaults

    if spec.inputs == "list":
        return [count(list(CHANNELS_AT_N))]
    if spec.output == "argument":
        return [count(c, c) for c in CHANNELS_AT_N]
    return [count(c) for c in CHANNELS_AT_N]
