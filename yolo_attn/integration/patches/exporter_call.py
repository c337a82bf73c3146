"""``ultralytics.engine.exporter.Exporter.__call__``: refuse what a layer cannot be exported to, before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..queries import export_limits, onnx_on_gpu


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Check the model's layers, then export it; blocks know the format meanwhile.

    For ``verify=True`` the exporter is kept.
    """
    from ...blocks import functional  # start-up time

    model = kwargs.get("model", args[0] if args else None)
    target = str(self.args.format)
    if isinstance(content := getattr(model, "yaml", None), dict):
        export_limits.check(content, target, self.args.opset, bool(self.args.dynamic))
    with functional.export_to(export_limits.format_of(target)), onnx_on_gpu.unfolded_if_needed():
        if getattr(self.args, "verify", False) is not True:
            return original(self, *args, **kwargs)
        from ..queries import export_verification  # start-up time

        data = self.args.data
        if not export_limits.takes_data(target):
            self.args.data = None  # the export refuses it; the verification uses it
        file = original(self, *args, **kwargs)
    export_verification.finished.set(export_verification.Exported(self, str(file), str(data or "")))
    return file
