"""Names under which experiment trackers group the runs of an experiment.

Ultralytics' own callbacks log the runs to TensorBoard, MLflow, Weights & Biases, Comet or ClearML if the user's
settings enable them (``yolo settings wandb=True``). They take the names of a run from environment variables, or from
``project`` and ``name``, which are the experiment's folder and the run here. TensorBoard needs no names:
``tensorboard --logdir FOLDER`` lists the runs by their folders.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from ..experiment.plan import Run

PROJECT_LENGTH = 128  # characters of a W&B project or group
TAG_LENGTH = 64  # of a W&B tag


def variables(plan_name: str, run: Run, experiment: str, *, present: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for the process of a run, without those that the user has set.

    ==========  ============================  =====================  ===================================
    tracker     group                         run                    tags
    ==========  ============================  =====================  ===================================
    W&B         ``WANDB_RUN_GROUP``           (the run's ``name``)   ``WANDB_TAGS``, ``WANDB_JOB_TYPE``
    MLflow      ``MLFLOW_EXPERIMENT_NAME``    ``MLFLOW_RUN``         ``MLFLOW_RUN_CONTEXT``
    Comet       ``COMET_PROJECT_NAME``        ``COMET_..._NAME``     ``COMET_START_EXPERIMENT_TAGS``
    ==========  ============================  =====================  ===================================

    Args:
        plan_name: Name of the experiment, which groups its runs.
        run: The run.
        experiment: The plan's id; its first 8 characters become a tag, because folders may share a name.
        present: The environment of the process; this process's by default.
    """
    here = os.environ if present is None else present
    group = project_name(plan_name)
    facts = {"model": run.model, "seed": str(run.seed), "role": run.control or run.role, "experiment": experiment[:8]}
    tags = ",".join(_tag(text) for text in (run.model, f"seed {run.seed}", facts["role"], facts["experiment"]))
    names = {
        "WANDB_RUN_GROUP": group,
        "WANDB_JOB_TYPE": facts["role"],
        "WANDB_TAGS": tags,
        "MLFLOW_EXPERIMENT_NAME": group,
        "MLFLOW_RUN": run.name,
        "MLFLOW_RUN_CONTEXT": json.dumps(facts),
        "COMET_PROJECT_NAME": group,
        "COMET_EXPERIMENT_NAME": run.name,
        "COMET_START_EXPERIMENT_NAME": run.name,
        "COMET_START_EXPERIMENT_TAGS": tags,
    }
    return {name: value for name, value in names.items() if name not in here}


def project_name(plan_name: str) -> str:
    """Return the experiment's name as a project name of W&B, which refuses some characters and over 128 of them."""
    return re.sub(r"[/\\#?%:,]+", "-", plan_name).strip("-")[:PROJECT_LENGTH] or "comparison"


def _tag(text: str) -> str:
    return text.replace(",", " ")[:TAG_LENGTH]
