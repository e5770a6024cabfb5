"""Tables of measurements as cases."""

from client.cohorts.records.layout import RecordRules
from client.cohorts.records.rows import LeftOut
from client.cohorts.records.table import RecordCase, RecordCounts, RecordTable, read_records

__all__ = ["LeftOut", "RecordCase", "RecordCounts", "RecordRules", "RecordTable", "read_records"]
