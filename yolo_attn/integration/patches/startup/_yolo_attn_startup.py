"""Wait for Ultralytics from the start of the interpreter, then start yolo-attn's import hook.

``yolo_attn.pth`` and ``yolo_attn.start`` call :func:`start` at every start of Python. Whatever is wrong with the
package or beside it, Python must start and print nothing. So this file stands outside the package, imports only ``sys``
and ``os``, which are loaded anyway, and imports the package when Ultralytics is imported.

PYTEST_DONT_REWRITE: pytest rewrites the modules of its plugins, of which yolo-attn is one, and warns that this one was
imported before.
"""

import os
import sys


class Waiting:
    """Wait on the meta path for the import of ``ultralytics``; find no module."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        """Load the import hook before ``ultralytics``; return None."""
        if name == "ultralytics" and Waiting in sys.meta_path:
            # a new list: the import system goes through the old one at this moment
            sys.meta_path = [finder for finder in sys.meta_path if finder is not Waiting]
            _load()


def start() -> None:
    """Wait for Ultralytics, unless ``YOLO_ATTN_AUTOLOAD=0``."""
    if os.environ.get("YOLO_ATTN_AUTOLOAD", "1") == "0":
        return
    if "ultralytics" in sys.modules:
        _load()
    else:
        sys.meta_path.insert(0, Waiting)


def _load() -> None:
    """Start the import hook. If it cannot be loaded, say why and leave Ultralytics alone."""
    try:
        from importlib.util import find_spec

        spec = find_spec("yolo_attn")
        if spec is None:
            _report("its package cannot be found")
        elif not spec.submodule_search_locations:  # running it could do anything
            _report(f"{spec.origin} hides its package; rename that file")
        else:
            from yolo_attn.integration.patches.import_hook import arm

            arm(_failed)
    except (Exception, SystemExit) as error:
        _failed(error)


def _failed(error: BaseException) -> None:
    _report(" ".join(f"{type(error).__name__}: {error}".split()))


def _report(why: str) -> None:
    sys.stderr.write(
        f"yolo-attn: switched off, its layers are unknown here: {why}. Reinstall it, or pip uninstall yolo-attn\n"
    )
