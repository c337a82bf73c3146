"""Show experiment trackers a project's name instead of its folder."""

from __future__ import annotations

from typing import Any


def name_project(trainer: Any, name: str) -> None:
    """Let Ultralytics' tracker callbacks read ``name`` as the training's ``project``.

    Call it on ``on_pretrain_routine_start``, when the run's folder is already fixed. W&B refuses a path as a project
    (up to 8.3 it gets one), ClearML and MLflow would show the whole path. When the training starts, after the trackers
    opened their runs, ``project`` is the folder again, for checkpoints and ``args.yaml``.
    """
    folder = trainer.args.project
    trainer.args.project = name

    def put_back(trainer: Any) -> None:
        trainer.args.project = folder

    trainer.add_callback("on_train_start", put_back)
