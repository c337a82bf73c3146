"""``yolo-attn transfer``: the weights of a checkpoint in another model, as a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from .. import install
from ..alignment.layer_alignment import parse_pins
from ..errors import ArgumentError
from . import words

USAGE = "yolo-attn transfer yolo11n.pt yolo11n-ema.yaml -o yolo11n-ema.pt"
HELP = f"""\
yolo-attn transfer: load the weights of a checkpoint into another model, each layer's into that layer wherever it is
now, and write an ordinary checkpoint

usage: yolo-attn transfer SRC.pt MODEL.yaml -o OUT.pt [--map 6=7,8=10] [--partial] [--force]

  SRC.pt            the checkpoint that has the weights
  MODEL.yaml        the model that gets them; the letter in its name is its scale (yolo11n-ema.yaml)
  -o OUT.pt         the file to write: loads, trains and validates as any other; freeze=transferred and new_lr_mult=
                    know what in it came from SRC.pt
  --map PAIRS       layers of SRC.pt that are layers of MODEL.yaml (source=target), where that is not clear by itself
  --partial         write it however little fits
  --force           write over a file that exists

example:
  {USAGE}
"""


def run(given: Sequence[str]) -> int:
    """Transfer, print the line that says what was transferred, and where it is now."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    paths, pairs = words.with_paths(
        given, ["output", "map", "partial", "force"], flags=["partial", "force"], short={"o": "output"}
    )
    if len(paths) != 2:
        raise ArgumentError(f"transfer takes a checkpoint and a model YAML; got {len(paths)} paths. Write {USAGE}")
    if "output" not in pairs:
        raise ArgumentError(f"where to? give -o OUT.pt, e.g. {USAGE}")
    layers = parse_pins(pairs["map"]) if "map" in pairs else None
    install()
    from ..integration.weights.checkpoint_transfer import transfer

    said = transfer(
        paths[0],
        paths[1],
        pairs["output"],
        partial=pairs.get("partial") == "True",
        layers=layers,
        force=pairs.get("force") == "True",
    )
    console = Console()
    for line in (said, f"Written: {pairs['output']}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0
