"""The words of the page, for readers who do not use them every day."""

from __future__ import annotations

from common.page.markup import Markup, joined, tag

_WORDS = {
    "Federated": (
        "Each site trains on its own images and sends only the change of the model's weights. The "
        "coordinator combines them into the shared model and sends it back. That is one round."
    ),
    "AUROC": (
        "How well the model ranks: the chance that it rates a random image with the finding higher "
        "than a random one without. 0.5 is a coin toss, 1 is perfect. With several classes it is "
        "the mean over the classes, each against the others."
    ),
    "Accuracy": (
        "The share of test images called correctly. Where one class is rare, a model that never "
        "calls it can still look accurate; balanced accuracy counts every class the same."
    ),
    "Recall": "Also sensitivity: of the images with the finding, the share that the model found.",
    "Precision": (
        "Also positive predictive value: of the images called positive, the share that are. It "
        "depends on how common the finding is."
    ),
    "F1": "One number for recall and precision, their harmonic mean.",
    "Calibration error": (
        "How far, on average, the model's confidence is from how often it is right. 0 is perfect; "
        "at 0.1 a model that is 90 % sure is right in about 80 % of cases, or in nearly all."
    ),
    "Loss": "What training makes small (cross-entropy). It punishes being sure and wrong.",
    "95 % interval": (
        "Roughly how far the score could move by chance if as many other test images of the same "
        "sites were drawn. It says nothing about other hospitals, nor about training again."
    ),
}


_PRIVATE = {
    "Epsilon and delta": (
        "How much a private model can tell of one patient. Whatever somebody would conclude from the model "
        "becomes at most e^ε times as likely by the patient's having taken part, but for a chance of about "
        "δ: 2.7 times at ε 1, 20 times at ε 3, 3,000 times at ε 8. These are bounds; what is found by "
        "attacks is much less. Every round adds to ε."
    ),
}


def glossary(*, private: bool) -> Markup:
    """Each word with its meaning; ``private``: also the words of private training."""
    words = {**_WORDS, **(_PRIVATE if private else {})}
    return tag("dl", joined(tag("div", tag("dt", word), tag("dd", text)) for word, text in words.items()))
