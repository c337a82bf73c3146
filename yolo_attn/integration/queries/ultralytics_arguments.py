"""The arguments of Ultralytics' commands: name, type, default and help, read from its ``default.yaml``.

Ultralytics is not imported, so that ``yolo-attn train --help`` starts in a fraction of a second.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

# Panels of a command's help page: section of default.yaml -> title. All arguments are accepted, shown or not.
_TRAIN = {"Train": "Training", "Segmentation": "Segmentation", "Classification": "Classification"}
_PREDICT = {"Predict": "Prediction", "Visualize": "Drawing"}
PANELS = {
    "train": {**_TRAIN, "Val/Test": "Validation", "Hyperparameters": "Hyperparameters", "Custom config.yaml": "File"},
    "val": {"Val/Test": "Validation"},
    "predict": _PREDICT,
    "export": {"Export": "Export", "Verify": "Verification"},
    "track": {"Tracker": "Tracking", **_PREDICT},
    "benchmark": {"Export": "Export"},
}
COMMON = ("model", "data", "imgsz", "batch", "device", "project", "name", "conf", "iou")
_LINE = re.compile(r"(?P<name>\w+): *(?P<default>[^#]*?) *# *(?:\((?P<type>[^)]*)\))? *(?P<help>.*)")
_SECTION = re.compile(r"# (\w[\w/. ]*?)(?: settings)?(?: -+)?$")


@dataclass(frozen=True, slots=True)
class UltralyticsArgument:
    """One argument of ``yolo``.

    Attributes:
        name: Its name.
        type: Its type in Ultralytics' words, such as ``int | list``.
        default: Its default as text; empty for none.
        help: What it does.
        section: The part of ``default.yaml`` that lists it; empty for arguments that help pages leave out.
    """

    name: str
    type: str
    default: str
    help: str
    section: str = ""

    @property
    def switch(self) -> bool:
        """True if the bare name means True."""
        return self.type.startswith("bool")


_NEW_LR_MULT = "multiply the learning rate of new layers, after a transfer of weights"
_PARTIAL = "accept a checkpoint of which fewer than half of the tensors fit"
_VERIFY = "run the exported file and the PyTorch model on images of data, and compare them; exit 1 if they differ"
OWN = (
    UltralyticsArgument("verify", "bool", "False", _VERIFY, "Verify"),
    UltralyticsArgument("new_lr_mult", "float", "1.0", _NEW_LR_MULT, "Train"),
    UltralyticsArgument("partial", "bool", "False", _PARTIAL, "Train"),
)
# Older spellings that Ultralytics still accepts.
_DEPRECATED = tuple(UltralyticsArgument(name, "bool", "", "") for name in ("end2end", "half", "int8", "nms"))


@functools.cache
def read() -> dict[str, UltralyticsArgument]:
    """Return every argument by name: those of the installed Ultralytics, then those that this package adds."""
    spec = importlib.util.find_spec("ultralytics")
    (folder, *_) = (spec and spec.submodule_search_locations) or [""]
    file = Path(folder, "cfg", "default.yaml")
    section = ""
    found: dict[str, UltralyticsArgument] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        if heading := _SECTION.match(line):
            section = heading[1]
        elif (part := _LINE.match(line)) and part["name"] != "mode":
            text = re.sub(r"(?<=\S)\|(?=\S)", ", ", part["help"])  # a list without spaces cannot be wrapped
            found[part["name"]] = UltralyticsArgument(part["name"], part["type"] or "", part["default"], text, section)
    for argument in (*OWN, *_DEPRECATED):
        found.setdefault(argument.name, argument)
    return found
