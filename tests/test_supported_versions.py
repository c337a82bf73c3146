"""Which versions are supported: stated once, in pyproject.toml, and what happens with another Ultralytics."""

import os
import re
import types

import pytest
import torch
import ultralytics
import version_table
import yaml
from support import PROJECT, ROOT, TESTED, logged, model_yaml, run_file
from ultralytics import YOLO
from ultralytics.nn import tasks

from yolo_attn.errors import LayerError
from yolo_attn.integration.patches import parse_model
from yolo_attn.integration.queries import model_graph, ultralytics_versions
from yolo_attn.integration.queries.ultralytics_versions import LAYERS, NEWEST, OLDEST, numbers

pytestmark = pytest.mark.fast


def jobs(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]


def text_of(job):
    return "\n".join(str(step.get("run", "")) for step in job["steps"])


def test_the_code_and_the_project_agree_on_ultralytics():
    listed = TESTED["ultralytics"]
    assert (listed[0], listed[-1]) == (OLDEST, NEWEST)
    assert listed == sorted(listed, key=numbers)
    assert f"ultralytics>={OLDEST}" in PROJECT["project"]["dependencies"]
    with pytest.raises(RuntimeError, match=re.escape(f"versions {OLDEST} to {NEWEST} work")):
        raise parse_model._unsupported("odd")


def test_the_classifiers_and_the_workflow_agree_on_python_and_torch():
    pythons, (oldest_torch, _) = TESTED["python"], TESTED["torch"]
    classifiers = " ".join(PROJECT["project"]["classifiers"])
    assert re.findall(r"Python :: (3\.\d+)", classifiers) == pythons
    assert PROJECT["project"]["requires-python"] == f">={pythons[0]}"
    flow = jobs("tests.yml")
    assert flow["tests"]["strategy"]["matrix"]["python"] == pythons
    assert f"torch>={oldest_torch}" in PROJECT["project"]["dependencies"]
    assert f"torch=={oldest_torch} " in text_of(flow["oldest-torch"])


def test_the_pages_name_no_other_limits():
    """The README says the ends; other pages refer to pyproject.toml."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for ends in (TESTED["ultralytics"], TESTED["python"]):
        assert f"{ends[0]} to {ends[-1]}" in readme
    assert f"torch {TESTED['torch'][0]} to {TESTED['torch'][1]}" in " ".join(readme.split()).replace("PyTorch", "torch")
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "`[tool.yolo-attn.tested]`" in (ROOT / page).read_text(encoding="utf-8")


# A newer Ultralytics


@pytest.fixture
def installed(monkeypatch):
    """Return a function that pretends that another version is installed."""
    monkeypatch.setattr(ultralytics_versions, "_warned", set())
    return lambda version: monkeypatch.setattr(ultralytics, "__version__", version)


def built(*names):
    """Build models; return the lines about versions."""
    with logged() as lines:
        for name in names:
            YOLO(name)
    return [line for line in lines if "tested" in line]


@pytest.mark.parametrize("version", ["8.4.191", "8.5.0", "9.0.0rc1", "10.0"])
def test_a_newer_version_works_with_one_warning(installed, version):
    installed(version)
    assert built("yolo11n.yaml") == []
    (line,) = built("yolo11n-ema.yaml", "yolo11n-ema.yaml", "yolo11n-gc.yaml")
    assert f"Ultralytics {version}," in line
    assert f" {NEWEST};" in line
    assert "\n" not in line


@pytest.mark.parametrize("version", [NEWEST, OLDEST, "8.4.61"])
def test_no_warning_of_a_tested_version_or_one_between(installed, version):
    installed(version)
    assert built("yolo11n-ema.yaml") == []


def test_the_processes_of_one_training_do_not_repeat_it(installed, monkeypatch):
    installed("8.5.0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert built("yolo11n-ema.yaml") == []
    monkeypatch.delenv("LOCAL_RANK")
    assert len(built("yolo11n-ema.yaml")) == 1


def test_a_warning_that_is_not_shown_is_not_the_one(installed):
    """As under ``verbose=False``, or where a model is only looked at."""
    installed("8.5.0")
    with logged():
        ultralytics.utils.LOGGER.setLevel("ERROR")
        YOLO("yolo11n-ema.yaml")
    model_graph.build(model_graph.load("yolo11n-ema.yaml"))
    assert len(built("yolo11n-ema.yaml")) == 1


# An older Ultralytics than a model YAML needs


@pytest.mark.parametrize("file", sorted(f.name for f in (ROOT / "model_yamls").glob("yolo26-*.yaml")))
def test_the_yolo26_files_say_which_version_they_need(installed, file):
    installed("8.3.253")
    with pytest.raises(
        LayerError, match=r"^yolo26n-.*8\.4\.0 or later, and 8\.3\.253 is installed.* end2end: True"
    ) as e:
        YOLO(file.replace("26", "26n"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("end2end: True", "end2end: False", r"reg_max: 1\b"),
        ("reg_max: 1", "reg_max: 16", "end2end: True"),
        (r"end2end: True.*\nreg_max: 1", "nothing: 1", r"\[1024, 5, 3, True\] of layer 9 \(SPPF\)"),
        (
            r"(?s)end2end: True.*?\nreg_max: 1(.*), 5, 3, True\]",
            r"nothing: 1\1, 5]",
            r"know the arguments \[1024, True, 0\.5, True\] of layer 24 \(C3k2\); ",
        ),
    ],
)
def test_a_file_made_from_yolo26(installed, tmp_path, old, new, match):
    """Any of its features tells; Ultralytics 8.3 would ignore the keys and read C3k2's ``attn`` as groups."""
    installed("8.3.253")
    text = model_yaml(tmp_path, "EMA, []", "EMA, [{factor: 8}]", "yolo26-ema.yaml").read_text(encoding="utf-8")
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    file = tmp_path / "mine.yaml"
    file.write_text(changed, encoding="utf-8")
    with pytest.raises(LayerError, match=rf"^mine\.yaml: needs Ultralytics 8\.4\.0 .*{match}"):
        YOLO(str(file))
    installed(NEWEST)
    YOLO(str(file))


