"""The sections of the page on files, cases, sizes and brightness."""

from __future__ import annotations

from client.cohorts.quality.assessment import Quality
from client.cohorts.quality.charts import brightness_chart
from client.cohorts.quality.counts import Counts, Dimension
from client.cohorts.quality.shares import bar, kinds_table
from client.cohorts.quality.sizes import Quantiles
from client.dicom.outcomes import Kind, Outcome, Reason
from common.page.markup import Child, Markup, joined, prose, tag
from common.page.tables import Column, Row, folded, table
from common.page.wording import number, plain

_SCANNERS = 12
_OUTCOMES = {
    Outcome.case: "in a case",
    Outcome.other: "known, but not trained on",
    Outcome.duplicate: "duplicate of another file",
    Outcome.quarantined: "in quarantine",
}
_KINDS = {
    Kind.directory: "DICOMDIR",
    Kind.report: "report or document",
    Kind.presentation: "presentation state",
    Kind.plan: "radiotherapy plan or structures",
    Kind.dose: "radiotherapy dose",
    Kind.waveform: "waveform",
    Kind.registration: "registration",
    Kind.annotation: "annotation or measurement",
    Kind.mapping: "value mapping or raw data",
    Kind.segmentation: "segmentation",
    Kind.localiser: "localiser",
    Kind.derived: "derived picture",
    Kind.unwanted: "other modality",
    Kind.companion: "file of a viewer or system",
}


def files(quality: Quality) -> Markup | None:
    """What became of the files, and why; None if none are known of."""
    seen = quality.files.seen
    if not seen:
        return None
    rows = [
        Row(words, [number(quality.files.of(outcome)), bar(quality.files.of(outcome), seen)])
        for outcome, words in _OUTCOMES.items()
    ]
    return joined([
        table("What became of the files", (Column("Files that are"), *_FILES), rows),
        _reasons(quality),
        _kinds(quality),
    ])  # fmt: skip


_FILES = (Column("Files"), Column("Share", words=True))


def _reasons(quality: Quality) -> Markup | None:
    met = [reason for reason in Reason if quality.files.reasons.get(reason)]
    if not met:
        return None
    met.sort(key=lambda reason: -quality.files.reasons[reason])
    rows = [Row(str(reason), [number(quality.files.reasons[reason]), prose(reason.hint)]) for reason in met]
    columns = (Column("Reason"), Column("Files"), Column("What to do", words=True))
    return table("Why files are in quarantine", columns, rows)


def _kinds(quality: Quality) -> Markup | None:
    counts = quality.files.kinds
    met = sorted((kind for kind in Kind if counts.get(kind)), key=lambda kind: -counts[kind])
    if not met:
        return None
    total = sum(counts.values())
    rows = [Row(_KINDS[kind], [number(counts[kind]), bar(counts[kind], total)]) for kind in met]
    return table("Known objects that are not trained on", (Column("Kind"), *_FILES), rows)


def cases(quality: Quality) -> Markup:
    """Cases and patients by split, label, modality, scanner and year."""
    counts = quality.counts
    grids: list[Child] = [_label_by_split(counts)]
    for dimension, caption, noun in _GROUPS:
        grids.append(kinds_table(caption, noun, counts.by[dimension], counts.cases))
    if counts.findings:
        caption = "What the intake noticed (a case may have several)"
        grids.append(kinds_table(caption, "Finding", counts.findings, counts.cases))
    grids.append(_cases_a_patient(counts))
    return joined([tag("div", joined(grids), class_="grids"), _divided(counts)])


_GROUPS = (
    (Dimension.split, "By split", "Split"),
    (Dimension.label, "By label", "Label"),
    (Dimension.modality, "By modality", "Modality"),
    (Dimension.scanner, "By scanner", "Scanner"),
    (Dimension.year, "By year of acquisition", "Year"),
)


def _label_by_split(counts: Counts) -> Markup:
    splits = [cell.name for cell in counts.by[Dimension.split]]
    rows = [
        Row(label.name, [number(counts.label_by_split.get((label.name, split), 0)) for split in splits])
        for label in counts.by[Dimension.label]
    ]
    return table("Cases by label and split", (Column("Label"), *(Column(split) for split in splits)), rows)


def _cases_a_patient(counts: Counts) -> Markup:
    classes: dict[str, int] = {}
    for cases, patients in counts.cases_a_patient.items():
        name = (
            str(cases)
            if cases < 4
            else "4 to 9"
            if cases < 10
            else "10 to 99"
            if cases < 100
            else "100 or more"
        )
        classes[name] = classes.get(name, 0) + patients
    rows = [Row(name, [number(n), bar(n, counts.patients)]) for name, n in classes.items()]
    columns = (Column("Cases of a patient"), Column("Patients"), Column("Share", words=True))
    return table("How many cases patients have", columns, rows)


def _divided(counts: Counts) -> Markup | None:
    if not counts.split_patients:
        return None
    listed = tag("p", ", ".join(counts.split_patients[:500]), class_="names")
    return folded("Patients whose cases are in more than one split", listed)


def sizes(quality: Quality) -> Markup | None:
    """How large pictures are."""
    if not quality.sizes:
        return None
    columns = [Column(label) for label in ("Measure", "Cases", "Least", "5 %", "Median", "95 %", "Greatest")]
    return table("Sizes and spacings", columns, [_size(measure) for measure in quality.sizes])


def _size(measure: Quantiles) -> Row:
    return Row(measure.name, [number(measure.known), *(plain(value) for value in measure.values)])


def brightness(quality: Quality) -> Markup | None:
    """One small histogram for each scanner, against all cases together."""
    if not quality.histograms:
        return None
    cases = quality.reference.pictured
    every = [total / cases for total in quality.reference.brightness]
    figures = [
        tag(
            "figure",
            tag("figcaption", tag("strong", h.scanner), f" ({number(h.cases)})"),
            brightness_chart(f"scanner{i}", h.scanner, h.shares, every, "All cases together"),
        )
        for i, h in enumerate(quality.histograms[:_SCANNERS])
    ]
    hidden = len(quality.histograms) - len(figures)
    words = (
        "Area: the cases of one scanner, in brackets how many; line: all cases together. To the right: "
        "brighter; upwards: more pixels (as square roots, so that small parts stay visible). Scanners that "
        "look unlike the others are learned as scanners, not as disease."
    )
    more = f" {number(hidden)} scanners with fewer cases are not drawn." if hidden else ""
    return joined([tag("p", words + more, class_="note"), tag("div", joined(figures), class_="charts")])
