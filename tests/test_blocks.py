"""The contract that every registered block keeps. A new block is covered by being registered."""

import ast
import copy
import functools
import io
import pickle
import re
from dataclasses import replace

import pytest
import torch
from oracles import C, LargestTensor, an_input, make, randomised

import yolo_attn.blocks
from yolo_attn import docstrings
from yolo_attn.registry import BLOCKS, SHIPPED

OURS = {name: s for name, s in sorted(BLOCKS.items()) if s.cls.__module__.startswith("yolo_attn.blocks.")}
GRID = {"reduced_channels": 16, "grid": 4}
FORMS = {  # options that choose other layers than the defaults
    **{f"GSoP-{mode}": {"mode": mode, **GRID} for mode in ("position", "sum", "max", "concat")},
    "GSoP-authors": {"mode": "sum", "reduced_channels": 16, "position_covariance": "authors", "unpool": "authors"},
    "PMFS-conv": {"ch": 8, "form": "conv"},
    "PMFS-weighted": {"ch": 8, "fusion": "weighted"},
    "PMFS-mean_var": {"ch": 8, "ch_k": 4, "ch_v": 6, "br": 2, "statistics": "mean_var"},
    "PMFSChannel-mean_var": {"form": "conv", "statistics": "mean_var"},
    "PMFSSpatial-groups": {"form": "conv", "br": 3, "ch_v": 10},
}
SPECS = OURS | {name: replace(OURS[name.partition("-")[0]], fixed=options) for name, options in FORMS.items()}
every_block = pytest.mark.parametrize("spec", OURS.values(), ids=OURS)
every_form = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
RESERVED_ATTRIBUTES = {"i", "f", "type", "np"}  # Ultralytics sets these on every layer
DTYPES = (torch.float16, torch.bfloat16)
# Time grows with the square of the map.
QUADRATIC = ("AttentionAugmentedConv", "GlobalLocalAttention", "MultiHeadGlobalAttention")
# Every number of channels that a layer of YOLOv8, YOLO11 or YOLO26 returns, scales n to x.
WIDTHS = (16, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 576, 640, 768, 960, 1024, 1152, 1280, 1536)

# Parameters that no loss in train mode can depend on, and why. They exist because the authors' weights have them.
INERT = {
    "GlobalContext": {r"conv_mask\.bias": "shifts all positions equally, before a softmax over them"},
    "GSoP": {r"((position_)?reduce|join_(channel|position))\.bias": "the batch norm after it subtracts it"},
    "PMFS": {
        r"(branches\.\d+|spatial_out)\.pointwise\.bias": "the batch norms after it subtract it",
        r"channel_k\.pointwise\.bias": "shifts all positions equally, before a softmax over them",
    },
    "PMFSChannel": {r"channel_k\.pointwise\.bias": "shifts all positions equally, before a softmax over them"},
    "SpatialAttn": {r"conv[12]\.conv\.bias": "the batch norms after them subtract them"},
    "ChannelAttn": {r"conv[12]\.conv\.bias": "the batch norms after them subtract them"},
    "SoftAttn": {r"(\w+_attn\.conv[12]|conv)\.conv\.bias": "the batch norms after them subtract them"},
    "HarmAttn": {r"soft_attn\.(\w+_attn\.conv[12]|conv)\.conv\.bias": "the batch norms after them subtract them"},
}


def each(x, f):
    """Apply ``f`` to the map or to each map of the list."""
    return [f(m) for m in x] if isinstance(x, list) else f(x)


def maps_of(x):
    """The map, or the maps of the list, of an input or an output."""
    return x if isinstance(x, list) else [x]


def flat(y):
    """All numbers of the output."""
    return torch.cat([m.flatten() for m in maps_of(y)])


def kept(spec, x):
    """What the output has the shape of: the map, one of the maps, or all of them."""
    if spec.pyramid:
        return x
    return [x] if spec.inputs == "one" else [x[0]] if spec.inputs == "pyramid" else [x[-1]]


def shapes(x):
    return [m.shape for m in maps_of(x)]


randomise = functools.partial(randomised, noise=0.2)


