"""Checkpoints of every block, committed once (``tests/checkpoints``), load for ever and give the same outputs."""

import inspect
import pickletools
import pkgutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from ultralytics.nn import tasks

import yolo_attn.blocks
from yolo_attn.integration.queries import checkpoints

pytestmark = pytest.mark.fast

FILES = sorted((Path(__file__).parent / "checkpoints").glob("*.pt"))
RESTRICTED = [False, True] if "safe_only" in inspect.signature(tasks.torch_safe_load).parameters else [False]


def load(file, restricted):
    return tasks.torch_safe_load(str(file), **({"safe_only": True} if restricted else {}))[0]


def outputs(checkpoint):
    with torch.no_grad():
        return [block(checkpoint["input"]) for block in checkpoint["model"]]


@pytest.mark.parametrize("restricted", RESTRICTED)
@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_loads_and_gives_the_same_outputs(file, restricted):
    checkpoint = load(file, restricted)
    assert {type(block).__name__ for block in checkpoint["model"]} == {file.stem.partition("-")[0]}
    torch.testing.assert_close(outputs(checkpoint), checkpoint["outputs"], rtol=1e-4, atol=1e-5)


def classes_in(file):
    with zipfile.ZipFile(file) as archive:
        pickled = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
    return {arg.replace(" ", ".") for op, arg, _ in pickletools.genops(pickled) if op.name == "GLOBAL"}


def test_the_files_name_every_class_of_the_blocks():
    named = set().union(*map(classes_in, FILES))
    packages = [yolo_attn.blocks, yolo_attn.blocks.nn]
    modules = [f"{p.__name__}.{m.name}" for p in packages for m in pkgutil.iter_modules(p.__path__)]
    found = [v for m in modules for v in vars(pkgutil.resolve_name(m)).values() if isinstance(v, type)]
    ours = {c for c in found if issubclass(c, torch.nn.Module) and c.__module__.startswith("yolo_attn.")}
    bases = {base for c in ours for base in c.__bases__ if base.__name__ not in yolo_attn.blocks.__all__}
    assert {f.stem.partition("-")[0] for f in FILES} == set(yolo_attn.blocks.__all__)
    assert {n for n in named if n.startswith("yolo_attn.")} == {f"{c.__module__}.{c.__name__}" for c in ours - bases}


@pytest.mark.parametrize("restricted", RESTRICTED)
@pytest.mark.parametrize("old", ["yolo_attn.blocks.ema_of_old.EMAOfOld", "yolo_attn.blocks.gsop.EMAOfOld"])
def test_a_moved_class_loads(old, restricted, tmp_path, monkeypatch):
    module, _, name = old.rpartition(".")
    source = next(f for f in FILES if f.stem == "EMA")
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(tmp_path / "old.pt", "w") as copy:
        for entry in archive.namelist():
            new = b"cyolo_attn.blocks.ema\nEMA\n"
            copy.writestr(entry, archive.read(entry).replace(new, f"c{module}\n{name}\n".encode()))
    with pytest.raises(RuntimeError, match=old):
        load(tmp_path / "old.pt", restricted)
    monkeypatch.setattr(checkpoints, "MOVED_CLASSES", {old: "yolo_attn.blocks.ema.EMA"})
    try:
        checkpoint = load(tmp_path / "old.pt", restricted)
        assert type(checkpoint["model"][0]) is yolo_attn.blocks.EMA
        torch.testing.assert_close(outputs(checkpoint), checkpoint["outputs"], rtol=1e-4, atol=1e-5)
    finally:
        if "of_old" in module:
            del sys.modules[module]
        else:
            delattr(sys.modules[module], name)
