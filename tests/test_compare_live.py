"""What is shown while a grid runs: the live table, plain lines, and the estimate of what is left."""

from __future__ import annotations

import io
import re
import threading

import pytest
from comparison import make
from rich.console import Console

from yolo_attn.comparison import remaining_time
from yolo_attn.comparison.live_view import Live
from yolo_attn.experiment.records import Progress

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Show:
    """A grid of runs with its view, in which time passes when a test says so."""

    def __init__(self, folder, terminal=True, encoding="utf-8", **words):
        self.plan = make(folder, **({"arguments": {"epochs": 10}} | words))
        self.clock = Clock()
        self.file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
        self.console = Console(file=self.file, force_terminal=terminal, width=80, color_system=None)
        self.live = Live(self.plan, self.console, clock=self.clock)
        self.runs = self.plan.runs

    def epoch(self, run, epochs, seconds=0.0, value=None, **rest):
        """``run`` has finished ``epochs`` after ``seconds``."""
        self.clock.now += seconds
        run.folder.mkdir(parents=True, exist_ok=True)
        values = value if isinstance(value, list) else [value or number / 100 for number in range(1, epochs + 1)]
        rows = [f"{number},{number},{value}" for number, value in enumerate(values, 1)]
        (run.folder / "results.csv").write_text("\n".join(["epoch,time,metrics/mAP50-95(B)", *rows]) + "\n")
        self.live.progressed(run, Progress(rest.pop("phase", "training"), epochs, self.plan.epochs, **rest))

    def finish(self, run, seconds=0.0):
        self.clock.now += seconds
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
        assert show.drawn() == [
            "0 of 4 runs done, 4 waiting",
            "0 s so far",
            "model    seed 0     seed 1",
            "yolo11n  · waiting  · waiting",
            "yolov8n  · waiting  · waiting",
        ]
        show.live.started(show.runs[0])
        show.live.progressed(show.runs[0], Progress("starting", 0, 10))
        show.clock.now += 70
        show.live.progressed(show.runs[0], Progress("training", 0, 10, 3, 40))
        assert show.drawn() == [
            "0 of 4 runs done, 1 running, 3 waiting",
            "1 min so far",
            "▶ yolo11n-seed0: epoch 1 of 10, batch 3 of 40, 1 min",
            "model    seed 0     seed 1",
            "yolo11n  ▶ 0 of 10  · waiting",
            "yolov8n  · waiting  · waiting",
        ]


def test_every_state_with_figures_and_time_left(tmp_path):
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
        show.epoch(third, 0)
        show.epoch(third, 3, 189)
        assert show.drawn() == [
            "1 of 4 runs done, 1 running, 1 failed, 1 waiting",
            "14 min so far, about 18 min left",
            "▶ yolo11n-seed1 on node-2 (GPU 1): epoch 4 of 10, val mAP50-95 3.0, 3 min",
            "model    seed 0       seed 1",
            "yolo11n  ✓ done 10.0  ▶ 3 of 10",
            "yolov8n  ✗ failed     · waiting",
        ]
        show.epoch(third, 9, 0, phase="validating")
        assert "(GPU 1): epoch 10 of 10, validating, val mAP50-95 9.0, 3 min model" in " ".join(show.drawn())
        show.epoch(third, 10, 0, phase="validating")
        assert "yolo11n-seed1 on node-2 (GPU 1): validating the best epoch" in show.drawn()[2]
    assert show.live.reasons == {second.name: "layer 3 cannot\nbe built"}
    assert f"[2/4] {second.name}: failed: layer 3 cannot be built\n" in show.printed().replace("\r", "")


def test_what_was_finished_before_is_done_and_half_trained_runs_need_less(tmp_path):
    show = Show(tmp_path / "c", seeds="0-1")
    first, second, third, _ = show.runs
    for run, rows in ((first, 10), (third, 6)):
        run.folder.mkdir(parents=True)
        lines = [f"{number},1,0.{number:02d}" for number in range(1, rows + 1)]
        (run.folder / "results.csv").write_text("\n".join(["epoch,time,metrics/mAP50-95(B)", *lines]))
    first.record.write_text("{}")
    show.live = Live(show.plan, show.console, clock=show.clock)
    assert show.drawn()[0] == "1 of 4 runs done, 3 waiting"
    assert "yolo11n  ✓ done 10.0  · waiting" in show.drawn()
    show.live.started(second)
    show.epoch(second, 0)
    show.epoch(second, 1, 60)
    assert show.live.headline().endswith("1 min so far, about 23 min left")  # 9 + 4 + 10
    show.live.started(third)
    show.live.progressed(third, Progress("training", 6, 10))
    show.epoch(third, 7, 120)  # its own model: 2 min; two at once; (7 + 6 + 10) / 2, the last needs 10
    assert show.live.headline().endswith("3 min so far, about 12 min left")


def test_several_at_once_share_what_is_left(tmp_path):
    show = Show(tmp_path / "c", seeds="0-3", models=["a.yaml"])
    for run in show.runs[:4]:
        show.live.started(run)
        show.epoch(run, 0)
    for run in show.runs[:4]:
        show.epoch(run, 1, 15 if run is show.runs[0] else 0)
    # 4 runs with 9 epochs left and 4 with 10, of 15 s, four at once
    assert show.live.headline().endswith("about 5 min left")
    show.live.started(show.runs[0], "node-3")  # its machine was lost; what is known remains known
    assert "about 5 min left" in show.live.headline()


