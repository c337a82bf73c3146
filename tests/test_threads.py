"""Trainings that share a machine use only their share of its cores."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os
import torch
from yolo_attn.integration.queries import thread_limit
from ultralytics.utils import torch_utils
for given in ("", "many", "3", "1"):
    torch_utils.NUM_THREADS = 7  # as on a machine with eight cores
    os.environ["YOLO_ATTN_THREADS"] = given
    thread_limit.limit()
    torch_utils.select_device("cpu", verbose=False)
    print(torch.get_num_threads())
"""


def test_the_threads_of_a_training():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["7", "7", "3", "1"]
