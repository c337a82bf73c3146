"""The table of layers: what it refuses, packages that announce layers, who imports whom."""

import ast
import re
import sys

import pytest
from support import ROOT, gate_module, model_yaml, package_with_layers, run
from torch import nn

import yolo_attn
from yolo_attn.messages import nearest
from yolo_attn.registry import BlockSpec

PAPER = "https://arxiv.org/abs/0000.00000"


class One(nn.Module):
    def __init__(self, channels, reduction=16, heads=4): ...


class Other(nn.Module):
    def __init__(self, channels): ...


class Many(nn.Module):
    def __init__(self, channels, n=1, **rest): ...


@pytest.mark.fast
def test_register_fills_the_table(own_layers):
    assert own_layers.register("One", paper=PAPER, positional=["heads"])(One) is One
    spec = own_layers.BLOCKS["One"]
    assert spec == BlockSpec(name="One", cls=One, paper=PAPER, positional=("heads",))
    assert (spec.inputs, spec.output, spec.repeats, spec.replaces_csp) == ("one", "input", "stack", False)
    assert spec.import_path == "test_registry.One"
    assert list(spec.options()) == ["reduction", "heads"]
    own_layers.register("One", inputs="list")(One)
    assert (own_layers.BLOCKS["One"].output, own_layers.BLOCKS["One"].paper) == (-1, "")


def test_options_leave_out_what_the_parser_fills_in(own_layers):
    own_layers.register("Many", paper=PAPER, repeats="argument")(Many)
    assert list(own_layers.BLOCKS["Many"].options()) == []
    own_layers.register("One", paper=PAPER, output="argument")(One)  # the output's channels come second
    assert list(own_layers.BLOCKS["One"].options()) == ["heads"]


def test_duplicate_names_both_classes(own_layers):
    own_layers.register("One", paper=PAPER)(One)
    with pytest.raises(ValueError, match=r"'One' .*test_registry\.One.* test_registry\.Other"):
        own_layers.register("One", paper=PAPER)(Other)
    assert own_layers.BLOCKS["One"].cls is One


def test_the_same_class_again_replaces_itself(own_layers):
    own_layers.register("One", paper=PAPER)(One)
    again = type("One", (One,), {"__module__": One.__module__, "__qualname__": "One"})  # as after a reload
    own_layers.register("One", paper=PAPER)(again)
    assert own_layers.BLOCKS["One"].cls is again


@pytest.mark.parametrize(
    ("name", "taken"),
    [("Conv", "ultralytics.nn.modules.conv.Conv"), ("deepcopy", "copy.deepcopy"), ("parse_model", r"ultralytics\..*")],
)
def test_ultralytics_names_with_ultralytics_imported(own_layers, name, taken):
    import ultralytics.nn.tasks  # noqa: F401

    with pytest.raises(ValueError, match=rf"'{name}' .*{taken}; .* test_registry\.One$"):
        yolo_attn.register(name, paper=PAPER)(One)
    assert name not in own_layers.BLOCKS


