"""Limit the threads of a training on the CPU, for several trainings on one machine."""

from __future__ import annotations

import os

import torch
from ultralytics import utils
from ultralytics.utils import torch_utils


def limit() -> None:
    """Use ``YOLO_ATTN_THREADS`` threads, if that is set. Call it before a training or validation.

    ``OMP_NUM_THREADS`` alone has no effect: Ultralytics' ``select_device`` sets torch's threads to all cores but one,
    eight at most.
    """
    given = os.environ.get("YOLO_ATTN_THREADS", "")
    threads = int(given) if given.isdecimal() else 0
    if threads:
        utils.NUM_THREADS = torch_utils.NUM_THREADS = threads  # type: ignore[attr-defined]
        torch.set_num_threads(threads)
