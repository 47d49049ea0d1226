"""The words of labels, explained to somebody who has never quantised a model."""

WORDS = {
    "RTN": "Rounding to nearest: each weight takes the nearest code of its block, on its own. It "
    "is fast and needs no sample of text; the other methods have to beat it.",
    "GPTQ": "Weights are rounded one column after another, and those that are still to come are "
    "moved so that they make up for the error, as it was measured on a sample of text: the "
    "calibration.",
    "AWQ": "Activation-aware: weights that meet large values, as a sample of text shows, are "
    "scaled up before rounding, so that they lose less; the layer before is scaled down to match.",
    "HQQ": "Half-quadratic quantisation: the zero point of each block is fitted so that a few "
    "outlying weights do not spoil the rest. It needs no sample of text.",
    "dynamic": "The values that flow through the model, its activations, are rounded to 8 bits "
    "too, so that the arithmetic itself is done in integers, which helps prefill. Their scale is "
    "chosen anew at each step, while the model runs.",
    "static": "As dynamic, but the scales of the activations are fixed beforehand, from a sample "
    "of text: the calibration. Nothing is left to choose at run time, but whatever exceeds the "
    "range seen in calibration is cut off. Language models have a few very large activations, so "
    "this is the hardest to get right.",
    "SmoothQuant": "The large values of a few activations are scaled down, and the weights that "
    "read them scaled up by as much: the model computes the same, but its activations suit 8 bits "
    "better.",
    "mixed precision": "Matrices that rounding hurts most are spared: they keep more bits, or "
    "activations in floating point. Which ones was chosen by what the predictions lose on a "
    "sample of text.",
    "tuned": "After rounding, the scales and the norms were trained on a sample of text to predict "
    "what FP16 predicts; the integer codes stay as they are.",
    "imatrix": "Importance matrix: rounding errors are weighed by how large the values are that "
    "each weight meets in a sample of text, so that those that matter are rounded with more care.",
    "auto": "Mixed precision: each tensor got a type of its own, so that the model loses least for "
    "the size that was asked for.",
}
