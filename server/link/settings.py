"""``coordinator.toml``: who the coordinator is and where it is found, as a closed table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from common.errors import HomeInvalid

_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_HINT = "An address is host:port, as `coordinator.example.org:443` or `[2001:db8::1]:443`."
_HEADER = """\
# Who this coordinator is. `consilium coordinator init` wrote this file; `coordinator start` reads it.
#   name      what people call it
#   address   where sites reach it; it goes into invitations
#   listen    where it waits for them
#   journal   URL (as SQLAlchemy has it) of the database that runs are recorded in; journal.db unless set
#   enrolments_a_minute   attempts to enrol from one address; behind a relay all sites come from its address

"""


def _endpoint(text: str) -> str:
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found[2]) > 65535:
        raise ValueError("not host:port")
    return text


def _reachable(text: str) -> str:
    if int(text.rpartition(":")[2]) == 0:
        raise ValueError("nobody reaches port 0")
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""Where something listens; port 0 is any that is free."""
Address = Annotated[Endpoint, AfterValidator(_reachable)]
"""Where something is reached."""


class CoordinatorSettings(BaseModel):
    """The file as it stands: immutable, and closed to unknown keys.

    Attributes:
        name: What people call the coordinator.
        address: Where sites reach it, as ``host:port``.
        listen: Where it waits for them, likewise.
        enrolments_a_minute: Attempts of one address to enrol; of all addresses together, six times as many.
        journal: URL of the database that runs are recorded in; empty for ``journal.db`` in the home.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    address: Address
    listen: Endpoint
    enrolments_a_minute: Annotated[int, Field(ge=1, le=1000)] = 5
    journal: str = ""

    def to_toml(self) -> str:
        """The settings as a file."""
        return _HEADER + tomli_w.dumps(self.model_dump())


def settings_of(name: str, address: str, listen: str, enrolments_a_minute: int = 5) -> CoordinatorSettings:
    """The settings that these make.

    Raises:
        HomeInvalid: One of them cannot be.
    """
    try:
        return CoordinatorSettings(
            name=name, address=address, listen=listen, enrolments_a_minute=enrolments_a_minute
        )
    except ValidationError as invalid:
        raise _invalid("the coordinator's settings", invalid) from None


def read_settings(path: Path) -> CoordinatorSettings:
    """The settings in a file.

    Raises:
        HomeInvalid: It cannot be read, or has an unknown key or a value that is not allowed.
    """
    try:
        return CoordinatorSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as invalid:
        raise _invalid(str(path), invalid) from None
    except (OSError, ValueError) as error:
        raise HomeInvalid(
            f"{path}: {error}", hint="Mend the file; its first lines say what it holds."
        ) from None


def _invalid(what: str, invalid: ValidationError) -> HomeInvalid:
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_url=False)]
    return HomeInvalid("\n".join([what, *lines]), hint=_HINT)
