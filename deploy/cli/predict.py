"""``consilium predict``: what a finished model says of pictures, clips, stacks and records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.beside import Beside
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.predicting import Given, Predicted, Refused, TrainedModel
    from client.predicting.answer import Told
    from common.evidence.vouching import Vouched

EXAMPLE = "Example: consilium predict runs/chest-xray picture.dcm series/ --out predictions.json"
REFUSED = 4
ModelPlace = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A run's folder, or its model.safetensors.", show_default=False),
]
Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="INPUT...",
        help="DICOM, PNG, JPEG or npz files, folders of them, a manifest or a table of records.",
        show_default=False,
    ),
]
CohortName = Annotated[
    str | None,
    typer.Option("--cohort", metavar="NAME", help="A cohort of the site besides.", show_default=False),
]
Split = Annotated[
    str | None, typer.Option(metavar="SPLIT", help="With --cohort: train, val or test.", show_default="all")
]

Evidence = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Audit logs, as `consilium audit verify` takes them: a model that they do not name is not used.",
        show_default=False,
    ),
]


def predict(
    model: ModelPlace,
    inputs: Inputs = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write .json, or .csv with a line a case.", show_default=False),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write pictures: the mask, the boxes, what spoke for the class called, a risk's course.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each mask of a segmentation as npz.", show_default=False),
    ] = None,
    dicom_seg: Annotated[
        Path | None,
        typer.Option(
            "--dicom-seg",
            metavar="DIR",
            help="Write a DICOM Segmentation of each DICOM case.",
            show_default=False,
        ),
    ] = None,
    dicom_sr: Annotated[
        Path | None,
        typer.Option(
            "--dicom-sr",
            metavar="DIR",
            help="Write a Structured Report of each DICOM case.",
            show_default=False,
        ),
    ] = None,
    evidence: Evidence = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            "--at-least", min=0.01, max=1.0, help="Of a detection: least score.", show_default="0.3"
        ),
    ] = None,
    cohort: CohortName = None,
    split: Split = None,
    home: options.Home = None,
    where: options.Where = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Say what a model makes of cases: probabilities, risks, masks or boxes, by what it was trained for.

    It is research software and no medical device. Cases that the model cannot be asked about are refused with
    a reason; the exit status is then 4, and all others are predicted. So it is where an object that is wanted
    beside a prediction cannot be made of the case.
    """
    named = _vouched(model, evidence)
    from client.devices import choose_device
    from client.predicting import Refused, open_model, predicted
    from client.predicting.answer import Told
    from client.predicting.detection import AT_LEAST

    opened = open_model(model, choose_device(device))
    beside = Beside(overlay=overlay, masks=masks, dicom_seg=dicom_seg, dicom_sr=dicom_sr)
    beside.check(opened, at_least)
    results, complete = list[Told](), True
    cases = cases_of(opened, inputs, cohort, split, home, where)
    for result in predicted(opened, cases, AT_LEAST if at_least is None else at_least):
        results.append(Told.of(result if isinstance(result, Refused) else result.answer))
        if not isinstance(result, Refused):
            complete &= _written(beside, opened, result, len(results))
    _tell(opened, results, named, out, as_json)
    if not complete or any(result.refused for result in results):
        raise typer.Exit(REFUSED)


def _written(beside: Beside, model: TrainedModel, found: Predicted, number: int) -> bool:
    """Whether all that is wanted beside a prediction could be made of the case; if not, it is told why."""
    from client.predicting import Refused
    from common.errors import DataError, TaskNotServed

    try:
        beside.write(model, found, number)
    except TaskNotServed:  # of no case would it be made
        raise
    except DataError as error:
        why = Refused.of(found.answer.name, error)
        typer.echo(f"{why.name}: {why.code}: {why.message} {why.hint}", err=True)
        return False
    return True


def cases_of(
    model: TrainedModel,
    inputs: Sequence[Path] | None,
    cohort: str | None,
    split: str | None,
    home: Path | None,
    where: list[str] | None,
) -> Iterator[Given | Refused]:
    """The cases that a command line names.

    Raises:
        typer.BadParameter: It names none.
    """
    from client.predicting import cohort_cases, read_inputs

    if not inputs and cohort is None:
        raise typer.BadParameter("name at least one file or folder, or --cohort", param_hint="INPUT")
    conditions = options.pairs(where, "--where")
    named = read_inputs(inputs, model.study, conditions) if inputs else iter(())
    return chain(named, cohort_cases(home, cohort, model.study, split) if cohort else ())


def _vouched(model: Path, evidence: list[str] | None) -> Vouched | None:
    """What the logs say of the model, before it is used; None where none were given.

    Raises:
        AuditBroken, ModelNotInEvidence: It is not to be used.
    """
    if not evidence:
        return None
    from common.evidence.verification import verify
    from common.evidence.vouching import vouched
    from deploy.cli.audit import logs_at

    logs, owners = logs_at(evidence)
    return vouched(verify(logs, (), owners), model)


def _tell(
    model: TrainedModel, results: Sequence[Told], named: Vouched | None, out: Path | None, as_json: bool
) -> None:
    from client.predicting.writing import to_document, to_rows, write_predictions
    from deploy.cli.audit import as_document

    if out is not None:
        write_predictions(out, model, results)
    if as_json:
        print_json(to_document(model, results) | ({} if named is None else {"evidence": as_document(named)}))
        return
    columns, rows = to_rows(results)
    _show(columns, rows)
    for line in _reasons(results):
        typer.echo(line)
    calibrated = (
        "its probabilities are calibrated"
        if model.calibration is not None
        else "its probabilities are not calibrated"
    )
    head = model.study.study
    typer.echo(f"model {model.digest[:16]} of study {head.name}; {calibrated}")
    if named is not None:
        typer.echo(f"evidence: {named}")
    typer.echo("Research software: no diagnosis follows from this alone.")
    if out is not None:
        typer.echo(f"wrote {out}")


def _reasons(results: Sequence[Told]) -> Iterator[str]:
    """Why cases were refused, each reason once: the table has room for its code alone."""
    refused = Counter(
        (told["code"], told["message"], told["hint"])
        for result in results
        if (told := result.document.get("refused"))
    )
    for (code, message, hint), count in refused.items():
        yield f"refused {code} ({count} {'case' if count == 1 else 'cases'}): {message} {hint}"


def _show(columns: list[str], rows: list[dict[str, str]]) -> None:
    """The table, with columns that nobody fills left away, and nothing cut off."""
    shown = [column for column in columns if any(row.get(column) for row in rows)]
    lines = [shown, *([row.get(column, "") for column in shown] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(shown))]
    for line in lines:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
