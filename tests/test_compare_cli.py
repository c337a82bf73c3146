"""The arguments of `yolo-attn compare`, on the command line and in an experiment file."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from yolo_attn.cli.main import call_of, main
from yolo_attn.errors import ArgumentError, UserError
from yolo_attn.report import compare_models

pytestmark = pytest.mark.fast


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Return a function that runs the command and returns the plan and engine that would be used."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(compare_models, "run_experiment", lambda plan, console, engine: seen.append((plan, engine)))
    monkeypatch.setattr(compare_models, "make_report", lambda *_, **__: SimpleNamespace(failed=[]))

    def run(*given):
        assert call_of(["compare", *given])() == 0
        return seen.pop()

    return run


def test_the_command_line_makes_the_plan(planned):
    given = ["--base", "yolo11n.yaml", "--models", "yolo11n-ema.yaml", "yolo11n-gsop.yaml", "--data", "digits.yaml"]
    given += ["--seeds", "0-4", "--epochs", "7", "--imgsz", "320", "lr0=0.002", "split=val", "--folder", "here"]
    plan, engine = planned(*given, "--control", "repeat", "--freeze", "0", "1", "--rect")
    assert (plan.base, plan.models) == ("yolo11n.yaml", ("yolo11n-ema.yaml", "yolo11n-gsop.yaml"))
    assert (plan.data, plan.seeds, plan.split) == ("digits.yaml", (0, 1, 2, 3, 4), "val")
    assert plan.arguments == {"epochs": 7, "imgsz": 320, "lr0": 0.002, "freeze": [0, 1], "rect": True}
    assert plan.folder.name == "here"
    assert [model.name for model in plan.planned_models] == ["yolo11n", "yolo11n-ema", "yolo11n-gsop", "yolo11n-repeat"]
    assert plan.planned_models[-1].seeds == (1000, 1001, 1002, 1003, 1004)
    assert type(engine).__name__ == "OneByOne"
    assert planned(*GOOD)[0].seeds == (0, 1, 2)


def test_command_line_values_take_precedence_over_an_experiment_file(planned, tmp_path, capsys):
    text = "base: yolo11n.yaml\nmodels: [yolo11n-ema.yaml]\ndata: digits.yaml\n"
    (tmp_path / "e.yaml").write_text(f"{text}seeds: [3, 5]\nepochs: 7\nfreeze: [0, 1]\n")
    plan, _ = planned("e.yaml")
    assert (plan.models, plan.seeds) == (("yolo11n-ema.yaml",), (3, 5))
    assert plan.arguments == {"epochs": 7, "freeze": [0, 1]}
    assert capsys.readouterr().out == ""
    plan, _ = planned("e.yaml", "seeds=0-1", "epochs=9", "lr0=0.1")
    assert (plan.seeds, plan.arguments["epochs"], plan.arguments["lr0"]) == ((0, 1), 9, 0.1)
    said = " ".join(capsys.readouterr().out.split())
    assert all(part in said for part in ("e.yaml", "seeds=0-1", "[3, 5]", "epochs=9", "7"))
    assert "lr0" not in said
    (tmp_path / "e.yaml").write_text(text.replace("[yolo11n-ema.yaml]", "yolo11n-ema.yaml") + "seeds: 0-2\n")
    assert planned("e.yaml")[0].seeds == (0, 1, 2)


GOOD = ("base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml")


def test_three_seeds_unless_others_are_asked_for(planned):
    assert planned(*GOOD)[0].seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (GOOD[1:], "compare needs base="),
        (GOOD[:1], "compare needs models= and data="),
        ((*GOOD, "seeds=one"), "seeds=one: 'one' .*seeds=0-4"),
        ((*GOOD, "seed=1"), "seeds=1 .* seed=1"),
        ((*GOOD, "epoch=1"), "'--epoch'. Did you mean '--epochs'"),
        ((*GOOD, "engine=rey"), "rey"),
        ((*GOOD, "control=identify"), "identify"),
        ((GOOD[0], "models=yolo11n-ema.yaml,yolo11n-ema.yaml", GOOD[2]), "yolo11n-ema.yaml is given twice"),
        (("base=yolo11n.yaml", "models=yolo11n-emma.yaml", "data=digits.yaml"), "Did you mean 'yolo11n-ema.yaml'"),
        (("base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digit.yaml"), "data set 'digit.yaml' does not exist"),
        (("nowhere.yaml",), "experiment nowhere.yaml does not exist; give a YAML file, or base="),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(planned, tmp_path, given, match, capsys):
    with pytest.raises(UserError, match=match):
        call_of(["compare", *given])()
    assert main(["compare", *given]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("base: [", r"e\.yaml, line 1: not valid YAML: "),
        ("- a\n", r"e\.yaml"),
        ("bases: yolo11n.yaml\n", r"e\.yaml: .*'bases'.*'base'"),
        ("data: digits.yaml\n", "compare needs base= and models="),
    ],
)
def test_mistakes_in_an_experiment_file(planned, tmp_path, text, match):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=match):
        call_of(["compare", "e.yaml"])()
