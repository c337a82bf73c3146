"""The plan of an experiment: arguments, folder, runs, growth."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparison import make
from msgspec.structs import replace

from yolo_attn.errors import ArgumentError, DataError
from yolo_attn.experiment import plan as plan_module
from yolo_attn.experiment.plan import Control, Plan, read_seeds
from yolo_attn.integration.queries import yaml_files

pytestmark = pytest.mark.fast


def test_plan_comes_back_as_it_was_saved(tmp_path):
    plan = make(
        tmp_path / "c", arguments={"epochs": 3, "lr0": 0.01, "device": [0, 1], "optimizer": "SGD"}, seeds="7,0-2"
    )
    plan = replace(plan, controls=(Control("identity", "x-identity", ("yolov8n.yaml",), "nc: 1\n", "a note"),))
    assert plan.claim() is None
    assert Plan.load(tmp_path / "c") == plan
    assert plan.claim() == []
    assert (tmp_path / "c" / "controls" / "x-identity.yaml").read_text() == "nc: 1\n"


def test_default_folder_says_what_is_compared_and_differs_with_it():
    long = [f"a-model-with-a-long-name-{i}.yaml" for i in range(9)]
    changes = [{}, {"models": ["a.yaml", "b.yaml"]}, {"models": long}, {"models": long[:8]}, {"split": "val"}]
    changes += [{"arguments": given} for given in ({"epochs": 4}, {"epochs": 3, "lr0": 0.1})]
    folders = [make(None, **change).folder for change in changes]
    assert folders[0].as_posix() == "runs/compare/d-yolo11n-vs-yolov8n-epochs3"
    assert folders[1].as_posix() == "runs/compare/d-yolo11n-vs-a+b-epochs3"
    assert len(set(folders)) == len(folders)
    assert max(len(folder.name) for folder in folders) < 128


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"arguments": {"epochs": 5}}, "epochs was 3, now 5"),
        ({"arguments": {"epochs": 3, "imgsz": 64}}, "imgsz was not given, now 64"),
        ({"seeds": "1-2"}, "seeds were 0, now 1,2"),
        ({"models": ["b.yaml"]}, "models were yolov8n.yaml, now b.yaml"),
        ({"base": "yolo11s.yaml"}, "base was yolo11n.yaml, now yolo11s.yaml"),
        ({"split": "val"}, "split was auto, now val"),
    ],
)
def test_another_plan_cannot_take_the_folder(tmp_path, changes, values):
    first, other = make(tmp_path / "c"), make(tmp_path / "c", **changes)
    first.claim()
    (tmp_path / "c" / "yolov8n-seed0").mkdir()
    trained = tmp_path / "c" / "yolov8n-seed0" / "results.csv"
    trained.write_text("epoch\n1\n")
    before = (tmp_path / "c" / "plan.json").read_bytes()
    with pytest.raises(ArgumentError, match=f": {values}. .* folder="):
        other.claim()
    assert (tmp_path / "c" / "plan.json").read_bytes() == before
    trained.unlink()
    assert f"{values} before the first epoch" in other.claim()
    assert Plan.load(tmp_path / "c") == other


NAMES = {  # the name in the comparison -> the file behind it
    "a path": ("mine.yaml", "mine.yaml"),
    "a name with the letter of the scale": ("yolo11n-mine.yaml", "yolo11-mine.yaml"),
    "a name that this project ships": ("yolo11n-ema.yaml", None),
    "a name that Ultralytics ships": ("yolov8s-p2.yaml", None),
    "a checkpoint": ("mine.pt", "mine.pt"),
}


@pytest.mark.parametrize("what", NAMES)
@pytest.mark.parametrize("role", ["base", "models", "data", "pretrained"])
def test_a_changed_file_is_another_experiment_once_a_run_has_an_epoch(role, what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, file = NAMES[what]
    shipped = yaml_files.resolve(name)
    if file is None:  # as if another version of the package had another file
        assert shipped.is_file()
        monkeypatch.setattr(yaml_files, "resolve", lambda given: Path("other") if given == name else None)
        file = "other"
    Path(file).write_text("nc: 1\n")
    given = {"pretrained": {"arguments": {"pretrained": name}}, "models": {"models": [name]}}.get(role, {role: name})
    plan = make("c", **given)
    plan.claim()
    assert plan.claim() == []
    Path(file).write_text("nc: 2\n")
    with pytest.raises(ArgumentError, match=rf"{file}.* has changed"):
        plan.check_files()
    assert plan.claim() == [f"the file {plan_module._shown(name)} has changed before the first epoch"]
    plan.check_files()
    plan.runs[0].folder.mkdir()
    (plan.runs[0].folder / "results.csv").write_text("epoch\n1\n")
    Path(file).write_text("nc: 3\n")
    with pytest.raises(ArgumentError, match=rf"{file}.* has changed"):
        plan.claim()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(ArgumentError, match="folder="):
        make(tmp_path).claim()
    with pytest.raises(ArgumentError, match=r"no plan\.json"):
        Plan.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"models": []}, "no variant given"),
        ({"models": ["yolo11n.yaml"]}, "yolo11n.yaml .* control=repeat"),
        ({"arguments": {"project": "x"}}, "project=.* folder="),
        ({"arguments": {"resume": True}}, "resume="),
        ({"arguments": {"lr0": object()}}, "object"),
        ({"split": "train"}, "split='train' must be one of auto, val, test"),
        ({"arguments": {"seed": 1}}, "seed=.* seeds="),
        ({"arguments": {"epochs": "many"}}, "epochs='many'"),
        ({"seeds": -1}, "seeds=-1: '-1'"),
        ({"seeds": True}, "'True'"),
        ({"seeds": "0,one"}, "seeds=0,one: 'one' .* seeds=0-4"),
        ({"seeds": "4-0"}, "4-0"),
        ({"seeds": "0-2,2"}, "seed 2 "),
        ({"seeds": ""}, "'nothing'"),
        ({"seeds": []}, "no seeds given"),
        ({"seeds": "0-99999"}, "too many or too large"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path, changes, match):
    with pytest.raises(ArgumentError, match=match):
        make(tmp_path, **changes)


def test_models_of_one_name_get_folders_of_their_own(tmp_path):
    plan = make(tmp_path, models=["a/yolo11n.yaml", "b/yolo11n.yaml"])
    assert [run.name for run in plan.runs] == ["yolo11n-seed0", "yolo11n-2-seed0", "yolo11n-3-seed0"]
    assert [model.name for model in plan.planned_models] == ["yolo11n", "yolo11n-2", "yolo11n-3"]


def test_every_model_is_trained_with_every_seed_one_seed_after_the_other(tmp_path):
    plan = make(tmp_path, models=["a.yaml"], seeds="3,5", controls=[Control("repeat", "yolo11n-repeat")])
    assert [(run.name, run.role, run.seed) for run in plan.runs] == [
        ("yolo11n-seed3", "baseline", 3),
        ("a-seed3", "variant", 3),
        ("yolo11n-repeat-seed1003", "control", 1003),
        ("yolo11n-seed5", "baseline", 5),
        ("a-seed5", "variant", 5),
        ("yolo11n-repeat-seed1005", "control", 1005),
    ]
    assert {run.model_file for run in plan.runs if run.role != "variant"} == {"yolo11n.yaml"}
    assert plan.run("a-seed5").record == tmp_path / "a-seed5" / "record.json"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [("0-4", (0, 1, 2, 3, 4)), ("[7, 1]", (7, 1)), ([2, 3], (2, 3)), (5, (5,)), ("0-1,9", (0, 1, 9))],
)
def test_seeds_are_read(seeds, expected):
    assert read_seeds(seeds) == expected


def test_an_experiment_grows_by_seeds_models_and_controls_and_keeps_its_id(tmp_path):
    first = make(tmp_path / "c", seeds="0-1")
    first.claim()
    more = make(tmp_path / "c", seeds="0-3", models=["yolov8n.yaml", "b.yaml"], controls=[Control("repeat", "r")])
    assert more.claim() == ["seeds 2,3", "models b.yaml", "controls r"]
    assert Plan.load(tmp_path / "c") == more
    assert more.id == first.id
    assert {run.name for run in first.runs} < {run.name for run in more.runs}
    assert make(tmp_path / "c", arguments={"epochs": 4}).id != first.id
    more.runs[0].folder.mkdir()
    (more.runs[0].folder / "results.csv").write_text("epoch\n1\n")
    with pytest.raises(ArgumentError, match=r"seeds were 0,1,2,3, now 0,1; models were .*; controls were r, now none"):
        first.claim()


def test_a_plan_that_cannot_be_read_is_one_line(tmp_path):
    make(tmp_path).claim()
    (tmp_path / "plan.json").write_text('{"plan": {"seed": 0}}')
    with pytest.raises(DataError, match=r"plan\.json .* folder= or delete it"):
        Plan.load(tmp_path)
