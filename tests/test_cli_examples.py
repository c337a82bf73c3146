"""The cheap examples of the help pages, run in an empty folder one after the other."""

import re
import shlex
from pathlib import Path

from yolo_attn.cli import main


def test_the_cheap_examples_run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for command in ("", "blocks", "info", "place", "check", "diagram"):
        assert main([*command.split(), "--help"]) == 0
        for line in re.sub(r"\\\n *", "", capsys.readouterr().out.partition("Examples:\n")[2]).splitlines():
            if line.split()[1] not in ("train", "compare") and not Path(line.split()[-1]).exists():
                assert main(shlex.split(line)[1:]) == 0, line
    assert {"yolo11n-ema.svg", "yolo11-mine.yaml", "yolo11-pmfs.yaml", "afpn.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
