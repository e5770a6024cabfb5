"""Sites of a run on this machine have a folder for what outlives a task, where the study needs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from client.site import Site
from common.study import Study
from deploy.launch import RUN_FILES
from deploy.states import FOLDER, with_states

MakeStudy = Callable[..., Study]
SITES = [Site("elm"), Site("fir", home="/home/of/fir", cohort="chest", state="/home/of/fir/state")]


@pytest.mark.parametrize("codec", ["float32", "bf16"])
def test_a_codec_that_carries_nothing_over_needs_none(
    make_study: MakeStudy, tmp_path: Path, codec: str
) -> None:
    with with_states(SITES, make_study(federation={"codec": codec}), tmp_path) as sites:
        assert sites == SITES


@pytest.mark.parametrize("lasting", [True, False])
def test_optimisers_keep_theirs_on_the_disk_where_no_process_lasts(
    make_study: MakeStudy, tmp_path: Path, lasting: bool
) -> None:
    study = make_study(training={"optimizer_state": "kept"})
    with with_states(SITES[:1], study, tmp_path, lasting=lasting) as sites:
        assert bool(sites[0].state) is not lasting


@pytest.mark.parametrize("codec", ["int8", "topk"])
def test_each_site_has_its_own_while_the_run_lasts(make_study: MakeStudy, tmp_path: Path, codec: str) -> None:
    with with_states(SITES, make_study(federation={"codec": codec}), tmp_path) as sites:
        assert [Path(site.state) for site in sites] == [tmp_path / FOLDER / name for name in ("elm", "fir")]
        assert [(site.name, site.home) for site in sites] == [(site.name, site.home) for site in SITES]
        Path(sites[0].state).mkdir(parents=True)
        (Path(sites[0].state) / "residual").touch()
    assert not list(tmp_path.iterdir())


def test_it_goes_also_when_the_run_fails(make_study: MakeStudy, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        with_states(SITES, make_study(federation={"codec": "int8"}), tmp_path) as sites,
    ):
        Path(sites[0].state).mkdir(parents=True)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_known_for_a_run_s() -> None:
    assert FOLDER in RUN_FILES
