"""The name of a project as experiment trackers show it, in place of the folder that ``project`` is."""

from __future__ import annotations

from typing import Any


def name_project(trainer: Any, name: str) -> None:
    """Let Ultralytics' tracker callbacks read ``name`` as the training's ``project``.

    Give it to ``on_pretrain_routine_start``. The folder of the run is settled by then; W&B refuses a project that is
    named by a path (and up to 8.3 gets it as it is), ClearML and MLflow would show the whole path. When the training
    starts, after the callbacks that open a tracker's run, ``project`` is the folder again: checkpoints and
    ``args.yaml`` hold that.

    Args:
        trainer: Ultralytics' trainer.
        name: The project's name, see :func:`yolo_attn.comparison.tracker_names.project_name`.
    """
    folder = trainer.args.project
    trainer.args.project = name

    def put_back(trainer: Any) -> None:
        trainer.args.project = folder

    trainer.add_callback("on_train_start", put_back)