@pytest.mark.fast
def test_the_registry_holds_our_blocks():
    assert set(OURS) == {
        *("EMA", "GSoP", "PMFS", "PMFSChannel", "PMFSSpatial"),
        *("SpatialAttn", "ChannelAttn", "SoftAttn", "HardAttn", "HarmAttn"),
        *("GlobalLocalAttention", "ImprovedLocalAttention", "MultiHeadGlobalAttention"),
        *("GlobalContext", "AttentionAugmentedConv", "AttentionFPN", "PyramidLevel"),
    }
    assert {s.cls.__name__ for s in OURS.values()} <= set(yolo_attn.blocks.__all__)


@pytest.mark.fast
@every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_keeps_shape_and_dtype(spec, dtype):
    block = make(spec).to(dtype).eval()
    for size in ((1, 1), (7, 13), (20, 20)):
        x = an_input(spec, size=size, dtype=dtype)
        ys = maps_of(block(x))
        assert shapes(ys) == shapes(kept(spec, x))
        assert all(y.dtype == dtype and y.isfinite().all() for y in ys)


@every_form
def test_runs_on_the_largest_and_oddest_maps(spec):
    largest = (80, 80) if spec.name in QUADRATIC else (160, 160)
    block = make(spec, 32).eval()
    for size in (largest, (159, 3), (1, 97)):
        x = an_input(spec, 1, size, channels=32)
        with torch.no_grad():
            ys = maps_of(block(x))
        assert shapes(ys) == shapes(kept(spec, x))
        assert flat(ys).isfinite().all()


@every_form
def test_every_yolo_width_builds_or_says_what_would(spec):
    for channels in WIDTHS:
        wide = channels > 320  # built without memory: the widest blocks have 60 million parameters
        with torch.device("meta" if wide else "cpu"):
            try:
                block, refused = make(spec, channels), None
            except ValueError as error:
                refused = str(error)
            if refused:
                found = re.match(
                    rf"{spec.name}: (\w+)=.*\b{channels}; divisors of {channels}: (\[1, 2, .*\])$", refused
                )
                assert found, refused
                option, fits = found[1], ast.literal_eval(found[2])
                block = make(spec, channels, **{option: fits[-2]})
        if not wide:
            x = an_input(spec, 1, (4, 4), channels)
            with torch.no_grad():
                assert shapes(block.eval()(x)) == shapes(kept(spec, x))


@pytest.mark.fast
@every_form
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 8)], ids=str)
def test_trains_with_one_image(spec, size):
    block = make(spec).train()
    x = each(an_input(spec, 1, size), torch.Tensor.requires_grad_)
    y = flat(block(x))
    y.square().mean().backward()
    assert y.isfinite().all()
    assert all(m.grad is not None and m.grad.isfinite().all() for m in maps_of(kept(spec, x)))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.fast
@every_form
@pytest.mark.parametrize("residual", [False, True])
def test_every_parameter_gets_a_gradient_but_the_declared(spec, residual):
    options = {"residual": True} if residual and "residual" in spec.options() else {}
    block = randomise(make(spec, **options).double()).train()
    x = each(an_input(spec, 2, dtype=torch.float64), torch.Tensor.requires_grad_)
    flat(block(x)).square().mean().backward()
    dead = {n for n, p in block.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-14}
    declared = {n for n, _ in block.named_parameters() for p in INERT.get(spec.name, ()) if re.fullmatch(p, n)}
    assert dead == declared
    assert all("bias" in name for name in dead)  # Ultralytics exempts biases from weight decay
    assert all(m.grad.abs().max() > 0 for m in (kept(spec, x) if spec.inputs == "pyramid" else maps_of(x)))


@pytest.mark.fast
@every_form
def test_every_attention_can_start_as_the_identity(spec):
    if spec.inputs == "pyramid":
        assert not list(make(spec).parameters())  # selects a map
        return
    assert spec.options()["residual"].default is False
    for training in (False, True):
        block = make(spec, residual=True).train(training)
        plain = make(spec).train(training)
        x = an_input(spec)
        ys = maps_of(block(x))
        assert all(torch.equal(y, m) for y, m in zip(ys, kept(spec, x), strict=True))
        assert spec.name == "GlobalContext" or not torch.equal(flat(plain(x)), flat(ys))  # that starts so anyway
        flat(ys).square().sum().backward()
        gammas = [p for n, p in block.named_parameters() if "gamma_logit_scale" in n]
        assert len(gammas) == len(ys)
        assert all(g.grad.abs().max() > 0 for g in gammas)  # or it could never leave the identity


