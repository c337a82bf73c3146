"""Train a baseline and its variants under the same recipe, and say what a difference in accuracy costs.

    from yolo_attn.compare import Plan, compare

    plan = Plan.make("yolo11n.yaml", ["yolo11n-ema.yaml"], data="bccd.yaml", seed=0, train={"epochs": 30})
    results = compare(plan)

Importing this package imports neither torch nor Ultralytics: every training, validation and measurement is its own
process, and what it found is a JSON file.
"""

from yolo_attn.compare.plan import Plan
from yolo_attn.compare.runs import compare

__all__ = ["Plan", "compare"]
