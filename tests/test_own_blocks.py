"""``pytest --pyargs yolo_attn.testing``: a good block passes, each broken one fails where it is broken."""

import re
import textwrap
import xml.etree.ElementTree as ET

import pytest
import torch
from support import ROOT, run_file
from torch import nn

from yolo_attn.registry import BlockSpec
from yolo_attn.testing import layer_contract
from yolo_attn.testing.block_inputs import BrokenContractError

HEAD = """
    import types

    import torch
    import torch.nn.functional as F
    from torch import nn

    import yolo_attn
"""
GOOD = """
    @yolo_attn.register("Gate")
    class Gate(nn.Module):
        def __init__(self, channels, reduction: int = 16, residual: bool = False):
            super().__init__()
            self.down = nn.Conv2d(channels, channels // reduction, 1)
            self.up = nn.Conv2d(channels // reduction, channels, 1)
            self.gamma = nn.Parameter(torch.zeros(1)) if residual else None

        def forward(self, x):
            y = x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
            return y if self.gamma is None else x + self.gamma * (y - x)

    @yolo_attn.register("Widened", output="argument", repeats="argument")
    class Widened(nn.Module):
        def __init__(self, channels, out, n, factor: int):
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(channels, out * factor, 1), nn.Conv2d(out * factor, out, 1))

        def forward(self, x):
            return self.convs(x)

    @yolo_attn.register("Joined", inputs="list")
    class Joined(nn.Module):
        def __init__(self, channels, factor: int = 1):
            super().__init__()
            self.convs = nn.Sequential(
                nn.Conv2d(sum(channels), channels[-1] * factor, 1), nn.Conv2d(channels[-1] * factor, channels[-1], 1)
            )

        def forward(self, maps):
            return self.convs(torch.cat(maps, 1))

    @yolo_attn.register("Resized", inputs="list", pyramid=True, output=lambda channels, options: channels, repeats="never")
    class Resized(nn.Module):
        def __init__(self, channels, factor: int = 1):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(c, c, 2 * factor - 1, padding=factor - 1) for c in channels)

        def forward(self, maps):
            return [conv(m) for conv, m in zip(self.convs, maps)]

    class Unregistered(nn.Module):
        def __init__(self, channels):
            super().__init__()
"""
# Class -> what stands in __init__, what forward returns, and the checks that must fail. ``s`` has a value per channel.
BROKEN = {
    "RoundsSizes": (
        "",
        "F.interpolate(F.avg_pool2d(x, 2, ceil_mode=True), scale_factor=2.0) * s",
        "keeps_shape_and_dtype",
    ),
    "MixesSamples": ("", "(x + x.mean(0, keepdim=True)) * s", "does_not_mix_samples_in_eval"),
    "WritesItsInput": ("", "x.add_(s)", "leaves_its_input_alone right_after_ultralytics_sets_inplace"),
    "HasALambda": (
        "self.act = lambda x: x * 2",
        "self.act(x) * s",
        "copies_pickles_and_reloads fuses_saves_and_loads_in_a_model",
    ),
    "Views": ("", "x.view(x.shape[0], -1).reshape(x.shape) * s", "channels_last_agrees"),
    "FixesItsSize": (
        "",
        "(x * s).flatten(2).reshape(-1, x.shape[1], int(x.shape[2]), int(x.shape[3]))",
        "exports_to_torchscript exports_to_onnx",
    ),
    "StoresACount": ("", "setattr(self, 'calls', 1) or x * s", "keeps_nothing_from_forward"),
    "HasAType": ("self.type = 'gate'", "x * s", "takes_no_name_that_ultralytics_uses"),
    "Squares": ("", "x * x / 100 * s", "large_inputs_stay_finite_in_a_half_model"),
    "MakesFloat32": ("", "x * s + torch.ones(1, 1, 1, 1)", "keeps_shape_and_dtype half_precision_stays_near_float32"),
    "NormsPooled": (
        "self.norm = nn.BatchNorm2d(channels)",
        "x * self.norm(x.mean((2, 3), keepdim=True)) * s",
        "trains_with_one_image",
    ),
    "HasADeadPart": (
        "self.lost = nn.Parameter(torch.ones(channels, 1, 1))",
        "x * s",
        "every_parameter_learns trains_with_one_image",
    ),
    "ForgetsWidths": (
        "self.few = nn.Conv2d(channels, channels // 32, 1)",
        "x * s + self.few(x).mean(1, keepdim=True)",
        "every_width_builds_or_is_refused",
    ),
    "HoldsAnObject": ("self.settings = types.SimpleNamespace(a=1)", "x * s", "fuses_saves_and_loads_in_a_model"),
}
SIGNATURES = {  # class -> the constructor's options, and the checks that must fail
    "IgnoresReduction": ("reduction: int = 4", "ignores_no_option"),
    "TakesAnything": ("**options", "refuses_unknown_options"),
    "AddsAResidual": ("residual: bool = False", "starts_as_the_identity_with_residual"),
}


