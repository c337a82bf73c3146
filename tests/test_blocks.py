"""The contract that every registered block keeps. A new block is covered by being registered."""

import ast
import copy
import functools
import re
from dataclasses import replace

import pytest
import torch
from oracles import LargestTensor

import yolo_attn.blocks
from yolo_attn import docstrings
from yolo_attn.registry import BLOCKS, SHIPPED
from yolo_attn.testing import layer_contract, precision_contract
from yolo_attn.testing.block_inputs import C, an_input, declared_shapes, each, flat, make, maps_of, randomised, shapes
from yolo_attn.testing.layer_contract import WIDTHS
from yolo_attn.testing.precision_contract import HALVES

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
# Time grows with the square of the map.
QUADRATIC = ("AttentionAugmentedConv", "GlobalLocalAttention", "MultiHeadGlobalAttention")

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


def kept(spec, x):
    """What the output has the shape of: the map, one of the maps, or all of them."""
    if spec.pyramid:
        return x
    return [x] if spec.inputs == "one" else [x[0]] if spec.inputs == "pyramid" else [x[-1]]


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
    x = an_input(spec, size=(7, 13))
    assert declared_shapes(spec, x) == shapes(kept(spec, x))
    layer_contract.keeps_shape_and_dtype(spec, dtype)


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
    layer_contract.trains_with_one_image(spec, size)


@pytest.mark.fast
@every_form
@pytest.mark.parametrize("residual", [False, True])
def test_every_parameter_gets_a_gradient_but_the_declared(spec, residual):
    options = {"residual": True} if residual and "residual" in spec.options() else {}
    spec = replace(spec, fixed={**spec.fixed, **options})
    block = make(spec)
    dead = layer_contract.parameters_without_gradient(spec)
    declared = {n for n, _ in block.named_parameters() for p in INERT.get(spec.name, ()) if re.fullmatch(p, n)}
    assert dead == declared
    assert all("bias" in name for name in dead)  # Ultralytics exempts biases from weight decay
    block = randomise(block.double()).train()
    x = each(an_input(spec, 2, dtype=torch.float64), torch.Tensor.requires_grad_)
    flat(block(x)).square().mean().backward()
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
    layer_contract.does_not_mix_samples(spec)


@every_form
@pytest.mark.parametrize("training", [True, False])
def test_leaves_its_input_alone(spec, training):
    layer_contract.leaves_its_input_alone(spec, training)


@pytest.mark.fast
@every_form
def test_copies_pickles_and_reloads(spec):
    layer_contract.copies_agree(spec)


@every_form
def test_right_after_ultralytics_sets_inplace(spec):
    layer_contract.works_after_inplace_is_set(spec)


@every_form
def test_keeps_nothing_from_forward(spec):
    layer_contract.keeps_nothing_from_forward(spec)


@every_form
def test_takes_no_name_that_ultralytics_uses(spec):
    layer_contract.takes_no_reserved_name(spec)


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
    precision_contract.agrees_in_channels_last(spec, training)


@every_form
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_large_inputs_stay_finite_under_autocast(spec, dtype, training):
    precision_contract.large_inputs_stay_finite_under_autocast(spec, dtype, training)


@every_form
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_large_inputs_stay_finite_in_a_half_model(spec, dtype):
    precision_contract.large_inputs_stay_finite_in_a_half_model(spec, dtype)


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
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_model_and_autocast_stay_near_float32(spec, dtype):
    precision_contract.half_precision_stays_near_float32(spec, dtype)


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
