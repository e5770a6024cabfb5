"""What proves what was done: chained entries, their table of events, verification offline, export.

The log that is written is :mod:`common.audit`.
"""
