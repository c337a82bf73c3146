"""Every version of Ultralytics that is said to work: build, train, load again. More: ``test_pretrained_versions.py``.

A plain run tests the installed one. ``pytest -m versions`` fetches the others once, into pytest's cache folder.
"""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import filelock
import pytest
from support import ROOT, TESTED, TRAIN, gate_module, model_yaml, run, tiny_data

from yolo_attn.integration.queries.ultralytics_versions import LAYERS

OTHERS = [v for v in TESTED["ultralytics"] if v != metadata.version("ultralytics")]
ENDS = ("8.3.0", "8.3.253", "8.4.0")  # the oldest, and both sides of the change to 8.4; the others get less
PLACES = {  # of the layers in a YOLO11 or YOLO26; in a YOLOv8 one before
    "ema": (["EMA"], [17, 21, 25]),
    "gsop": (["GSoP"], [11]),
    "pmfs": (["PMFS"], [11]),
    "harm": (["HarmAttn"], [17, 21, 25]),
    "soft": (["SoftAttn"], [17, 21, 25]),
    "gla": (["GlobalLocalAttention"], [11]),
    "gc": (["GlobalContext"], [5, 8, 13]),
    "aac": (["AttentionAugmentedConv"], [11]),
    "afpn": (["AttentionFPN", "PyramidLevel"], [11, 12, 13, 14]),
}
TRAINED = ["ema", "afpn", "gsop", "pmfs", "harm"]
FIRST = ["yolo11n-ema.yaml", "yolo26n-gc.yaml", "yolov8n-pmfs.yaml", "yolo11n-aac.yaml", "yolo11n-afpn.yaml"]
MODELS = sorted(f.name.replace("-", "n-", 1) for f in (ROOT / "model_yamls").glob("*.yaml"))
MODELS = FIRST + [name for name in MODELS if name not in FIRST]
CSP = """
from torch import nn
from yolo_attn import register

@register("Csp", paper="", output="argument", repeats="argument", replaces_csp=True)
class Csp(nn.Conv2d):
    def __init__(self, channels, out, n=1):
        super().__init__(channels, out, 1)
"""


