"""Measure what the start-up hook adds to the start of an interpreter.

    python benchmarks/startup.py [PAIRS]

Two empty virtual environments import this checkout; one of them has the start-up files. ``python -c pass`` is timed in
both in turn, with compiled bytecode. Prints milliseconds.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTUP = ROOT / "yolo_attn" / "integration" / "patches" / "startup"


def environment(folder: Path, *, hook: bool) -> Path:
    """Make a virtual environment that imports this checkout; return its interpreter."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"), folder / "Lib" / "site-packages")
    (site / "_yolo_attn.pth").write_text(str(ROOT))
    if hook:
        for name in ("_yolo_attn_startup.py", "yolo_attn.pth", "yolo_attn.start"):
            shutil.copy(STARTUP / name, site)
    return next(p for p in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if p.exists())


def start(python: Path, variables: dict[str, str]) -> float:
    """Return the time of one start in milliseconds."""
    begin = time.perf_counter()
    subprocess.run([python, "-c", "pass"], env=variables, check=True)
    return 1e3 * (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        variables["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        with_hook = environment(Path(folder) / "with", hook=True)
        without = environment(Path(folder) / "without", hook=False)
        for python in (with_hook, without) * 3:
            start(python, variables)
        times = [(start(with_hook, variables), start(without, variables)) for _ in range(pairs)]
    ours, theirs = zip(*times, strict=True)
    added = statistics.median(a - b for a, b in times)
    print(f"{pairs} pairs: {statistics.median(ours):.2f} ms with the hook, {statistics.median(theirs):.2f} ms without")
    print(f"median of the differences: {added:.2f} ms")


if __name__ == "__main__":
    main()
