"""What is shown while a grid runs: bars and grid, plain lines, and the time left."""

from __future__ import annotations

import io
import math
import re
from datetime import timedelta

import pytest
from comparison import make
from rich.console import Console

from yolo_attn.comparison.live_view import Live
from yolo_attn.experiment.records import Progress

pytestmark = pytest.mark.fast

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Show:
    """A grid of runs with its view, in which time passes when a test says so."""

    def __init__(self, folder, terminal=True, encoding="utf-8", **changes):
        self.plan = make(folder, **({"arguments": {"epochs": 10}} | changes))
        self.now = 1000.0
        self.file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
        self.console = Console(file=self.file, force_terminal=terminal, width=80, color_system=None)
        self.live = Live(self.plan, self.console, clock=lambda: self.now)
        self.runs = self.plan.runs

    def epoch(self, run, epochs, seconds=0.0, value=None, **rest):
        """``run`` has finished ``epochs`` after ``seconds``."""
        self.now += seconds
        run.folder.mkdir(parents=True, exist_ok=True)
        values = value if isinstance(value, list) else [value or number / 100 for number in range(1, epochs + 1)]
        rows = [f"{number},{number},{value}" for number, value in enumerate(values, 1)]
        (run.folder / "results.csv").write_text("\n".join(["epoch,time,metrics/mAP50-95(B)", *rows]) + "\n")
        self.live.progressed(run, Progress(rest.pop("phase", "training"), epochs, self.plan.epochs, **rest))

    def finish(self, run, seconds=0.0):
        self.now += seconds
        (run.folder / "record.json").write_text("{}")
        self.live.finished(run)

    def drawn(self):
        """The view as it is now, a list of lines."""
        console = Console(file=io.StringIO(), width=80)
        console.print(self.live.render())
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    def printed(self):
        self.file.flush()
        return self.file.buffer.getvalue().decode(self.file.encoding)


def test_before_anything_is_known_nothing_is_made_up(tmp_path):
    show = Show(tmp_path / "c", seeds="0-1")
    with show.live:
        lines = show.drawn()
        assert lines[0] == "0 of 4 runs done, 4 waiting"
        assert lines[1].split() == ["0:00:00", "-:--:--", "left"]
        assert lines[2:] == [
            "model    seeds 0 to 1    done",
            "yolo11n  ··            0 of 2",
            "yolov8n  ··            0 of 2",
            "✓ done  ▶ running  · waiting  ✗ failed",
        ]
        show.live.started(show.runs[0])
        show.now += 70
        show.live.progressed(show.runs[0], Progress("training", 0, 10, 3, 40))
        assert show.drawn()[0] == "0 of 4 runs done, 1 running, 3 waiting"
        assert show.drawn()[3] == "yolo11n  ▶·            0 of 2"
        assert show.drawn()[-1].split()[-5:] == ["0:01:10", "epoch", "1", "of", "10"]


def test_every_state_with_metrics_and_time_left(tmp_path):
    show = Show(tmp_path / "c", seeds="0-1")
    first, second, third, _ = show.runs
    with show.live:
        show.live.started(first)
        show.epoch(first, 0)
        for epoch in range(1, 11):
            show.epoch(first, epoch, 60)
        show.finish(first, 30)
        show.live.started(second)
        show.live.failed(second, "layer 3 cannot\nbe built")
        show.live.started(third, "node-2 (GPU 1)")
        show.epoch(third, 3, 190, batch=2, batches=4)
        lines = show.drawn()
        assert lines[0] == "1 of 4 runs done, 1 running, 1 failed, 1 waiting"
        assert lines[2].split() == ["model", "seeds", "0", "to", "1", "done", "val", "mAP50-95", "to", "base"]
        assert lines[3].split() == ["yolo11n", "✓▶", "1", "of", "2", "10.0"]
        assert lines[4].split() == ["yolov8n", "✗·", "0", "of", "2"]
        assert "0:03:10 epoch 4 of 10, val mAP50-95 3.0 on node" in lines[-1]
        show.epoch(third, 9, 0, phase="validating")
        assert "epoch 10 of 10, validating, val mAP50-95 9.0" in show.drawn()[-1]
        show.epoch(third, 10, 0, phase="validating")
        assert "validating the best epoch" in show.drawn()[-1]
    assert show.live.reasons == {second.name: "layer 3 cannot\nbe built"}
    assert f"[2/4] {second.name}: failed: layer 3 cannot be built\n" in show.printed().replace("\r", "")


def test_the_running_difference_is_up_to_the_same_epoch(tmp_path):
    show = Show(tmp_path / "c", seeds="0-1", models=["yolov8n.yaml", "yolo11n-gsop.yaml"])
    base, other, late, base_1, other_1, _ = show.runs
    with show.live:
        for run in (base, other):
            show.live.started(run)
        show.epoch(base, 10, value=[0.1, 0.5, 0.2, *[0.7] * 7])
        assert show.drawn()[3].split()[-1] == "70.0"
        assert show.drawn()[4].split()[-1] == "2"  # nothing is made up: 0 of 2
        show.epoch(other, 2, value=[0.3, 0.4])
        assert show.drawn()[4].split()[-2:] == ["40.0", "-10.0"]  # the base had 50.0 after two epochs
        show.epoch(other, 3, value=[0.3, 0.4, 0.6])
        assert show.drawn()[4].split()[-2:] == ["60.0", "+10.0"]
        show.finish(base)
        show.finish(other)  # stopped early: both are finished, so all epochs count
        assert show.drawn()[4].split()[-2:] == ["60.0", "-10.0"]
        assert show.drawn()[5].split()[-3:] == ["0", "of", "2"]
        show.epoch(base_1, 1, value=[0.2])
        show.epoch(other_1, 1, value=[0.24])
        assert show.drawn()[3].split()[-1] == "70.0"  # of the finished run
        assert show.drawn()[4].split()[-2:] == ["60.0", "-3.0"]  # mean of -10.0 and +4.0
        show.epoch(late, 1, value=["nan"])
        assert show.drawn()[5].split()[-3:] == ["0", "of", "2"]
        assert max(map(len, show.drawn())) <= 80
    again = Live(show.plan, show.console)  # after an interruption: from the files
    assert again.grid().row_count == 3
    assert [curve.best() for curve in again.curves.values()][:2] == [0.7, 0.6]


