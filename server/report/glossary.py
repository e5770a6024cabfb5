"""The words of the page, for readers who do not use them every day."""

from __future__ import annotations

from common.page.markup import Markup, joined, tag
from server.report.record import Run

_FEDERATED = (
    "Each site trains on its own {cases} and sends only the change of the model's weights. The "
    "coordinator combines them into the shared model and sends it back. That is one round."
)

_FIGURES = {
    "auroc": (
        "AUROC",
        "How well the model ranks: the chance that it rates a random {case} with the finding higher "
        "than a random one without. 0.5 is a coin toss, 1 is perfect. With several classes it is "
        "the mean over the classes, each against the others.",
    ),
    "auprc": (
        "AUPRC",
        "Precision averaged over all levels of recall. A model that knows nothing reaches the share of "
        "{cases} with the finding, so compare it with that.",
    ),
    "concordance": (
        "Concordance",
        "Of two patients of whom one had the event before the other, how often the model gave the first "
        "the higher risk. 0.5 is a coin toss, 1 is perfect.",
    ),
    "dice": (
        "Dice",
        "How far what the model drew and what the reader drew overlap: twice what they share, over both "
        "together. 0 is no overlap, 1 is the same outline.",
    ),
    "hd95": (
        "HD95",
        "How far apart the two outlines are, without the worst 5 % of their points. 0 is the same outline.",
    ),
    "map": (
        "mAP",
        "Mean average precision: of the boxes that the model drew, how many are right, averaged over all "
        "levels of recall and over the classes.",
    ),
    "sensitivity": ("Sensitivity", "Of the findings that are there, the share that the model found."),
    "bits_per_dim": (
        "Bits per dimension",
        "How many bits the model needs to write down one point of a test {case}. Fewer is better; 8 is what "
        "a picture of 256 grey levels takes without any model.",
    ),
    "accuracy": (
        "Accuracy",
        "The share of test {cases} called correctly. Where one class is rare, a model that never "
        "calls it can still look accurate; balanced accuracy counts every class the same.",
    ),
    "recall": (
        "Recall",
        "Also sensitivity: of the {cases} with the finding, the share that the model found.",
    ),
    "precision": (
        "Precision",
        "Also positive predictive value: of the {cases} called positive, the share that are. It "
        "depends on how common the finding is.",
    ),
    "f1": ("F1", "One number for recall and precision, their harmonic mean."),
    "brier": (
        "Brier score",
        "The mean square of how far a probability was from what came. 0 is perfect; saying 50 % of all gives "
        "0.25 a label.",
    ),
    "calibration_error": (
        "Calibration error",
        "How far, on average, the model's confidence is from how often it is right. 0 is perfect; "
        "at 0.1 a model that is 90 % sure is right in about 80 % of cases, or in nearly all.",
    ),
}
"""By a figure's key; of others the study's own documents say what they are."""

_LOSS = "What training makes small. It punishes being sure and wrong."
_CROSS_ENTROPY = "What training makes small (cross-entropy). It punishes being sure and wrong."
_INTERVAL = (
    "Roughly how far the score could move by chance if as many other test {cases} of the same "
    "sites were drawn. It says nothing about other hospitals, nor about training again."
)


_PRIVATE = {
    "Epsilon and delta": (
        "How much a private model can tell of one patient. Whatever somebody would conclude from the model "
        "becomes at most e^ε times as likely by the patient's having taken part, but for a chance of about "
        "δ: 2.7 times at ε 1, 20 times at ε 3, 3,000 times at ε 8. These are bounds; what is found by "
        "attacks is much less. Every round adds to ε."
    ),
}


def glossary(run: Run) -> Markup:
    """Each word of this run's page with its meaning."""
    shown = {figure.key for figure in run.figures}
    words = {
        "Federated": _FEDERATED,
        **{word: text for key, (word, text) in _FIGURES.items() if key in shown},
        "Loss": _CROSS_ENTROPY if run.is_classification else _LOSS,
        "95 % interval": _INTERVAL,
        **(_PRIVATE if run.privacy is not None else {}),
    }
    told = {
        word: text.replace("{cases}", run.cases).replace("{case}", run.case) for word, text in words.items()
    }
    return tag("dl", joined(tag("div", tag("dt", word), tag("dd", text)) for word, text in told.items()))
