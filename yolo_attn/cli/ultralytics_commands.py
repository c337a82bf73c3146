"""``train``, ``val``, ``predict``, ``export``, ``track`` and ``benchmark``: Ultralytics' commands, with our layers."""

from __future__ import annotations

from .. import install
from ..integration.queries import ultralytics_arguments
from .argument_parsing import Command, with_training_arguments

COMMANDS = {  # what it does, and the arguments of its example
    "train": ("Train a model on a data set.", "model=yolo11n-ema.yaml data=digits.yaml imgsz=128 epochs=1"),
    "val": ("Validate a model on a data set.", "model=yolo11n-ema.yaml data=digits.yaml imgsz=128"),
    "predict": ("Run a model on images or videos.", "model=best.pt source=image.png"),
    "export": ("Export a model to another format, such as ONNX.", "model=yolo11n-ema.yaml imgsz=128"),
    "track": ("Track objects in videos.", "model=best.pt source=video.mp4"),
    "benchmark": ("Compare the speed and accuracy of export formats.", "model=best.pt data=digits.yaml imgsz=128"),
}


def command(mode: str) -> Command:
    """Return the command that calls ``yolo MODE`` after checking the model, data and source that it names."""

    def run(task: str | None = None, **arguments: str) -> int:
        install()
        from ..integration.queries import data_sets, yolo_command  # start-up time

        for name, check in (
            ("model", yolo_command.check_model),
            ("data", data_sets.check_exists),
            ("source", yolo_command.check_source),
        ):
            if name in arguments:
                check(arguments[name])
        yolo_command.check_arguments({name: yolo_command.value(text) for name, text in arguments.items()}, mode)
        yolo_command.call([*filter(None, [task]), mode, *(f"{name}={value}" for name, value in arguments.items())])
        return 0

    summary, example = COMMANDS[mode]
    run.__doc__ = f"""{summary}

    The arguments are those of `yolo {mode}`, for every model with or without our layers.

    Args:
        task: Task: detect, segment, classify, pose or obb. Default: read from the model.

    Examples:
        yolo-attn {mode} {example}
    """
    return with_training_arguments(ultralytics_arguments.COMMON, ultralytics_arguments.PANELS[mode])(run)
