"""No network, no traces in the user's settings, one thread; set before anything imports Ultralytics."""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
_home = tempfile.mkdtemp(prefix="yolo-attn-tests-")
os.environ.update(YOLO_OFFLINE="1", YOLO_CONFIG_DIR=_home, YOLO_AUTOINSTALL="0", YOLO_VERBOSE="0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several that share a busy core wait for each other
sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402
import torch  # noqa: E402
from ultralytics import settings  # noqa: E402

settings.update(datasets_dir=f"{_home}/datasets", runs_dir=f"{_home}/runs", weights_dir=f"{_home}/weights")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def shared():
    """The folder with real data and weights beside the checkout; a test that needs it says so."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' with real data and weights beside the checkout")
    return SHARED


@pytest.fixture
def rectangles(tmp_path):
    """A data set of coloured rectangles, 64 px, with a test split in two folders that share their file names."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    root = tmp_path / "rectangles"
    for folder, count in (("train", 16), ("val", 6), ("test/a", 4), ("test/b", 4)):
        for kind in ("images", "labels"):
            (root / kind / folder).mkdir(parents=True)
        for number in range(count):
            image = np.full((48, 64, 3), 30, np.uint8)
            lines = []
            for category in range(2 if number else 0):  # the first image of each folder is empty
                w, h = (int(side) for side in rng.integers(14, 28, 2))
                x, y = int(rng.integers(0, 64 - w)), int(rng.integers(0, 48 - h))
                image[y : y + h, x : x + w] = ((250, 40, 40), (40, 250, 40))[category]
                lines.append(f"{category} {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}")
            cv2.imwrite(str(root / "images" / folder / f"{number:03d}.png"), image)
            (root / "labels" / folder / f"{number:03d}.txt").write_text("\n".join(lines))
    data = root / "rectangles.yaml"
    data.write_text(
        f"path: {root}\ntrain: images/train\nval: images/val\ntest: [images/test/a, images/test/b]\n"
        "names: {0: red, 1: green}\n"
    )
    return data


@pytest.fixture
def own_layers():
    """The registry; what a test registers or takes out is undone afterwards."""
    from yolo_attn import registry
    from yolo_attn.integration.queries import layer_types

    before = dict(layer_types.installed())
    yield registry
    registry.BLOCKS.clear()
    registry.BLOCKS.update(before)


@pytest.fixture
def known(own_layers):
    """The registry, with the sample layers in it."""
    from sample_layers import add_all

    add_all(own_layers)
    return own_layers


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Return a function that tells the children, by name of the run or module, what to do; a record by default."""
    import json

    from comparison import PRETENDER, make
    from made_up_experiment import cost, empty_record

    from yolo_attn.comparison import child_processes, engines

    script, plan = tmp_path / "pretender.py", make(tmp_path / "template")
    script.write_text(PRETENDER)
    templates = {"record": empty_record(plan, plan.runs[0]), "cost": cost(plan)}
    script.with_suffix(".json").write_text(json.dumps(templates))
    monkeypatch.setattr(child_processes, "command", lambda *given: [sys.executable, str(script), *map(str, given)])
    monkeypatch.setattr(engines, "POLL", 0.05)

    def tell(**instructions):
        named = {name.replace("_seed", "-seed"): what for name, what in instructions.items()}
        monkeypatch.setenv("INSTRUCTIONS", json.dumps(named))

    tell()
    return tell


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A copy of the repository as a user has it: without git, caches and runs."""
    import shutil

    folder = tmp_path_factory.mktemp("source") / "yolo-attn"
    leave = shutil.ignore_patterns(".*", "runs", "build", "dist", "docs", "tests", "__pycache__", "*.egg-info", "*.pt")
    shutil.copytree(ROOT, folder, ignore=leave)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_nothing.py").write_text("")
    return folder


@pytest.fixture(scope="session")
def wheel(source, tmp_path_factory):
    """The wheel that is built from it."""
    from support import command

    folder = tmp_path_factory.mktemp("wheel")
    pip = sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"
    command(*pip, "--no-build-isolation", "--no-index", "-w", folder, source)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture
def environment(tmp_path):
    """A function: make a virtual environment that sees the packages of this one but not their .pth files."""
    from support import command, run

    def make(name):
        command(sys.executable, "-m", "venv", tmp_path / name)
        python = tmp_path / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        site = Path(run("import sysconfig; print(sysconfig.get_paths()['purelib'])", tmp_path, python=python).strip())
        (site / "here.pth").write_text("\n".join(p for p in sys.path if Path(p).name == "site-packages"))
        return python, site

    return make


def pytest_terminal_summary(terminalreporter):
    """Print how the tests went with each version of Ultralytics; in a workflow, add it to the page of the run."""
    import ultralytics
    import version_table

    stats, versions = terminalreporter.stats, (ultralytics.__version__, torch.__version__)
    table = version_table.lines(stats, *versions)
    for line in table:
        terminalreporter.write_line(line)
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page and "PYTEST_XDIST_WORKER" not in os.environ:  # each worker has a part of the tests
        arguments = " ".join(terminalreporter.config.invocation_params.args)
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(version_table.summary(stats, *versions, arguments) + "\n\n")
            if table:
                file.write("\n".join(["```text", *table, "```", "", ""]))
