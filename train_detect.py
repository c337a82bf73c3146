"""Train and compare YOLO11n and its EMA attention variant on the embedded digits.

    python train_detect.py                     both models, one seed, on a CPU
    python train_detect.py --quick             less data and fewer epochs
    python train_detect.py seeds=0-4 epochs=60
                                               other arguments of `compare`
    python train_detect.py train model=yolo11n-ema.yaml data=digits.yaml
                                               any command of `yolo-attn`

The recipe is at the top of this file; command-line values take precedence.
If interrupted, rerun the command to resume. All arguments:
    python train_detect.py compare --help
"""

import os
import sys
from collections.abc import Sequence

from yolo_attn.cli.main import call_of, guarded, main
from yolo_attn.errors import ArgumentError

RECIPE = {
    "base": "yolo11n.yaml",  # from scratch: there is nothing to download
    "models": "yolo11n-ema.yaml",
    "data": "digits.yaml",  # 800 training images of handwritten digits, generated on first use
    "imgsz": 128,  # the images' size; 1/25 of the work of 640
    "epochs": 25,  # 8 to 13 minutes for both models on two cores
    "batch": 16,
    "optimizer": "AdamW",  # named, so that Ultralytics does not choose by the number of iterations
    "lr0": 0.002,
    "fliplr": 0.0,  # a mirrored 2 is not a 2
    "seeds": "0",  # one seed is fast but allows no verdict; seeds=0-4 does
    "workers": 1,  # one process loads data while the other core trains
    "device": "cpu",  # the same job everywhere; device=0 for a GPU
}
QUICK = {**RECIPE, "epochs": 8, "fraction": 0.4}


def main_job(given: Sequence[str]) -> int:
    """Compare the models of the recipe, or of the quick recipe, with the arguments that were given instead."""
    os.environ.setdefault("YOLO_OFFLINE", "1")  # nothing is downloaded, so nothing needs to be looked for
    recipe = QUICK if "--quick" in given else RECIPE
    compare = call_of(["compare", *(argument for argument in given if argument != "--quick")])
    if compare.args or "experiment" in compare.keywords:
        raise ArgumentError("train_detect.py has its own recipe; run an experiment file with yolo-attn compare")
    return compare.func(**{**recipe, **compare.keywords})


def run(given: Sequence[str]) -> int:
    """Run the main job, or the command that is named; return the exit status."""
    if given and given[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    if given and "=" not in given[0] and not given[0].startswith("-"):
        return main(given)
    return guarded(lambda: main_job(given))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
