"""What a difference between two models means: over seeds, over test images, and in words.

    from yolo_attn.statistics import Group, analyse

    effects = analyse(Group("yolo11n", {"AP": [0.40, 0.41, 0.39]}), [Group("yolo11n-ema", {"AP": [...]})], None)
    print(effects[0].verdict.text)

The results are frozen dataclasses of numbers and text; ``dataclasses.asdict`` makes JSON of them. Importing this
package imports neither torch nor Ultralytics.
"""

from .analysis import Effect, FigureEffect, Group, analyse
from .intervals import ImageInterval, Interval
from .seed_differences import Difference
from .verdicts import Verdict

__all__ = ["Difference", "Effect", "FigureEffect", "Group", "ImageInterval", "Interval", "Verdict", "analyse"]
