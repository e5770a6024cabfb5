"""The report of a run: one HTML page that needs no network, no script and no other file.

It is made from run.json alone (``docs/run-json.md``) and the study file, so it can be made again at any
time. Everything that comes from data is escaped.
"""

from server.report.page import render

__all__ = ["render"]
