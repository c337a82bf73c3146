"""docs/export.md says what the registry says. ``python tests/test_export_page.py`` writes the page."""

from pathlib import Path

import pytest

import yolo_attn.blocks  # noqa: F401  it fills the registry
from yolo_attn.registry import BLOCKS, SHIPPED

pytestmark = pytest.mark.fast
PAGE = Path(__file__).parents[1] / "docs" / "export.md"
FORMATS = {  # argument of yolo export: how the table names it
    "torchscript": "TorchScript",
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "ncnn": "NCNN",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
    "engine": "TensorRT",
}
HEAD = """\
# Export

`yolo export`, `yolo-attn export` and `YOLO(...).export(...)` export models with our layers to Ultralytics' formats:

```bash
yolo export model=best.pt format=onnx dynamic=True
```

An exported model gives the outputs of the PyTorch model, at the size it was exported with. TorchScript, and ONNX and
OpenVINO with `dynamic=True`, also do so at every other size and batch size: position tables are resized inside the
graph. The tests run each block below with each option that changes its graph in TorchScript, ONNX Runtime (opsets 17,
18 and 20, as exported and simplified by onnxslim) and OpenVINO, at five sizes and batch sizes. The largest difference
to PyTorch must be below 1e-4 of the largest output.

What a format cannot do is refused in one line before the export starts. The registry holds these limits as data; the
tests assert both that what is refused fails in NCNN, LiteRT, ExecuTorch and in lower ONNX opsets, and that the rest
works. Those of LiteRT and ExecuTorch run where these packages are installed. TensorRT was not run: its one limit is
that of its TopK operator.

| layer | {formats} |
|---|{lines}|
"""
TAIL = """
"From opset 14" means that `opset=` must be 14 or higher. Ultralytics' own choice is 18 with torch 2.4 and later.

- **Large maps.** Attention over positions computes a few million scores at a time in an exported graph, too. The number
  of parts is fixed at the export; their sizes follow the map.
- **NCNN.** EMA is written with grouped convolutions there, because NCNN has no batch axis. The results are the same.
- **torch.export**, which LiteRT and ExecuTorch call, takes every batch size. It takes every image size for attention
  over the whole map, and one image size for windows and Reformer.
- **Odd ratios.** PMFS reads maps whose sizes are whole multiples of each other, as they are at image sizes that are
  multiples of the largest stride. Exported graphs are wrong at other sizes.
- **Reformer** sorts by hashes: where two hashes are nearly equal, another runtime's rounding changes which keys a query
  sees.

A block of your own declares its limits in `register`:

```python
import yolo_attn
from yolo_attn.registry import ExportLimit

limit = ExportLimit(formats=("ncnn",), options={"mode": ("sort",)}, reason="ncnn cannot sort", works="mode: mean can")
# @yolo_attn.register("MyBlock", export_limits=[limit])
```

To load an exported or saved model elsewhere: an exported file needs only its runtime. A `best.pt` needs
`pip install yolo-attn`, and the packages of other registered layers in it; without them Ultralytics tries to install a
package of the layer's module name. With `ULTRALYTICS_SAFE_LOAD=1` a checkpoint may hold registered layers and their
parts, and nothing else.
"""


def cell(spec, target):
    """Return what the limits of a layer type say of a format."""
    found = []
    for limit in spec.export_limits:
        if target in limit.formats or (target == "onnx" and not limit.formats):
            options = " and ".join(f"`{name}: {_text(values)}`" for name, values in limit.options.items())
            what = f"from opset {limit.opset}" if not limit.formats else "no"
            found.append(f"{what} with {options}" if options else what)
    return "; ".join(found) or ("not run" if target == "engine" else "yes")


def _text(values):
    return " or ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def page():
    rows = [f"| {name} | {' | '.join(cell(BLOCKS[name], target) for target in FORMATS)} |" for name in SHIPPED]
    head = HEAD.format(formats=" | ".join(FORMATS.values()), lines="|".join(["---"] * len(FORMATS)))
    return head + "\n".join(rows) + "\n" + TAIL


def test_the_page_says_what_the_registry_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python tests/test_export_page.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
