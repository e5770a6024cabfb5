"""What the coordinator's answers mean when they are no answers: an error of the tree for each.

Only the code is taken from what arrives. The sentences are this side's own, so that nobody can put words
before a hospital's staff in the coordinator's name.
"""

from __future__ import annotations

import re

import grpc

from common.errors import ConsiliumError, CoordinatorUnreachable, TrustError

_CODE = re.compile(r"[a-z][a-z-]{1,39}")


def coded(error: grpc.RpcError) -> ConsiliumError:
    """The error for a call that failed: the one whose code stands first in its details, if one does."""
    details = str(error.details() or "") if isinstance(error, grpc.Call) else ""
    status = error.code().name if isinstance(error, grpc.Call) else "unknown"
    known = told(details.split(":")[0].strip())
    return known or CoordinatorUnreachable(f"{status}: {printable(details)}")


def told(code: str) -> ConsiliumError | None:
    """The error that has a code, if there is one."""
    if not _CODE.fullmatch(code):
        return None
    error = ConsiliumError.of_code(code, f"the coordinator says: {code}")
    return error if isinstance(error, TrustError) else None


def printable(text: str) -> str:
    """Text that came from elsewhere, as far as it is fit for a terminal and a log."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:300])