def test_registering_and_blocks_import_no_ultralytics(tmp_path):
    """Its names are refused all the same; a class without torch needs no torch either."""
    gate_module(tmp_path)
    out = run(
        """
        import sys
        from yolo_attn import register
        class Mine:
            def __init__(self, channels): ...
        register("Mine")(Mine)
        for name in "Conv", "DetectionModel", "torch":
            try:
                register(name)(Mine)
            except ValueError as error:
                print(error)
        print("torch" in sys.modules)
        import my_layers, yolo_attn.blocks
        print("ultralytics" in sys.modules)
        """,
        tmp_path,
    )
    taken = re.findall(r"block name '(\w+)' is already taken by ([\w.]+); cannot give it to __main__.Mine", out)
    assert taken == [
        ("Conv", "ultralytics.nn.modules.Conv"),
        ("DetectionModel", "ultralytics.nn.tasks.DetectionModel"),
        ("torch", "torch"),
    ]
    assert out.endswith("False\nFalse\n")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("spec", "error", "match"),
    [
        ({"name": "3x"}, ValueError, "'3x'"),
        ({"name": "a.b"}, ValueError, r"'a\.b'"),
        ({"inputs": "two"}, ValueError, "inputs='two' .*'one', 'list', 'pyramid'"),
        ({"repeats": "often"}, ValueError, "repeats='often' .*'stack', 'argument', 'never'"),
        ({"output": "same"}, ValueError, "output='same' .*'input', 'argument'"),
        ({"output": True}, ValueError, "output=True .*'input', 'argument'"),
        ({"output": 1}, ValueError, "output=1 .*inputs='list'"),
        ({"fixed": {"nothing": 1}}, ValueError, r"fixed .*\['nothing'\].*One"),
        ({"pyramid": True}, ValueError, "pyramid=True .*output"),
        ({"inputs": "pyramid", "output": "input"}, ValueError, "output='input' .*inputs='one'"),
        ({"inputs": "list", "output": "input"}, ValueError, "output='input' .*inputs='one'"),
        ({"positional": ["heads", "depth"]}, ValueError, r"positional .*\['depth'\].*One"),
        ({"repeats": "argument"}, ValueError, r"repeats='argument' .*\['n'\].*One"),
        ({"min_bach": 2}, TypeError, "min_bach"),
        ({"cls": None}, TypeError, "cls"),
    ],
)
def test_bad_specs(own_layers, spec, error, match):
    name = spec.pop("name", "One")
    before = dict(own_layers.BLOCKS)
    with pytest.raises(error, match=match):
        own_layers.register(name, paper=PAPER, **spec)(One)
    assert before == own_layers.BLOCKS


def test_only_classes(own_layers):
    with pytest.raises(TypeError, match=r"'One' .*<function .*lambda"):
        own_layers.register("One", paper=PAPER)(lambda channels: One(channels))


@pytest.mark.parametrize(
    ("name", "found"), [("EMa", "EMA"), ("gsop", "GSoP"), ("PFMS", "PMFS"), ("Transformer", ""), ("", "")]
)
def test_nearest(name, found):
    hint = nearest(name, ["EMA", "GSoP", "PMFS"])
    assert hint == (f" Did you mean {found!r}?" if found else "")


def test_layers_of_an_installed_package(tmp_path):
    package_with_layers(tmp_path / "site")
    model_yaml(tmp_path, "EMA, []", "AcmeGate, [{reduction: 8}]")
    model_yaml(tmp_path, "EMA, []", "AcmeGat, []", name="yolo11-typo.yaml")
    out = run(
        """
        import sys
        from ultralytics import YOLO
        print("acme_attn" in sys.modules)
        model = YOLO("yolo11n-own.yaml").model.model
        print([type(model[i]).__qualname__ for i in (17, 21, 25)], model[17].down.out_channels)
        YOLO("yolo11n.yaml")
        try:
            YOLO("yolo11n-typo.yaml")
        except ValueError as error:
            print(error)
        """,
        tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )
    first, second, error = out.splitlines()
    assert first == "False"
    assert second == "['AcmeGate', 'AcmeGate', 'AcmeGate'] 8"
    assert error.startswith(
        "yolo11-typo.yaml, line 48: layer 17 (AcmeGat): unknown layer type. Did you mean 'AcmeGate'?"
    )
    assert (
        "the blocks lost of acme-attn did not load: ModuleNotFoundError: No module named 'acme_attn.nowhere'" in error
    )


def imports(file):
    """Return the names that a file imports from other packages."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    whole = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return whole | {
        f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) and not n.level for a in n.names
    }


@pytest.mark.fast
def test_who_imports_which_packages():
    """Only the integration imports Ultralytics' internals; the registry needs no other package, blocks only torch."""
    for file in (ROOT / "yolo_attn").rglob("*.py"):
        part = file.relative_to(ROOT / "yolo_attn").parts[0]
        packages = {n.partition(".")[0] for n in imports(file)} - sys.stdlib_module_names
        if part in ("registry.py", "messages.py", "docstrings.py"):
            assert not packages, file
        elif part == "blocks":
            assert packages <= {"torch"}, file
        elif part != "integration":
            theirs = {n for n in imports(file) if n.partition(".")[0] == "ultralytics"}
            assert theirs <= {"ultralytics.YOLO", "ultralytics.RTDETR"}, file
