"""How many threads a training on the CPU computes with, where several trainings share a machine."""

from __future__ import annotations

import os

import torch
from ultralytics import utils
from ultralytics.utils import torch_utils


def limit() -> None:
    """Compute with ``YOLO_ATTN_THREADS`` threads, if that is set; call it before a model is trained or validated.

    ``OMP_NUM_THREADS`` alone does not do it: Ultralytics' ``select_device`` sets torch's threads to all cores but
    one, eight at most, whatever was set before.
    """
    given = os.environ.get("YOLO_ATTN_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        threads = int(given)
        utils.NUM_THREADS = torch_utils.NUM_THREADS = threads  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
