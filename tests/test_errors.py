"""Which exceptions are the user's mistake (one line, exit status 2); all others are faults and keep their traceback."""

import errno
from pathlib import Path

import pytest
import torch
from sample_layers import Plain, parse, tiny
from support import tiny_data
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn import tasks

import yolo_attn
from yolo_attn.errors import ArgumentError, DiskFullError, LayerError, UserError, user_error_in
from yolo_attn.integration.patches import check_det_dataset as data_patch
from yolo_attn.integration.queries import data_sets, model_graph, model_sizes, row_arguments, validation
from yolo_attn.integration.strict_mode import strict
from yolo_attn.model_yaml import capacity_control

OPTIONS = {"epochs": 1, "imgsz": 64, "batch": 2, "workers": 0, "plots": False, "val": False, "device": "cpu"}


@pytest.fixture(autouse=True)
def installed():
    yolo_attn.install()
    with strict():
        yield


@pytest.fixture
def data(tmp_path):
    return str(tiny_data(tmp_path / "data"))


def raised(function, *args, **kwargs):
    with pytest.raises(Exception) as caught:  # noqa: PT011  any
        function(*args, **kwargs)
    return caught.value


def train(data, tmp_path, model="yolo11n-ema.yaml", **arguments):
    YOLO(model).train(data=data, project=str(tmp_path / "runs"), **{**OPTIONS, **arguments})


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"epocs": 1}, "epocs"),
        ({"epochs": "many"}, "many"),
        ({"imgsz": "large"}, "large"),
        ({"device": "9"}, "9"),
        ({"optimizer": "Adim"}, "Adim"),
        ({"data": "nowhere.yaml"}, "nowhere.yaml"),
        ({"freeze": 99, "model": "yolo11n.yaml", "pretrained": False}, "99"),
        ({"pretrained": "damaged.pt"}, "damaged.pt"),
    ],
    ids=str,
)
def test_what_ultralytics_reports_is_a_mistake(arguments, values, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("damaged.pt").write_bytes(b"no checkpoint")
    found = user_error_in(raised(train, **{"data": data, "tmp_path": tmp_path, **arguments}))
    assert found is not None
    assert values in str(found)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("train: a\nval: [b\n", "data.yaml"),
        ("path: .\ntrain: a\nval: b\n", "names"),
        ("- 1\n", ""),
        ("train: a\n", "val"),
    ],
)
def test_a_data_yaml_that_is_wrong(text, values, data):
    Path(data).write_text(text)
    found = user_error_in(raised(check_det_dataset, data))
    assert found is not None
    assert values in str(found)
    assert isinstance(raised(validation.check_data, data), UserError)


def test_an_export_format_that_does_not_exist():
    assert "zzz" in str(user_error_in(raised(YOLO("yolo11n.yaml").export, format="zzz")))


@pytest.mark.parametrize("kind", [AttributeError, KeyError, ValueError, TypeError, OSError])
def test_faults_in_our_code_are_not_swallowed(kind, known, data, tmp_path, monkeypatch):
    def fault(*_, **__):
        raise kind("ours")

    with monkeypatch.context() as patch:
        patch.setattr(data_sets, "vet", fault)
        error = raised(train, data, tmp_path)
        assert type(error) is kind
        assert user_error_in(error) is None
    Path(data).write_text(Path(data).read_text() + "download: yolo_attn.data.digits\n")
    with monkeypatch.context() as patch:
        patch.setattr(data_patch, "generate_from_yaml", fault)
        for error in (
            raised(check_det_dataset, data),
            raised(train, data, tmp_path),
            raised(validation.check_data, data),
        ):
            assert user_error_in(error) is None
    row = tiny([-1, 1, "Plain", []])
    with monkeypatch.context() as patch:
        patch.setattr(row_arguments, "_split", fault)
        assert type(raised(parse, row)) is kind
    for name, function in ("__init__", parse), ("forward", model_graph.build), ("forward", model_sizes.gflops):
        with monkeypatch.context() as patch:
            patch.setattr(Plain, name, fault)
            error = raised(function, row)
            about_the_row = kind is ValueError or (kind is TypeError and name == "__init__")
            assert type(error) is (LayerError if about_the_row else kind)
    monkeypatch.setattr(Plain, "forward", fault)
    error = raised(capacity_control.widened, row, 2 * model_sizes.parameters(row))
    assert type(error) is (ArgumentError if kind is ValueError else kind)


@pytest.mark.parametrize("kind", [ValueError, AssertionError, TypeError])
def test_faults_elsewhere_in_ultralytics_are_none_of_the_users(kind, data, tmp_path, monkeypatch):
    def fault(*_, **__):
        raise kind("theirs")

    monkeypatch.setattr(tasks.BaseModel, "loss", fault)
    assert user_error_in(raised(train, data, tmp_path)) is None
    monkeypatch.setattr(torch, "load", fault)  # below a place that reports mistakes, but not about a checkpoint
    assert user_error_in(raised(torch.load, "x.pt")) is None


def test_a_full_disk(tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    try:
        try:
            full()
        except OSError as error:
            raise RuntimeError("[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed") from error
    except RuntimeError as error:
        found = user_error_in(error, tmp_path)
    assert isinstance(found, DiskFullError)
    assert str(tmp_path) in str(found)
    assert user_error_in(OSError(errno.EACCES, "no")) is None
    assert user_error_in(None) is None
