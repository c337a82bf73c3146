"""What is kept about an experiment's data set: its fingerprint, and whether seeds pair the runs."""

from __future__ import annotations

import msgspec

from .storage import File, Part


class SplitFingerprint(Part, frozen=True):
    """The files of one split.

    Attributes:
        digest: Digest of the images and labels.
        images: Number of image files.
        labels: Number of label files.
        shared: Number of images that are in train or val too, or look like an image there.
    """

    digest: str = ""
    images: int = 0
    labels: int = 0
    shared: int = 0


class DataFingerprint(File, frozen=True):
    """The identity of the data set when the experiment began; a changed data set is refused.

    Attributes:
        digest: Digest of the whole data set.
        class_names: Names of the classes by index.
        splits: The files of each split.
        warnings: What is wrong with it, a sentence each, such as splits that share images.
    """

    digest: str
    class_names: dict[str, str]
    splits: dict[str, SplitFingerprint]
    warnings: list[str] = msgspec.field(default_factory=list)

    def changes(self, now: DataFingerprint) -> list[str]:
        """Return a phrase for each part of the data set that has changed."""
        found = ["the class names differ"] if self.class_names != now.class_names else []
        for split in {**self.splits, **now.splits}:
            old, new = (each.splits.get(split, SplitFingerprint()) for each in (self, now))
            if old.digest != new.digest:
                counts = [
                    f"{before} {kind} then, {after} now"
                    for kind, before, after in (("images", old.images, new.images), ("labels", old.labels, new.labels))
                    if before != after
                ]
                found.append(f"{split}: {', '.join(counts) or 'the contents of images or labels differ'}")
        return found or ["the annotations differ"]


class Pairing(File, frozen=True):
    """Whether two runs with the same seed see the same images in the same order.

    Attributes:
        paired: Whether they do, so that differences are taken seed by seed.
        reason: Why not; empty if they do.
    """

    paired: bool = True
    reason: str = ""
