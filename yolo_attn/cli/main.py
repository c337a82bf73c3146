"""The commands of ``yolo-attn``, and what happens to errors."""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import os
import platform
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Literal

from cyclopts import App, Group, Parameter

from .. import __version__
from ..errors import ArgumentError, DifferentExportError, user_error_in
from ..integration.strict_mode import strict
from ..messages import is_text, joined, nearest, printable
from . import argument_parsing, ultralytics_commands

# The module beside this one that defines the command as ``run``; that of data is from-coco.
COMMANDS = ("blocks", "info", "place", "convert", "diagram", "check", "transfer", "compare", "report", "data")
ULTRALYTICS_COMMANDS = tuple(ultralytics_commands.COMMANDS)
ALL_COMMANDS = (*COMMANDS, "completion", *ULTRALYTICS_COMMANDS)
ABOUT = """Attention layers for Ultralytics YOLO, and fair comparisons with the baseline.

Write an argument as `--imgsz 320`, `--imgsz=320` or `imgsz=320`. The model and data YAMLs of this project are found by
name. `YOLO_ATTN_DEBUG=1` prints the traceback of every error."""
EXAMPLES = """
    yolo-attn blocks
    yolo-attn info yolo11n-ema.yaml
    yolo-attn place yolo11.yaml EMA --at neck.P3,neck.P4 -o yolo11-mine.yaml
    yolo-attn check yolo11-mine.yaml
    yolo-attn train model=yolo11n-ema.yaml data=digits.yaml imgsz=128 epochs=1
    yolo-attn compare --help"""


def command_line(only: str = "") -> App:
    """Return the command line; with ``only``, that command alone, which starts faster."""
    declared = Parameter(name_transform=str, negative="", show_default=lambda value: value or None)
    ours, theirs = Group("Commands", sort_key=0), Group("Commands of Ultralytics", sort_key=1)
    app = App("yolo-attn", help=ABOUT, version=__version__, help_format="markdown", group_commands=ours)
    app["--help"].group = app["--version"].group = Group("Options", sort_key=2)
    for order, name in enumerate(ALL_COMMANDS):
        if only not in ("", name):
            continue
        if name == "completion":
            command: argument_parsing.Command = _completion
        elif name in COMMANDS:
            command = importlib.import_module(f".{name}", __package__).run
        else:
            command = ultralytics_commands.command(name)
        group = theirs if name in ULTRALYTICS_COMMANDS else ours
        if name == "data":
            data = App(name, help="Convert data sets for YOLO.", group=group, sort_key=order)
            data.command(command, name="from-coco", default_parameter=declared)
            app.command(data)
        else:
            app.command(command, name=name, group=group, sort_key=order, default_parameter=declared)
    return app


def _completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a completion script for a shell.

    Write the script to a file and source that file in the start-up file of the shell.

    Args:
        shell: The shell.

    Examples:
        yolo-attn completion bash > ~/.yolo-attn-completion
    """
    print(command_line().generate_completion(shell=shell))
    return 0


def _print_version() -> int:
    print(__version__)
    return 0


def _print_help(app: App, command: Sequence[str]) -> int:
    """Print a help page, with the examples of the command's docstring at its end."""
    app.help_print(command)
    for part in command:
        app = app[part]
    if app.default_command is None and command:
        return 0
    text = inspect.cleandoc(app.default_command.__doc__ or "").partition("Examples:\n")[2] if command else EXAMPLES
    print(f"Examples:\n{textwrap.indent(textwrap.dedent(text).strip(), '  ')}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments after the program's name; those of this process by default.

    Returns:
        The exit status: 0; 2 for a user's mistake, reported in one line; 1 for a failed run, an exported model that
        differs, or a fault of the program.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: call_of(given)())


def call_of(given: Sequence[str]) -> functools.partial[int]:
    """Return the call that the arguments describe.

    Raises:
        ArgumentError: If there is no such command, or its arguments are wrong.
    """
    given = [*given] or ["--help"]
    for text in given:
        if not is_text(text):
            raise ArgumentError(f"the argument '{printable(text)}' is not UTF-8; rename the file or folder")
    if given[0] == "help":
        given = [*given[1:], "--help"]
    if "--version" in given:
        return functools.partial(_print_version)
    name = given[0]
    if name not in (*ALL_COMMANDS, "-h", "--help"):
        what = "option" if name.startswith("-") else "command"
        raise ArgumentError(f"unknown {what} {name!r}.{nearest(name, ALL_COMMANDS)} Commands: {joined(ALL_COMMANDS)}")
    root = command_line(name if name in ALL_COMMANDS else "")
    names, apps, rest = root.parse_commands([token for token in given if token not in ("-h", "--help")])
    if {"-h", "--help"} & set(given):
        return functools.partial(_print_help, root, names)
    app, name = apps[-1], " ".join(names)
    if name == "data":
        raise ArgumentError(f"unknown data command {' '.join(rest)!r}. Write yolo-attn data from-coco --help")
    if name == "place":
        from . import place  # start-up time

        return place.call_of(app, rest)
    return argument_parsing.bind(app, name, rest)


def guarded(job: Callable[[], int]) -> int:
    """Run ``job`` and return its exit status.

    A user's mistake becomes one line on stderr and status 2. A fault of the program keeps its traceback and becomes
    status 1. ``YOLO_ATTN_DEBUG=1`` prints the traceback of mistakes, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have characters that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with strict():
            return job() or 0
    except KeyboardInterrupt:
        print("yolo-attn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # yolo-attn blocks | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except DifferentExportError as error:
        print(f"yolo-attn: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        mistake = user_error_in(error)
        if mistake is None or os.environ.get("YOLO_ATTN_DEBUG"):
            traceback.print_exc()
        if mistake is None:
            print(f"yolo-attn: internal error; report it with the traceback above and: {_versions()}", file=sys.stderr)
            return 1
        print(f"yolo-attn: {' '.join(str(mistake).split())}", file=sys.stderr)
        return 2


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version  # start-up time

    parts = [f"yolo-attn {__version__}", f"Python {platform.python_version()}", platform.platform()]
    for package in ("ultralytics", "torch"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)
