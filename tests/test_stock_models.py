"""Models without our layers: installed or not, Ultralytics does the same with them, unless asked for more."""

import contextlib
import hashlib
import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import logged, run_file, tiny_data
from ultralytics import YOLO

import yolo_attn
from yolo_attn.cli.main import main
from yolo_attn.errors import UserError
from yolo_attn.integration import strict_mode
from yolo_attn.integration.patches import generate_ddp_file
from yolo_attn.integration.strict_mode import is_strict, strict

OPTIONS = {
    "epochs": 1, "imgsz": 64, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "val": False, "seed": 0,
}  # fmt: skip
SMALL = """
nc: 2
backbone: [[-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, Conv, [32, 3, 2]], [-1, 1, Conv, [32, 3, 2]]]
head: [[-1, 1, Conv, [32, 3, 2]], [[2, 3, 4], 1, Detect, [nc]]]
"""
BROKEN = {  # model YAML -> its text
    "unknown": "backbone: [[-1, 1, Cnov, [64]]]\nhead: [[-1, 1, Detect, [nc]]]\nnc: 2\n",
    "from": "backbone: [[-1, 1, Conv, [64]]]\nhead: [[9, 1, Detect, [nc]]]\nnc: 2\n",
    "arguments": "backbone: [[-1, 1, Conv, 64]]\nhead: [[[-1], 1, Detect, [nc]]]\nnc: 2\n",
    "headless": "backbone: [[-1, 1, Conv, [64]]]\nnc: 2\n",
    "syntax": "backbone: [[-1, 1\n",
    "list": "- 1\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    for name in ("yolov8n", "yolo11n"):
        torch.manual_seed(1)
        YOLO(f"{name}.yaml").save(folder / f"{name}.pt")
    tiny_data(folder / "data")
    tiny_data(folder / "damaged")
    (folder / "damaged" / "images" / "1.png").write_bytes(b"not an image")
    (folder / "damaged" / "labels" / "2.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    (folder / "small.yaml").write_text(SMALL)
    for name, text in BROKEN.items():
        (folder / f"yolo11n-{name}.yaml").write_text(text)
    return folder


def digest(model):
    whole = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        whole.update(name.encode() + tensor.float().numpy().tobytes())
    return whole.hexdigest()[:12]


def loaded(target, weights):
    torch.manual_seed(2)
    model = YOLO(target).load(weights)
    model.save("saved.pt")
    return digest(model.model), sorted(vars(model.model)), b"yolo_attn" in Path("saved.pt").read_bytes()


def trained(target, data="data/data.yaml", **arguments):
    model = YOLO(target)
    model.train(data=data, project=str(Path("runs").resolve()), name="one", exist_ok=True, **OPTIONS, **arguments)
    state = torch.load(model.trainer.last, weights_only=False)
    shutil.rmtree("runs")
    frozen = [name for name, p in model.trainer.model.named_parameters() if not p.requires_grad]
    return digest(state["model"]), frozen, model.trainer.args.freeze, len(model.trainer.train_loader.dataset)


CASES = {  # function, target, weights or arguments
    "load another family": (loaded, "yolov8n", "yolo11n"),
    "load more levels": (loaded, "yolov8n-p2", "yolov8n"),
    "freeze a number": (trained, "yolov8n-p2.yaml", {"pretrained": "yolov8n.pt", "freeze": 5}),
    "freeze a list": (trained, "small.yaml", {"freeze": [0, 2]}),
    "freeze an unknown word": (trained, "small.yaml", {"freeze": "nothing"}),
    "damaged data": (trained, "small.yaml", {"data": "damaged/data.yaml"}),
    "no data": (trained, "small.yaml", {"data": "nowhere.yaml"}),
    "unknown argument": (trained, "small.yaml", {"new_lr_mul": 2}),
    "invalid value": (trained, "small.yaml", {"lr0": "many"}),
    **{f"{name} YAML": (lambda file, _: YOLO(file).info(), f"yolo11n-{name}.yaml", "") for name in BROKEN},
}


def attempt(case):
    """Return what a case returns or raises, and every line that it logs."""
    function, target, given = CASES[case]
    for cache in Path().rglob("*.cache"):
        cache.unlink()
    with logged() as lines, contextlib.redirect_stdout(io.StringIO()):
        try:
            if function is trained:
                result = trained(target, **given)
            else:
                result = function(f"{target.removesuffix('.yaml')}.yaml", f"{given}.pt")
        except Exception as error:
            result = type(error), re.sub(r"0x\w+", "", str(error))
    return result, without_times(lines)


def without_times(lines):
    """Drop the lines about speed and the label cache, and times from the others."""
    kept = [line for line in lines if line.strip() and not re.search("image access|Speed:|[Cc]ache|[━─]|\r", line)]
    return [re.sub(r"[\d.]+ ?(ms|s|h|hours|MB/s|it/s)\b", "#", line) for line in kept]


@pytest.mark.parametrize("case", CASES)
def test_the_same_with_and_without_this_package(case, place, monkeypatch):
    monkeypatch.chdir(place)
    yolo_attn.uninstall()
    try:
        without = attempt(case)
    finally:
        yolo_attn.install()
    assert attempt(case) == without


@pytest.mark.slow
def test_the_same_under_yolo(place):
    arguments = [f"{k}={v}" for k, v in {**OPTIONS, "project": place / "runs", "name": "one", "freeze": 5}.items()]
    arguments = ["train", "model=yolov8n-p2.yaml", "pretrained=yolov8n.pt", "data=data/data.yaml", *arguments]
    code = "import sys; sys.argv[0] = 'yolo'; from ultralytics.cfg import entrypoint; entrypoint()"
    found = []
    for hook in "10":
        shutil.rmtree(place / "runs", ignore_errors=True)
        done = run_file(["-c", code, *arguments], place, YOLO_VERBOSE="true", YOLO_ATTN_AUTOLOAD=hook)
        assert not done.returncode, done.stderr
        (last,) = place.rglob("one/weights/last.pt")
        model = torch.load(last, weights_only=False)["model"]
        found.append((digest(model), without_times(done.stdout.split("\n"))))
    assert found[0] == found[1]


def test_aligned_where_asked_for(place, monkeypatch):
    """By ``yolo_attn.load``, in strict mode (the commands) and by our arguments of a training."""
    monkeypatch.chdir(place)
    before = loaded("yolov8n-p2.yaml", "yolov8n.pt")[0]
    with logged() as lines:
        torch.manual_seed(2)
        found = yolo_attn.load("yolov8n-p2.yaml", "yolov8n.pt")
        with strict():
            again = loaded("yolov8n-p2.yaml", "yolov8n.pt")[0]
    assert digest(found.model) == again != before
    aligned = [line.partition(": ")[0] for line in lines if "355 tensors" in line]
    assert aligned == ["aligned yolov8n.pt with yolov8n-p2.yaml"] * 2
    with logged() as lines:
        _, frozen, freeze, _ = trained("yolov8n-p2.yaml", pretrained="yolov8n.pt", freeze="backbone")
    assert freeze == [str(k) for k in range(10)]
    assert frozen
    assert any(line.startswith("aligned ") for line in lines)
    with strict(), pytest.raises(UserError, match=r"damaged.*2 of 4 images.*1\.png.*class 7"):
        trained("small.yaml", "damaged/data.yaml")
    shutil.rmtree("runs")
    for name in BROKEN:
        with strict(), pytest.raises(UserError, match=rf"yolo11n-{name}\.yaml(: |, line )"):
            YOLO(f"yolo11n-{name}.yaml")


def test_the_command_line_is_strict(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(["info", "model=yolo11n-unknown.yaml"]) == 2
    assert re.search(r"layer 0 \(Cnov\): .*'Conv'", capsys.readouterr().err)


def test_the_file_of_multi_gpu_training(place, tmp_path, monkeypatch):
    """The processes of a stock model's training import nothing of ours, unless the training is strict."""
    monkeypatch.chdir(place)
    text = 'if __name__ == "__main__":\n    import sys\n    sys.path = []\n    from ultralytics import YOLO\n'

    def written(model):
        (tmp_path / "file.py").write_text(text)
        trainer = SimpleNamespace(model=model)
        return Path(generate_ddp_file.replacement(lambda _: str(tmp_path / "file.py"), trainer)).read_text()

    stock = YOLO("small.yaml").model
    assert written(stock) == text
    assert "yolo_attn.install()" in written("yolo11n-ema.yaml")  # not built yet
    with strict():
        code = written(stock)
    assert "yolo_attn.install()" in code
    before = is_strict()
    exec(code.replace("__main__", __name__).replace("sys.path = []", ""), {"__name__": __name__})
    assert (before, is_strict()) == (False, True)
    strict_mode._strict.set(False)
