"""Our blocks against outputs of the authors' modules (see ``tests/authors_outputs``).

The environment variable ``AUTHORS_OUTPUTS`` names another folder of cases in the same format.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_cases import BLOCKS

from yolo_attn import registry

FOLDER = Path(os.environ.get("AUTHORS_OUTPUTS") or Path(__file__).parent / "authors_outputs")
CASES = sorted(FOLDER.glob("*.npz"))


def modes(path):
    """The modes that a case has outputs for; cases of a function have one."""
    with np.load(path) as case:
        return [m for m in ("eval", "train") if any(k.startswith(f"{m}/") for k in case.files)]


RUNS = [pytest.param(path, mode, id=f"{path.stem}-{mode}") for path in CASES for mode in modes(path) or ["eval"]]


def in_order(tensors):
    return [v for _, v in sorted(tensors.items(), key=lambda item: int(item[0]))]


def load(module, given):
    """Load the authors' parameters, every one of theirs into every one of ours."""
    ours = module.state_dict()
    for name, value in given.items():
        assert name in ours, f"{name}: not a parameter of ours"
        assert value.numel() == ours[name].numel(), f"{name}: {tuple(value.shape)} into {tuple(ours[name].shape)}"
    counters = {k: v for k, v in ours.items() if k.endswith("num_batches_tracked")}
    module.load_state_dict({k: v.reshape(ours[k].shape) for k, v in given.items()} | counters, strict=True)


def test_there_are_cases():
    assert CASES, f"no .npz case in {FOLDER}"


@pytest.mark.fast
@pytest.mark.parametrize(("path", "mode"), RUNS)
def test_authors_outputs(path, mode):
    with np.load(path) as file:
        case = {k: file[k] for k in file.files}
    meta = json.loads(str(case.pop("meta")))
    if meta["block"] not in BLOCKS:
        pytest.fail(f"no entry for the block {meta['block']!r}")
    entry = BLOCKS[meta["block"]]

    def tensors(prefix):
        return {k.removeprefix(prefix): torch.from_numpy(v) for k, v in case.items() if k.startswith(prefix)}

    want = tensors(f"{mode}/")
    assert want, f"{path.name} has no outputs"
    inputs = in_order(tensors("input/"))
    params = {k: v for k, v in tensors("param/").items() if not k.endswith("num_batches_tracked")}
    module = entry.make({**meta, "shapes": [list(x.shape) for x in inputs]}).to(inputs[0].dtype)
    load(module, entry.ours(params))
    module.train(mode == "train")
    differentiated = any(k.startswith("grad_") for k in want)
    for x in inputs:
        x.requires_grad_(differentiated)
    more = {k: torch.from_numpy(v) for k, v in case.items() if "/" not in k}  # what is neither input nor parameter
    outputs = entry.run(module, inputs, **more)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    got = {f"out/{k}": y for k, y in enumerate(outputs)}
    ours = dict(module.named_parameters())
    if differentiated:
        sum((y * c).sum() for y, c in zip(outputs, in_order(tensors("cotangent/")), strict=True)).backward()
        got |= {f"grad_input/{k}": x.grad for k, x in enumerate(inputs)}
        got |= {f"grad_param/{k}": p.grad for k, p in ours.items()}
    given = entry.ours({k.removeprefix("grad_param/"): want.pop(k) for k in list(want) if k.startswith("grad_param/")})
    want |= {f"grad_param/{k}": v for k, v in given.items()}

    assert {n for n in want if n.startswith("out/")} == {f"out/{k}" for k in range(len(outputs))}
    for kind, total in (("grad_input/", len(inputs)), ("grad_param/", len(ours))):
        count = sum(n.startswith(kind) for n in want)
        assert count in (0, total), f"{count} of {total} {kind}"  # all of them, or (the largest cases) none
    for name, value in want.items():
        assert got[name] is not None, f"{name}: no gradient"
        assert value.isfinite().all()
    for name, value in want.items():
        ours = got[name].detach().reshape(value.shape)
        assert ours.dtype == value.dtype, name
        torch.testing.assert_close(
            ours, value, rtol=entry.tolerance, atol=entry.tolerance, msg=lambda m, n=name: f"{mode}/{n}: {m}"
        )


def test_the_registry_says_which_blocks_are_checked():
    """The stored cases cover the blocks with ``checked="authors"``, as themselves or as parts of a case's module."""
    ours = {n: s for n, s in registry.BLOCKS.items() if s.cls.__module__.startswith("yolo_attn.blocks.")}
    built = set()
    for path in sorted((Path(__file__).parent / "authors_outputs").glob("*.npz")):
        with np.load(path) as case:
            meta = json.loads(str(case["meta"]))
            shapes = [list(case[n].shape) for n in sorted(case.files) if n.startswith("input/")]
        module = BLOCKS[meta["block"]].make({**meta, "shapes": shapes})
        built |= {n for n, s in ours.items() for m in (module, *module.children()) if isinstance(m, s.cls)}
    assert {n for n, s in ours.items() if "authors" in s.checked} == built
    assert {n for n, s in ours.items() if "loop" not in s.checked} == {"PyramidLevel"}  # it selects a map
