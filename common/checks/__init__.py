"""What `check` commands are made of on both sides: findings, and looks at what both sides have."""

from common.checks.finding import Advice, Finding, Section, first_failure, passed_over, taken

__all__ = ["Advice", "Finding", "Section", "first_failure", "passed_over", "taken"]
