"""``ultralytics.engine.model.Model.predict``: refuse embeddings of a layer that outputs several maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ArgumentError
from ..queries import layer_types
from ..queries.yaml_files import listed


def replacement(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
    """Check the layer numbers of ``embed``, which Ultralytics averages over one map each."""
    layers: Any = getattr(self.model, "model", None)
    for index in listed(kwargs.get("embed")) if hasattr(layers, "__getitem__") else []:
        known = isinstance(index, int) and -len(layers) <= index < len(layers)
        spec = layer_types.spec_of(type(layers[index])) if known else None
        if spec is not None and spec.pyramid:
            raise ArgumentError(
                f"embed={kwargs['embed']}: layer {index} ({spec.name}) outputs several maps, and an embedding is the "
                "mean of one; give the number of a PyramidLevel after it"
            )
    return original(self, *args, **kwargs)
