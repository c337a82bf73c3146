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

from ..experiment.plan import Plan, Run

PROJECT_LENGTH = 128  # characters of a W&B project or group
TAG_LENGTH = 64  # of a W&B tag


def variables(plan: Plan, run: Run) -> dict[str, str]:
    """Return the environment variables for the process of a run, without those that the user has set.

    The experiment's folder names the group. The first 8 characters of the plan's id are a tag, because folders may
    share a name.

    ==========  ============================  =====================  ===================================
    tracker     group                         run                    tags
    ==========  ============================  =====================  ===================================
    W&B         ``WANDB_RUN_GROUP``           (the run's ``name``)   ``WANDB_TAGS``, ``WANDB_JOB_TYPE``
    MLflow      ``MLFLOW_EXPERIMENT_NAME``    ``MLFLOW_RUN``         ``MLFLOW_RUN_CONTEXT``
    Comet       ``COMET_PROJECT_NAME``        ``COMET_..._NAME``     ``COMET_START_EXPERIMENT_TAGS``
    ==========  ============================  =====================  ===================================
    """
    group = project_name(plan)
    facts = {"model": run.model, "seed": str(run.seed), "role": run.control or run.role, "experiment": plan.id[:8]}
    texts = (run.model, f"seed {run.seed}", facts["role"], facts["experiment"])
    tags = ",".join(text.replace(",", " ")[:TAG_LENGTH] for text in texts)
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
    return {name: value for name, value in names.items() if name not in os.environ}


def project_name(plan: Plan) -> str:
    """Return the folder's name as a project name of W&B, which refuses some characters and over 128 of them."""
    return re.sub(r"[/\\#?%:,]+", "-", plan.folder.name).strip("-")[:PROJECT_LENGTH] or "comparison"
