"""``site.toml`` and ``policy.toml``: what a site is and what it allows, as closed tables."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from client.ledger.budget import Budget
from client.pacs.settings import Archive, Receiver
from common.errors import HomeInvalid

SiteName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Table(BaseModel):
    """A table of a settings file: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SiteSettings(Table):
    """``site.toml``: the site's name and the archives it talks to."""

    name: SiteName
    receive: Receiver | None = None
    archives: dict[SiteName, Archive] = {}


class CohortBudget(Table):
    """``[privacy.cohorts.NAME]``: what one cohort may spend instead; what is left away is as for all."""

    epsilon: float | None = Field(None, gt=0.0)
    delta: float | None = Field(None, gt=0.0, lt=1.0)


class PrivacyPolicy(Table):
    """``[privacy]``: how much private training may tell of a patient, over all studies there ever are.

    Attributes:
        epsilon: What a cohort may spend, as its ledger adds it up.
        delta: The probability that the guarantee leaves open; well below one in the number of patients.
        accountant: Who adds up.
        unit: Whose presence the budget is meant to hide: with ``patient``, studies that hide single images
            are refused, since what they cost a patient with many is not what their epsilon says.
        required: Whether the hospital takes part only in studies that train with differential privacy.
        cohorts: What single cohorts may spend instead.
    """

    epsilon: float = Field(8.0, gt=0.0)
    delta: float = Field(1e-5, gt=0.0, lt=1.0)
    accountant: Literal["prv", "rdp"] = "prv"
    unit: Literal["patient", "image"] = "patient"
    required: bool = False
    cohorts: dict[SiteName, CohortBudget] = {}

    def budget(self, cohort: str) -> Budget:
        """What a cohort may spend."""
        own = self.cohorts.get(cohort, CohortBudget())
        return Budget(own.epsilon or self.epsilon, own.delta or self.delta, self.accountant)


class Policy(Table):
    """``policy.toml``: what the hospital allows, whoever asks.

    Attributes:
        quarantine_limit: Largest share of a cohort's files that may be in quarantine for it to be used.
        min_cell: Smallest count that a summary for the coordinator names.
        share_summary: Whether such a summary may be sent at all.
        file_time_s: Longest time that one file may take to be read and decoded.
        file_memory_mib: Most memory that doing so may take.
        privacy: What private training may spend.
    """

    quarantine_limit: float = Field(0.2, ge=0.0, le=1.0)
    min_cell: int = Field(10, ge=1)
    share_summary: bool = True
    file_time_s: float = Field(10.0, gt=0.0)
    file_memory_mib: int = Field(2048, ge=512)
    privacy: PrivacyPolicy = PrivacyPolicy()


SITE_TEMPLATE = """\
# Who this site is. `consilium site init` wrote this file; the commands under `consilium site` read it.

name = "{name}"

# The DICOM receiver (`consilium site receive`): nobody may send before an AE title is named.
# [receive]
# ae_title = "CONSILIUM"
# host = "127.0.0.1"
# port = 11112
# allowed_ae_titles = ["PACS"]

# Archives that can be asked (`consilium site query pacs`, `consilium site retrieve pacs`).
# [archives.pacs]
# host = "pacs.hospital.example"
# port = 104
# ae_title = "PACS"
# calling_ae_title = "CONSILIUM"
# url = "https://pacs.hospital.example/dicom-web"   # DICOMweb, besides or instead
# user = "consilium"
# password_env = "PACS_PASSWORD"                    # secrets never stand here
"""

POLICY_TEMPLATE = """\
# What this hospital allows, whoever asks.

quarantine_limit = 0.2     # a cohort with a larger share of its files in quarantine is not used
min_cell = 10              # counts below it are not named in a summary for the coordinator
share_summary = true       # false: no summary is sent at all
file_time_s = 10.0         # longest time to read and decode one file
file_memory_mib = 2048     # most memory that this may take

# What private training may tell of any one patient, over all studies there ever are. The ledger adds it up
# (`consilium site ledger show`); a round that would exceed it is refused. docs/privacy.md says what it means.
[privacy]
epsilon = 8.0              # for each cohort; smaller is more private
delta = 1e-5               # well below one in the number of patients
accountant = "prv"         # who adds up: prv (tight) or rdp
unit = "patient"           # "image": also studies that hide only single images
required = false           # true: only studies that train with differential privacy

# [privacy.cohorts.NAME]   # for one cohort instead
# epsilon = 3.0
# delta = 1e-6
"""

Settings = TypeVar("Settings", bound=Table)


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """The settings in a file.

    Raises:
        HomeInvalid: It is missing, not TOML, or has an unknown key or a value that is not allowed.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as invalid:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors(include_url=False)]
        raise HomeInvalid("\n".join([str(path), *lines])) from None
    except OSError as error:
        raise HomeInvalid(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise HomeInvalid(f"{path}: {error}") from None
