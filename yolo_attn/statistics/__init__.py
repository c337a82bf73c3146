"""Estimate the difference between two models: over seeds, over test images, and as a verdict in words.

    from yolo_attn.statistics import Group, analyse

    effects = analyse(Group("yolo11n", {"AP": [0.40, 0.41, 0.39]}), [Group("yolo11n-ema", {"AP": [...]})], None)
    print(effects[0].verdict.text)

The results are frozen dataclasses of numbers and text; ``dataclasses.asdict`` converts them for JSON. Importing this
package imports neither torch nor Ultralytics.
"""

from .analysis import Effect, Group, analyse
from .seed_and_image_intervals import ImageInterval, Interval, MetricEffect
from .seed_differences import Difference
from .verdicts import Verdict, VerdictWord

__all__ = [
    "Difference", "Effect", "Group", "ImageInterval", "Interval", "MetricEffect", "Verdict", "VerdictWord", "analyse",
]  # fmt: skip