@pytest.mark.parametrize(("models", "seeds"), [(11, 20), (3, 8), (1, 1), (2, 120)])
def test_a_large_grid_fits_80_columns(tmp_path, models, seeds):
    names = [f"yolo11n-a-rather-long-name-of-a-model-{number}.yaml" for number in range(models)]
    show = Show(tmp_path / "c", models=names, seeds=f"0-{seeds - 1}", arguments={"epochs": 300})
    for number in range(min(10, len(show.runs) - 1)):
        show.live.started(show.runs[number], "a-node-of-the-cluster.example.org")
        show.live.progressed(show.runs[number], Progress("training", 99, 300, 100, 1000))
    lines = show.drawn()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 60
    if seeds == 20:
        assert lines[-1] == "✓ done  ▶ running  · waiting  ✗ failed"
        rows = [line for line in lines if "0 of 20" in line]
        assert len(rows) == 12
        assert rows[0].split()[1:3] == ["▶" + 9 * "·", 10 * "·"]
        assert "  and 2 more are running" in lines


def test_only_ascii_where_the_terminal_has_no_more(tmp_path):
    show = Show(tmp_path / "c", encoding="ascii", seeds="0-1")
    with show.live:
        show.live.started(show.runs[0])
        show.live.failed(show.runs[0], "no")
    assert "yolo11n  x failed   . waiting" in show.printed()


def test_the_terminal_is_sane_after_an_interruption(tmp_path):
    show = Show(tmp_path / "c")
    before = threading.active_count()

    def interrupted():
        with show.live:
            show.live.started(show.runs[0])
            assert threading.active_count() == before  # it draws when told something
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    printed = show.printed()
    assert printed.count(HIDE_CURSOR) == printed.count(SHOW_CURSOR) == 1
    assert printed.rindex(SHOW_CURSOR) > printed.rindex("waiting")
    assert printed.endswith((SHOW_CURSOR, "\n"))


def test_it_draws_four_times_a_second_at_most(tmp_path):
    show = Show(tmp_path / "c")
    drawn = []
    with show.live:
        show.live.started(show.runs[0])
        original, show.live.view.refresh = show.live.view.refresh, lambda: drawn.append(show.clock.now)
        for _ in range(100):
            show.clock.now += 0.02
            show.live.progressed(show.runs[0], Progress("training", 0, 10))
        show.live.view.refresh = original
    assert 6 <= len(drawn) <= 8


def test_plain_lines_where_there_is_no_terminal(tmp_path):
    show = Show(tmp_path / "c", terminal=False, seeds="0-1")
    first, second, *_ = show.runs
    with show.live:
        show.live.started(first)
        show.epoch(first, 0)
        for epoch in range(1, 11):
            show.epoch(first, epoch, 12, value=[0.1 + 0.01 * (n != 9) * n for n in range(epoch)])
        show.finish(first, 6)
        show.live.started(second, "node-2")
        show.live.started(second, "node-3")
        show.live.failed(second, "layer 3\n  [bold]cannot[/] be built")
    assert show.printed().splitlines() == [
        "[1/4] yolo11n-seed0: training",
        "[1/4] yolo11n-seed0: epoch 3 of 10 done, val mAP50-95 12.0; all runs: about 7 min left",
        "[1/4] yolo11n-seed0: epoch 6 of 10 done, val mAP50-95 15.0; all runs: about 7 min left",
        "[1/4] yolo11n-seed0: epoch 9 of 10 done, val mAP50-95 18.0; all runs: about 6 min left",
        "[1/4] yolo11n-seed0: finished in 2 min, best val mAP50-95 18.0; all runs: about 6 min left",
        "[2/4] yolov8n-seed0: training on node-2",
        "[2/4] yolov8n-seed0: training again on node-3",
        "[2/4] yolov8n-seed0: failed: layer 3 [bold]cannot[/] be built",
    ]


def test_a_slow_epoch_has_its_own_line(tmp_path):
    show = Show(tmp_path / "c", terminal=False)
    with show.live:
        show.live.started(show.runs[0])
        show.epoch(show.runs[0], 0)
        for epoch in (1, 2):
            show.epoch(show.runs[0], epoch, 40)
            show.live.progressed(show.runs[0], Progress("training", epoch, 10, 1, 4))
    assert re.findall(r"epoch \d of 10", show.printed()) == ["epoch 1 of 10", "epoch 2 of 10"]


def test_a_run_that_ends_unannounced_is_shown(tmp_path):
    show = Show(tmp_path / "c", terminal=False)
    with show.live:
        show.runs[0].folder.mkdir(parents=True)
        show.finish(show.runs[0])
        show.live.failed(show.runs[1], "it never began")
    assert show.printed().splitlines() == [
        "[1/2] yolo11n-seed0: training",
        "[1/2] yolo11n-seed0: finished in 0 s",
        "[2/2] yolov8n-seed0: failed: it never began",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (3570, "1 h"), (7800, "2 h 10 min"),
     (47.6 * 3600, "47 h 36 min"), (48 * 3600, "2 d"), (76 * 3600, "3 d 4 h")],
)  # fmt: skip
def test_durations_in_words(seconds, text):
    assert remaining_time.words(seconds) == text
    assert remaining_time.about(seconds) == ("less than a minute left" if seconds < 60 else f"about {text} left")
