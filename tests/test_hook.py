"""The start-up hook, in fresh interpreters."""

import shutil
import statistics
import textwrap

import pytest
from support import ROOT, TRAIN, gate_module, model_yaml, run, run_file, tiny_data

OFF = {"YOLO_ATTN_AUTOLOAD": "0"}


def test_nothing_is_imported_at_start(tmp_path):
    out = run(
        """
        import sys
        heavy = {"torch", "ultralytics", "numpy", "yaml", "yolo_attn", "inspect", "importlib.metadata", "typing"}
        print(sorted(m for m in sys.modules if m in heavy or m.partition(".")[0] in heavy))
        print(sys.meta_path[0].__module__)
        """,
        tmp_path,
    )
    modules = "['yolo_attn', 'yolo_attn.integration', 'yolo_attn.integration.patches.hook']"
    assert out.splitlines() == [modules, "yolo_attn.integration.patches.hook"]


def test_start_up_takes_under_5_ms(tmp_path):
    shutil.copytree(ROOT / "yolo_attn", tmp_path / "yolo_attn", ignore=shutil.ignore_patterns("__pycache__"))
    startup = ROOT / "yolo_attn/integration/patches/startup"
    shutil.copy(startup / "_yolo_attn_startup.py", tmp_path)
    code = f"""
        import sys, time
        sys.path.insert(0, {str(tmp_path)!r})
        start = time.perf_counter()
        {(startup / "yolo_attn.pth").read_text()}
        print(time.perf_counter() - start)
        assert sys.meta_path[0].__name__ == "Finder"
        """
    times = []
    for _ in range(8):
        done = run_file(["-S", "-c", textwrap.dedent(code)], tmp_path, PYTHONDONTWRITEBYTECODE="")
        assert not done.returncode, done.stderr
        times.append(float(done.stdout))
    median = statistics.median(times[1:])
    assert median < 5e-3, f"{median * 1e3:.2f} ms"


def test_models_build_from_any_folder_and_modules_look_as_ever(tmp_path):
    out = run(
        """
        import importlib, importlib.machinery, inspect, pathlib, sys
        from ultralytics import YOLO
        print(type(YOLO("yolo11n-ema.yaml").model.model[17]).__name__)
        from yolo_attn.integration.patches import hook, patching
        import ultralytics.nn, ultralytics.nn.tasks as tasks
        import ultralytics.utils.dist, ultralytics.models.yolo.detect.train
        for name in hook.TARGETS:
            module = sys.modules[name]
            assert type(module.__loader__) is type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
            assert module.__spec__.origin == module.__file__
            assert inspect.getsource(module) == pathlib.Path(module.__file__).read_text()
        assert set(patching.WRAPPERS) == hook.TARGETS
        assert inspect.getsource(tasks.parse_model).startswith("def parse_model(d, ch, verbose=True):")
        assert ultralytics.nn.parse_model is tasks.parse_model
        assert inspect.signature(tasks.parse_model) == inspect.signature(tasks.parse_model.__wrapped__)

        before = tasks.parse_model.__wrapped__
        importlib.reload(tasks)
        assert tasks.parse_model.__wrapped__ is not before
        assert not hasattr(tasks.parse_model.__wrapped__, "__wrapped__")
        print(type(tasks.DetectionModel("yolo11n-ema.yaml", verbose=False).model[17]).__name__)
        for name in "json.tool", "ultralytics.nowhere", "ultralytics.utils.dist":
            print(importlib.util.find_spec(name) is not None)
        """,
        tmp_path,
    )
    assert out.splitlines() == ["EMA", "EMA", "True", "False", "True"]


def test_a_file_in_the_working_folder_wins(tmp_path):
    model_yaml(tmp_path, "nc: 80", "nc: 7", name="yolo11-ema.yaml")
    model_yaml(tmp_path, "nc: 80", "nc: 5", name="coco8.yaml")
    out = run(
        """
        from ultralytics import YOLO
        from ultralytics.utils.checks import check_file
        print(YOLO("yolo11n-ema.yaml").model.yaml["nc"], YOLO("yolo11n-gsop.yaml").model.yaml["nc"])
        print(check_file("coco8.yaml"))
        print(YOLO("yolo11n.yaml").model.yaml["nc"])
        try:
            YOLO("yolo11n-nowhere.yaml")
        except FileNotFoundError as error:
            print("FileNotFoundError")
        """,
        tmp_path,
    )
    assert out.splitlines() == ["7 80", "coco8.yaml", "80", "FileNotFoundError"]


