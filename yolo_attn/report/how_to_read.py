"""How to read a report: its terms, in a sentence or two each."""

TERMS = {
    "AP, AP50": "COCO's average precision in per cent: the mean over IoU thresholds from 0.5 to 0.95, and at 0.5. "
    "AP-S, AP-M and AP-L are for objects below 32 x 32 pixels, up to 96 x 96, and above, in the original image.",
    "mAP50, mAP50-95": "Similar metrics, as Ultralytics computes them and yolo val prints them. Papers mix the two. "
    "Compare COCO's only with COCO's, and Ultralytics' only with Ultralytics'.",
    "± and seeds": "The same training gives different weights with each seed. ± is the standard deviation over the "
    "seeds: how far runs of one model scatter around their mean. Two runs typically differ by √2 times as much.",
    "Difference": "Runs with the same seed share the data order and the augmentation, so the difference is computed "
    "seed by seed. A seed counts if the runs of both models are finished.",
    "95 % over seeds": "Confidence interval of the mean difference for other seeds, with these test images.",
    "95 % over images": "Confidence interval for other test images, with these trained models. Its width is the spread "
    "over resampled sets of images.",
    "95 % over both": "Confidence interval for other seeds and other images of the same kind. It is never narrower "
    "than either part, and with few seeds it often equals the one over seeds. No interval covers another data set or "
    "other training arguments. Below three seeds none is given.",
    "p": "The probability of a difference at least this large if there is no effect. p (Holm) is corrected for the "
    "number of variants: the more variants are tested, the more look good by chance. With few seeds the permutation "
    "test cannot give a small p; its smallest possible value is in the table of differences.",
    "Verdict": "better or worse: p (Holm) is at most 0.05. no evidence: the comparison could not detect a difference, "
    "which does not show that there is none; the verdict states how large a difference it would have detected. "
    "identical: all runs give exactly the baseline's AP. one seed, two seeds: too few runs for a conclusion. "
    "not measured: no seed has AP for both models, or AP is 0 in all runs.",
    "Controls": "identity must give exactly the baseline's metrics. capacity is the baseline, widened to the size of a "
    "variant; it separates the effect of the size from that of the layer. repeat is the baseline with other seeds; it "
    "shows the noise.",
    "Latency": "Time of one image through the fused network, without non-maximum suppression. Rounds alternate between "
    "the models. A variant's time is the baseline's median times the ratio, taken round by round; in brackets are the "
    "10th to 90th percentile. Neither milliseconds nor ratios carry over from a CPU to a GPU: measure on both.",
}
