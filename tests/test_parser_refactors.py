"""Ultralytics' own models, and what a later version of parse_model may look like."""

import copy
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest
import torch
import ultralytics
from sample_layers import parse, tiny
from ultralytics.nn import tasks
from ultralytics.utils import YAML

from yolo_attn.errors import UnsupportedUltralyticsError
from yolo_attn.integration.patches.parse_model import replacement
from yolo_attn.integration.patches.wrapped_functions import wrapped
from yolo_attn.integration.queries import layer_types


def shipped():
    return sorted(Path(tasks.__file__).parents[1].glob("cfg/models/**/*.yaml"))


def attempt(function, file):
    d = {**YAML.load(file), "yaml_file": str(file)}
    d["scale"] = next(iter(d.get("scales") or [""]))
    try:
        with torch.device("meta"):
            model, save = function(d, ch=3, verbose=False)
        return str(model), save
    except Exception as error:
        return type(error), None


@pytest.mark.parametrize("file", shipped(), ids=lambda f: f.stem)
def test_shipped_yamls_build_as_before(file):
    ours, theirs = attempt(tasks.parse_model, file), attempt(tasks.parse_model.__wrapped__, file)
    assert ours == theirs


# What a later version of parse_model may look like

LOOP = 'for i, (f, n, m, args) in enumerate(d["backbone"] + d["head"]):'
CHAIN = "        if m in base_modules:"
BUILD = "m_ = torch.nn.Sequential(*(m(*args) for _ in range(n))) if n > 1 else m(*args)"
WORKS = "; versions 8.3.0 to 8.4.190 work"


def refactored(monkeypatch, tmp_path, change):
    """Load ``ultralytics.nn.tasks`` with a changed ``parse_model`` in place of the real one; return its wrapper."""
    source = Path(tasks.__file__).read_text(encoding="utf-8")
    function = inspect.getsource(tasks.parse_model.__wrapped__)
    changed = change(function)
    assert changed != function, "the change does not apply to this version's source"
    file = tmp_path / "tasks.py"
    file.write_text(source.replace(function, changed), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(layer_types.TASKS, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, layer_types.TASKS, module)
    monkeypatch.setattr(layer_types, "INJECTED", set())
    spec.loader.exec_module(module)
    return wrapped(module.parse_model, replacement)


def swap(*pairs):
    def change(text):
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new)
        return text

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: re.sub(r"\bc2\b", "cout", t), "expected one if-chain that sets c2 in parse_model, found 0"),
        (swap((CHAIN, f"        if m is Index:\n            c2 = 1\n{CHAIN}")), "expected one if-chain .*, found 2"),
        (
            swap((LOOP, LOOP.replace("(f, n, m, args)", "row") + "\n        f, n, m, args = row")),
            r"expected one loop over rows \(from, n, module, args\) in parse_model, found 0",
        ),
        (swap((LOOP, f"{LOOP}\n        pass\n    {LOOP}")), "expected one loop over rows .*, found 2"),
        (lambda t: re.sub(r"\bch\b", "widths", t), "parse_model has no argument ch$"),
        (lambda t: re.sub(r"\bd\b", "cfg", t), "parse_model has no argument d$"),
        (swap(("ch = [ch]", "chs = [ch]"), ("ch.append", "chs.append"), ("ch = []", "chs = []")), "append c2 to ch"),
        (swap((BUILD, "build = lambda m, args: m(*args)\n        m_ = build(m, args)")), None),
        (swap((BUILD, "m_ = build(m, args)")), r"parse_model does not build m\(\*args\) and append c2"),
        (swap((BUILD, "m_ = m(args)")), r"parse_model does not build m\(\*args\) and append c2"),
        (
            swap(("        ch.append(c2)", "        c2 *= 2\n        ch.append(c2)")),
            "append c2 to ch after",
        ),
        (swap(("layers.append(m_)", "layers.append(torch.nn.Identity())")), "parse_model made Identity"),
        (swap(("layers.append(m_)", "layers.extend([m_, m_])")), "parse_model made 10 layers of 5 rows"),
        (lambda t: re.sub(r"(?<!\.)\blegacy\b", "old", t), "parse_model has no variable 'legacy'"),
        (swap(("m_.i, m_.f, m_.type = i, f, t", "m_.i, m_.f, m_.type = i, 0, t")), r"reading -1, but parse_model made"),
    ],
)
def test_parse_model_refactored_too_far(known, monkeypatch, tmp_path, change, why):
    d = tiny([-1, 4, "Deep", [64]])
    expected = str(tasks.parse_model(d, ch=3, verbose=False)[0])
    wrapper = refactored(monkeypatch, tmp_path, change)
    if why is None:  # odd, but it does build m(*args)
        assert str(wrapper(d, ch=3, verbose=False)[0]) == expected
        return
    with pytest.raises(UnsupportedUltralyticsError) as caught:
        wrapper(d, ch=3, verbose=False)
    start, end = f"cannot add layers to Ultralytics {ultralytics.__version__}: ", WORKS
    text = str(caught.value)
    assert text.startswith(start)
    assert text.endswith(end)
    assert re.search(why, text.removeprefix(start).removesuffix(end))


