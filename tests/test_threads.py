"""Trainings that share a machine use only their share of its cores."""

from __future__ import annotations

import pytest
import torch
from ultralytics import utils
from ultralytics.utils import torch_utils

from yolo_attn.integration.queries import thread_limit


@pytest.mark.parametrize(("given", "threads"), [("", 7), ("many", 7), ("3", 3), ("1", 1)])
def test_the_threads_of_a_training(monkeypatch, given, threads):
    for module in (utils, torch_utils):
        monkeypatch.setattr(module, "NUM_THREADS", 7)  # as on a machine with eight cores
    monkeypatch.setenv("YOLO_ATTN_THREADS", given)
    before = torch.get_num_threads()
    try:
        thread_limit.limit()
        torch_utils.select_device("cpu", verbose=False)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
