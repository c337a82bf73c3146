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
        split: Split to write: train, val or test; run the command once per split, with the same output folder. Or the
            parts of train, val and test, to divide the images at random: 0.8/0.1/0.1.

    Examples:
        yolo-attn data from-coco instances.json images/ out/ --split 0.8/0.1/0.1
        yolo-attn data from-coco instances_train.json images_train/ out/
        yolo-attn data from-coco instances_val.json images_val/ out/ --split val
    """
    from ..data.coco_to_yolo import divide_coco, from_coco, summary  # start-up time

    if any(character.isdigit() for character in split):
        results = divide_coco(instances, images, out, split=split)
    else:
        results = [from_coco(instances, images, out, split=split)]
    for result in results:
        Console().print(summary(result, is_last=result is results[-1]))
    return 0
