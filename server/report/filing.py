"""The report beside the run that it is about."""

from __future__ import annotations

from pathlib import Path

from common.files import write_atomically
from server.record import read_run, write_run
from server.report.page import render
from server.study_run import STUDY_FILE

REPORT_FILE = "report.html"


def file_report(out: Path) -> None:
    """Write the report of the run in a folder; nothing where there is no run.

    Raises:
        DiskFull, OutputUnwritable: It cannot be written.
    """
    run = read_run(out)
    if run is None:
        return
    run = {**run, "files": {**run["files"], "report": REPORT_FILE}}
    write_atomically(out / REPORT_FILE, render(run, (out / STUDY_FILE).read_text(encoding="utf-8")))
    write_run(out, run)
