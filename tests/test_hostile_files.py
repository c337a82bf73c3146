"""Files of strangers: nothing in them runs, nothing hangs, nothing eats the memory, whatever the command."""

import os
import pickle
import re
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from comparison import make
from support import logged, noise_data, run_file

import yolo_attn
from yolo_attn.cli import main
from yolo_attn.comparison import environment
from yolo_attn.errors import CheckpointError
from yolo_attn.integration.queries import checkpoints, validation
from yolo_attn.integration.strict_mode import strict

SCAN = "get_unsafe_globals_in_checkpoint"
needs_restricted_loading = pytest.mark.skipif(not hasattr(torch.serialization, SCAN), reason="needs torch 2.6")
MODEL = """nc: 2
scales: {n: [0.5, 0.25, 1024]}
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, EMA, []]
  - [-1, 1, Conv, [256, 3, 2]]
head:
  - [-1, 1, Conv, [256, 3, 2]]
  - [[2, 3], 1, Detect, [nc]]
"""
ROW = "  - [-1, 1, EMA, []]\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trace(here):
    return here / "trace"


def on_model(model):
    return {
        "check": ["check", model],
        "info": ["info", model],
        "diagram": ["diagram", model, "-o", "x.svg"],
        "place": ["place", model, "GSoP", "--at", "layer:1", "-o", "yolo11-new.yaml"],
        "place list": ["place", model],
        "convert": ["convert", "yolo11-theirs.yaml", "-o", "yolo11-new.yaml"],
        "train": ["train", f"model={model}", "data=set/mine.yaml", "epochs=1", "imgsz=32", "project=runs"],
        "val": ["val", f"model={model}", "data=set/mine.yaml"],
        "compare": ["compare", "base=yolo11n.yaml", f"models={model}", "data=set/mine.yaml", "folder=out"],
    }


TAG = "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [trace]]"
PLANTED = {
    "activation": lambda code: f"activation: {code!r}\n{MODEL}",
    "activation as an argument": lambda code: f"activation: 'nn.LeakyReLU({code})'\n{MODEL}",
    "activation of a class": lambda code: f"activation: 'nn.Sequential({code})'\n{MODEL}",
    "a row's argument": lambda code: MODEL.replace("[256, 3, 2]]\nhead", f'[256, {code!r}, 2]]\nhead'),
    "an option": lambda code: MODEL.replace("EMA, []", f"EMA, [{{factor: {code!r}}}]"),
    "a layer type": lambda code: MODEL.replace("EMA, []", "os.system, ['touch trace']"),
    "a layer type of torch": lambda code: MODEL.replace("EMA, []", "nn.modules.module.__builtins__.exec, []"),
    "a function of torch": lambda code: MODEL.replace("EMA, []", "torch.hub.load, ['x', 'y']"),
    "repeats": lambda code: MODEL.replace("-1, 1, EMA", f"-1, {code!r}, EMA"),
    "from": lambda code: MODEL.replace("-1, 1, EMA", f"{code!r}, 1, EMA"),
    "a scale": lambda code: MODEL.replace("n: [0.5,", f"n: [{code!r},"),
    "classes": lambda code: MODEL.replace("nc: 2", f"nc: {code!r}"),
    "a tag": lambda code: f"extra: {TAG}\n{MODEL}",
    "a tag in a row": lambda code: MODEL.replace("EMA, []", "EMA, !!python/object/apply:os.system ['touch trace']"),
}  # fmt: skip
CODE = "__import__('pathlib').Path('trace').touch()"


@pytest.mark.fast
@pytest.mark.parametrize("where", PLANTED)
@pytest.mark.parametrize("command", [name for name in on_model("") if name not in ("train", "compare", "val")])
def test_no_code_in_a_model_yaml_runs(where, command, here, trace, capfd):
    (here / "yolo11-theirs.yaml").write_text(PLANTED[where](CODE))
    status = main(on_model("yolo11n-theirs.yaml")[command])
    err = capfd.readouterr().err
    assert not trace.exists()
    assert status == 2
    assert "Traceback" not in err
    assert re.search("theirs|yolo11-new", err), err


