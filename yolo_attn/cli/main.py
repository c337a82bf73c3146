"""Which command is meant, and what happens to errors."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from .. import __version__
from ..errors import ArgumentError, user_error_in
from ..integration.strict_mode import strict
from ..messages import nearest

HELP = f"""\
yolo-attn {__version__}: attention layers for Ultralytics YOLO, and what they are worth

usage: yolo-attn COMMAND [word=value ...]

  blocks    the layers that a model YAML can use: options, parameters, limits; blocks NAME: all about one
  info      a model's layers, and what its attention layers read and cost
  place     put blocks into a model YAML by the names of places; place MODEL.yaml: its places
  diagram   a model drawn as its graph, attention highlighted
  check     what a model's attention layers read and who reads them, and slips
  transfer  the weights of a checkpoint in another model, each layer's in that layer wherever it is now
  compare   does it help? a base model and variants with one recipe over several seeds, and a verdict; compare --help
  report    the report of a comparison, made again from its records
  data      from-coco: a data set with COCO JSON labels to one that YOLO trains on
  train val predict export track benchmark
            Ultralytics' own, with its own words, knowing the layers even where the start-up hook is off

Words are those of yolo: imgsz=320 epochs=100. Model and data set YAMLs of the project go by bare name.

with files of your own:
  yolo-attn predict model=best.pt source=image.png
  yolo-attn data from-coco instances.json images/ out/
  yolo-attn transfer yolo11n.pt yolo11n-ema.yaml -o yolo11n-ema.pt

examples that run as they stand, on a CPU:
  yolo-attn blocks
  yolo-attn info model=yolo11n-ema.yaml
  yolo-attn place yolo11.yaml EMA --at neck.P3,neck.P4 -o yolo11-mine.yaml
  yolo-attn diagram yolo11n-ema.yaml -o yolo11n-ema.svg
  yolo-attn check yolo11n-ema.yaml
  yolo-attn train model=yolo11n-ema.yaml data=digits.yaml imgsz=128 epochs=1 fraction=0.1
  yolo-attn val model=yolo11n-ema.yaml data=digits.yaml imgsz=128
  yolo-attn export model=yolo11n-ema.yaml imgsz=128
  yolo-attn compare base=yolo11n.yaml models=yolo11n-ema.yaml data=digits.yaml imgsz=128 epochs=2 seeds=0-1
"""


# Each command is the module of its name beside this one, which has run(words).
COMMANDS = ("blocks", "info", "place", "diagram", "check", "transfer", "compare", "report", "data")
PASSED_THROUGH = ("train", "val", "predict", "export", "track", "benchmark")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The words behind the program's name; those of this process by default.

    Returns:
        The exit status: 0; 2 for a mistake in what was asked for, told in one line; 1 for a run that failed.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _dispatch(words))


def guarded(job: Callable[[], int]) -> int:
    """Run ``job``; a user's mistake becomes one line on stderr and status 2. ``YOLO_ATTN_DEBUG=1`` keeps tracebacks."""
    try:
        with strict():
            return job()
    except KeyboardInterrupt:
        print("yolo-attn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # yolo-attn blocks | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        mistake = user_error_in(error)
        line = None if mistake is None else " ".join(str(mistake).split())
        if line is None or os.environ.get("YOLO_ATTN_DEBUG"):
            raise
        print(f"yolo-attn: {line}", file=sys.stderr)
        return 2


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    command, *rest = words
    if command in ("--version", "version"):
        print(__version__)
        return 0
    if command in COMMANDS:
        run: Callable[[Sequence[str]], int] = importlib.import_module(f"{__package__}.{command}").run
        return run(rest)
    if command in PASSED_THROUGH:
        from . import ultralytics_commands

        return ultralytics_commands.run(command, rest)
    known = [*COMMANDS, *PASSED_THROUGH]
    raise ArgumentError(f"unknown command {command!r}.{nearest(command, known)} Commands: {', '.join(known)}")
