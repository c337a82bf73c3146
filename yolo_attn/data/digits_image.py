"""Draw one image of the digits data set: background, distractors, digits, camera noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ..errors import DataError

if TYPE_CHECKING:
    from .digits import DigitsParameters

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

MIN_VISIBLE = 0.85  # of each digit's ink, under later digits
MAX_IOU = 0.2  # between the boxes of any two digits
MIN_CONTRAST = 90.0  # grey levels between a digit's colour and the mean under its box
TRIES = 60  # positions tried for one digit
RESTARTS = 30  # layouts tried for one image before giving up

# Strokes of letters that look like no digit, in a unit square.
LETTERS: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0, 1), (0.5, 0), (1, 1)), ((0.2, 0.6), (0.8, 0.6))),  # A
    (((1, 0), (0, 0), (0, 1), (1, 1)), ((0, 0.5), (0.8, 0.5))),  # E
    (((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0.5), (1, 0.5))),  # H
    (((0, 0), (0, 1)), ((1, 0), (0, 0.5), (1, 1))),  # K
    (((0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)),),  # M
    (((0, 1), (0, 0), (1, 1), (1, 0)),),  # N
    (((0, 0), (0.25, 1), (0.5, 0.3), (0.75, 1), (1, 0)),),  # W
    (((0, 0), (1, 1)), ((1, 0), (0, 1))),  # X
)

TRIANGLE = ((0.5, 0), (1, 1), (0, 1))
RECTANGLE = ((0, 0.2), (1, 0.2), (1, 0.8), (0, 0.8))


@dataclass(frozen=True)
class Scene:
    """An image and its digits.

    Attributes:
        image: ``(S, S, 3)``, BGR.
        boxes: ``(N, 4)``, left, top, width, height in whole pixels; the tight box of the digit's ink.
        sources: ``(N,)``, the scan that each digit was drawn from.
    """

    image: Bytes
    boxes: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Glyph:
    """The ink of one digit at its final size: ``alpha`` reaches ``margin`` pixels beyond the tight box on each side."""

    alpha: Floats
    margin: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the tight box."""
        height, width = self.alpha.shape
        return width - 2 * self.margin, height - 2 * self.margin


def draw_glyph(rng: np.random.Generator, scan: Floats, length: int) -> Glyph:
    """Scale an 8x8 scan (0 to 1) so that the longer side of its ink's tight box is ``length`` pixels.

    It is rotated by up to 8 degrees, slanted by up to 0.1, stretched by up to an eighth, with a random pen width.
    """
    side = 144  # 12 cells of 12 pixels: the scan, and two empty cells around it as room to rotate
    high = np.asarray(cv2.resize(np.pad(scan, 2), (side, side), interpolation=cv2.INTER_CUBIC))
    angle, slant = np.deg2rad(rng.uniform(-8, 8)), rng.uniform(-0.1, 0.1)
    stretch = np.exp(rng.uniform(-0.12, 0.12))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = 0.9 * turn @ np.array([[stretch, slant], [0, 1 / stretch]])
    centre = np.full(2, (side - 1) / 2)
    high = cv2.warpAffine(high, np.column_stack([matrix, centre - matrix @ centre]), (side, side))
    low = rng.uniform(0.27, 0.4)  # of full ink: the lower, the thicker the pen
    high = np.clip((high - low) / 0.3, 0, 1).astype(np.float32)

    x, y, width, height = cv2.boundingRect((high >= 0.5).astype(np.uint8))
    scale = length / max(width, height)
    target = (max(2, round(width * scale)), max(2, round(height * scale)))
    margin = 2 + length // 12
    if scale < 1:
        high = cv2.GaussianBlur(high, (0, 0), 0.4 / scale)  # against aliasing
    kx, ky = target[0] / width, target[1] / height
    place = np.array([[kx, 0, (0.5 - x) * kx + margin - 0.5], [0, ky, (0.5 - y) * ky + margin - 0.5]])
    alpha = cv2.warpAffine(high, place, (target[0] + 2 * margin, target[1] + 2 * margin), flags=cv2.INTER_LINEAR)
    return Glyph(np.asarray(alpha, dtype=np.float32), margin)


