"""How to read a report: the terms, in a sentence or two each."""

READING = (
    (
        "AP, AP50",
        "COCO's average precision in per cent: the mean over IoU thresholds from 0.5 to 0.95, and at 0.5. AP-S, "
        "AP-M and AP-L are of objects below 32 x 32 pixels, up to 96 x 96 and above, in the original image.",
    ),
    (
        "mAP50, mAP50-95",
        "The same ideas as Ultralytics computes them, and as yolo val prints them. Papers mix the two; do not "
        "compare one with the other.",
    ),
    (
        "± and seeds",
        "One recipe gives other weights with every seed. ± is the standard deviation over the seeds: how far apart "
        "two equal runs may be.",
    ),
    (
        "Difference",
        "Runs of one seed share the data order and the augmentation, so the difference is taken seed by seed. A "
        "seed counts where both runs are finished.",
    ),
    (
        "95 % over seeds",
        "Where the mean difference would be with other seeds and the same test images.",
    ),
    (
        "95 % over images",
        "Where it would be with other test images and the same weights, from resampled images.",
    ),
    (
        "95 % over both",
        "Where it would be with other seeds and other images of the same kind. None of them speaks of another data "
        "set or recipe.",
    ),
    (
        "p",
        "How often a difference this large comes about without any effect. p (Holm) is corrected for the number of "
        "variants: the more are tried, the more look good by chance. The permutation p cannot fall below its least "
        "value, which few seeds make large.",
    ),
    (
        "Verdict",
        "better or worse where the evidence is strong enough after the correction. no evidence says that this "
        "design could not tell, not that there is no difference; what it could have seen stands beside it.",
    ),
    (
        "Controls",
        "identity must give the baseline's figures; capacity is the baseline at the variant's size, so that size "
        "and layer are told apart; repeat is the baseline with other seeds, which shows the noise.",
    ),
    (
        "Latency",
        "One image after another through the fused network, without non-maximum suppression, in turn with the "
        "baseline. Its ratio can be compared between machines, its milliseconds cannot.",
    ),
)
