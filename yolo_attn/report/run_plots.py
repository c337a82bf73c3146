"""Find the PR curves and confusion matrices that Ultralytics left in the folders of the runs."""

from __future__ import annotations

import os
import stat
from urllib.parse import quote

from ..experiment.folder_contents import Experiment

# What the page calls a plot -> its file, by version of Ultralytics.
PLOTS = {
    "PR curve": ("BoxPR_curve.png", "PR_curve.png"),
    "confusion matrix": ("confusion_matrix.png",),
    "normalised": ("confusion_matrix_normalized.png",),
}


def plots_of_runs(experiment: Experiment) -> dict[str, dict[str, str]]:
    """Return a link to each plot, relative to the experiment's folder, by name of the run and of the plot."""
    found = {}
    for run in experiment.plan.runs:
        there = {
            plot: f"{quote(run.folder.name)}/{quote(file)}"
            for plot, files in PLOTS.items()
            for file in files
            if _is_file(os.fspath(run.folder / file))
        }
        if there:
            found[run.name] = there
    return found


def _is_file(path: str) -> bool:
    """Return whether there is a regular file, not a link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
