"""Our blocks against figures computed with the authors' modules (see ``tests/golden``).

``GOLDEN_DIR`` names another folder of cases in the same form.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_blocks import BLOCKS

FOLDER = Path(os.environ.get("GOLDEN_DIR") or Path(__file__).parent / "golden")
CASES = sorted(FOLDER.glob("*.npz"))


def modes(path):
    """The modes that a case has figures for; cases of a function have them for one."""
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


@pytest.mark.parametrize(("path", "mode"), RUNS)
def test_golden(path, mode):
    with np.load(path) as file:
        case = {k: file[k] for k in file.files}
    meta = json.loads(str(case.pop("meta")))
    if meta["block"] not in BLOCKS:
        pytest.fail(f"the library lacks block {meta['block']!r}")
    golden = BLOCKS[meta["block"]]

    def tensors(prefix):
        return {k.removeprefix(prefix): torch.from_numpy(v) for k, v in case.items() if k.startswith(prefix)}

    want = tensors(f"{mode}/")
    assert want, f"{path.name} has no figures"
    inputs = in_order(tensors("input/"))
    params = {k: v for k, v in tensors("param/").items() if not k.endswith("num_batches_tracked")}
    module = golden.make({**meta, "shapes": [list(x.shape) for x in inputs]}).to(inputs[0].dtype)
    load(module, golden.ours(params))
    module.train(mode == "train")
    differentiated = any(k.startswith("grad_") for k in want)
    for x in inputs:
        x.requires_grad_(differentiated)
    more = {k: torch.from_numpy(v) for k, v in case.items() if "/" not in k}  # what is neither input nor parameter
    outputs = golden.run(module, inputs, **more)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    got = {f"out/{k}": y for k, y in enumerate(outputs)}
    ours = dict(module.named_parameters())
    if differentiated:
        sum((y * c).sum() for y, c in zip(outputs, in_order(tensors("cotangent/")), strict=True)).backward()
        got |= {f"grad_input/{k}": x.grad for k, x in enumerate(inputs)}
        got |= {f"grad_param/{k}": p.grad for k, p in ours.items()}
    given = golden.ours({k.removeprefix("grad_param/"): want.pop(k) for k in list(want) if k.startswith("grad_param/")})
    want |= {f"grad_param/{k}": v for k, v in given.items()}

    assert {n for n in want if n.startswith("out/")} == {f"out/{k}" for k in range(len(outputs))}
    for kind, total in (("grad_input/", len(inputs)), ("grad_param/", len(ours))):
        count = sum(n.startswith(kind) for n in want)
        assert count in (0, total), f"{count} of {total} {kind}"  # all of them, or (the largest cases) none
    for name, value in want.items():
        assert got[name] is not None, f"{name}: no gradient"
        assert value.isfinite().all()
    differences = [n for n, v in want.items() if not close(got[n].detach().reshape(v.shape), v, golden.tolerance)]
    if golden.deviation:
        assert differences, f"deliberately other figures ({golden.deviation}), but they are the authors'"
    else:
        for name in differences:
            raise AssertionError(f"{mode}/{name}: {message(got[name].detach().reshape(want[name].shape), want[name])}")


def close(a, b, tolerance):
    return a.dtype == b.dtype and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def message(got, want):
    return f"largest difference {(got - want).abs().max().item():.3g} of {want.abs().max().item():.3g}"


def test_the_deviations_state_why():
    for name, golden in BLOCKS.items():
        assert golden.deviation is None or len(golden.deviation) > 20, name