def source(name, options="", init="", value="x * s"):
    return f"""
    @yolo_attn.register("{name}")
    class {name}(nn.Module):
        def __init__(self, channels{f", {options}" if options else ""}):
            super().__init__()
            self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))
            {init}

        def forward(self, x):
            s = self.scale
            return {value}
    """


def modules(folder):
    """Write a module with a good block, and one with the broken ones."""
    (folder / "gates.py").write_text(textwrap.dedent(f"{HEAD}{GOOD}"))
    broken = [source(name, init=init, value=value) for name, (init, value, _) in BROKEN.items()]
    broken.append(source("IgnoresReduction", "reduction: int = 4"))
    broken.append(source("TakesAnything", "**options"))
    broken.append(
        source(
            "AddsAResidual",
            "residual: bool = False",
            "self.residual = residual",
            "x * s + x if self.residual else x * s",
        )
    )
    (folder / "broken.py").write_text("".join(map(textwrap.dedent, [HEAD, *broken])))


def results(folder, *arguments):
    """Run the contract; return its exit status, and for each block the checks that failed."""
    done = contract(folder, *arguments, "--junit-xml", "found.xml")
    failed = {}
    for case in ET.parse(folder / "found.xml").iter("testcase"):
        test, name = re.match(r"test_(\w+)\[(\w+)", case.get("name")).groups()
        failed.setdefault(name, set())
        for failure in case.iter("failure"):
            failed[name].add(test)
            assert failure.get("message").startswith(name), failure.get("message")
    return done.returncode, failed


def blocks(module, names):
    return [word for name in names for word in ("--block", f"{module}:{name}")]


def contract(folder, *arguments):
    """Run the contract in a new process, without the settings of this repository."""
    plugin = "-p", "yolo_attn.testing.pytest_plugin", "-p", "no:cacheprovider", "-o", "addopts="
    env = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return run_file(["-m", "pytest", *plugin, "-q", "--pyargs", "yolo_attn.testing", *arguments], folder, **env)


def test_good_blocks_of_every_kind_pass(tmp_path):
    modules(tmp_path)
    names = ["Widened", "Joined", "Resized"]
    code, failed = results(tmp_path, *blocks("gates", names), "--block-options", "{factor: 2}")
    assert (code, failed) == (0, {name: set() for name in names})


def test_broken_blocks_fail_where_they_are_broken(tmp_path):
    modules(tmp_path)
    code, failed = results(tmp_path, *blocks("broken", [*BROKEN, *SIGNATURES]), "--block", "gates:Gate")
    assert code == 1
    assert failed == {name: set(last.split()) for name, (*_, last) in (BROKEN | SIGNATURES).items()} | {"Gate": set()}