@pytest.mark.parametrize(
    "change",
    [
        swap((CHAIN, f"        if m is Index:\n            pass\n{CHAIN}")),
        swap((CHAIN, "        if m is Index:\n            c2 = 1\n        elif m in base_modules:")),
        swap(("enumerate(d", "list(enumerate(d"), ('d["head"]):', 'd["head"])):')),
        swap(("            if m is C3k2:", "            if m.__name__ == 'C3k2':")),
        swap(("def parse_model(d, ch, verbose=True)", "def parse_model(d, ch, verbose=True, *, strict=True)")),
        swap(("verbose=True", "verbose: bool = True")),
        swap(("        else:\n            c2 = ch[f]", "        else:\n            raise NotImplementedError(m)")),
    ],
)
def test_parse_model_refactored_a_little(known, monkeypatch, tmp_path, change):
    rows = [-1, 4, "Deep", [64]], [-1, 4, "ByPlace", ["n"]], [[0, 1], 1, "Gather", [64]], [-1, 1, "Csp", [64]]
    wanted = [str(parse(tiny(row))) for row in rows]
    wrapper = refactored(monkeypatch, tmp_path, change)
    assert [str(wrapper(tiny(row), ch=3, verbose=False)[0]) for row in rows] == wanted


def test_parse_model_replaced_by_somebody_else(known, monkeypatch, tmp_path):
    stock, ours = tiny([-1, 1, "Conv", [64]]), tiny([-1, 1, "Plain", []])
    original = tasks.parse_model.__wrapped__

    class Callable:
        def __call__(self, *args, **kwargs):
            return original(*args, **kwargs)

    for other in (lambda *args, **kwargs: original(*args, **kwargs)), Callable():
        wrapper = wrapped(other, replacement)
        assert len(wrapper(copy.deepcopy(stock), ch=3, verbose=False)[0]) == 5
        with pytest.raises(UnsupportedUltralyticsError, match=rf"was already replaced by .*{WORKS}"):
            wrapper(ours, ch=3, verbose=False)


def test_parse_model_without_source(known, monkeypatch, tmp_path):
    wrapper = refactored(monkeypatch, tmp_path, swap(("import ast", "import ast  # changed")))
    (tmp_path / "tasks.py").unlink()
    with pytest.raises(UnsupportedUltralyticsError, match=rf"the source of parse_model cannot be read{WORKS}"):
        wrapper(tiny([-1, 1, "Plain", []]), ch=3, verbose=False)
    assert len(wrapper(tiny([-1, 1, "Conv", [64]]), ch=3, verbose=False)[0]) == 5
