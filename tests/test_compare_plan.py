"""What a comparison is: words, folder name, and whose folder it is."""

from __future__ import annotations

import pytest
from comparison import make

from yolo_attn.compare import Plan
from yolo_attn.errors import WordError


def test_plan_comes_back_as_it_was_saved(tmp_path):
    plan = make(tmp_path / "c", train={"epochs": 3, "lr0": 0.01, "device": [0, 1], "optimizer": "SGD"}, seed=7)
    assert plan.claim() is False
    assert Plan.load(tmp_path / "c") == plan
    assert plan.claim() is True


def test_default_folder_says_what_is_compared_and_differs_with_it():
    plans = [
        make(None),
        make(None, seed=1),
        make(None, train={"epochs": 4}),
        make(None, train={"epochs": 3, "lr0": 0.1}),
        make(None, split="val"),
        make(None, models=["a.yaml", "b.yaml"]),
        make(None, models=[f"a-model-with-a-long-name-{i}.yaml" for i in range(9)]),
        make(None, models=[f"a-model-with-a-long-name-{i}.yaml" for i in range(8)]),
    ]
    folders = [plan.folder.as_posix() for plan in plans]
    assert folders[0] == "runs/compare/d-yolo11n-vs-yolov8n-seed0-epochs3"
    assert folders[5] == "runs/compare/d-yolo11n-vs-a+b-seed0-epochs3"
    assert len(set(folders)) == len(folders)
    assert max(len(plan.folder.name) for plan in plans) < 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"epochs": 5}}, "epochs was 3, now 5"),
        ({"train": {"epochs": 3, "imgsz": 64}}, "imgsz was not given, now 64"),
        ({"seed": 4}, "seed was 0, now 4"),
        ({"models": ["yolov8n.yaml", "b.yaml"]}, "models was yolov8n.yaml, now yolov8n.yaml,b.yaml"),
        ({"split": "val"}, "split was auto, now val"),
    ],
)
def test_another_plan_cannot_take_the_folder(tmp_path, changes, words):
    make(tmp_path / "c").claim()
    before = (tmp_path / "c" / "plan.json").read_bytes()
    with pytest.raises(WordError, match=f"holds another comparison: {words}. Use another folder=, or delete it"):
        make(tmp_path / "c", **changes).claim()
    assert (tmp_path / "c" / "plan.json").read_bytes() == before


def test_a_changed_model_file_is_another_comparison(tmp_path):
    model = tmp_path / "mine.yaml"
    model.write_text("nc: 1\n")
    make(tmp_path / "c", models=[str(model)]).claim()
    assert make(tmp_path / "c", models=[str(model)]).claim()
    model.write_text("nc: 2\n")
    with pytest.raises(WordError, match=r"mine\.yaml has changed"):
        make(tmp_path / "c", models=[str(model)]).claim()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(WordError, match="is no comparison; use another folder="):
        make(tmp_path).claim()
    with pytest.raises(WordError, match="no comparison here"):
        Plan.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"models": []}, "no variant given"),
        ({"models": ["yolo11n.yaml"]}, "yolo11n.yaml is named twice"),
        ({"train": {"project": "x"}}, "project= cannot be given .* use folder="),
        ({"train": {"resume": True}}, "resume= cannot be given"),
        ({"train": {"lr0": object()}}, "must be numbers, text or lists"),
        ({"split": "train"}, "split='train' must be one of auto, val, test"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"seed": True}, "seed=True must be a whole number"),
    ],
)
def test_words_that_cannot_be_used(tmp_path, changes, match):
    with pytest.raises(WordError, match=match):
        make(tmp_path, **changes)


def test_models_of_one_name_get_folders_of_their_own(tmp_path):
    names = [run.name for run in make(tmp_path, models=["a/yolo11n.yaml", "b/yolo11n.yaml"]).runs]
    assert names == ["yolo11n-seed0", "yolo11n-seed0-2", "yolo11n-seed0-3"]
