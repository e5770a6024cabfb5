"""A status is believed only while the process that wrote it lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from client.daemon.status import STATUS_FILE, SiteStatus, StatusBoard
from common.board import Board, posted
from common.errors import CoordinatorUnreachable
from server.status import CoordinatorStatus
from server.status import StatusBoard as CoordinatorBoard

DIES = """
import os, pathlib, sys
from client.daemon.status import StatusBoard
board = StatusBoard(pathlib.Path(sys.argv[1]), os.getpid())
board.link("connected", None)
os.kill(os.getpid(), 9)
"""


def test_a_writer_that_was_killed_is_told_from_one_that_lives(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    assert SiteStatus.read(tmp_path) == SiteStatus()
    process = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=False)
    assert process.returncode == -9
    assert posted(tmp_path / STATUS_FILE).document["running"] is True
    found = SiteStatus.read(tmp_path)
    assert (found.running, found.link, found.problem) == (False, "disconnected", "daemon-died")
    assert found.hint


def test_the_sites_board_tells_connected_from_tried_from_at_work(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    board = StatusBoard(tmp_path, 1)
    board.link("connecting", None)
    assert (SiteStatus.read(tmp_path).running, SiteStatus.read(tmp_path).up) == (True, False)
    board.link("disconnected", CoordinatorUnreachable())
    board.link("connecting", None)  # what is in the way stays in sight
    found = SiteStatus.read(tmp_path)
    assert (found.up, found.problem) == (True, "coordinator-unreachable")
    assert found.words == "disconnected (coordinator-unreachable); no task"
    board.link("connected", None)
    board.task("train for lungs")
    found = SiteStatus.read(tmp_path)
    assert found.words == "connected; at work: train for lungs" and found.task_since
    board.task("")
    assert SiteStatus.read(tmp_path).task_since == ""
    board.stopped()
    assert not SiteStatus.read(tmp_path).running and SiteStatus.read(tmp_path).problem == ""


def test_the_coordinators_board_tells_who_is_there(tmp_path: Path) -> None:
    board = CoordinatorBoard(tmp_path, 1)
    assert not CoordinatorStatus.read(tmp_path).up
    board.listening(8443)
    board.look(["birch", "alder"], ["lungs"])
    found = CoordinatorStatus.read(tmp_path)
    assert (found.up, found.port, found.sites) == (True, 8443, ("alder", "birch"))
    assert found.words == "port 8443; 2 sites connected; running: lungs"
    board.stopped()
    assert CoordinatorStatus.read(tmp_path) == CoordinatorStatus(since=CoordinatorStatus.read(tmp_path).since)


def test_a_board_that_cannot_be_written_ends_nobody(tmp_path: Path) -> None:
    Board(tmp_path / "nowhere" / "status.json").write({"running": True})
    assert not posted(tmp_path / "nowhere" / "status.json").alive


def test_what_another_release_wrote_is_no_crash(tmp_path: Path) -> None:
    board = Board(tmp_path / "status.json")
    board.write({"novel": 1})
    assert CoordinatorStatus.read(tmp_path) == CoordinatorStatus(running=True)
    board.close()
    assert CoordinatorStatus.read(tmp_path) == CoordinatorStatus()
