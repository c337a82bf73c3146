"""Trainings that share a machine keep to their share of its cores."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from yolo_attn.integration import threads
from ultralytics.utils import torch_utils
torch_utils.NUM_THREADS = 7  # as on a machine with eight cores
threads.limit()
torch_utils.select_device("cpu", verbose=False)
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(("given", "threads"), [("3", "3"), ("1", "1"), ("", "7"), ("many", "7")])
def test_the_threads_of_a_training(monkeypatch, given, threads):
    monkeypatch.setenv("YOLO_ATTN_THREADS", given)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [threads]
