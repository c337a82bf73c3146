"""What several test files need: fresh interpreters, a tiny data set, a package that announces layers."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

if sys.version_info < (3, 11):
    import tomli as tomllib
else:
    import tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TESTED: dict[str, list[str]] = PROJECT["tool"]["yolo-attn"]["tested"]
GATE = """
    import torch
    from torch import nn
    from yolo_attn import register

    @register("{name}", paper="https://arxiv.org/abs/0000.00000")
    class {name}(nn.Module):
        def __init__(self, channels, reduction=16):
            super().__init__()
            self.down = nn.Conv2d(channels, channels // reduction, 1)
            self.up = nn.Conv2d(channels // reduction, channels, 1)

        def forward(self, x):
            return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
"""


def run(code: str, cwd: Path, *, fails: bool = False, python: Path | str = sys.executable, **env: str) -> str:
    """Run code in a fresh interpreter and return its standard output; with ``fails``, its standard error."""
    done = run_file(["-c", textwrap.dedent(code)], cwd, python=python, **env)
    assert bool(done.returncode) == fails, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stderr if fails else done.stdout


def run_file(
    arguments: list[str], cwd: Path, *, python: Path | str = sys.executable, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter with these arguments. One thread: two that share a busy core wait for each other."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.run([str(python), *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def command(*words: object, cwd: Path | None = None) -> str:
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=300)
    assert not done.returncode, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def install(python: Path, *what: object) -> str:
    """Install wheels or folders of packages into an environment, without a network."""
    options = "--no-deps", "--no-build-isolation", "--no-index", "--no-warn-script-location", "--force-reinstall"
    return command(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *options, *what)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the messages that Ultralytics logs in this context."""
    from ultralytics.utils import LOGGER

    messages: list[str] = []
    handler, level = logging.Handler(), LOGGER.level
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield messages
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def gate_module(folder: Path, name: str = "Gate", module: str = "my_layers") -> Path:
    """Write a module that registers one layer; return its file."""
    file = folder / f"{module}.py"
    file.write_text(textwrap.dedent(GATE).replace("{name}", name))
    return file


def package_with_layers(folder: Path) -> None:
    """Write an installed package whose entry points name a module with the layer AcmeGate, and one that is missing."""
    info = folder / "acme_attn-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-attn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[yolo_attn.blocks]\ngates = acme_attn.gates\nlost = acme_attn.nowhere\n")
    (folder / "acme_attn").mkdir()
    (folder / "acme_attn" / "__init__.py").write_text("")
    gate_module(folder / "acme_attn", "AcmeGate", "gates")


def model_yaml(folder: Path, old: str, new: str, base: str = "yolo11-ema.yaml", name: str = "yolo11-own.yaml") -> Path:
    """Write one of our model YAMLs with every ``old`` replaced."""
    text = (ROOT / "model_yamls" / base).read_text(encoding="utf-8")
    assert old in text, f"{base} has no {old!r}"
    file = folder / name
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def tiny_data(folder: Path, images: int = 4, size: int = 64) -> Path:
    """Write a data set of bright rectangles, two classes, the same images for train and val; return its YAML."""
    import cv2

    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for k in range(images):
        picture = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
        cls, w, h = k % 2, *(int(v) for v in random.integers(size // 4, size // 2, 2))
        x, y = (int(random.integers(0, size - side)) for side in (w, h))
        picture[y : y + h, x : x + w] = (40, 220, 40) if cls else (220, 40, 40)
        cv2.imwrite(str(folder / "images" / f"{k}.png"), picture)
        box = [(x + w / 2) / size, (y + h / 2) / size, w / size, h / size]
        (folder / "labels" / f"{k}.txt").write_text(" ".join(map(str, [cls, *box])) + "\n")
    file = folder / "data.yaml"
    names = {0: "red", 1: "green"}
    file.write_text(yaml.safe_dump({"path": str(folder), "train": "images", "val": "images", "names": names}))
    return file


def noise_data(folder: Path, splits: tuple[str, ...], images: int, size: int = 64) -> Path:
    """Write a data set of noise, two classes, one box in each image; return its YAML."""
    import cv2

    random = np.random.default_rng(0)
    for split in splits:
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for k in range(images):
            picture = random.integers(0, 255, (size, size, 3), np.uint8)
            cv2.imwrite(str(folder / "images" / split / f"{k}.png"), picture)
            (folder / "labels" / split / f"{k}.txt").write_text(f"1 0.5 0.5 0.{k + 1} 0.4\n")
    file = folder / "mine.yaml"
    paths = "".join(f"{split}: images/{split}\n" for split in splits)
    file.write_text(f"path: {folder}\n{paths}names: [a, b]\n")
    return file


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


TRAIN = "data='data/data.yaml', epochs=1, imgsz=64, batch=2, workers=0, device='cpu', plots=False, verbose=False"
