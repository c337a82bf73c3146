"""The start-up hook, in fresh interpreters. Multi-GPU training without it: ``test_pretrained_versions.py``."""

import shutil
import textwrap

from support import ROOT, gate_module, model_yaml, run, run_file

MODULES = [
    f"yolo_attn{name}" for name in ("", ".integration", ".integration.patches", ".integration.patches.import_hook")
]
SESSION = f"""
    import sys
    if __name__ == "__main__":
        heavy = {{"torch", "ultralytics", "numpy", "yaml", "yolo_attn", "inspect", "importlib.metadata", "typing"}}
        assert sorted(m for m in sys.modules if {{m, m.partition(".")[0]}} & heavy) == {MODULES}
        assert sys.meta_path[0].__module__ == "yolo_attn.integration.patches.import_hook"

    import importlib, importlib.machinery, inspect, multiprocessing, pathlib
    from ultralytics import YOLO

    def built(name, layer=17):
        return type(YOLO(name).model.model[layer]).__name__

    if __name__ == "__main__":
        assert built("yolo11n-ema.yaml") == "EMA"

        from yolo_attn.integration.patches import import_hook, wrapped_functions
        from ultralytics.utils.checks import check_file
        import ultralytics.nn, ultralytics.nn.tasks as tasks
        import ultralytics.utils.dist, ultralytics.models.yolo.detect.train
        for name in import_hook.TARGETS:
            module = sys.modules[name]
            assert type(module.__loader__) is type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
            assert module.__spec__.origin == module.__file__
            assert inspect.getsource(module) == pathlib.Path(module.__file__).read_text()
        assert set(wrapped_functions.WRAPPERS) == import_hook.TARGETS
        assert inspect.getsource(tasks.parse_model).startswith("def parse_model(d, ch, verbose=True):")
        assert ultralytics.nn.parse_model is tasks.parse_model
        assert inspect.signature(tasks.parse_model) == inspect.signature(tasks.parse_model.__wrapped__)

        before = tasks.parse_model.__wrapped__
        importlib.reload(tasks)
        assert tasks.parse_model.__wrapped__ is not before
        assert not hasattr(tasks.parse_model.__wrapped__, "__wrapped__")
        assert type(tasks.DetectionModel("yolo11n-ema.yaml", verbose=False).model[17]).__name__ == "EMA"
        names = "json.tool", "ultralytics.nowhere", "ultralytics.utils.dist"
        assert [importlib.util.find_spec(name) is not None for name in names] == [True, False, True]

        # a file in the working folder wins
        assert [YOLO(n).model.yaml["nc"] for n in ("yolo11n-mine.yaml", "yolo11n-gsop.yaml")] == [7, 80]
        assert check_file("coco8.yaml") == "coco8.yaml"
        assert YOLO("yolo11n.yaml").model.yaml["nc"] == 80
        try:
            YOLO("yolo11n-nowhere.yaml")
        except FileNotFoundError:
            print("not found")

        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.starmap(built, [("yolo11n-gsop.yaml", 11)]))
"""


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
    assert min(times) < 5e-3, f"{min(times) * 1e3:.2f} ms"  # the others share the processor


def test_a_session_with_the_hook(tmp_path):
    """Nothing heavy at start; models build in any folder; modules look unpatched; spawned processes have the layers."""
    model_yaml(tmp_path, "nc: 80", "nc: 7", name="yolo11-mine.yaml")
    model_yaml(tmp_path, "nc: 80", "nc: 5", name="coco8.yaml")
    (tmp_path / "session.py").write_text(textwrap.dedent(SESSION))
    done = run_file(["session.py"], tmp_path)
    assert done.stdout.splitlines() == ["not found", "['GSoP']"], done.stderr


def test_a_session_without_the_hook(tmp_path):
    """Installed before and after Ultralytics is imported, and uninstalled while only a part of it is loaded."""
    gate_module(tmp_path)
    model_yaml(tmp_path, "EMA, []", "Gate, [{reduction: 8}]")
    out = run(
        f"""
        import sys
        assert [m for m in sys.modules if m.startswith("yolo_attn")] == {MODULES}
        assert "yolo_attn" not in str(sys.meta_path[0])
        import yolo_attn
        yolo_attn.install()
        assert "torch" not in sys.modules
        import ultralytics.utils.checks as checks
        wrapped = checks.check_file
        yolo_attn.uninstall()
        assert "ultralytics.nn.tasks" not in sys.modules
        assert checks.check_file is wrapped.__wrapped__

        from ultralytics import YOLO
        import ultralytics.nn
        from ultralytics.nn import tasks
        try:
            YOLO("yolo11n-ema.yaml")
        except FileNotFoundError:
            print("unknown")
        assert not hasattr(tasks.parse_model, "__wrapped__")
        import my_layers
        yolo_attn.install()
        print(*(type(YOLO(name).model.model[17]).__name__ for name in ("yolo11n-ema.yaml", "yolo11n-own.yaml")))
        assert ultralytics.nn.parse_model is tasks.parse_model
        """,
        tmp_path,
        YOLO_ATTN_AUTOLOAD="0",
    )
    assert out.splitlines() == ["unknown", "EMA Gate"]