@pytest.mark.parametrize("command", ["train", "val", "compare"])
def test_no_code_in_a_model_yaml_is_trained(command, here, trace, capfd):
    noise_data(here / "set", ("train", "val"), images=2)
    for where, planted in PLANTED.items():
        if command == "compare" and where not in ("activation", "a tag"):
            continue  # each takes seconds
        (here / "yolo11-theirs.yaml").write_text(planted(CODE))
        assert main(on_model("yolo11n-theirs.yaml")[command]) == 2, where
        assert "Traceback" not in capfd.readouterr().err
        assert not trace.exists(), where


class Planted:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('trace').touch()",)


@pytest.fixture
def checkpoint(here):
    torch.save({"model": Planted(), "epoch": 1, "train_args": {"epochs": 5}, "optimizer": {}}, here / "theirs.pt")
    return here / "theirs.pt"


@needs_restricted_loading
@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "theirs.pt"],
        ["transfer", "theirs.pt", "yolo11n-ema.yaml", "-o", "out.pt"],
        ["val", "model=theirs.pt", "data=set/mine.yaml"],
        ["predict", "model=theirs.pt", "source=set/images/val"],
        ["export", "model=theirs.pt", "format=torchscript"],
        ["train", "model=theirs.pt", "data=set/mine.yaml", "epochs=1", "imgsz=32"],
        ["train", "model=theirs.pt", "resume=True"],
        ["train", "model=yolo11n-ema.yaml", "pretrained=theirs.pt", "data=set/mine.yaml", "epochs=1", "imgsz=32"],
        ["compare", "base=yolo11n.yaml", "models=yolo11n-ema.yaml", "pretrained=theirs.pt", "data=set/mine.yaml",
         "folder=out"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
def test_restricted_loading_holds_for_every_command(arguments, checkpoint, here, trace):
    noise_data(here / "set", ("train", "val"), images=2)
    done = run_file(["-m", "yolo_attn", *arguments], here, ULTRALYTICS_SAFE_LOAD="1")
    assert not trace.exists()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "theirs.pt" in done.stderr


@needs_restricted_loading
@pytest.mark.fast
def test_a_planted_checkpoint_is_not_resumed(checkpoint, here, trace, monkeypatch):
    yolo_attn.install()
    monkeypatch.setattr("ultralytics.nn.tasks.SAFE_LOAD", True)
    with pytest.raises(CheckpointError, match=r"theirs\.pt .*ULTRALYTICS_SAFE_LOAD"):
        validation.read_stop(checkpoint)
    assert not trace.exists()
    checkpoint.write_bytes(checkpoint.read_bytes()[:300])  # killed while writing it
    assert validation.read_stop(checkpoint) is None


@pytest.mark.fast
def test_commands_that_only_look_say_that_a_checkpoint_can_run_code(monkeypatch):
    monkeypatch.delenv("ULTRALYTICS_SAFE_LOAD", raising=False)
    with logged() as lines:
        assert main(["info", "nowhere.pt"]) == 2
        assert main(["transfer", "nowhere.pt", "yolo11n-ema.yaml", "-o", "x.pt"]) == 2
        assert main(["info", "nowhere.yaml"]) == 2
    assert len([line for line in lines if re.search(r"nowhere\.pt: .*ULTRALYTICS_SAFE_LOAD=1", line)]) == 2


@pytest.mark.fast
def test_a_version_that_ignores_restricted_loading_is_refused(monkeypatch):
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    monkeypatch.setattr(torch.serialization, SCAN, None, raising=False)
    assert checkpoints.is_restricted()
    monkeypatch.delattr("ultralytics.utils.SAFE_LOAD")
    with strict(), pytest.raises(CheckpointError, match=r"Ultralytics 8\.\d+\.\d+ ignores it"):
        checkpoints.is_restricted()


@pytest.mark.fast
def test_a_torch_that_cannot_restrict_loading_is_refused(monkeypatch):
    """Ultralytics would load the file as if nothing was asked."""
    monkeypatch.delattr(torch.serialization, SCAN, raising=False)
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "0")
    assert not checkpoints.is_restricted()
    monkeypatch.setenv("ULTRALYTICS_SAFE_LOAD", "1")
    with pytest.raises(CheckpointError, match=rf"with torch {re.escape(torch.__version__)}; use torch 2\.6"):
        checkpoints.is_restricted()


