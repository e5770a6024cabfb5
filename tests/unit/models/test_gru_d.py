"""GRU-D: the paper's equations step by step, no padding in any result, one record's gradient each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.records import record_steps
from common.models.cells import GRUD
from common.study import Study, parse_study
from tests.unit.models.one_by_one import assert_clipped_one_by_one

NAMES = ("HR", "pH", "urine")


def study() -> Study:
    variables = {name: {"centre": float(place), "scale": 2.0} for place, name in enumerate(NAMES)}
    document = {
        "study": {"name": "records", "labels": {"0": "alive", "1": "dead"}},
        "sequence": {"kind": "steps", "variables": variables, "time_scale": 4.0},
    }
    return parse_study(document)


def records() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Times, and values with 0 to 3 of the variables at a time, of records of 7, 1, 4 and 7 steps."""
    rng, times, values = np.random.default_rng(0), [], []
    for count in (7, 1, 4, 7):
        times.append(np.cumsum(rng.uniform(0.1, 5.0, count)))
        value = rng.normal(1, 2, (count, 3)).astype(np.float32)
        value[rng.random((count, 3)) < 0.5] = np.nan
        value[:, 2] = np.nan if count == 4 else value[:, 2]  # never measured
        value[:, 0] = np.where(np.isnan(value).all(axis=1), 1.5, value[:, 0])  # no step without a measurement
        values.append(value)
    return times, values


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    times, values = records()
    cases = [record_steps(t, v, NAMES, study()).double() for t, v in zip(times, values, strict=True)]
    lengths = torch.tensor([len(case) for case in cases])
    return torch.nn.utils.rnn.pad_sequence(cases, batch_first=True), lengths


def cell(hidden: int = 5) -> GRUD:
    torch.manual_seed(0)
    made = GRUD(3, hidden).double()
    torch.nn.init.normal_(made.input_decay.bias)
    return made


def by_the_paper(model: GRUD, times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(T, H) states by equations 10 to 16 of Che et al. 2018, from a record as it was measured."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    size = len(w["candidate.weight"])
    w_r, w_z, w_n = np.split(w["input.weight"][:, :3], 3)
    v_r, v_z, v_n = np.split(w["input.weight"][:, 3:], 3)
    b_r, b_z, b_n = np.split(w["input.bias"], 3)
    u_r, u_z = np.split(w["gates.weight"], 2)
    centre, scale = np.arange(3.0), 2.0
    h, last, delta, states = np.zeros(size), np.zeros(3), np.zeros(3), []
    for t, measured in enumerate(values):
        if t:  # the interval: eq. 2 of the paper, over the study's time scale
            passed = (times[t] - times[t - 1]) / 4.0
            delta = np.where(np.isnan(values[t - 1]), passed + delta, passed)
        m = (~np.isnan(measured)).astype(float)
        x = (np.nan_to_num(measured) - centre) / scale
        gamma_x = np.exp(-np.maximum(0, w["input_decay.weight"] * delta + w["input_decay.bias"]))
        gamma_h = np.exp(-np.maximum(0, w["hidden_decay.weight"] @ delta + w["hidden_decay.bias"]))
        mean = np.zeros(3)
        x_hat = m * x + (1 - m) * (gamma_x * last + (1 - gamma_x) * mean)
        last = np.where(m > 0, x, last)
        h = gamma_h * h
        r = sigmoid(w_r @ x_hat + u_r @ h + v_r @ m + b_r)
        z = sigmoid(w_z @ x_hat + u_z @ h + v_z @ m + b_z)
        n = np.tanh(w_n @ x_hat + w["candidate.weight"] @ (r * h) + v_n @ m + b_n)
        h = (1 - z) * h + z * n
        states.append(h)
    return np.array(states)


@torch.no_grad()
def test_states_are_those_of_the_paper_s_equations() -> None:
    model, (steps, lengths) = cell(), batch()
    found = model(steps, lengths)
    for case, (times, values) in enumerate(zip(*records(), strict=True)):
        expected = torch.from_numpy(by_the_paper(model, times, values))
        torch.testing.assert_close(found[case, : lengths[case]], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_case_s_states_are_those_it_has_alone_and_zeros_stand_behind() -> None:
    model, (steps, lengths) = cell(), batch()
    together = model(steps, lengths)
    for case, length in enumerate(lengths):
        alone = model(steps[case : case + 1, :length], lengths[case : case + 1])
        torch.testing.assert_close(together[case : case + 1, :length], alone)
        assert not together[case, length:].any()


@torch.no_grad()
def test_what_was_not_measured_fades_to_the_mean() -> None:
    model = GRUD(1, 4)
    never = torch.tensor([[[0.0, 0.0, 0.0]]])
    first = torch.tensor([[[3.0, 1.0, 0.0], [0.0, 0.0, 1e6]]])
    model.hidden_decay.weight.fill_(1.0)
    alone, faded = model(never, torch.tensor([1])), model(first, torch.tensor([2]))
    torch.testing.assert_close(faded[:, 1], alone[:, 0])


def test_gradient_reaches_every_parameter() -> None:
    model, (steps, lengths) = cell(), batch()
    model(steps, lengths).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("units", [[0, 1, 2, 3], [0, 1, 1, 0]])
def test_clipped_sum_is_that_of_one_record_gradients(units: list[int]) -> None:
    model, (steps, lengths) = cell(), batch()

    def losses() -> torch.Tensor:
        return (model(steps, lengths).square() * torch.arange(1, 5).view(4, 1, 1)).sum(dim=(1, 2))

    assert_clipped_one_by_one(model, losses, torch.tensor(units))