def test_switched_off_and_registered_later(tmp_path):
    out = run(
        """
        import sys
        print([m for m in sys.modules if m.startswith("yolo_attn")][3:], "yolo_attn" in str(sys.meta_path[0]))
        from ultralytics import YOLO
        import ultralytics.nn
        from ultralytics.nn import tasks
        try:
            YOLO("yolo11n-ema.yaml")
        except FileNotFoundError:
            print("unknown")
        assert not hasattr(tasks.parse_model, "__wrapped__")
        import yolo_attn
        yolo_attn.install()
        print(type(YOLO("yolo11n-ema.yaml").model.model[17]).__name__)
        assert ultralytics.nn.parse_model is tasks.parse_model
        """,
        tmp_path,
        **OFF,
    )
    assert out.splitlines() == ["[] False", "unknown", "EMA"]


def test_switched_off_and_registered_first(tmp_path):
    out = run(
        """
        import sys, yolo_attn
        yolo_attn.install()
        print("torch" in sys.modules)
        from ultralytics import YOLO
        print(type(YOLO("yolo26n-pmfs.yaml").model.model[11]).__name__)
        """,
        tmp_path,
        **OFF,
    )
    assert out.splitlines() == ["False", "PMFS"]


def test_spawned_processes(tmp_path):
    file = tmp_path / "spawn.py"
    file.write_text(
        textwrap.dedent(
            """
            import multiprocessing

            def build(name):
                from ultralytics import YOLO
                return type(YOLO(name).model.model[11]).__name__

            if __name__ == "__main__":
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(pool.map(build, ["yolo11n-gsop.yaml"]))
            """
        )
    )
    done = run_file([str(file)], tmp_path)
    assert done.stdout == "['GSoP']\n", done.stderr


DDP = f"""
    import my_layers
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import dist

    if __name__ == "__main__":
        options = dict(model=MODEL, project=PROJECT, name="ddp", {TRAIN})
        trainer = DetectionTrainer(overrides=options)
        trainer.model = trainer.get_model(cfg=YOLO(MODEL).model.yaml)
        print("file:", dist.generate_ddp_file(trainer))
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["yolo11n-ema.yaml", "yolo11n-own.yaml"])
def test_the_file_of_multi_gpu_training(tmp_path, model):
    tiny_data(tmp_path / "data")
    gate_module(tmp_path)
    model_yaml(tmp_path, "EMA, []", "Gate, [{reduction: 8}]")
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(DDP).replace("MODEL", repr(model)).replace("PROJECT", repr(str(tmp_path / "runs")))
    )
    done = run_file([str(script)], tmp_path)
    assert not done.returncode, done.stderr
    file = done.stdout.rpartition("file: ")[2].strip()
    text = (tmp_path / file).read_text()
    line = next(line for line in text.splitlines() if line.startswith("    import yolo_attn, my_layers, "))
    assert {"yolo_attn.blocks.ema", "yolo_attn.blocks.harmonious"} <= set(line.split(", "))
    assert text.index("yolo_attn.install()") < text.index("trainer.train()")
    done = run_file([file], tmp_path, **OFF)
    assert not done.returncode, done.stderr
    (checkpoint,) = (tmp_path / "runs").rglob("last.pt")
    out = run(
        f"""
        import my_layers
        from ultralytics import YOLO
        model = YOLO({str(checkpoint)!r})
        print(type(model.model.model[17]).__name__, model.names)
        """,
        tmp_path,
    )
    assert out == f"{'Gate' if 'own' in model else 'EMA'} {{0: 'red', 1: 'green'}}\n"


def test_undo_before_the_models_are_imported(tmp_path):
    """Only a part of Ultralytics is loaded when the layers are taken out again."""
    code = """
        import sys
        import ultralytics.utils.checks as checks
        import yolo_attn
        yolo_attn.install()
        wrapped = checks.check_file
        yolo_attn.uninstall()
        assert "ultralytics.nn.tasks" not in sys.modules
        assert checks.check_file is wrapped.__wrapped__
        print("undone")
    """
    assert run(code, tmp_path).strip() == "undone"