def test_what_the_author_reads(tmp_path):
    """What is wrong, what to do, the line of the block that raised, and the layout that comes out."""
    modules(tmp_path)
    done = contract(tmp_path, *blocks("broken", ["Views", "MixesSamples"]), "-k", "channels_last or samples")
    assert "reshape instead of view" in done.stdout
    assert re.search(r'broken\.py", line \d+, in forward\n +return x\.view', done.stdout)
    assert re.search(r"^MixesSamples: in eval mode .*dimension 0", done.stdout, re.M)
    assert "MixesSamples: a map in channels_last comes out in the channels_last layout" in done.stdout
    assert "block_inputs.py" not in done.stdout


BAD_PARTS = {"needs": "import no_such_thing", "bad": "1 / 0"}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("", r"needs a block to test: --block my_package\.blocks:MyBlock"),
        ("--block gate:Gate", "no module 'gate'.*pip install"),
        ("--block needs:Gate", "needs needs 'no_such_thing'"),
        ("--block bad:Gate", r"importing bad fails: ZeroDivisionError.*bad\.py:1"),
        ("--block gates:Gat", "no class 'Gat'. Did you mean 'Gate'"),
        ("--block gates:torch", "torch is a module"),
        ("--block gates:Unregistered", r'not registered; write @yolo_attn\.register\("Unregistered"\)'),
        ("--block EMMA", "no block of that name .*Did you mean 'EMA'"),
        ("--block gates:Widened", r"without a default: factor; give --block-options '\{factor: \.\.\.\}'"),
        ("--block gates:Gate --block-options {reductoin:8}", "no option 'reductoin:8'|must be a mapping"),
        ("--block gates:Gate --block-options {'reductoin':8}", "no option 'reductoin'. Did you mean 'reduction'"),
        ("--block gates:Gate --block-options 8", "'8' must be a mapping"),
        ("--block gates:Gate --block-options {", "--block-options.*not valid YAML"),
        ("--block gates:Gate --block-options {'reduction':0}", r"cannot be built .*ZeroDivisionError.*gates\.py:\d+"),
    ],
)
def test_mistakes_are_one_line(given, match, tmp_path, monkeypatch):
    modules(tmp_path)
    for name, text in BAD_PARTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    done = contract(tmp_path, *given.split())
    assert done.returncode == 4
    (line,) = (text for text in done.stderr.splitlines() if text)
    assert re.match(rf"ERROR: .*{match}", line), line


def wrong_block(forward, init=lambda self: None):
    """Return an unregistered layer type."""

    class Wrong(nn.Module):
        def __init__(self, channels):
            super().__init__()
            init(self)

        def forward(self, x):
            return forward(self, x)

    return BlockSpec(name="Wrong", cls=Wrong)


def counted(self, x):
    self.calls += 1
    return x * self.calls


def later_relu(self, x):
    return x + self.act(x)


@pytest.mark.parametrize(
    ("check", "forward", "init", "match"),
    [
        (
            layer_contract.is_deterministic_in_eval,
            lambda self, x: torch.nn.functional.dropout(x),
            None,
            "self.training",
        ),
        (layer_contract.is_deterministic_in_eval, counted, lambda self: setattr(self, "calls", 0), "earlier|no call"),
        (
            layer_contract.works_after_inplace_is_set,
            later_relu,
            lambda self: setattr(self, "act", nn.ReLU()),
            "inplace",
        ),
        (layer_contract.takes_no_reserved_name, lambda self, x: x, lambda self: setattr(self, "dfl", nn.ReLU()), "dfl"),
        (
            layer_contract.keeps_nothing_from_forward,
            lambda self, x: x,
            lambda self: setattr(self, "t", torch.ones(1)),
            "t is",
        ),
        (layer_contract.does_not_mix_samples, lambda self, x: [x], None, "returns a list.*one tensor"),
    ],
)
def test_other_mistakes(check, forward, init, match):
    with pytest.raises(BrokenContractError, match=match):
        check(wrong_block(forward, *([init] if init else [])))