def bomb(levels, inner="[x, x, x, x, x, x, x, x, x, x]"):
    lines = [f"a0: &a0 {inner}"] + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.fast
@pytest.mark.parametrize("command", [name for name in on_model("") if name not in ("val", "compare")])
def test_aliases_cannot_fill_the_memory(command, here, capfd):
    noise_data(here / "set", ("train", "val"), images=2)
    (here / "yolo11-theirs.yaml").write_text(bomb(9) + MODEL)
    start = time.monotonic()
    assert main(on_model("yolo11n-theirs.yaml")[command]) == 2
    assert time.monotonic() - start < 60
    assert "1,000,000" in capfd.readouterr().err


@pytest.mark.fast
@pytest.mark.parametrize("what", ["bomb", "tag", "UTF-16", "pipe", "folder"])
@pytest.mark.parametrize("file", ["data", "experiment", "model"])
def test_any_yaml_may_be_hostile(what, file, here, trace, capfd):
    noise_data(here / "set", ("train", "val"), images=2)
    name = {"data": "data.yaml", "experiment": "experiment.yaml", "model": "yolo11-theirs.yaml"}[file]
    path = here / name
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        tag = "x: !!python/object/apply:os.system ['touch trace']\n"
        path.write_bytes({"bomb": bomb(9).encode(), "tag": tag.encode(), "UTF-16": "a: 1".encode("utf-16")}[what])
    arguments = {
        "data": ["train", "model=yolo11n-ema.yaml", "data=data.yaml", "epochs=1", "imgsz=32"],
        "experiment": ["compare", "experiment.yaml"],
        "model": ["info", "yolo11n-theirs.yaml"],
    }[file]
    assert main(arguments) == 2
    assert not trace.exists()
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert re.search(re.escape(name) + "|yolo11n-theirs", err), err


@pytest.mark.fast
@pytest.mark.parametrize("what", ["monitor", "filter", "hook", "submodule"])
def test_git_runs_nothing_of_a_strange_repository(what, here, trace):
    def git(*arguments, cwd=here):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
        subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)

    repository = here / "theirs"
    repository.mkdir()
    git("init", "-q", cwd=repository)
    (repository / "file").write_text("a")
    git("add", ".", cwd=repository)
    git("commit", "-qm", "a", cwd=repository)
    script = here / "planted"
    script.write_text(f"#!{sys.executable}\nimport pathlib, sys\npathlib.Path({str(trace)!r}).touch()\n")
    script.chmod(0o755)
    if what == "monitor":
        git("config", "core.fsmonitor", str(script), cwd=repository)
    elif what == "hook":
        (repository / ".git" / "hooks").mkdir(exist_ok=True)
        (repository / ".git" / "hooks" / "post-index-change").symlink_to(script)
    elif what == "filter":
        git("config", "filter.theirs.clean", str(script), cwd=repository)
        git("config", "filter.theirs.required", "true", cwd=repository)
        (repository / ".gitattributes").write_text("* filter=theirs\n")
    else:
        inner = here / "inner"
        inner.mkdir()
        git("init", "-q", cwd=inner)
        git("commit", "-qm", "a", "--allow-empty", cwd=inner)
        git("submodule", "add", "-q", str(inner), "sub", cwd=repository)
        git("config", "core.fsmonitor", str(script), cwd=repository / "sub")
    os.utime(repository / "file", (1, 1))
    (repository / "file").write_text("b")
    os.chdir(repository)
    state = environment.git_state()
    assert not trace.exists()
    assert state.dirty
    subprocess.run(["git", "status"], capture_output=True)
    assert trace.exists() or what in ("hook",)  # otherwise the attempt was none


def test_experiments_are_json_and_run_nothing(here, trace):
    plan = make(here / "c")
    plan.claim()
    (here / "c" / "plan.json").write_bytes(pickle.dumps(Planted()))
    assert main(["report", "c"]) == 2
    assert not trace.exists()


def test_a_checkpoint_is_a_zip_of_a_pickle(checkpoint):
    """Else the tests above would plant nothing."""
    assert zipfile.is_zipfile(checkpoint)
    torch.load(checkpoint, weights_only=False)
    assert (checkpoint.parent / "trace").exists()
