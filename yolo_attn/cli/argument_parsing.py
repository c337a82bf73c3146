"""How every command reads its arguments: ``--name value``, ``--name=value`` and ``name=value``, by cyclopts."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import (
    App,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from ..errors import ArgumentError
from ..integration.queries import ultralytics_arguments
from ..messages import nearest

Command = Callable[..., int]
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")


def bind(app: App, name: str, given: Sequence[str]) -> functools.partial[int]:
    """Return the command called with the arguments that were given.

    Raises:
        ArgumentError: If an argument is unknown (names the nearest), lacks its value, has a wrong one or comes twice.
    """
    try:
        command, bound, _ = app.parse_args(normalized(app, name, given), print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise ArgumentError(f"{name}: {_message(error)} See yolo-attn {name} --help") from None
    return functools.partial(command, *bound.args, **bound.kwargs)


def _message(error: CycloptsError) -> str:
    """Return what is wrong, in our words where cyclopts' own are less clear."""
    if isinstance(error, UnknownOptionError) and error.argument_collection is not None:
        name = (error.token.keyword or error.token.value).partition("=")[0]
        known = [each for argument in error.argument_collection for each in argument.names]
        return f"unknown option {name!r}.{nearest(name, known)}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {error.unused_tokens[0]!r}."
    if isinstance(error, RepeatArgumentError):
        return f"{error.token.keyword} is given twice."
    if isinstance(error, MissingArgumentError) and error.argument:
        return f"{error.argument.names[0]} is missing."
    return " ".join(str(error).split())


def normalized(app: App, command: str, given: Sequence[str]) -> list[str]:
    """Return the arguments as cyclopts spells them: ``name=value`` becomes ``--name=value``.

    Raises:
        ArgumentError: If an option comes twice or has no value.
    """
    arguments = app.assemble_argument_collection()
    takes_value = {name: argument.token_count()[0] > 0 for argument in arguments for name in argument.names}
    several = {name for argument in arguments for name in argument.names if argument.token_count()[1]}
    switches: set[str] = getattr(app.default_command, "switches", set())  # --half is --half=True

    def without_value(name: str) -> str:
        if name not in switches:
            raise ArgumentError(f"{command}: {name} has no value")
        return f"{name}=True"

    out: list[str] = []
    waiting = ""  # an option whose value is the next token
    for token in given:
        is_pair = re.match(r"[A-Za-z_]\w*=", token) is not None
        is_option = _OPTION.match(token) or (is_pair and f"--{token.partition('=')[0]}" in takes_value)
        if waiting and not is_option:
            out += [waiting, token] if waiting in several else [f"{waiting}={token}"]
            waiting = ""
            continue
        if waiting:
            out.append(without_value(waiting))
            waiting = ""
        if is_pair or f"--{token}" in switches:
            token = f"--{token}"
        elif switches and f"--{token}" in takes_value:
            without_value(f"--{token}")
        name, equals, value = token.partition("=")
        if _OPTION.fullmatch(name):
            name = name if name in takes_value else re.sub(r"(?<=\w)-", "_", name)
            if equals and not value:
                raise ArgumentError(f"{command}: {name} has no value")
            if name in several and any(t.partition("=")[0] == name for t in out):
                raise ArgumentError(f"{command}: {name} is given twice")
            if takes_value.get(name) and not equals:
                waiting = name
                continue
        out.append(name + equals + value)
    return [*out, without_value(waiting)] if waiting else out


def with_training_arguments(shown: Iterable[str], panels: Mapping[str, str]) -> Callable[[Command], Command]:
    """Replace a command's ``**arguments`` by the arguments of Ultralytics.

    Args:
        shown: Arguments that the help page lists in its first panel.
        panels: Titles of the other panels, by the section of Ultralytics' ``default.yaml`` that they list.
    """
    known = ultralytics_arguments.read()
    groups = {section: Group(title, sort_key=k) for k, (section, title) in enumerate(panels.items(), 1)}
    first = Group.create_default_parameters()

    def add(function: Command) -> Command:
        signature = inspect.signature(function)
        own = {k: p for k, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
        hints = {name: function.__annotations__[name] for name in own}
        for name, argument in known.items():
            if name in own:
                continue
            several = "list" in argument.type or "tuple" in argument.type
            default = f" [default: {argument.default}]" if argument.default else ""
            group = first if name in shown else groups.get(argument.section)
            declared = Parameter(
                help=f"({argument.type}) {argument.help}{default}",
                show=group is not None,
                group=group,
                consume_multiple=several,
                show_default=False,
            )
            hints[name] = Annotated[list[str] | None if several else str | None, declared]
            own[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)

        @functools.wraps(function)
        def command(*given: Any, **options: Any) -> int:
            joined = {k: ",".join(v) if k in known and isinstance(v, list) else v for k, v in options.items()}
            return function(*given, **joined)

        command.__signature__ = signature.replace(parameters=list(own.values()))  # type: ignore[attr-defined]
        command.__annotations__ = hints
        command.switches = {f"--{name}" for name, argument in known.items() if argument.switch}  # type: ignore[attr-defined]
        return command

    return add
