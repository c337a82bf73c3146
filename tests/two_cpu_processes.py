"""Import this, and Ultralytics trains ``device=0,1`` in two processes on the CPU, with gloo instead of NCCL.

It registers a layer: Ultralytics' file for the processes imports the modules of all registered layers, so also this.
At the end each process writes a digest of its parameters to ``rank<number>.txt``.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import torch
from torch import nn
from ultralytics.engine import trainer

import yolo_attn

RANK = int(os.environ.get("LOCAL_RANK", -1))


@yolo_attn.register("InTwoProcesses", paper="")
class InTwoProcesses(nn.Identity):
    def __init__(self, channels):
        super().__init__()


def _on_cpu(device="", *_, **__):
    return torch.device("cpu")


_start, _do_train = trainer.BaseTrainer.__init__, trainer.BaseTrainer._do_train


def _init(self, *args, **kwargs):
    _start(self, *args, **kwargs)
    if str(self.args.device) == "0,1":
        self.world_size, self.ddp = 2, RANK == -1
    if RANK == 0 and os.environ.get("STOP_AFTER_EPOCH"):
        self.add_callback("on_model_save", _stop)


def _train(self, *args, **kwargs):
    _do_train(self, *args, **kwargs)
    if RANK >= 0:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.named_parameters()):
            digest.update(f"{name} {tensor.double().sum().item()!r}\n".encode())
        Path(f"rank{RANK}.txt").write_text(digest.hexdigest())


def _stop(self):
    raise SystemExit("stopped after an epoch")


def _setup(self):
    self.device = torch.device("cpu")
    torch.distributed.init_process_group("gloo", rank=RANK, world_size=2)


def _parallel(model, device_ids=None, **kwargs):
    return Parallel(model, **kwargs)


def _no_validation(self, *args, **kwargs):
    """The last validation would choose a GPU."""


Parallel = nn.parallel.DistributedDataParallel
if trainer.BaseTrainer.__init__ is not _init:
    trainer.select_device = _on_cpu
    trainer.BaseTrainer.__init__ = _init
    trainer.BaseTrainer._do_train = _train
    trainer.BaseTrainer._setup_ddp = _setup
    trainer.BaseTrainer.final_eval = _no_validation
    with contextlib.suppress(AttributeError):
        trainer.nn.parallel.DistributedDataParallel = _parallel
