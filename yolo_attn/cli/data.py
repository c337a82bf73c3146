"""``yolo-attn data from-coco``: a data set with COCO JSON labels to one that YOLO trains on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..errors import ArgumentError
from ..messages import nearest
from . import words

USAGE = "yolo-attn data from-coco instances.json images/ out/ [split=train]"


def run(given: Sequence[str]) -> int:
    """Convert, and print what was found; status 0 also where boxes had to be left out, which the table lists."""
    if not given or given[0] != "from-coco":
        what = f"unknown data command {given[0]!r}.{nearest(given[0], ['from-coco'])}" if given else "which one?"
        raise ArgumentError(f"{what} Write {USAGE}")
    from ..data.coco_conversion import from_coco, summary

    rest = list(given[1:])
    end = next((k for k, w in enumerate(rest) if w.startswith(("--", "split="))), len(rest))
    paths, pairs = rest[:end], words.parse(rest[end:], ["split"])
    if len(paths) != 3:
        raise ArgumentError(f"data from-coco takes three paths, then the split; got {len(paths)} paths. Write {USAGE}")
    instances, images, out = map(Path, paths)
    Console().print(summary(from_coco(instances, images, out, split=pairs.get("split", "train"))))
    return 0
