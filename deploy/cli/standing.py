"""``consilium site status``: the site's daemon, its link, its data, what was agreed and what it is at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deploy.cli.findings import Unready

if TYPE_CHECKING:
    from client.checks.data import Study
    from client.cohorts.home import Home
    from client.cohorts.overview import Overview
    from client.daemon import SiteStatus
    from common.errors import ConsiliumError
    from common.identity import Identity

_START = "Start it: `consilium site start`, under systemd `systemctl start consilium-site`."
_WAIT = "It has just been started, and has not tried the link yet: ask again in a minute."
_LOST = "The connection was lost and is tried again by itself; `consilium site check` looks at the way."


@dataclass(frozen=True, slots=True)
class Standing:
    """How a site stands, each part found or the error that kept it from being found.

    Attributes:
        identity: Who it is to its coordinator.
        status: What its daemon says.
        cohorts: Its cohorts in counts.
        studies: What was proposed and decided.
    """

    identity: Identity | ConsiliumError
    status: SiteStatus
    cohorts: tuple[Overview, ...] | ConsiliumError
    studies: tuple[Study, ...] | ConsiliumError


def standing_of(home: Home) -> Standing:
    """How a site stands now; no key is opened and nothing is sent."""
    from client.checks.data import overviews, studies
    from client.consent import Consents
    from client.daemon import SiteStatus
    from common.chain import utc_now
    from common.errors import ConsiliumError

    def cohorts_found() -> tuple[Overview, ...] | ConsiliumError:
        try:
            return overviews(home)
        except ConsiliumError as error:
            return error

    def studies_found() -> tuple[Study, ...] | ConsiliumError:
        try:
            return studies(Consents(home), utc_now())
        except ConsiliumError as error:
            return error

    return Standing(_identity(home), SiteStatus.read(home.folder), cohorts_found(), studies_found())


def unready(status: SiteStatus) -> Unready | None:
    """Why the site cannot be asked to train by its coordinator; None if it can."""
    from common.errors import ConsiliumError, CoordinatorUnreachable

    if not status.running:
        return Unready(status.problem or "daemon-stopped", status.hint or _START)
    if not status.tried:
        return Unready("daemon-starting", _WAIT)
    if status.link == "connected":
        return None
    if not status.problem:
        return Unready(CoordinatorUnreachable.code, _LOST, CoordinatorUnreachable.exit_code)
    return Unready(status.problem, status.hint, ConsiliumError.of_code(status.problem).exit_code)


def lines(found: Standing) -> Iterator[tuple[str, str]]:
    """The standing as a person reads it: what, and how it stands with that."""
    from common.errors import ConsiliumError

    status, identity = found.status, found.identity
    if isinstance(identity, ConsiliumError):
        yield "enrolled", f"no ({identity.code}: {identity.hint})"
    else:
        until = f"certificate until {identity.not_after:%Y-%m-%d}"
        yield "enrolled", f"as {identity.name} in federation {identity.federation}; {until}"
    trouble = f" ({status.problem}: {status.hint})" if status.problem else ""
    if status.running:
        yield "daemon", f"process {status.process}, release {status.release}"
        yield "link", f"{status.link} since {status.since}{trouble}"
    else:
        yield "daemon", f"does not run{trouble}"
        yield "link", "disconnected"
    yield from _data(found.cohorts)
    yield from _studies(found.studies)
    yield "training", f"{status.task}, since {status.task_since}" if status.task else "nothing"


def document(found: Standing) -> dict[str, Any]:
    """The standing as ``--json`` prints it."""
    from common.errors import ConsiliumError

    identity, why = found.identity, unready(found.status)
    enrolled = not isinstance(identity, ConsiliumError)
    told: dict[str, Any] = {
        "enrolled": enrolled,
        "site": None if isinstance(identity, ConsiliumError) else identity.name,
        "federation": None if isinstance(identity, ConsiliumError) else identity.federation,
        "certificate_until": None if isinstance(identity, ConsiliumError) else identity.not_after.isoformat(),
        "ready": why is None,
        "unready": None if why is None else {"code": why.code, "hint": why.hint},
        **asdict(found.status),
        "cohorts": None,
        "studies": None,
    }
    if not isinstance(found.cohorts, ConsiliumError):
        told["cohorts"] = [_cohort(each) for each in found.cohorts]
    if not isinstance(found.studies, ConsiliumError):
        told["studies"] = [
            {"study": s.name, "contract": s.digest, "state": s.standing.status, "cohort": s.standing.cohort}
            for s in found.studies
        ]
    return told


def _identity(home: Home) -> Identity | ConsiliumError:
    """Who the site's certificate names, be it over or not."""
    from client.checks.own import LINK, named
    from common.errors import ConsiliumError

    try:
        return named(home.folder / LINK)
    except ConsiliumError as error:
        return error


def _data(found: tuple[Overview, ...] | ConsiliumError) -> Iterator[tuple[str, str]]:
    from client.checks.data import cases_of
    from common.errors import ConsiliumError

    if isinstance(found, ConsiliumError):
        yield "data", f"cannot be read ({found.code}: {found.hint})"
        return
    for each in found:
        trouble = each.trouble
        ready = f"not ready ({trouble.code}: {trouble.hint})" if trouble else f"ready, {cases_of(each)}"
        yield "data", f"{each.cohort}: {ready}"
    if not found:
        yield "data", "no cohort"


def _studies(found: tuple[Study, ...] | ConsiliumError) -> Iterator[tuple[str, str]]:
    from common.errors import ConsiliumError

    if isinstance(found, ConsiliumError):
        yield "studies", f"cannot be read ({found.code}: {found.hint})"
        return
    for each in found:
        cohort = f" for cohort {each.standing.cohort}" if each.standing.status == "approved" else ""
        yield "study", f"{each.name} ({each.digest[:12]}): {each.standing.status}{cohort}"
    if not found:
        yield "study", "none was proposed"


def _cohort(found: Overview) -> dict[str, Any]:
    trouble = found.trouble
    cases = sum(sum(labels.values()) for labels in found.cases.values())
    return {
        "cohort": found.cohort,
        "ready": trouble is None,
        "cases": cases,
        "code": trouble.code if trouble else "",
        "hint": trouble.hint if trouble else "",
    }
