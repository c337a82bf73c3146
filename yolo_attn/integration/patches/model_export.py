"""``ultralytics.engine.model.Model.export``: compare the exported model with the PyTorch model if ``verify=True``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Export, then verify; return what the export returns. The figures stay in ``self.verification``."""
    if kwargs.get("verify") is not True:
        return original(self, *args, **kwargs)
    from ..queries import export_verification  # start-up time

    export_verification.check_images(self, kwargs)
    token = export_verification.finished.set(None)
    try:
        file = original(self, *args, **kwargs)
        exported = export_verification.finished.get()
    finally:
        export_verification.finished.reset(token)
    if exported is not None:
        self.verification = export_verification.verify(self, exported)
        self.verification.check()
    return file