@every_form
def test_gamma_leads_from_the_identity_to_the_block(spec):
    if spec.inputs == "pyramid":
        return
    block = randomise(make(spec, residual=True)).eval()
    plain = make(spec).eval()
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if "gamma_logit_scale" not in k})
    x = an_input(spec)
    for gamma in (1.0, 0.25):
        for name, p in block.named_parameters():
            if "gamma_logit_scale" in name:
                p.data.fill_(gamma)
        start, end = flat(kept(spec, x)), flat(plain(x))
        torch.testing.assert_close(flat(block(x)), start + gamma * (end - start))


@pytest.mark.fast
@every_form
def test_does_not_mix_samples_in_eval(spec):
    block = randomise(make(spec).double()).eval()
    x = an_input(spec, 3, dtype=torch.float64)
    alone = block(each(x, lambda m: m[1:2]))
    torch.testing.assert_close(flat(each(block(x), lambda m: m[1:2])), flat(alone))


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_leaves_its_input_alone(spec, training):
    x = an_input(spec)
    before = copy.deepcopy(x)
    make(spec).train(training)(x)
    assert all(torch.equal(a, b) for a, b in zip(maps_of(x), maps_of(before), strict=True))


@pytest.mark.fast
@every_form
def test_copies_pickles_and_reloads(spec):
    block = randomise(make(spec)).eval()
    x = an_input(spec)
    y = flat(block.train()(x)).mean()
    if y.requires_grad:
        y.backward()  # a used block, not only a fresh one
    block.eval().zero_grad()
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    fresh = make(spec).eval()
    fresh.load_state_dict(block.state_dict(), strict=True)
    for twin in (
        copy.deepcopy(block),
        pickle.loads(pickle.dumps(block)),
        torch.load(file, weights_only=False),
        fresh,
    ):
        assert torch.equal(flat(twin(x)), flat(block(x)))


@every_form
def test_right_after_ultralytics_sets_inplace(spec):
    """Loading a checkpoint sets ``inplace = True`` wherever there is such an attribute."""
    block = randomise(make(spec)).eval()
    x = an_input(spec)
    want = flat(block(x)).clone()
    for module in block.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    assert torch.equal(flat(block(x)), want)


@every_form
def test_keeps_nothing_from_forward(spec):
    block = make(spec).eval()
    before = {id(m): set(vars(m)) for m in block.modules()}
    block(an_input(spec))
    assert {id(m): set(vars(m)) for m in block.modules()} == before
    plain = [(n, k) for n, m in block.named_modules() for k, v in vars(m).items() if isinstance(v, torch.Tensor)]
    assert not plain  # .half() and .to(device) skip a tensor that is not a buffer


@every_form
def test_takes_no_name_that_ultralytics_uses(spec):
    block = make(spec)
    for module in block.modules():
        assert not RESERVED_ATTRIBUTES & set(vars(module))
        assert not RESERVED_ATTRIBUTES & set(module._modules)
    assert not {"model", "dfl", "teacher_model"} & {part for n, _ in block.named_modules() for part in n.split(".")}
    block.i, block.f, block.type, block.np = 3, -1, "EMA", 17  # the parser sets these on a layer
    x = an_input(spec)
    assert shapes(block.eval()(x)) == shapes(kept(spec, x))


@pytest.mark.fast
def test_the_list_for_code_without_torch_is_complete():
    assert list(SHIPPED) == list(OURS)


@every_block
def test_parameters_are_vectors_matrices_or_kernels(spec):
    """MuSGD of Ultralytics 8.4.0 treats every parameter of more than one dimension as a matrix and fails at three."""
    for options in ({}, {"position": "absolute"}, {"position": "rope_mixed"}):
        if set(options) <= set(spec.options()):
            assert {p.ndim for p in make(spec, 2 * C, **options).parameters()} <= {1, 2, 4}


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_agrees(spec, training):
    block = randomise(make(spec).double()).train(training)
    x = an_input(spec, size=(6, 10), dtype=torch.float64)
    want = copy.deepcopy(block)(x)
    got = block.to(memory_format=torch.channels_last)(each(x, lambda m: m.to(memory_format=torch.channels_last)))
    torch.testing.assert_close(flat(got), flat(want))


