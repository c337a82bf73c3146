"""``pytest --pyargs yolo_attn.testing``: a good block passes, each broken one fails where it is broken."""

import inspect
import itertools
import re
import sys
import textwrap
import xml.etree.ElementTree as ET

import pytest
import torch
from own_block_samples import BROKEN, SIGNATURES, write_modules, write_package
from support import ROOT, command, install, noise_data, run, run_file, tiny_data
from torch import nn
from ultralytics.nn import tasks

from yolo_attn.errors import ArgumentError
from yolo_attn.registry import BlockSpec, ExportLimit
from yolo_attn.testing import block_choice, export_contract, layer_contract
from yolo_attn.testing.block_inputs import BrokenContractError

RESTRICTED = "safe_only" in inspect.signature(tasks.torch_safe_load).parameters


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
    write_modules(tmp_path)
    names = ["Widened", "Joined", "Resized"]
    code, failed = results(tmp_path, *blocks("gates", names), "--block-options", "{factor: 2}")
    assert (code, failed) == (0, {name: set() for name in names})


def test_the_block_of_the_page_passes(tmp_path):
    page = (ROOT / "docs" / "own_blocks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "my_blocks.py").write_text(textwrap.dedent(code))
    assert results(tmp_path, *blocks("my_blocks", ["ChannelGate"])) == (0, {"ChannelGate": set()})


def test_broken_blocks_fail_where_they_are_broken(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_modules(tmp_path)
    code, failed = results(tmp_path, *blocks("broken", [*BROKEN, *SIGNATURES]), *blocks("gates", ["Gate"]))
    assert code == 1
    expected = {name: set(last.split()) for name, (*_, last) in (BROKEN | SIGNATURES).items()}
    if not RESTRICTED:
        expected["HoldsAnObject"] = set()
    assert failed == expected | {"Gate": set()}


def test_what_the_author_reads(tmp_path):
    """What is wrong, what to do, the line of the block that raised, and the layout that comes out."""
    write_modules(tmp_path)
    done = contract(tmp_path, *blocks("broken", ["Views", "MixesSamples"]), "-k", "channels_last or samples")
    assert "reshape instead of view" in done.stdout
    assert re.search(r'broken\.py", line \d+, in forward\n +return x\.view', done.stdout)
    assert re.search(r"^MixesSamples: in eval mode .*dimension 0", done.stdout, re.M)
    assert "MixesSamples: a map in channels_last comes out in the channels_last layout" in done.stdout
    assert "block_inputs.py" not in done.stdout


BAD_PARTS = {"needs": "import no_such_thing", "bad": "1 / 0"}


@pytest.mark.fast
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
def test_mistakes_name_what_to_write(given, match, own_modules, own_layers):
    names = [word for flag, word in itertools.pairwise(given.split()) if flag == "--block"]
    options = given.partition("--block-options ")[2]
    with pytest.raises(ArgumentError, match=match) as raised:
        block_choice.chosen(names, options)
    assert "\n" not in str(raised.value)


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Modules in the current folder, which are forgotten afterwards."""
    write_modules(tmp_path)
    for name, text in BAD_PARTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("gates", "broken", *BAD_PARTS):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("given", ["", "--block gates:Unregistered"])
def test_a_mistake_ends_the_run_with_one_line(given, tmp_path):
    write_modules(tmp_path)
    done = contract(tmp_path, *given.split())
    assert done.returncode == 4
    (line,) = (text for text in done.stderr.splitlines() if text)
    assert re.match("ERROR: .*(--block my_package|not registered)", line), line


def int_sizes(self, x):
    return x.flatten(2).reshape(x.shape[0], x.shape[1], int(x.shape[2]), int(x.shape[3]))


@pytest.mark.fast
@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore::torch.jit.TracerWarning")
def test_a_format_that_the_block_refuses_is_not_tested(own_layers):
    limit = ExportLimit(formats=("onnx",), reason="it has no operator for this")
    own_layers.register("Wrong", export_limits=[limit])(wrong_block(int_sizes).cls)
    export_contract.onnx_agrees(own_layers.BLOCKS["Wrong"])
    with pytest.raises(BrokenContractError, match=r"TorchScript graph was made at .* holds for that size only"):
        export_contract.torchscript_agrees(own_layers.BLOCKS["Wrong"])


@pytest.mark.fast
@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_block_of_one_size_is_tested_at_that_size(own_layers):
    def registered(forward):
        own_layers.BLOCKS.pop("Wrong", None)
        limit = ExportLimit(formats=("torchscript", "onnx"), dynamic=True, reason="its size is fixed")
        own_layers.register("Wrong", export_limits=[limit])(wrong_block(forward).cls)
        return own_layers.BLOCKS["Wrong"]

    for agrees in (export_contract.torchscript_agrees, export_contract.onnx_agrees):
        if agrees is export_contract.onnx_agrees:
            pytest.importorskip("onnx")
            pytest.importorskip("onnxruntime")
        agrees(registered(int_sizes))
        with pytest.raises(BrokenContractError, match="is wrong at the size it was made for"):
            agrees(registered(lambda self, x: x + torch.rand_like(x)))


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


@pytest.mark.fast
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


USE = """
    import sys
    from pathlib import Path

    from ultralytics.cfg import entrypoint

    def yolo(*arguments):
        sys.argv[:] = ["yolo", *arguments]
        entrypoint()

    assert "my_gates" not in sys.modules
    folder = f"project={Path.cwd()}", "name=run"
    TRAIN = ["imgsz=64", "batch=2", "workers=0", "plots=False", "device=cpu", "epochs=1", *folder]
    yolo("train", "model=yolo11n-gate.yaml", "data=data/data.yaml", *TRAIN)
    yolo("export", "model=run/weights/best.pt", "imgsz=64", "format=torchscript", "data=data/data.yaml", "verify=True")
"""
LOAD = """
    import sys
    import torch
    import yolo_attn
    from ultralytics import YOLO
    from ultralytics.nn import tasks

    assert "my_gates" not in sys.modules
    model = YOLO("run/weights/best.pt").model.float().eval()
    (gate,) = (m for m in model.model if type(m).__name__ == "MyGate")
    x = torch.rand(1, 3, 64, 64)
    exported = torch.jit.load("run/weights/best.torchscript")(x)
    with torch.no_grad():
        change = (exported - model.fuse(verbose=False)(x)[0]).abs().max()
    print(yolo_attn.__file__, type(gate).__module__, float(change) < 1e-3)
"""


@pytest.fixture
def installed(monkeypatch, wheel, environment, tmp_path):
    """A virtual environment with yolo-attn and a package with a block of its own."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    write_package(tmp_path / "package")
    python, site = environment("venv")
    install(python, wheel, tmp_path / "package")
    (tmp_path / "work").mkdir()
    return python, site, tmp_path / "work"


@pytest.mark.slow
def test_a_package_is_tested_trained_compared_exported_and_loaded(installed):
    """With yolo-attn and the package installed: ``pytest``, ``yolo`` and ``yolo-attn`` as their user types them."""
    python, site, work = installed
    done = run_file(["-m", "pytest", "-q", "--pyargs", "yolo_attn.testing", "--block", "MyGate"], work, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.M)
    tiny_data(work / "data", images=6)
    yolo_attn = python, "-m", "yolo_attn"
    command(*yolo_attn, "place", "yolo11.yaml", "MyGate", "--at", "neck.P3", "-o", "yolo11-gate.yaml", cwd=work)
    run(USE, work, python=python)
    for restricted in ("0", "1") if RESTRICTED else "0":
        out = run(LOAD, work, python=python, ULTRALYTICS_SAFE_LOAD=restricted)
        assert out.split()[-3:] == [str(site / "yolo_attn" / "__init__.py"), "my_gates.blocks", "True"]
    noise_data(work / "noise", ("train", "val", "test"), images=4)
    models = "--base=yolo11n.yaml", "--models=yolo11n-gate.yaml", "--data=noise/mine.yaml", "--folder=compared"
    short = "--seeds=0", "--epochs=1", "--imgsz=64", "batch=2", "workers=0", "device=cpu"
    command(*yolo_attn, "compare", *models, *short, cwd=work)
    records = sorted(file.parent.name for file in (work / "compared").glob("*/record.json"))
    assert records == ["yolo11n-gate-seed0", "yolo11n-seed0"]


@pytest.mark.slow
def test_other_tests_of_the_user_do_not_notice_the_plugin(installed):
    python, _, work = installed
    (work / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--block')\n")
    imports = "import sys\nassert 'torch' not in sys.modules\n"
    (work / "test_mine.py").write_text(
        f"{imports}def test_it(pytestconfig):\n    assert pytestconfig.option.block == 'a'\n"
    )
    done = run_file(["-m", "pytest", "-W", "error", "--block", "a"], work, python=python)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"plugins:.*yolo-attn", done.stdout)
    assert "warning" not in done.stdout