@pytest.mark.parametrize("file", ["yolo11n-ema.yaml", "yolov8n-gsop.yaml"])
def test_the_other_files_need_nothing_later(installed, file):
    installed(OLDEST)
    YOLO(file)


def test_a_layer_type_of_a_later_version(installed, monkeypatch, tmp_path):
    """The latest of several counts. Stock models keep Ultralytics' own error."""
    text = model_yaml(tmp_path, "C2PSA, [1024]", "A2C2f, [1024]").read_text(encoding="utf-8")
    (tmp_path / "yolo11-own.yaml").write_text(text.replace("nc: 80", "nc: 80\nreg_max: 8"), encoding="utf-8")
    installed(OLDEST)
    with pytest.raises(LayerError, match=r"needs Ultralytics 8\.4\.0 or later.* reg_max: 8;"):
        YOLO(str(tmp_path / "yolo11n-own.yaml"))
    monkeypatch.delattr(tasks, "A2C2f")
    with pytest.raises(LayerError, match=r"needs Ultralytics 8\.4\.0 .* reg_max: 8, layer 10 \(A2C2f\);"):
        YOLO(str(tmp_path / "yolo11n-own.yaml"))
    (tmp_path / "yolo11-own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LayerError, match=r"needs Ultralytics 8\.3\.78 .* layer 10 \(A2C2f\);"):
        YOLO(str(tmp_path / "yolo11n-own.yaml"))


def test_every_layer_type_of_the_list_is_in_this_version():
    """That it is in no version before: ``test_ultralytics_versions.py``."""
    missing = [name for name, first in LAYERS.items() if not hasattr(tasks, name)]
    assert not missing or numbers(ultralytics.__version__) < numbers(max(LAYERS.values(), key=numbers))


def test_the_table_of_versions_counts_the_tests_of_each():
    def report(name, seconds, file="test_ultralytics_versions.py"):
        return types.SimpleNamespace(nodeid=f"tests/{file}::{name}", duration=seconds)

    stats = {
        "passed": [
            report("test_a[8.4.0]", 2),
            report("test_b[8.4.0-x]", 3),
            report("test_a[installed]", 1, "test_pairing.py"),
        ],
        "failed": [report("test_c[8.4.0]", 4), report("test_a[8.3.253]", 1), report("test_a[8.4.0]", 9, "test_x.py")],
        "skipped": [report("test_d", 1)],
    }
    head, *rows = version_table.lines(stats, "8.4.190", "2.14.1")
    assert "torch 2.14.1" in head
    assert head.split()[-5:] == ["passed", "failed", "error", "skipped", "seconds"]
    assert [row.split() for row in rows] == [
        ["8.3.253", "0", "1", "0", "0", "1"],
        ["8.4.0", "2", "1", "0", "0", "9"],
        ["8.4.190", "(installed)", "1", "0", "0", "0", "1"],
    ]
    assert version_table.lines({"passed": [report("test_d", 1)]}, "8.4.190", "2.14.1") == []


def test_each_job_of_the_workflow_adds_its_row(tmp_path, monkeypatch):
    """The failed test counts; a test that was deselected does not."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_two.py").write_text("def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    page, path = tmp_path / "page.md", f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    page.write_text("before\n")
    for wanted in ("not test_c", "test_c"):
        given = ["-n", "2", "-q", "-k", wanted]
        run_file(["-m", "pytest", *given], tmp_path, GITHUB_STEP_SUMMARY=str(page), PYTHONPATH=path)
    before, head, line, row, _, *later = page.read_text(encoding="utf-8").splitlines()
    assert (before, set(line)) == ("before", set("| -"))
    names, cells = ([cell.strip() for cell in text.strip("|").split("|")] for text in (head, row))
    found = dict(zip(names, cells, strict=True))
    assert found["tests"] == "`pytest -n 2 -q -k not test_c`"
    assert (found["passed"], found["failed"], found["skipped"]) == ("1", "1", "0")
    assert (found["torch"], found["Ultralytics"]) == (torch.__version__, ultralytics.__version__)
    assert later[2].count("| 1 | 0 | 0 | 0 |") == 1
