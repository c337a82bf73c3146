"""Versions, hardware, memory and commit, which are part of every record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from .. import __version__
from ..experiment.records import GitState, Hardware, PeakMemory


def versions() -> dict[str, str]:
    """Return the version of each package that computes, and of Python."""
    found = {"yolo-attn": __version__}
    for package in ("ultralytics", "torch", "torchvision", "numpy", "opencv-python", "faster-coco-eval", "scipy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "torch" in sys.modules:  # with the build, as in 2.9.0+cu128
        found["torch"] = str(sys.modules["torch"].__version__)
    if "ultralytics" in sys.modules:  # a copy on the path may precede the installed one
        found["ultralytics"] = str(sys.modules["ultralytics"].__version__)
    return {**found, "python": platform.python_version()}


def cpu_name() -> str:
    """Return the processor's name as its maker writes it, if the system knows it."""
    name = _proc_field("cpuinfo", "model name")
    return " ".join(name.split()) if name else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> Hardware:
    """Return processor, cores, torch's threads and the GPUs. Imports torch."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Hardware(cpu_name(), usable_cores(), torch.get_num_threads(), gpus, platform.platform())


def peak_memory() -> PeakMemory:
    """Return the most memory that this process has held since it started.

    ``resident_bytes`` is the main memory of this process with its shared libraries, None on Windows. Data loaders are
    processes of their own and not included: they hold images, the same for every model. ``gpu_bytes`` is the memory of
    PyTorch's tensors on all GPUs, each at its own peak, without the reserve of PyTorch and the CUDA context. With
    ``batch=-1`` Ultralytics fills the memory to find the batch size, and the peak includes that. Ultralytics trains on
    several GPUs in processes of their own, which are not measured: ``gpu_bytes`` is None then.
    """
    torch = sys.modules.get("torch")
    gpu = None
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        gpu = sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    return PeakMemory(_peak_resident(), gpu)


def _peak_resident() -> int | None:
    peak = _proc_field("self/status", "VmHWM")  # on Linux, getrusage includes the process that started this one
    if peak:
        return int(peak.split()[0]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _proc_field(file: str, field: str) -> str | None:
    """Return a field of a file in Linux's ``/proc``; None elsewhere."""
    path = Path("/proc") / file
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(rf"^{field}\s*:(.*)", text, re.IGNORECASE | re.MULTILINE)
    return found[1].strip() if found else None


def git_state() -> GitState | None:
    """Return the state of the repository around the working folder; None outside of one.

    A repository's own configuration can name programs that git runs: a file system monitor, hooks, filters. They are
    switched off, so that looking at a stranger's repository runs none of its code.
    """
    commit = _ask_git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    filters = {key.split(".", 1)[1].rpartition(".")[0] for key in (_ask_git(*_LIST_FILTERS) or "").splitlines() if key}
    off = [f"filter.{name}.{part}" for name in sorted(filters) for part in ("clean=", "process=", "required=false")]
    options = [word for setting in off for word in ("-c", setting)]
    return GitState(commit, bool(_ask_git(*options, "status", "--porcelain", "--ignore-submodules=all")))


_LIST_FILTERS = ("config", "--includes", "--name-only", "--get-regexp", r"^filter\..*\.(clean|process)$")
_RUN_NOTHING = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


def _ask_git(*arguments: str) -> str | None:
    try:
        command = ["git", *_RUN_NOTHING, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
