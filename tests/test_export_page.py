"""docs/export.md says what the registry, the tolerances and the measurements say.

``python tests/test_export_page.py`` writes the page; ``benchmarks/export.py`` measures.
"""

import json
from pathlib import Path

import pytest
from ultralytics.engine.exporter import export_formats

import yolo_attn.blocks  # noqa: F401  it fills the registry
from yolo_attn.integration.queries import export_tolerances
from yolo_attn.registry import BLOCKS, SHIPPED

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "export.md"
TRAINED, TRANSFERRED = (ROOT / "benchmarks" / name for name in ("export.json", "export_coco.json"))
FORMATS = {  # argument of yolo export: how the table names it
    "torchscript": "TorchScript",
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "ncnn": "NCNN",
    "litert": "LiteRT",
    "executorch": "ExecuTorch",
    "engine": "TensorRT",
    "torch.export": "torch.export",
}
HEAD = """\
# Export

[Formats](#formats) · [Verify an export](#verify-an-export) · [Limits of your own blocks](#limits-of-your-own-blocks)

`yolo export`, `yolo-attn export` and `YOLO(...).export(...)` export models with our layers to Ultralytics' formats:

```bash
yolo export model=best.pt format=onnx dynamic=True
```

An exported model gives the outputs of the PyTorch model, at the size it was exported with. TorchScript, and ONNX and
OpenVINO with `dynamic=True`, also do so at every other size and batch size: position tables are resized inside the
graph. The tests run each layer below with each option that changes its graph in TorchScript, ONNX Runtime (opsets 17,
18 and 20, as exported and simplified by onnxslim) and OpenVINO, at five sizes and batch sizes. The largest difference
to PyTorch must be below 1e-4 of the largest output.

## Formats

What a format cannot do is refused in one line before the export starts. The registry holds these limits as data; the
tests assert both that what is refused fails in NCNN, LiteRT, ExecuTorch, torch.export and in lower ONNX opsets, and
that the rest works. Those of LiteRT and ExecuTorch run where these packages are installed. TensorRT was not run: its
one limit is that of its TopK operator.

- `any size`: the graph takes every image size and batch size, with `dynamic=True`. `one size`: that of the export.
- `no`: refused. Numbers are those of the [limits](#limits) below, which may hold for some options only.
- Below the opset of a limit, `opset=` is refused. Ultralytics' own choice is 18 with torch 2.4 and later.
- `torch.export` is no format of Ultralytics; you call it yourself. It takes every batch size for each layer.

| layer | {formats} | computed |
|---|{lines}|---|
"""
TAIL = """
### Limits

| | not in | layers | why | what works |
|---|---|---|---|---|
{limits}

### Graphs

The column "computed" says how a graph computes a layer. The results are the same; the tests compare the operations.

{forms}
- **Large maps.** Attention over positions computes a few million scores at a time in an exported graph, too.
- **Odd ratios.** PMFS reads maps whose sizes are whole multiples of each other, as they are at image sizes that are
  multiples of the largest stride. Exported graphs are wrong at other sizes.
- **Reformer** sorts by hashes: where two hashes are nearly equal, another runtime's rounding changes which keys a query
  sees.
"""
VERIFY = """
## Verify an export

```bash
yolo export model=best.pt format=onnx dynamic=True data=bccd.yaml verify=True
yolo-attn export model=best.pt format=onnx --dynamic --verify --data bccd.yaml
```

`verify=True` runs the exported file and the PyTorch model on the same images, as `yolo predict` does, and prints:

- **the largest difference** of boxes, scores and so on, each relative to the largest value of its kind; at the size of
  the export, and with `dynamic=True` at two others, one of them not square and with a batch of two. Lists of detections
  (`nms=True`, YOLO26 without suppression, RT-DETR) are compared as sets;
- **the change of mAP50-95** on the split `val` of `data` (`split=` chooses another), both validated in the same way.
  With `nms=True` both use the thresholds of the export;
- **latency** of both, timed in turns in one process, the medians and the median ratio; and **size**.

A difference or a fall beyond the tolerance ends in one line and exit code 1; the exported file stays. Without `data`,
images that come with Ultralytics are used, and accuracy is not compared. In Python, `model.export(..., verify=True)`
raises `DifferentExportError`, and `model.verification` holds the numbers.

The tolerances come from stock models: five times the worst difference of yolo11n, yolov8n and yolo26n, and twice their
worst fall of mAP50-95 plus 0.002, on 128 images of COCO at 320 pixels. With INT8 single scores change by as much as
scores can, so only accuracy is judged. A format without a row gets the widest tolerance of its precision.

{tolerances}

OpenVINO rounds to bfloat16 on CPUs that have instructions for it. Then the difference is that of the model run in
float32, and latency and accuracy are those that you get.

### Measured

Ten models, trained on BCCD for 25 epochs at 320 pixels (one seed, an NVIDIA H200), exported and verified. Each cell:
the largest difference at all sizes, and the change of mAP50-95 in points from that of the PyTorch model. `qat` is one
epoch of Ultralytics' quantization-aware training, then ONNX; its change is from the model before that epoch.

{trained}

`litert` and `executorch` of the same models, in float32 with `verify=True`: differences of at most 1.3e-05, mAP50-95
+0.0; ExecuTorch refuses yolo11n-afpn.

With 87 validation images and one seed, changes below a point say little. With INT8 no model with attention loses over
0.1 points more than YOLO11n does without it.

<sub>{trained_with}</sub>

The same models after the transfer of COCO weights, `YOLO("yolo11n-ema.yaml").load("yolo11n.pt")`, untrained, on 128
images of COCO at 320 pixels. The weights were rebuilt from an INT8 export. Until it is trained, a new layer disturbs
the others, some so much that no detections are left. Of the models that still detect, ONNX with INT8 takes 1.8 to 4.3
points; from YOLO11n without attention it takes 4.1.

{transferred}

<sub>{transferred_with}</sub>
"""
OWN = """
## Limits of your own blocks

A block of your own declares its limits in `register`:

```python
import yolo_attn
from yolo_attn.registry import ExportLimit

limits = [
    ExportLimit(formats=("ncnn",), options={"mode": ("sort",)}, reason="ncnn cannot sort", works="mode: mean can"),
    ExportLimit(opset=13, reason="ONNX has no such operator before"),
    ExportLimit(formats=("openvino",), dynamic=True, reason="its size is fixed"),  # one size works
]
# @yolo_attn.register("MyBlock", export_limits=limits)
```

To load an exported or saved model elsewhere: an exported file needs only its runtime. A `best.pt` needs
`pip install yolo-attn`, and the packages of other registered layers in it; without them Ultralytics tries to install a
package of the layer's module name. With `ULTRALYTICS_SAFE_LOAD=1` a checkpoint may hold registered layers and their
parts, and nothing else.
"""


