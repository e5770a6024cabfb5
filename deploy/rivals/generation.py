"""A generator beside Gaussians of pixels, on a MedMNIST file: bits a pixel, and a sheet to look at.

    python -m deploy.rivals.generation FILE.npz SHEET.png

The sheet holds drawn pictures only. How near each is to its nearest training picture is told beside it,
against the same distance of true pictures that were not trained on: much nearer would mean a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from client.trainer import LocalPlan, evaluated, train
from common.learning import learning_of
from common.metrics import EvaluationSums, GenerationSums
from common.models import RowGenerator, build_model, initial_weights, load_state
from common.models.sampling import sample
from common.sequences import SequenceBatch
from common.study import Study, parse_study
from deploy.rivals.pixel_gaussian import PixelGaussian


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out; distances are root mean squares over pixels, of brightness in [0, 1].

    Attributes:
        generator: Counts of the generator on the test pictures.
        gaussian: Of the Gaussians.
        drawn: (N, H, W) pictures of the generator, by class.
        drawn_distance: Median over the drawn ones of the distance to the nearest training picture.
        true_distance: The same of test pictures.
        least_distance: The least of the drawn ones.
    """

    generator: GenerationSums
    gaussian: GenerationSums
    drawn: torch.Tensor
    drawn_distance: float
    true_distance: float
    least_distance: float


def compare(
    train_cases: SequenceBatch, test_cases: SequenceBatch, study: Study, seed: int, each: int = 8
) -> Comparison:
    """Train the study's generator, fit the Gaussians, and count both on the same test pictures.

    Args:
        train_cases: Brightness in [0, 1] and classes.
        test_cases: The same, of other patients.
        study: A generation; ``local_epochs`` of it are trained, on a cosine of the learning rate.
        seed: Of everything.
        each: Pictures to draw of each class.
    """
    count = len(study.study.classes)
    model = trained(train_cases, study, seed)
    none = GenerationSums.none(count)
    found: EvaluationSums = evaluated(model, test_cases, learning_of(study), none, keep=False)
    assert isinstance(found, GenerationSums)  # noqa: S101  the counts of a generation
    gaussian = PixelGaussian.fitted(train_cases.steps, train_cases.targets, count)
    nats = gaussian.nats(test_cases.steps, test_cases.targets).double().numpy()
    pixels = (test_cases.lengths * test_cases.steps.shape[2]).numpy()
    plain = GenerationSums.count(nats, pixels, test_cases.targets.numpy(), count)
    classes = torch.arange(count).repeat_interleave(each)
    drawn = sample(model, classes, torch.Generator().manual_seed(seed))
    near, true = nearest(drawn, train_cases.steps), nearest(test_cases.steps, train_cases.steps)
    return Comparison(found, plain, drawn, float(near.median()), float(true.median()), float(near.min()))


def trained(cases: SequenceBatch, study: Study, seed: int) -> RowGenerator:
    """The study's generator after its epochs, one after the other as rounds of one site are."""
    model = build_model(study)
    assert isinstance(model, RowGenerator)  # noqa: S101  of the study's task
    load_state(model, initial_weights(study, seed))
    epochs = study.federation.rounds
    for epoch in range(epochs):
        loss = train(model, cases, LocalPlan.of(study, epoch / epochs, seed + epoch)).loss
        typer.echo(f"epoch {epoch + 1} of {epochs}: {loss:.3f} nats a pixel")
    return model


def nearest(pictures: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """(N,) root mean square difference of each picture from the nearest of others."""
    flat, others = pictures.flatten(1), among.flatten(1)
    distances: torch.Tensor = torch.cdist(flat, others).amin(dim=1) / flat.shape[1] ** 0.5
    return distances


def sheet(pictures: torch.Tensor, rows: int, scale: int = 4) -> Image.Image:
    """One picture of (N, H, W) pictures in so many rows, each pixel ``scale`` wide."""
    count, height, width = pictures.shape
    grid = pictures.view(rows, count // rows, height, width).transpose(1, 2)
    grey = (grid.reshape(rows * height, -1) * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(grey.repeat(scale, axis=0).repeat(scale, axis=1))


def read_cases(file: Path, split: str, most: int | None = None) -> SequenceBatch:
    """The pictures of one split of a MedMNIST file; the first ``most`` of them."""
    with np.load(file) as arrays:
        pictures = torch.from_numpy(arrays[f"{split}_images"][:most].astype(np.float32) / 255)
        classes = torch.from_numpy(arrays[f"{split}_labels"][:most].astype(np.int64).ravel())
    return SequenceBatch(pictures, torch.full((len(pictures),), pictures.shape[1]), classes)


def study_of(size: int, classes: int, epochs: int, hidden: int) -> Study:
    """A generation of pictures of such a size; each round is an epoch."""
    return parse_study(
        {
            "study": {
                "name": "generation",
                "task": "generation",
                "labels": {str(number): f"class {number}" for number in range(classes)},
            },
            "sequence": {"kind": "rows", "size": size},
            "model": {"hidden": hidden},
            "training": {"learning_rate": 2e-3, "schedule": "cosine", "clip_grad_norm": 1.0},
            "federation": {"rounds": epochs},
        }
    )


def main(
    file: Annotated[Path, typer.Argument(help="A MedMNIST file of grey pictures.")],
    picture: Annotated[Path, typer.Argument(help="Where the sheet of drawn pictures goes.")],
    epochs: int = 8,
    hidden: int = 128,
    seed: int = 0,
    most: Annotated[int | None, typer.Option(help="Training pictures; all if left away.")] = None,
) -> None:
    """Train a generator, compare it with Gaussians of pixels, and write a sheet of drawn pictures."""
    train_cases, test_cases = read_cases(file, "train", most), read_cases(file, "val")
    classes = int(train_cases.targets.max()) + 1
    study = study_of(train_cases.steps.shape[1], classes, epochs, hidden)
    found = compare(train_cases, test_cases, study, seed)
    for name, sums in (("generator", found.generator), ("Gaussians of pixels", found.gaussian)):
        figures = sums.figures(study.study.classes)
        of_class = ", ".join(f"{key} {bits:.3f}" for key, bits in figures["bits_per_dim_by_class"].items())
        typer.echo(f"{name}: {figures['bits_per_dim']:.3f} bits a pixel ({of_class}) on {sums.n} pictures")
    typer.echo(
        f"nearest training picture: drawn {found.drawn_distance:.3f} (least {found.least_distance:.3f}), "
        f"test {found.true_distance:.3f}"
    )
    sheet(found.drawn, classes).save(picture)


if __name__ == "__main__":
    typer.run(main)
