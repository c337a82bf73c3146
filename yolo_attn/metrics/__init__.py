"""Measure what a model finds: COCO's metrics and TIDE's kinds of error, from ground truth and predictions.

Importing this package imports neither torch nor Ultralytics.
"""

from .coco_format import Dataset, Prediction, Predictions, RowsOrColumns, boxes_to_coco, columns, rows
from .coco_metrics import METRICS, compute_class_metrics, compute_metrics
from .tide_errors import KINDS, ErrorKinds, error_kinds

__all__ = [
    "KINDS", "METRICS", "Dataset", "ErrorKinds", "Prediction", "Predictions", "RowsOrColumns", "boxes_to_coco",
    "columns", "compute_class_metrics", "compute_metrics", "error_kinds", "rows",
]  # fmt: skip
