"""``yolo-attn data from-coco``: convert a data set with COCO JSON labels for YOLO."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def run(instances: Path, images: Path, out: Path, *, split: str = "train") -> int:
    """Convert a data set with COCO JSON labels to the format that YOLO trains on.

    Prints a table of what was converted and of the boxes that were left out, with the reason.

    Args:
        instances: COCO JSON file with the labels.
        images: Folder with the images.
        out: Folder to write.
        split: Split to write: train, val or test. Run the command once per split, with the same output folder.

    Examples:
        yolo-attn data from-coco instances.json images/ out/
        yolo-attn data from-coco instances_val.json images_val/ out/ --split val
    """
    from ..data.coco_to_yolo import from_coco, summary  # start-up time

    Console().print(summary(from_coco(instances, images, out, split=split)))
    return 0
