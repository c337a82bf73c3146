"""The options of ``pytest --pyargs yolo_attn.testing``.

Where yolo-attn is installed, every run of pytest loads this plugin. It does nothing unless the run names
``yolo_attn.testing``. With ``PYTEST_DISABLE_PLUGIN_AUTOLOAD``, give ``-p yolo_attn.testing.pytest_plugin``.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
PACKAGE = __name__.rpartition(".")[0]
SPECS = pytest.StashKey[list[Any]]()
LAYOUT = "channels_last"  # the property of a test that says which layout came out


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Add the options if the tests of this package are asked for."""
    if any(_is_ours(name) for name in early_config.known_args_namespace.file_or_dir):
        early_config.pluginmanager.register(ContractPlugin(), "yolo-attn-contract")


def _is_ours(name: str) -> bool:
    target = name.partition("::")[0]
    path = Path(target).resolve()
    return target == PACKAGE or target.startswith(f"{PACKAGE}.") or _HERE in (path, path.parent)


class ContractPlugin:
    """The options, and what a run of the contract needs."""

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Add ``--block`` and ``--block-options``."""
        group = parser.getgroup("yolo-attn", "yolo-attn: tests for a block of your own")
        group.addoption(
            "--block",
            action="append",
            default=[],
            metavar="MODULE:CLASS",
            help="block to test: module:Class, or the name of a registered one; may be repeated",
        )
        group.addoption(
            "--block-options",
            default="",
            metavar="YAML",
            help="options to build it with, such as '{factor: 8}'; needed for options without a default",
        )

    def pytest_configure(self, config: pytest.Config) -> None:
        """Find the blocks, or end the run with one line."""
        if config.getoption("help", False):
            return
        os.environ.setdefault("YOLO_OFFLINE", "1")  # Ultralytics would look for a network
        os.environ.setdefault("YOLO_AUTOINSTALL", "0")  # and install what an error message mentions
        from ..errors import UserError  # start-up time
        from .block_choice import chosen  # start-up time

        try:
            config.stash[SPECS] = chosen(config.getoption("block"), config.getoption("block_options"))
        except UserError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
        """Show of a broken contract what is wrong and what to do, and which lines of the author's code raised."""
        outcome = yield
        error = call.excinfo.value if call.excinfo else None
        if type(error).__name__ == "BrokenContractError":
            assert error is not None  # it has a name
            cause = error.__cause__ or error.__context__
            frames = traceback.extract_tb(cause.__traceback__ if cause else None)
            theirs = [
                f
                for f in frames
                if not Path(f.filename).is_relative_to(_HERE) and "torch" not in Path(f.filename).parts
            ]
            outcome.get_result().longrepr = "\n".join([f"{error}\n", *traceback.format_list(theirs)]).rstrip()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which memory layout each block returns for a map in channels_last."""
        reports = [r for r in terminalreporter.getreports("passed") if r.when == "call"]
        for text in sorted({str(v) for r in reports for k, v in r.user_properties if k == LAYOUT}):
            terminalreporter.write_line(text)
