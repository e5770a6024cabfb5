"""Seeds are a function of (seed, purpose) and of nothing else."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from common.seeds import derive_seed, generator

purposes = st.lists(st.one_of(st.integers(0, 10**6), st.text("abc-", min_size=1)), max_size=4).map(tuple)


def test_known_answers() -> None:
    assert derive_seed(0, "initial-weights") == 4805153811678957391
    assert derive_seed(7, "local-training", 3, "north") == 5733556140882242010


@given(st.integers(0, 2**64), purposes)
def test_seed_is_a_63_bit_number_that_torch_and_protobuf_take(
    seed: int, purpose: tuple[str | int, ...]
) -> None:
    assert 0 <= derive_seed(seed, *purpose) < 2**63


def test_every_part_of_the_purpose_counts() -> None:
    seeds = {
        derive_seed(seed, purpose, number, site)
        for seed in range(3)
        for purpose in ("local-training", "select-sites")
        for number in range(1, 13)
        for site in ("north", "south", "1")
    }
    assert len(seeds) == 3 * 2 * 12 * 3


def test_parts_do_not_run_together() -> None:
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc") != derive_seed(1, "abc")
    assert derive_seed(1, 1) != derive_seed(11)


def test_generator_neither_reads_nor_moves_the_global_one() -> None:
    random.seed(1)
    first, state = generator(5, "x").random(), random.getstate()
    random.seed(2)
    assert generator(5, "x").random() == first
    random.seed(1)
    assert random.getstate() == state
