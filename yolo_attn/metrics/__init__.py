"""What a model finds: COCO's figures and the kinds of its errors, from ground truth and predictions.

Importing this package imports neither torch nor Ultralytics.
"""

from .coco_metrics import FIGURES, columns, figures, ground_truth, per_class, rows
from .tide_errors import KINDS, ErrorKinds, error_kinds

__all__ = [
    "FIGURES",
    "KINDS",
    "ErrorKinds",
    "columns",
    "error_kinds",
    "figures",
    "ground_truth",
    "per_class",
    "rows",
]
