"""Train, validate and compare detectors with attention layers.

    python train_detect.py             the main job: YOLO11n and its EMA attention variant on the embedded digits
    python train_detect.py --quick     the same in three minutes, with less data and fewer epochs
    python train_detect.py models=yolo11n-gsop.yaml epochs=60      the main job with other words
    python train_detect.py train model=yolo11n-ema.yaml data=...   any command of yolo-attn

The main job stops and goes on: run it again after an interruption.
"""

import os
import sys
from collections.abc import Sequence

from yolo_attn.cli.main import guarded, main

RECIPE = {
    "base": "yolo11n.yaml",  # from scratch: there is nothing to download
    "models": "yolo11n-ema.yaml",
    "data": "digits.yaml",  # 800 training images, made from scikit-learn's handwritten digits on first use
    "imgsz": 128,  # the images' size; 1/25 of the work of 640
    "epochs": 25,  # about 13 minutes for both models on two cores
    "batch": 16,
    "optimizer": "AdamW",  # named, so that Ultralytics does not choose by the number of iterations
    "lr0": 0.002,
    "fliplr": 0.0,  # a mirrored 2 is not a 2
    "seeds": "0",  # one, to be done soon: no verdict; seeds=0-4 for one
    "workers": 1,  # one process reads ahead, the other core trains
    "device": "cpu",  # the same job everywhere; device=0 for a GPU
}
QUICK = {**RECIPE, "epochs": 8, "fraction": 0.4}


def main_job(words: Sequence[str]) -> int:
    """Compare the recipe's models; ``words`` replace the recipe's, ``--quick`` chooses the short one."""
    from yolo_attn.cli.compare import run

    recipe = QUICK if "--quick" in words else RECIPE
    os.environ.setdefault("YOLO_OFFLINE", "1")  # nothing is downloaded, so nothing needs to be looked for
    return run([w for w in words if w != "--quick"], defaults=recipe)


if __name__ == "__main__":
    given = sys.argv[1:]
    if given and given[0] in ("-h", "--help"):
        print(__doc__)
    elif given and "=" not in given[0] and not given[0].startswith("--"):
        sys.exit(main(given))
    else:
        sys.exit(guarded(lambda: main_job(given)))
