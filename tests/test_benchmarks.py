"""The programs in benchmarks/ run, in small."""

import re
import runpy
import sys

import pytest
from support import ROOT
from ultralytics.utils import LOGGER


@pytest.fixture
def benchmark(monkeypatch, capsys):
    """A function: run a program of benchmarks/ with these arguments, return what it prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        level = LOGGER.level
        runpy.run_path(str(ROOT / "benchmarks" / name), run_name="__main__")
        LOGGER.setLevel(level)
        return capsys.readouterr().out

    return run


@pytest.mark.fast
def test_bootstrap(benchmark):
    sizes = "--images 20 --classes 3 --boxes 60 --predictions 10 --resamples 5"
    printed = benchmark("bootstrap.py", "--oracle", *sizes.split())
    assert "20 images, 3 classes, 60 boxes" in printed
    assert float(re.search(r"largest difference (\S+)", printed)[1]) < 1e-12


def test_startup(benchmark):
    printed = benchmark("startup.py", 2)
    with_hook, without = map(float, re.search(r"2 pairs: (\S+) ms with the hook, (\S+) ms", printed).groups())
    assert 0 < without < 1000 > with_hook > 0


def test_pretrained(benchmark, shared):
    rows = benchmark("pretrained.py", "transfer", shared / "weights" / "yolo11n.pt").splitlines()
    assert [row.split()[-3:-1] for row in rows if "yolo11n " in row] == [["499/499", "100.0"]] * 4
