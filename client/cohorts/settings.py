"""``site.toml`` and ``policy.toml``: what a site is and what it allows, as closed tables."""

from __future__ import annotations

import tomllib
from datetime import time
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from client.ledger.budget import Budget
from client.pacs.settings import Archive, Receiver
from common.contract.leaving import METRICS, Metric
from common.errors import HomeInvalid
from common.study.head import Task
from common.study.model import Cell

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


class ConsentPolicy(Table):
    """``[consent]``: whose word makes a study approved.

    Attributes:
        approvers: How many different people must approve a study.
        allowed: Who may; empty for anyone. Case and blanks in a name do not count.
    """

    approvers: int = Field(1, ge=1, le=10)
    allowed: tuple[str, ...] = ()


class StudyPolicy(Table):
    """``[studies]``: what studies may do here, approved or not.

    Attributes:
        minimum_cases: Fewest training cases of a cohort that is used; an update of few tells much of each.
        max_epsilon: Most that one study may cost a patient; with it, only private studies are taken.
        tasks: What may be learnt.
        models: Recurrent cells that may be trained.
        hours: When tasks that compute are taken, as ``20:00-06:00`` in this machine's time; "" for always.
        quarantine_threshold: Largest share of a cohort's files in quarantine, where it shall be below
            ``quarantine_limit``.
        metrics: Measurements that may leave; a study that sends others is refused.
        max_update_norm: Updates that are larger are scaled down to it before they leave.
        gpu_share: Share of a GPU's memory that training may take.
    """

    minimum_cases: int = Field(1, ge=1)
    max_epsilon: float | None = Field(None, gt=0.0)
    tasks: tuple[Task, ...] = ("classification",)
    models: tuple[Cell, ...] = get_args(Cell)
    hours: Annotated[str, StringConstraints(pattern=r"^([0-2]\d:[0-5]\d-[0-2]\d:[0-5]\d)?$")] = ""
    quarantine_threshold: float | None = Field(None, ge=0.0, le=1.0)
    metrics: tuple[Metric, ...] = METRICS
    max_update_norm: float | None = Field(None, gt=0.0)
    gpu_share: float = Field(1.0, gt=0.0, le=1.0)

    @field_validator("hours")
    @classmethod
    def _two_times(cls, hours: str) -> str:
        if hours and len(set(_times(hours))) == 1:
            raise ValueError("hours that begin when they end; leave them away for always")
        return hours

    def allows(self, clock: time) -> bool:
        """Whether tasks that compute are taken at a time of day."""
        if not self.hours:
            return True
        begin, end = _times(self.hours)
        return begin <= clock < end if begin < end else not end <= clock < begin


def _times(hours: str) -> tuple[time, time]:
    begin, _, end = hours.partition("-")
    return time.fromisoformat(begin), time.fromisoformat(end)


class Policy(Table):
    """``policy.toml``: what the hospital allows, whoever asks.

    Attributes:
        quarantine_limit: Largest share of a cohort's files that may be in quarantine for it to be used.
        min_cell: Smallest count that a summary for the coordinator names, and fewest patients of a subgroup
            that a study is told results of.
        share_summary: Whether such a summary may be sent at all.
        file_time_s: Longest time that one file may take to be read and decoded.
        file_memory_mib: Most memory that doing so may take.
        privacy: What private training may spend.
        consent: Whose word makes a study approved.
        studies: What studies may do.
    """

    quarantine_limit: float = Field(0.2, ge=0.0, le=1.0)
    min_cell: int = Field(10, ge=1)
    share_summary: bool = True
    file_time_s: float = Field(10.0, gt=0.0)
    file_memory_mib: int = Field(2048, ge=512)
    privacy: PrivacyPolicy = PrivacyPolicy()
    consent: ConsentPolicy = ConsentPolicy()
    studies: StudyPolicy = StudyPolicy()


SITE_TEMPLATE = """\
# Who this site is. `consilium site init` wrote this file; the commands under `consilium site` read it.
# In a federation the site has the name that its invitation gives it (`consilium site enrol`).

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
# What this hospital allows, whoever asks. A change counts from the next task on; docs/cohorts.md says more.

quarantine_limit = 0.2     # a cohort with a larger share of its files in quarantine is not used
min_cell = 10              # counts below it are not named in a summary for the coordinator, nor a
                           # model's results told for subgroups of fewer patients
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

# Whose word makes a study approved (`consilium site approve`). Nothing runs that was not.
[consent]
approvers = 1              # how many different people must approve a study, for the same cohort
allowed = []               # who may, as ["Dr. A. Muster", "B. Beispiel"]; empty for anyone
                           # anybody's word is enough to reject or to withdraw

# What studies may do here, approved or not.
[studies]
minimum_cases = 1          # a cohort with fewer training cases is not used
# max_epsilon = 4.0        # most that one study may cost a patient; with it, only private studies are taken
tasks = ["classification"]   # others: segmentation, detection, generation, risk
models = ["gru", "lstm", "rnn", "gru_d", "conv_gru", "conv_lstm"]
# hours = "20:00-06:00"    # when training and tests begin, by this machine's clock; always if left away.
                           # What runs when they end goes on until it is done
# quarantine_threshold = 0.05   # for studies, where it shall be below quarantine_limit above
metrics = ["loss", "base-loss", "test-loss", "confusion", "calibration", "score-histogram",
           "segmentation-counts", "detection-counts", "generation-counts", "risk-counts",
           "subgroup-counts"]
                           # what may leave besides updates and counts; a study that sends others is refused.
                           # Every study sends test-loss; a classification the three after it, a risk these
                           # and its own counts, every other task its own counts
# max_update_norm = 10.0   # larger updates are scaled down to it before they leave
gpu_share = 1.0            # share of a GPU's memory that training may take
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