def limits():
    """Return what each limit says, in the order of the table, and the layers that it holds for."""
    found = {}
    for name in SHIPPED:
        for limit in BLOCKS[name].export_limits:
            found.setdefault(_words(limit), []).append((name, limit.works.removesuffix(" can")))
    return dict(sorted(found.items()))


def _words(limit):
    formats = ", ".join(FORMATS[target] for target in limit.formats) or f"ONNX below opset {limit.opset}"
    options = " and ".join(f"`{k}: {_text(values)}`" for k, values in limit.options.items() if k != "attention")
    return formats + (", any size" if limit.dynamic else ""), f" with {options}" if options else "", limit.reason


def limit_rows():
    return "\n".join(
        f"| {number} | {formats} | {', '.join(name for name, _ in layers)}{options} | {reason} "
        f"| {', '.join(dict.fromkeys(f'`{works}`' for _, works in layers if works))} |"
        for number, ((formats, options, reason), layers) in enumerate(limits().items(), 1)
    )


def cell(spec, target):
    """Return which sizes a format takes, and the numbers of the limits of a layer type in it."""
    numbers = {words: number for number, words in enumerate(limits(), 1)}
    held = [limit for limit in spec.export_limits if target in (limit.formats or ["onnx"])]
    always = [limit for limit in held if limit.formats and not limit.options]
    takes = "not run" if target == "engine" else "any size" if target in any_size() else "one size"
    if always:
        takes = "one size" if all(limit.dynamic for limit in always) else "no"
    if takes == "no":
        held = [limit for limit in always if not limit.dynamic]
    return takes + (f" ({', '.join(str(numbers[_words(limit)]) for limit in held)})" if held else "")


