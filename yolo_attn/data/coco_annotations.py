"""Read the COCO JSON of a split as ground truth for the split's images.

    annotations:
      val: annotations/instances_val2017.json    # relative to path:, or absolute

YOLO labels have no crowd regions and no segment areas, by which COCO separates small from large objects. With this key
in the data YAML the COCO metrics are computed from the JSON, with its image ids. Training does not read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ..errors import DataError
from ..messages import joined
from . import SPLITS
from .coco_reading import Id, is_id, load_json, usable_ids
from .coco_values import is_number

Picture = tuple[str, str, int, int]  # path, name, height, width


def annotation_files(data: Mapping[str, Any]) -> dict[str, Path]:
    """Return the COCO JSON of each split that has one.

    Args:
        data: The data YAML's content, with the absolute ``path``.

    Raises:
        DataError: If ``annotations:`` does not map splits to paths, or a file does not exist.
    """
    given = data.get("annotations")
    if given is None:
        return {}
    where = data.get("yaml_file") or data.get("path")
    if not isinstance(given, Mapping) or not all(isinstance(path, str) for path in given.values()):
        raise DataError(
            f"{where}: annotations: must map splits to COCO JSON files, got {given!r}; write e.g. "
            "'annotations: {val: annotations/instances_val.json}'"
        )
    unknown = [split for split in given if split not in SPLITS]
    if unknown:
        raise DataError(f"{where}: annotations: unknown split {joined(unknown)}; the splits are {joined(SPLITS)}")
    files = {split: Path(data.get("path") or "") / path for split, path in given.items()}
    for split, file in files.items():
        if not file.is_file():
            raise DataError(
                f"{where}: annotations: {split}: {file} does not exist; correct the path, or delete the line to "
                "compute the COCO metrics from the labels"
            )
    return files


def read_truth(
    file: Path,
    pictures: Sequence[Picture],
    names: Sequence[str],
    *,
    merged: bool = False,
    classes: Collection[int] | None = None,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the ground truth of the given images, in COCO's format.

    Categories match classes by name. Numeric image ids, areas and crowd flags are kept. Other images of the JSON are
    left out. An image belongs to the entry whose ``file_name`` is the end of its path.

    Args:
        file: The COCO JSON.
        pictures: ``(path, name, height, width)`` of each image; ``name`` becomes its ``file_name`` in the result.
        names: The class names of the data YAML, by index.
        merged: Treat all classes as one, as ``single_cls=True`` does; ``names`` are still those of the YAML.
        classes: The class indices to keep; None: all.

    Returns:
        The ground truth without ``info``, and the image id by path.

    Raises:
        DataError: If the file is no COCO JSON, lacks an image, has another size for it, or its categories are not the
            classes.
    """
    content = load_json(file)
    index = _category_index(file, content, names)
    entries = _matched(file, content["images"], pictures)
    numbered = all(type(entry["id"]) is int for entry in entries)
    pairs = list(zip((path for path, *_ in pictures), entries, strict=True))
    ids = {path: entry["id"] if numbered else number for number, (path, entry) in enumerate(pairs, start=1)}
    by_id = {entry["id"]: ids[path] for path, entry in pairs}

    known = {entry["id"] for entry in content["images"]}
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(content["annotations"]):
        _check_annotation(file, number, entry, known, index)
        label = index[entry["category_id"]]
        if entry["image_id"] not in by_id or (classes is not None and label not in classes):
            continue
        bbox, area = [float(side) for side in entry["bbox"]], entry.get("area")
        annotations.append(
            {
                "id": entry.get("id"),
                "image_id": by_id[entry["image_id"]],
                "category_id": 0 if merged else label,
                "bbox": bbox,
                "area": float(area) if is_number(area) and area > 0 else bbox[2] * bbox[3],
                "iscrowd": int(bool(entry.get("iscrowd", 0))),
            }
        )
    for annotation, number in zip(annotations, usable_ids([a["id"] for a in annotations]), strict=True):
        annotation["id"] = number
    truth = {
        "images": [{"id": ids[path], "file_name": name, "height": h, "width": w} for path, name, h, w in pictures],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(["item"] if merged else names)],
    }
    return truth, ids


def _category_index(file: Path, content: Mapping[str, Any], names: Sequence[str]) -> dict[Id, int]:
    """Return the class index by category id. Categories without annotations need no class."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"names: has {twice[0]!r} twice, but {file} is matched to the classes by name; rename one")
    found = {entry["id"]: entry["name"] for entry in content["categories"]}
    used = {entry["category_id"] for entry in content["annotations"] if is_id(entry.get("category_id"))}
    unknown = [name for number, name in found.items() if number in used and name not in names]
    absent = [name for name in names if name not in found.values()]
    if unknown or absent:
        parts = [f"names: has no {joined(map(repr, unknown), most=5)}"] if unknown else []
        parts += [f"the JSON has no {joined(map(repr, absent), most=5)}"] if absent else []
        raise DataError(f"{file}: the categories do not match the data YAML's classes: {'; '.join(parts)}")
    return {number: names.index(name) for number, name in found.items() if name in names}


def _matched(file: Path, entries: Sequence[Any], pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Return the JSON's entry for each image."""
    by_name: dict[str, dict[str, Any]] = {}
    ids: set[Id] = set()
    for entry in entries:
        parts = PurePosixPath(str(entry["file_name"]).replace("\\", "/")).parts
        name = "/".join(part for part in parts if part != "/")
        if entry["id"] in ids or name in by_name:
            raise DataError(f"{file}: image {name} (id {entry['id']}) occurs twice; ids and file names must be unique")
        ids.add(entry["id"])
        by_name[name] = entry
    found: list[dict[str, Any]] = []
    owners: dict[Id, str] = {}
    for path, _, height, width in pictures:
        parts = PurePath(path).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        match = next((by_name[end] for end in ends if end in by_name), None)
        if match is None:
            raise DataError(f"{file} has no entry whose file_name is the end of {path}; add one, or remove the image")
        if match["id"] in owners:
            raise DataError(f"{file}: image {match['file_name']} matches both {owners[match['id']]} and {path}")
        owners[match["id"]] = path
        said = (match.get("width", width), match.get("height", height))
        if said != (width, height):
            raise DataError(f"{path} is {width}x{height}, but {file} gives {said[0]}x{said[1]}")
        found.append(match)
    return found


def _check_annotation(file: Path, number: int, entry: Any, known: Collection[Id], index: Mapping[Id, int]) -> None:
    if entry["image_id"] not in known:
        raise DataError(f"{file}: annotations[{number}] has image_id={entry['image_id']!r}, which no image has")
    bbox = entry.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)) or min(bbox[2:]) < 0:
        raise DataError(
            f"{file}: annotation {entry.get('id')} has bbox={bbox!r}; write left, top, width, height in pixels"
        )
    if not is_id(entry.get("category_id")) or entry["category_id"] not in index:
        category = entry.get("category_id")
        raise DataError(
            f"{file}: annotation {entry.get('id')} has category_id={category!r}, which the JSON does not define"
        )
