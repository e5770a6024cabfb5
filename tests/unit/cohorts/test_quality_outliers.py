"""Cases that stand apart are found, with the reason; those of a mixture are not."""

import numpy as np
import pytest

from client.cohorts.quality import CaseFacts, CasePicture, FileCounts, assess, picture_of
from client.cohorts.quality.outliers import Figure, Outlier, scores

RNG = np.random.default_rng(5)
PICTURES = [
    picture_of(np.clip(RNG.normal(0.5 + 0.02 * RNG.normal(), 0.1, (1, 24, 24)), 0, 1).astype(np.float32))
    for _ in range(40)
]


def found(
    *odd: tuple[CaseFacts, CasePicture | None], usual: int = 40, modality: str = ""
) -> tuple[Outlier, ...]:
    cases = [
        (
            CaseFacts(
                f"c{i}", f"p{i}", modality=modality, shape=(1, 500 + i, 500), spacing_mm=(None, 0.2, 0.2)
            ),
            p,
        )
        for i, p in enumerate(PICTURES[:usual])
    ]
    return assess(FileCounts(0), [*cases, *odd]).outliers


def facts(**changes: object) -> CaseFacts:
    values: dict[str, object] = {"shape": (1, 520, 500), "spacing_mm": (None, 0.2, 0.2), **changes}
    return CaseFacts("odd", "p", **values)  # type: ignore[arg-type]


def figures(outliers: tuple[Outlier, ...]) -> dict[str, list[Figure]]:
    return {o.facts.case: [oddity.figure for oddity in o.oddities] for o in outliers}


def test_the_usual_do_not_stand_apart() -> None:
    assert found() == ()


@pytest.mark.parametrize(
    ("odd", "picture", "figure"),
    [
        (facts(), np.full((1, 24, 24), 0.95) - 0.1 * RNG.random((1, 24, 24)), Figure.brightness),
        (facts(), np.zeros((1, 24, 24)), Figure.blank),
        (facts(shape=(1, 4000, 4000)), None, Figure.size),
        (facts(shape=(90, 520, 500)), None, Figure.frames),
        (facts(spacing_mm=(None, 2.0, 2.0)), None, Figure.pixel_spacing),
    ],
)
def test_each_oddity_is_named(odd: CaseFacts, picture: np.ndarray | None, figure: Figure) -> None:
    shown = PICTURES[0] if picture is None else picture_of(picture.astype(np.float32))
    outliers = figures(found((odd, shown)))
    assert list(outliers) == ["odd"] and outliers["odd"][0] is figure


def test_what_is_usual_is_told_beside_what_is_odd() -> None:
    (outlier,) = found((facts(spacing_mm=(None, 2.0, 2.0)), PICTURES[0]))
    assert (outlier.oddities[0].value, outlier.oddities[0].typical) == pytest.approx((2.0, 0.2))


def test_a_mixture_has_no_outliers() -> None:
    others = [(facts(spacing_mm=(None, 2.0, 2.0)), PICTURES[i]) for i in range(4)]
    assert found(*others) == ()


def test_few_cases_say_nothing_of_what_is_usual() -> None:
    assert found((facts(shape=(1, 9000, 9000)), PICTURES[0]), usual=15) == ()


def test_modalities_are_judged_by_themselves() -> None:
    other = (facts(modality="MR", shape=(1, 64, 64)), PICTURES[0])
    assert found(other, modality="DX") == ()
    assert found((facts(modality="DX", shape=(1, 64, 64)), PICTURES[0]), modality="DX") != ()


def test_cases_without_pictures_are_judged_by_their_size() -> None:
    assert figures(found((facts(shape=(700, 520, 500)), None))) == {"odd": [Figure.frames]}


def test_scores_follow_their_formula() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    assert scores(values).tolist() == pytest.approx(((values - 3) / 1.4826).tolist())
    level = np.array([1.0] * 9 + [3.0])
    assert scores(level)[-1] == pytest.approx(2 / (1.2533 * 0.2))
    assert not scores(np.ones(5)).any()
