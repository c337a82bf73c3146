"""The models in the page: drawn from the records, collapsed, and never a reason to fail."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import made_up_experiment
import pytest
from support import read_json, write_json
from test_report_page import Page, report
from test_report_text import NO_TORCH

import yolo_attn
from yolo_attn.comparison import child_processes
from yolo_attn.integration.queries import model_graph

yolo_attn.install()
MODELS = ("yolo11n-ema.yaml", "yolo11n-gsop.yaml")


def content(name):
    return {**model_graph.load(name), "nc": 3, "channels": 3}


def written(folder, contents):
    """Write an experiment; ``contents`` are the model YAMLs in the records, by model."""
    plan = made_up_experiment.write(folder, models=MODELS, seeds=(0,), controls=())
    for run in plan.runs:
        write_json(run.record, read_json(run.record) | {"model_yaml": contents.get(run.model)})
    return plan


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "e"
    return report(written(folder, {name[:-5]: content(name) for name in MODELS}))[2]


def test_each_variant_has_a_collapsed_diagram(drawn):
    page = Page(drawn)
    assert page.open == []
    found = [attrs for attrs in page.all("svg") if attrs["class"] == "diagram"]
    assert [attrs["aria-label"] for attrs in found] == [
        "yolo11n-ema: 27 layers; attention: 17 EMA, 21 EMA, 25 EMA", "yolo11n-gsop: 25 layers; attention: 11 GSoP",
    ]  # fmt: skip
    assert all(attrs["role"] == "img" for attrs in found)
    assert not [attrs for attrs in page.all("details") if "open" in attrs]
    texts = [text.strip() for text in page.texts]
    assert {"17 EMA", "11 GSoP", "attention: reduced_channels=64", "image 3x64x64", "64x8x8"} <= set(texts)
    assert "Not drawn" not in drawn
    assert '<a href="#models">' in drawn


def test_a_diagram_acts_on_nothing_else_in_the_page(drawn):
    page = Page(drawn)
    assert len(page.ids) == len(set(page.ids))
    diagrams = re.findall(r'<svg[^>]*class="diagram".*?</svg>', drawn, re.S)
    assert len(diagrams) == 2
    for diagram in diagrams:
        assert not re.search("<(style|metadata|script|a|image|foreignObject)\\b", diagram)
        ids = set(re.findall(r'\bid="([^"]*)"', diagram))
        assert set(re.findall(r"url\(#([^)]*)\)", diagram)) <= ids
    assert all(ref.startswith(("#", "data:")) for ref in page.refs)


def row(*values):
    """A model YAML whose first row is ``values``."""
    return {"nc": 3, "backbone": [list(values)], "head": [[[0], 1, "Detect", ["nc"]]]}


FORGED = {
    "none": (None, "no model YAML"),
    "empty": ({}, "no model YAML"),
    "other keys": ({"a": 1}, "'backbone' is missing"),
    "no list": ({"nc": 3, "backbone": 7, "head": {}}, "backbone"),
    "no rows": ({"nc": 3, "backbone": [None], "head": [1]}, ""),
    "short row": (row(-1), ""),
    "unknown layer": (row(-1, 1, "Nonesuch", []), "Nonesuch"),
    "code": ({**row(-1, 1, "Conv", [8]), "activation": "__import__('os').mkdir('stolen')"}, "activation"),
    "many repeats": (row(-1, 10**9, "C2f", [8]), "1e+09 repeats"),
    "large repeats": (row(-1, 1e9, "C2f", [8]), "1e+09 repeats"),
    "many layers": ({"nc": 3, "backbone": [[-1, 1, "Conv", [8]]] * 4999, "head": [[-1, 1, "Conv", [8]]]}, "5000 rows"),
    "download": (row(-1, 1, "TorchVision", [8, "resnet18", "DEFAULT"]), "TorchVision"),
    "wide": (row(-1, 1, "Conv", [2**62, 3, 2]), "4.61169e+18"),
    "text": (row(-1, 1, "Conv", ["a"]), ""),
    "null": (row(None, None, None, None), ""),
    "scale": ({**row(-1, 1, "Conv", [8, 3, 2]), "scales": {"n": [1e300, 1, 8]}, "scale": "n"}, "1e+300"),
    "deep": ({**row(-1, 9, "C2f", [8]), "scales": {"n": [900, 1, 8]}, "scale": "n"}, "900"),
    "option": (row(-1, 1, "EMA", [{"factor": 10**12}]), "1e+12"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_model_is_a_line(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forged, said = FORGED[what]
    text = html.unescape(report(written(tmp_path / "e", {"yolo11n-ema": forged}))[2])
    line = re.search("<p>(Not drawn: .*)</p>", text)[1]
    assert "yolo11n-ema: " in line
    assert said in line
    assert 'class="diagram"' not in text
    assert not (tmp_path / "stolen").exists()


def test_an_image_size_that_does_not_fit_is_not_used(tmp_path):
    plan = written(tmp_path / "e", {"yolo11n-ema": content("yolo11n-ema.yaml")})
    run = next(run for run in plan.runs if run.model == "yolo11n-ema")
    for size in (100, -64, "64", None):
        record = read_json(run.record)
        record["arguments"]["imgsz"] = size
        write_json(run.record, record)
        assert "image 3x640x640" in report(plan)[2]


def test_without_torch_a_line_says_why_there_is_none(tmp_path):
    plan = written(tmp_path / "e", {name[:-5]: content(name) for name in MODELS})
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, str(plan.folder)],
        capture_output=True, text=True, timeout=300, env=child_processes.child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search("Not drawn: .*torch", (plan.folder / "report.html").read_text(encoding="utf-8"))