@every_form
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, *DTYPES], ids=str)
def test_large_inputs_stay_finite_under_autocast(spec, dtype, training):
    block = make(spec).train(training)
    x = each(an_input(spec, size=(20, 20)), lambda m: 1e3 * m / m.abs().max())
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = flat(block(x))
    assert y.isfinite().all()
    if y.requires_grad:
        y.float().mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


@every_form
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_inputs_stay_finite_in_a_half_model(spec, dtype):
    x = each(an_input(spec, size=(20, 20)), lambda m: (1e3 * m / m.abs().max()).to(dtype))
    assert flat(make(spec).to(dtype).eval()(x)).isfinite().all()


@every_form
def test_memory_grows_with_the_number_of_positions(spec):
    """What is saved for the backward pass, and the largest tensor: linear in H * W."""
    saved, largest = [], []
    for size in ((32, 32), (64, 64)):
        block, x = make(spec, 32).train(), an_input(spec, 1, size, channels=32)
        elements = []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t, e=elements: e.append(t.numel()) or t, lambda t: t)
        with hooks, LargestTensor() as most:
            block(x)
        saved.append(sum(elements))
        largest.append(most.elements)
    assert saved[1] <= 4.5 * saved[0]
    assert largest[1] <= 4.5 * largest[0]


@every_form
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_half_model_and_autocast_stay_near_float32(spec, dtype):
    block = randomise(make(spec)).eval()
    x = an_input(spec)
    want = flat(block(x))
    with torch.autocast("cpu", dtype=dtype):
        mixed = flat(block(x))
    half = flat(copy.deepcopy(block).to(dtype)(each(x, lambda m: m.to(dtype))))
    assert half.dtype == dtype
    for got in (mixed, half):
        assert (got.float() - want).abs().mean() < 0.02 * want.abs().mean()


@pytest.mark.export
@every_form
@pytest.mark.filterwarnings("ignore:`torch.jit.trace")  # deprecated, and what Ultralytics calls
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
def test_graphs_agree_with_eager(spec):
    """Export at a size of whole multiples and at an odd one; compile; trace as Ultralytics does for ONNX."""
    block = randomise(make(spec)).eval()
    x, odd = an_input(spec, size=(16, 16)), an_input(spec, size=(7, 9))
    want, odd_want = flat(block(x)), flat(block(odd))
    torch.testing.assert_close(flat(torch.export.export(block, (odd,)).module()(odd)), odd_want)
    if spec in OURS.values():  # the forms differ from the defaults in layers, not in sizes
        torch.testing.assert_close(flat(torch.export.export(block, (x,)).module()(x)), want)
    torch._dynamo.reset()
    torch.testing.assert_close(flat(torch.compile(block, backend="eager", fullgraph=True)(odd)), odd_want)
    torch.testing.assert_close(flat(torch.jit.trace(block, (x,), strict=False)(x)), want)


@pytest.mark.fast
@every_block
def test_docstring_has_its_sections_and_every_argument(spec):
    parts = docstrings.sections(spec.cls)
    assert {"Shape", "Limits"} <= parts.keys()
    assert any("the authors' code" in title for title in parts)
    assert spec.paper in parts[""]
    assert {"channels", *spec.options()} <= docstrings.arguments(spec.cls).keys()


@pytest.mark.fast
@every_form
@pytest.mark.parametrize("training", [True, False])
def test_every_layer_is_called(spec, training):
    """Quantization-aware training replaces the class of layers; a weight read past such a layer would stay exact."""
    block = randomise(make(spec)).train(training)
    x = an_input(spec)
    want = flat(copy.deepcopy(block)(x))
    called, expected = set(), set()

    def replaced(layer):
        def forward(self, *args):
            called.add(id(self))
            return kind.forward(self, *args)

        kind = type(layer)
        layer.__class__ = type(f"Quant{kind.__name__}", (kind,), {"forward": forward})
        expected.add(id(layer))

    for layer in block.modules():
        if type(layer) in (torch.nn.Conv2d, torch.nn.Linear):
            replaced(layer)
    torch.testing.assert_close(flat(block(x)), want)
    assert called == expected