def test_the_time_left_counts_all_runs_and_earlier_epochs(tmp_path):
    show = Show(tmp_path / "c", seeds="0-1")
    first, second, third, _ = show.runs
    show.epoch(first, 10)
    show.epoch(third, 6)
    first.record.write_text("{}")
    show.live = Live(show.plan, show.console, clock=lambda: show.now)
    with show.live:
        assert show.drawn()[0] == "1 of 4 runs done, 3 waiting"
        show.live.started(second)
        for epoch in range(3):
            show.epoch(second, epoch, 60)
        assert "0:22:00 left" in show.drawn()[1]  # 8 + 4 + 10 epochs of a minute
        show.live.started(third)  # two at once
        for epoch in range(3, 7):
            show.epoch(second, epoch, 30)
            show.epoch(third, epoch + 4, 30)
        rate = (5 + 4) / (60 * 6 - 60)  # epochs a second since the first one ended
        assert f"{timedelta(seconds=math.ceil((4 + 0 + 10) / rate))} left" in show.drawn()[1]


@pytest.mark.parametrize(("models", "seeds"), [(11, 20), (3, 8), (1, 1), (2, 120)])
def test_a_large_grid_fits_80_columns(tmp_path, models, seeds):
    names = [f"yolo11n-a-rather-long-name-of-a-model-{number}.yaml" for number in range(models)]
    show = Show(tmp_path / "c", models=names, seeds=f"0-{seeds - 1}", arguments={"epochs": 300})
    for number in range(min(10, len(show.runs) - 1)):
        show.live.started(show.runs[number], "a-node-of-the-cluster.example.org")
        show.epoch(show.runs[number], 99, batch=100, batches=1000)
    lines = show.drawn()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 60
    if seeds == 20:
        rows = [line for line in lines if "0 of 20" in line]
        assert len(rows) == 12
        assert rows[0].split()[1:3] == ["▶" + 9 * "·", 10 * "·"]
        assert rows[0].split()[-1] == "99.0"
        assert rows[1].split()[-2:] == ["99.0", "0.0"]


def test_only_ascii_where_the_terminal_has_no_more(tmp_path):
    show = Show(tmp_path / "c", encoding="ascii", seeds="0-1")
    with show.live:
        show.live.started(show.runs[0])
        show.live.failed(show.runs[0], "no")
    assert "yolo11n  x." in show.printed()


def test_the_terminal_is_sane_after_an_interruption(tmp_path):
    show = Show(tmp_path / "c")

    def interrupted():
        with show.live:
            show.live.started(show.runs[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    printed = show.printed()
    assert printed.count(HIDE_CURSOR) == printed.count(SHOW_CURSOR) == 1
    assert printed.rindex(SHOW_CURSOR) > printed.rindex("waiting")
    assert printed.endswith((SHOW_CURSOR, "\n"))


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    show = Show(tmp_path / "c", terminal=False, seeds="0-1")
    first, second, third, fourth = show.runs
    with show.live:
        show.live.started(first)
        show.epoch(first, 0)
        for epoch in range(1, 11):
            show.epoch(first, epoch, 12, value=[0.1 + 0.01 * (n != 9) * n for n in range(epoch)])
        show.finish(first, 6)
        show.live.started(second, "node-2")
        show.live.started(second, "node-3")
        show.live.failed(second, "layer 3\n  [bold]cannot[/] be built")
        show.live.started(third)
        for epoch in (1, 2):
            show.epoch(third, epoch, 40)
            show.live.progressed(third, Progress("training", epoch, 10, 1, 4))
        fourth.folder.mkdir()
        (fourth.folder / "results.csv").write_text("epoch,metrics/mAP50-95(B)\n1,0.035\n2,0.01\n")
        show.finish(fourth)  # without an event before
    lines = show.printed().splitlines()
    assert [re.sub("about .* left", "... left", line) for line in lines] == [
        "[1/4] yolo11n-seed0: training",
        "[1/4] yolo11n-seed0: epoch 3 of 10 done, val mAP50-95 12.0, ... left for all runs",
        "[1/4] yolo11n-seed0: epoch 6 of 10 done, val mAP50-95 15.0, ... left for all runs",
        "[1/4] yolo11n-seed0: epoch 9 of 10 done, val mAP50-95 18.0, ... left for all runs",
        "[1/4] yolo11n-seed0: finished in 0:02:06, best val mAP50-95 18.0, ... left for all runs",
        "[2/4] yolov8n-seed0: training on node-2",
        "[2/4] yolov8n-seed0: training again on node-3",
        "[2/4] yolov8n-seed0: failed: layer 3 [bold]cannot[/] be built",
        "[3/4] yolo11n-seed1: training",
        "[3/4] yolo11n-seed1: epoch 1 of 10 done, val mAP50-95 1.0",
        "[3/4] yolo11n-seed1: epoch 2 of 10 done, val mAP50-95 2.0, ... left for all runs",
        "[4/4] yolov8n-seed1: training",
        "[4/4] yolov8n-seed1: finished in 0:00:00, best val mAP50-95 3.5, difference to yolo11n +1.5 (1 seed)",
    ]
    assert "about 0:07:24 left" in lines[1]  # 37 epochs of 12 s
