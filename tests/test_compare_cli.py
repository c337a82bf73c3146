"""The words of `yolo-attn compare`, on the command line and in an experiment file."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from yolo_attn.cli import compare as command
from yolo_attn.cli.main import main
from yolo_attn.errors import ArgumentError, UserError
from yolo_attn.report import compare_models


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """Return what runs the command and gives the plan and engine that would be performed."""
    monkeypatch.chdir(tmp_path)
    seen = []

    def keep(plan, console=None, engine=None):
        seen.append((plan, engine))
        return {}

    monkeypatch.setattr(compare_models, "run_experiment", keep)
    monkeypatch.setattr(compare_models, "make_report", lambda folder, console, failed: SimpleNamespace(failed=failed))

    def run(*words, status=0):
        assert command.run(words) == status
        return seen.pop()

    return run


def test_the_words_of_the_command_line_make_the_plan(planned):
    given = ["--base", "yolo11n.yaml", "--models", "yolo11n-ema.yaml", "yolo11n-gsop.yaml", "--data", "digits.yaml"]
    given += ["--seeds", "0-4", "--epochs", "7", "--imgsz", "320", "lr0=0.002", "split=val", "--folder", "here"]
    plan, engine = planned(*given, "--control", "repeat")
    assert (plan.base, plan.models) == ("yolo11n.yaml", ("yolo11n-ema.yaml", "yolo11n-gsop.yaml"))
    assert (plan.data, plan.seeds, plan.split) == ("digits.yaml", (0, 1, 2, 3, 4), "val")
    assert plan.arguments == {"epochs": 7, "imgsz": 320, "lr0": 0.002}
    assert plan.folder.name == "here"
    assert [model.name for model in plan.planned_models] == ["yolo11n", "yolo11n-ema", "yolo11n-gsop", "yolo11n-repeat"]
    assert plan.planned_models[-1].seeds == (1000, 1001, 1002, 1003, 1004)
    assert type(engine).__name__ == "OneByOne"


def test_an_experiment_file_says_the_same_and_words_beside_it_count_before_it(planned, tmp_path):
    (tmp_path / "experiment.yaml").write_text(
        "base: yolo11n.yaml\nmodels: [yolo11n-ema.yaml]\ndata: digits.yaml\nseeds: [3, 5]\nepochs: 7\nfreeze: [0, 1]\n"
    )
    plan, _ = planned("experiment.yaml")
    assert (plan.models, plan.seeds, plan.arguments) == (("yolo11n-ema.yaml",), (3, 5), {"epochs": 7, "freeze": [0, 1]})
    plan, _ = planned("experiment.yaml", "seeds=0-1", "epochs=9")
    assert (plan.seeds, plan.arguments["epochs"]) == ((0, 1), 9)
    (tmp_path / "experiment.yaml").write_text(
        "base: yolo11n.yaml\nmodels: yolo11n-ema.yaml\ndata: digits.yaml\nseeds: 0-2\n"
    )
    assert planned("experiment.yaml")[0].seeds == (0, 1, 2)


def test_three_seeds_unless_others_are_asked_for(planned):
    assert planned("base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml")[0].seeds == (0, 1, 2)


GOOD = ("base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digits.yaml")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (GOOD[1:], "compare needs base=, e.g. yolo-attn compare base=yolo11n.yaml"),
        (GOOD[:1], "compare needs models= and data="),
        ((*GOOD, "seeds=one"), "seeds=one: 'one' .*seeds=0-4"),
        ((*GOOD, "seed=1"), "write seeds=1 for seed=1"),
        ((*GOOD, "epoch=1"), "unknown word 'epoch'. Did you mean 'epochs'"),
        ((*GOOD, "engine=rey"), "rey"),
        ((*GOOD, "control=identify"), "identify"),
        ((GOOD[0], "models=yolo11n-ema.yaml,yolo11n-ema.yaml", GOOD[2]), "yolo11n-ema.yaml is given twice"),
        (("base=yolo11n.yaml", "models=yolo11n-emma.yaml", "data=digits.yaml"), "Did you mean 'yolo11n-ema.yaml'"),
        (("base=yolo11n.yaml", "models=yolo11n-ema.yaml", "data=digit.yaml"), "data set 'digit.yaml' does not exist"),
        (("nowhere.yaml",), "experiment nowhere.yaml does not exist; give a YAML file, or base="),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_write_nothing(planned, tmp_path, words, match, capsys):
    with pytest.raises(UserError, match=match) as caught:
        command.run(words)
    assert "\n" not in str(caught.value)
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("base: [", r"experiment e\.yaml cannot be read"),
        ("- a\n", r"experiment e\.yaml holds no words"),
        ("basis: yolo11n.yaml\n", r"experiment e\.yaml: unknown word 'basis'\. Did you mean 'base'"),
        ("data: digits.yaml\n", "compare needs base= and models="),
    ],
)
def test_mistakes_in_an_experiment_file(planned, tmp_path, text, match):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=match):
        command.run(["e.yaml"])


def test_help_ends_in_examples(capsys):
    assert main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    assert "experiment.yaml seeds=0-9" in text
    assert all(len(line) <= 120 for line in text.splitlines())