def draw_background(rng: np.random.Generator, size: int) -> Bytes:
    """Draw a gradient between random colours with one of four textures."""
    cells = int(rng.integers(2, 5))
    base = rng.uniform(30, 225) + rng.uniform(-35, 35, 3)
    grid = (base + rng.uniform(-40, 40, (cells, cells, 3))).astype(np.float32)
    canvas = np.asarray(cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    strength = rng.uniform(3, 12)
    kind = rng.integers(4)
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    if kind == 0:  # blotches
        coarse = rng.normal(0, 1, (size // int(rng.integers(4, 13)) + 2,) * 2).astype(np.float32)
        texture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    elif kind == 1:  # stripes
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
        texture = np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * (2 * np.pi / period))
    elif kind == 2:  # tiles
        period = int(rng.integers(6, 25))
        texture = ((xs // period + ys // period) % 2) * 2 - 1
    else:  # grain
        texture = cv2.GaussianBlur(rng.normal(0, 2.5, (size, size)).astype(np.float32), (0, 0), rng.uniform(0.6, 1.6))
    canvas += strength * np.asarray(texture, dtype=np.float32)[..., None]
    return np.clip(canvas, 0, 255).astype(np.uint8)


def draw_distractor(rng: np.random.Generator, canvas: Bytes, object_size: tuple[int, int], scans: Floats) -> None:
    """Draw a distractor: a line, arc, ellipse, triangle, rectangle, letter or scrambled digit."""
    size = canvas.shape[0]
    length = float(np.exp(rng.uniform(*np.log(object_size))))
    colour = tuple(float(c) for c in rng.uniform(0, 255, 3))
    centre = rng.uniform(0, size, 2)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pen = max(1, round(length * rng.uniform(0.03, 0.12)))
    kind = rng.integers(7)

    def points(unit: npt.ArrayLike) -> npt.NDArray[np.int32]:
        return np.round((np.asarray(unit, dtype=float) - 0.5) * length @ turn.T + centre).astype(np.int32)

    if kind == 0:
        ends = points([[-1, 0.5], [2, 0.5]])  # three times as long as a digit, so not a "1"
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), colour, pen, cv2.LINE_AA)
    elif kind in (1, 2):
        axes = (max(2, round(length / 2)), max(2, round(length * rng.uniform(0.3, 0.5))))
        sweep = 360.0 if kind == 1 else rng.uniform(60, 200)
        filled = kind == 1 and rng.random() < 0.7
        middle = np.round(centre).astype(int).tolist()
        cv2.ellipse(
            canvas, middle, axes, float(np.rad2deg(angle)), 0, sweep, colour, -1 if filled else pen, cv2.LINE_AA
        )
    elif kind in (3, 4):
        corners = points(TRIANGLE if kind == 3 else RECTANGLE)
        if rng.random() < 0.6:
            cv2.fillPoly(canvas, [corners], colour, cv2.LINE_AA)
        else:
            cv2.polylines(canvas, [corners], True, colour, pen, cv2.LINE_AA)
    elif kind == 5:
        letter = LETTERS[rng.integers(len(LETTERS))]
        turn = np.array([[1, -np.sin(angle) / 5], [np.sin(angle) / 5, 1]])  # nearly upright
        for stroke in letter:
            cv2.polylines(canvas, [points(stroke)], False, colour, pen + 1, cv2.LINE_AA)
    else:
        left, top = np.round(centre).astype(int).tolist()
        _blend(canvas, draw_glyph(rng, _scramble(rng, scans), round(length)).alpha, left, top, colour)


def _scramble(rng: np.random.Generator, scans: Floats) -> Floats:
    """Combine quarters of four scans, each rotated by 90, 180 or 270 degrees, to a shape that is no digit."""
    quarters = []
    for row, column in ((0, 0), (0, 4), (4, 0), (4, 4)):
        quarter = scans[rng.integers(len(scans))][row : row + 4, column : column + 4]
        quarters.append(np.rot90(quarter, int(rng.integers(1, 4))))
    mixed = np.block([[quarters[0], quarters[1]], [quarters[2], quarters[3]]]).astype(np.float32)
    mixed[0, 0] = mixed[7, 7] = 1.0  # never empty
    return mixed


def _blend(canvas: npt.NDArray[np.generic], alpha: Floats, left: int, top: int, colour: npt.ArrayLike) -> None:
    """Blend ``colour`` into the canvas with the weights ``alpha``, clipped to the canvas."""
    size = canvas.shape[0]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + alpha.shape[1], size), min(top + alpha.shape[0], size)
    if x1 <= x0 or y1 <= y0:
        return
    cut = alpha[y0 - top : y1 - top, x0 - left : x1 - left, None]
    under = canvas[y0:y1, x0:x1].astype(np.float32)
    canvas[y0:y1, x0:x1] = (under + cut * (np.asarray(colour, dtype=np.float32) - under)).astype(canvas.dtype)


def _iou(box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> float:
    if not others:
        return 0.0
    x, y, w, h = box
    rest = np.array(others)
    wide = np.minimum(x + w, rest[:, 0] + rest[:, 2]) - np.maximum(x, rest[:, 0])
    high = np.minimum(y + h, rest[:, 1] + rest[:, 3]) - np.maximum(y, rest[:, 1])
    both = np.maximum(wide, 0) * np.maximum(high, 0)
    return float((both / (w * h + rest[:, 2] * rest[:, 3] - both)).max())


def _place(
    rng: np.random.Generator, size: int, scans: Floats, lengths: list[int]
) -> tuple[list[Glyph], list[tuple[int, int, int, int]]] | None:
    """Find a position for every digit, larger ones first, so that no small digit is under a large one.

    Returns:
        Glyphs and boxes, or None if one does not fit.
    """
    owner = np.zeros((size, size), dtype=np.int16)  # the digit whose ink is on top: 0 for none, k + 1 for digit k
    ink = np.zeros(0, dtype=np.int64)
    visible = ink.copy()
    glyphs: list[Glyph] = []
    boxes: list[tuple[int, int, int, int]] = []
    for scan, length in zip(scans, lengths, strict=True):
        glyph = draw_glyph(rng, scan, length)
        width, height = glyph.size
        m = glyph.margin
        mask = glyph.alpha[m : m + height, m : m + width] >= 0.5
        for _ in range(TRIES):
            x, y = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
            if _iou((x, y, width, height), boxes) > MAX_IOU:
                continue
            under = owner[y : y + height, x : x + width]
            left = visible - np.bincount(under[mask], minlength=len(ink) + 1)[1:]
            if (left >= MIN_VISIBLE * ink).all():
                break
        else:
            return None
        under[mask] = len(ink) + 1
        ink, visible = np.append(ink, mask.sum()), np.append(left, mask.sum())
        glyphs.append(glyph)
        boxes.append((x, y, width, height))
    return glyphs, boxes


def draw_scene(
    rng: np.random.Generator, scans: Floats, labels: npt.NDArray[np.int64], parameters: DigitsParameters
) -> Scene:
    """Draw one image.

    Args:
        rng: The source of all random numbers.
        scans: ``(M, 8, 8)``, 0 to 1: the scans of this split.
        labels: ``(M,)``, the digit of each scan; all ten digits are equally likely.
        parameters: Those of the data set.

    Raises:
        DataError: If the digits do not fit without hiding each other.
    """
    size, objects, object_size = parameters.size, parameters.objects, parameters.object_size
    for _ in range(RESTARTS):
        count = int(rng.integers(objects[0], objects[1] + 1))
        low, high = np.log(object_size[0] - 0.499), np.log(object_size[1] + 0.499)
        lengths = sorted((round(float(v)) for v in np.exp(rng.uniform(low, high, count))), reverse=True)
        wanted = rng.integers(10, size=count)
        sources = np.array([rng.choice(np.flatnonzero(labels == digit)) for digit in wanted], dtype=np.int64)
        placed = _place(rng, size, scans[sources], lengths)
        if placed is not None:
            break
    else:
        raise DataError(
            f"digits: objects={list(objects)} of object_size={list(object_size)} do not fit into size={size} without "
            "hiding each other; reduce objects or object_size, or increase size"
        )
    glyphs, boxes = placed

    canvas = draw_background(rng, size)
    for _ in range(int(rng.integers(parameters.distractors[0], parameters.distractors[1] + 1))):
        draw_distractor(rng, canvas, object_size, scans)
    picture = canvas.astype(np.float32)
    for glyph, (x, y, width, height) in zip(glyphs, boxes, strict=True):
        under = picture[y : y + height, x : x + width].mean()
        for _ in range(100):
            colour = rng.uniform(0, 255, 3)
            if abs(colour.mean() - under) >= MIN_CONTRAST:
                break
        else:
            colour = np.full(3, 0.0 if under > 127 else 255.0)
        _blend(picture, glyph.alpha * np.float32(rng.uniform(0.85, 1.0)), x - glyph.margin, y - glyph.margin, colour)

    blur = rng.uniform(0, 0.7)
    if blur > 0.2:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), dtype=np.float32)
    picture += np.float32(rng.uniform(1, 5)) * rng.standard_normal(picture.shape, dtype=np.float32)
    return Scene(np.clip(picture, 0, 255).astype(np.uint8), np.array(boxes, dtype=np.int64).reshape(-1, 4), sources)
