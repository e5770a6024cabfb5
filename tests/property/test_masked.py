"""Whatever lengths stand in a batch, masks and packed sequences come to the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.exporting.network import ExportableClassifier
from tests.conftest import small_model

MODELS = {
    name: small_model(1, model=model)
    for name, model in {
        "gru": {"cell": "gru", "bidirectional": True, "layers": 2},
        "lstm": {"cell": "lstm", "bidirectional": True, "pooling": "last"},
        "hog": {"encoder": "hog", "bidirectional": True, "pooling": "last"},
        "cnn": {"encoder": "cnn", "bidirectional": True, "pooling": "attention"},
    }.items()
}


@pytest.mark.parametrize(
    "name", [name if name == "lstm" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
@given(lengths=st.lists(st.integers(1, 13), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_any_lengths(name: str, lengths: list[int], seed: int) -> None:
    network, own = MODELS[name], torch.tensor(lengths)
    x = torch.randn(len(lengths), max(lengths), 8, generator=torch.Generator().manual_seed(seed))
    x = x * (torch.arange(max(lengths))[None] < own[:, None]).unsqueeze(2)
    with torch.no_grad():
        assert torch.allclose(ExportableClassifier(network)(x, own), network(x, own), atol=1e-5)