def any_size():
    """Return the formats whose graphs may take any size: those that Ultralytics exports with ``dynamic=True``."""
    formats = export_formats()
    arguments = zip(formats["Argument"], formats["Arguments"], strict=True)
    return {"torch.export", *(name for name, accepted in arguments if "dynamic" in accepted)}


def form(spec):
    """Return how exported graphs compute a layer."""
    found = [", ".join(map(FORMATS.get, f.formats)) + (": " if f.formats else "") + f.form for f in spec.export_forms]
    return "; ".join(found) or "as PyTorch"


def form_lines():
    """Return a line for each way in which graphs compute layers."""
    every = dict.fromkeys(form for name in SHIPPED for form in BLOCKS[name].export_forms)
    return "\n".join(f"- **{f.form[0].upper()}{f.form[1:]}**: {f.reason}." for f in every)


def _text(values):
    return " or ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)


def tolerances():
    """Return the table of what ``verify`` allows."""
    lines = ["| format | precision | allowed difference | allowed fall of mAP50-95 |", "|---|---|---|---|"]
    for target, precision in export_tolerances.MEASURED:
        allowed = export_tolerances.tolerance_of(target, precision)
        difference = "not judged" if allowed.difference is None else f"{allowed.difference:.1e}"
        lines.append(f"| {FORMATS[target]} | {precision} | {difference} | {allowed.loss:.3f} |")
    return "\n".join(lines)


def figures(measured):
    """Return the table of what was measured: for each model and export the difference and the change of mAP50-95."""
    content = json.loads(measured.read_text(encoding="utf-8"))
    names = list(next(iter(content["models"].values())))
    lines = [f"| model | mAP50-95 | {' | '.join(names)} |", f"|---|---|{'|'.join(['---'] * len(names))}|"]
    for model, row in content["models"].items():
        cells = [f"{100 * row['torchscript']['mAP'][0]:.1f}"]
        for name in names:
            found = row[name]
            if "refused" in found:
                cells.append("refused")
                continue
            before, after = found["mAP"]
            exact = "int8" not in name and name != "qat"
            cells.append((f"{found['difference']:.0e}, " if exact else "") + f"{100 * (after - before):+.1f}")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def provenance(measured):
    """Return where the figures come from."""
    content = json.loads(measured.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return f"`{content['command']}`, commit `{content['commit']}`, {content['machine']}; {versions}"


def page():
    rows = [
        f"| {name} | {' | '.join(cell(BLOCKS[name], target) for target in FORMATS)} | {form(BLOCKS[name])} |"
        for name in SHIPPED
    ]
    head = HEAD.format(formats=" | ".join(FORMATS.values()), lines="|".join(["---"] * len(FORMATS)))
    tail = TAIL.format(limits=limit_rows(), forms=form_lines())
    verify = VERIFY.format(
        tolerances=tolerances(),
        trained=figures(TRAINED),
        trained_with=provenance(TRAINED),
        transferred=figures(TRANSFERRED),
        transferred_with=provenance(TRANSFERRED),
    )
    return head + "\n".join(rows) + "\n" + tail + verify + OWN


def test_the_page_says_what_the_registry_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python tests/test_export_page.py"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
