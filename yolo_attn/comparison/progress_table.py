"""The live view of a grid of runs: a headline, the runs that are being performed, models x seeds.

Every state has its own sign, so that the view can be read without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..experiment.plan import Plan, Run
from ..experiment.records import Progress

SIGNS = {"done": "✓", "running": "▶", "waiting": "·", "failed": "✗"}
ASCII_SIGNS = {"done": "+", "running": ">", "waiting": ".", "failed": "x"}
STYLES = {"done": "green", "running": "bold cyan", "waiting": "dim", "failed": "bold red"}
MOST = 8  # runs that are told line by line
GROUP = 10  # signs without a gap
TITLE = 32  # columns that a model's name may take
GAP = 2  # columns between two cells


@dataclass(slots=True)
class State:
    """What is known about one run.

    Attributes:
        word: ``waiting``, ``running``, ``done`` or ``failed``.
        where: The machine, if it is another.
        progress: How far it is; None before it has begun.
        figure: mAP50-95 on val, 0 to 1: of the last epoch while it is trained, of the best one afterwards.
        taken: How long it has been running in this session, in words.
    """

    word: str = "waiting"
    where: str = ""
    progress: Progress | None = None
    figure: float | None = None
    taken: str = ""


def draw(
    plan: Plan, runs: Sequence[Run], states: Mapping[str, State], headline: str, width: int, *, ascii_only: bool = False
) -> RenderableType:
    """Return the view: each run in words where the seeds fit side by side, else one sign for each run.

    Args:
        plan: What is compared.
        runs: All its runs.
        states: Their states, by name.
        headline: What stands above.
        width: Columns of the terminal.
        ascii_only: Whether nothing else can be shown.
    """
    signs = ASCII_SIGNS if ascii_only else SIGNS
    running = [run for run in runs if states[run.name].word == "running"]
    lines: list[RenderableType] = [Text(headline, style="bold")]
    lines += [Text(f"{signs['running']} {describe(run, states[run.name])}") for run in running[:MOST]]
    if len(running) > MOST:
        lines.append(Text(f"  and {len(running) - MOST} more are running"))
    rows = {entry.name: [states[run.name] for run in runs if run.model == entry.name] for entry in plan.planned_models}
    words = {title: [_cell(state, signs) for state in row] for title, row in rows.items()}
    heads = ["model", *(f"seed {seed}" for seed in plan.seeds)]
    columns = zip(heads, [list(words), *zip(*words.values(), strict=True)], strict=True)
    needed = sum(max(cell_len(text) for text in (head, *column)) for head, column in columns) + GAP * len(plan.seeds)
    if needed <= width:
        return Group(*lines, _in_words(rows, words, heads))
    return Group(*lines, _in_signs(rows, plan.seeds, signs), _legend(signs))


def describe(run: Run, state: State) -> str:
    """Return a line about a run that is being performed."""
    parts = [how_far(state.progress), points(state.figure), state.taken]
    where = f" on {state.where}" if state.where else ""
    return f"{run.name}{where}: {', '.join(part for part in parts if part)}"


def how_far(progress: Progress | None) -> str:
    """Return how far a run is, in words."""
    if progress is None or progress.phase == "starting":
        return "starting"
    if progress.epoch >= progress.epochs:
        return "validating the best epoch"
    epoch = f"epoch {progress.epoch + 1} of {progress.epochs}"
    if progress.phase == "validating":
        return f"{epoch}, validating"
    return f"{epoch}, batch {progress.batch} of {progress.batches}" if progress.batches else epoch


def points(figure: float | None) -> str:
    """Return mAP50-95 on val in points of 100 with its name, or nothing."""
    return "" if figure is None else f"val mAP50-95 {100 * figure:.1f}"


def _cell(state: State, signs: Mapping[str, str]) -> str:
    if state.word == "running" and state.progress is not None:
        return f"{signs['running']} {state.progress.epoch} of {state.progress.epochs}"
    if state.word == "done" and state.figure is not None:
        return f"{signs['done']} done {100 * state.figure:.1f}"
    return f"{signs[state.word]} {state.word}"


def _table() -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    table.add_column("model", no_wrap=True, max_width=TITLE, overflow="ellipsis")
    return table


def _in_words(rows: Mapping[str, list[State]], words: Mapping[str, list[str]], heads: Sequence[str]) -> Table:
    table = _table()
    table.columns[0].max_width = None
    for head in heads[1:]:
        table.add_column(head, no_wrap=True)
    for title, row in rows.items():
        cells = [Text(word, style=STYLES[state.word]) for word, state in zip(words[title], row, strict=True)]
        table.add_row(Text(title), *cells)
    return table


def _in_signs(rows: Mapping[str, list[State]], seeds: Sequence[int], signs: Mapping[str, str]) -> Table:
    table = _table()
    table.add_column(f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}")
    table.add_column("done", no_wrap=True, justify="right")
    for title, row in rows.items():
        strip = Text()
        for number, state in enumerate(row):
            strip.append(" " if number and number % GROUP == 0 else "")
            strip.append(signs[state.word], style=STYLES[state.word])
        done = sum(state.word == "done" for state in row)
        table.add_row(Text(title), strip, f"{done} of {len(row)}")
    return table


def _legend(signs: Mapping[str, str]) -> Text:
    return Text("  ".join(f"{sign} {word}" for word, sign in signs.items()), style="dim")