def fetch(version: str, folder: Path) -> None:
    """Install this version, and what it needs and is not here, without touching torch."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--target", folder]
    done = subprocess.run([*pip, f"ultralytics=={version}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot fetch ultralytics {version}: {done.stderr.strip().splitlines()[-1]}")
    (info,) = metadata.distributions(path=[str(folder)])
    needed = [re.match(r"[\w.-]+", r)[0] for r in info.requires or [] if "extra" not in r]
    here = {re.sub(r"[-_.]+", "-", d.name).lower() for d in metadata.distributions()}
    missing = [n for n in needed if re.sub(r"[-_.]+", "-", n).lower() not in here]
    if missing:
        subprocess.run([*pip, *missing], check=True)


def less_than(version: str, everything: list, few: int) -> list:
    """Return what a version is tested with: everything, or the first few for a version between the ends."""
    return everything if version in ENDS or version == metadata.version("ultralytics") else everything[:few]


@pytest.fixture(scope="module", params=["installed", *(pytest.param(v, marks=pytest.mark.versions) for v in OTHERS)])
def version(request, tmp_path_factory):
    """The version, and the environment in which an interpreter imports it; the start-up hook is off."""
    config = tmp_path_factory.mktemp("config")
    env = {"YOLO_CONFIG_DIR": str(config), "YOLO_ATTN_AUTOLOAD": "0"}
    if request.param == "installed":
        return metadata.version("ultralytics"), env
    folder = Path(request.config.cache.mkdir(f"ultralytics-{request.param}"))
    with filelock.FileLock(f"{folder}.lock"):  # the other test process may want the same one
        if not (folder / "complete").exists():
            fetch(request.param, folder)
            (folder / "complete").touch()
    return request.param, {**env, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def of(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3])


def last_lines(out: str) -> list[str]:
    """Return what our code printed, not Ultralytics."""
    return [line.removeprefix("= ") for line in out.splitlines() if line.startswith("= ")]


def test_builds(version, tmp_path):
    number, env = version
    models = less_than(number, MODELS, len(FIRST))
    gate_module(tmp_path)
    (tmp_path / "csp.py").write_text(CSP)
    model_yaml(tmp_path, "EMA, []", "Gate, [{reduction: 8}]")
    text = model_yaml(tmp_path, "EMA, []", "nn.Identity, []", name="yolo11-csp.yaml").read_text()
    (tmp_path / "yolo11-csp.yaml").write_text(re.sub(r"C3k2, \[(\d+).*?\]", r"Csp, [\1]", text))
    out = run(
        f"""
        import torch, ultralytics, yolo_attn, csp, my_layers
        print("=", ultralytics.__version__)
        yolo_attn.install()
        from ultralytics import YOLO
        for name in {models}:
            try:
                net = YOLO(name).model
            except ValueError as error:
                print("=", name, type(error).__name__, error)
                continue
            ours = [m for m in net.model if hasattr(m, "yolo_attn_layer")]
            heads = net.train()(torch.rand(2, 3, 64, 64))
            tensors = [t for x in (heads.values() if isinstance(heads, dict) else heads) for t in
                       (x.values() if isinstance(x, dict) else [x]) if isinstance(t, torch.Tensor)]
            sum(t.float().sum() for t in tensors).backward()
            learning = all(p.grad is not None for m in ours for p in m.parameters())
            counted = all(m.np == sum(p.numel() for p in m.parameters()) for m in ours)
            print("=", name, sorted({{type(m).__name__ for m in ours}}), [m.i for m in ours], counted, learning)
        print("=", type(YOLO("yolo11n-own.yaml").model.model[17]).__name__)
        sizes = [sum(p.numel() for p in YOLO(f"yolo11n{{x}}.yaml").model.model[-1].parameters()) for x in ("", "-csp")]
        print("=", sizes[0] == sizes[1])
        try:
            YOLO("yolov8n-nowhere.yaml")
        except FileNotFoundError:
            print("= not found")
        print("=", [name for name in {list(LAYERS)} if hasattr(ultralytics.nn.tasks, name)])
        """,
        tmp_path,
        **env,
    )
    first, *lines = last_lines(out)
    assert first == number
    for name, line in zip(models, lines, strict=False):
        what = Path(name).stem.partition("-")[2]
        if "26" in name and of(number) < (8, 4, 0):
            start = (
                rf"{name} LayerError {name}: needs Ultralytics 8\.4\.0 or later, and {re.escape(number)} is installed"
            )
            assert re.match(start, line), line
            continue
        classes, places = PLACES[what]
        places = [p - 1 for p in places] if "v8" in name else places
        assert line == f"{name} {classes} {places} True True"
    assert lines[len(models) :] == [
        "Gate",
        "True",
        "not found",
        str([n for n, v in LAYERS.items() if of(v) <= of(number)]),
    ]


@pytest.mark.slow
def test_trains_and_loads_again(version, tmp_path):
    number, env = version
    trained = less_than(number, TRAINED, 2)
    tiny_data(tmp_path / "data")
    out = run(
        f"""
        import torch, yolo_attn
        yolo_attn.install()
        from ultralytics import YOLO
        for what in {trained}:
            model = YOLO(f"yolo11n-{{what}}.yaml")
            model.train(project={str(tmp_path / "runs")!r}, name=what, {TRAIN})
            with torch.no_grad():
                torch.save(model.model.float().eval()(torch.ones(1, 3, 64, 64))[0], f"{{what}}.output")
            print("=", what)
        """,
        tmp_path,
        **env,
    )
    assert last_lines(out) == trained
    out = run(
        f"""
        import torch, yolo_attn
        yolo_attn.install()
        from ultralytics import YOLO
        for what in {trained}:
            model = YOLO(f"{tmp_path}/runs/{{what}}/weights/best.pt")
            with torch.no_grad():
                found = model.model.float().eval()(torch.ones(1, 3, 64, 64))[0]
            torch.testing.assert_close(found, torch.load(f"{{what}}.output"), rtol=1e-4, atol=1e-4)
            print("=", sorted({{m.yolo_attn_layer for m in model.model.modules() if hasattr(m, "yolo_attn_layer")}}))
        """,
        tmp_path,
        **env,
    )
    assert last_lines(out) == [str(PLACES[what][0]) for what in trained]


PLACED = {  # rows that come in: one each, before the head one for each map that it reads
    "yolov3-tiny.yaml": 5, "yolov5n-p6.yaml": 7, "yolov8n-p2.yaml": 7, "yolov8n-seg.yaml": 6, "yolov9t.yaml": 6,
    "yolo11n.yaml": 6, "yolo11n-cls.yaml": 3,
}  # fmt: skip


def test_blocks_are_placed_and_weights_follow_their_layers(version, tmp_path):
    number, env = version
    bases = less_than(number, list(PLACED), 3)
    code = f"""
        import torch, yolo_attn
        yolo_attn.install()
        from ultralytics import YOLO
        from yolo_attn.integration.queries import model_graph as graph
        from yolo_attn.model_yaml import places

        def tensors(out):
            parts = out.values() if isinstance(out, dict) else out if isinstance(out, (list, tuple)) else []
            return [out] if isinstance(out, torch.Tensor) else [t for part in parts for t in tensors(part)]

        torch.manual_seed(0)
        for base in {bases}:
            there = places.named(graph.build(graph.load(base)))
            at = [name for name in ("backbone.P3", "backbone.end", "neck.P4", "before_head") if name in there]
            own = "own-" + base
            placed = yolo_attn.place(base, "EMA", at=at, options={{"factor": 8, "residual": True}}, output=own)
            old, new = YOLO(base), YOLO(own)
            new.model.load(old.model, verbose=False)
            x = torch.rand(1, 3, 128, 128)
            with torch.no_grad():
                a, b = tensors(old.model.eval()(x)), tensors(new.model.eval()(x))
            assert len(a) == len(b) > 0, base
            print("=", base, len(placed.inserted), all(torch.equal(p, q) for p, q in zip(a, b)))
    """
    out = last_lines(run(code, tmp_path, **env))
    assert out == [f"{base} {PLACED[base]} True" for base in bases]


@pytest.mark.export
def test_exports_are_verified(version, tmp_path):
    """``verify=True`` asks the exporter, whose arguments and attributes differ between versions."""
    _, env = version
    tiny_data(tmp_path / "data")
    out = run(
        """
        import yolo_attn
        yolo_attn.install()
        from ultralytics import YOLO
        for options in ({"format": "torchscript"}, {"format": "onnx", "nms": True, "dynamic": False}):
            model = YOLO("yolo11n-ema.yaml")
            model.export(imgsz=64, data="data/data.yaml", device="cpu", verify=True, **options)
            found = model.verification
            print("=", [at.size for at in found.compared], found.compared[0].largest < 1e-4, list(found.accuracy))
        """,
        tmp_path,
        **env,
    )
    assert last_lines(out) == ["['64x64'] True ['mAP50-95(B)']"] * 2
