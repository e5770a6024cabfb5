"""The studies of a coordinator on its disk: what was proposed, what sites decided, what runs, what came out.

    studies/DIGEST/contract.json    the sealed contract; DIGEST is the contract's own
    studies/DIGEST/decisions.json   the last decision of each site
    studies/DIGEST/order.json       that it is to run, and with how many sites; taken away once it has begun
    studies/DIGEST/stop.json        that it is to stop, and who said so; taken away once it does
    studies/DIGEST/run/             run.json, checkpoints, model

Commands write here and the daemon looks here, so that neither needs the other at the same moment.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.contract import Contract, contract_of
from common.errors import ConsiliumError, ContractInvalid, OutputExists, StudyUnknown
from common.files import unwritable, write_atomically
from common.link.envelope import Sealed
from server.journal import is_final
from server.record import read_run

CONTRACT, DECISIONS, ORDER, STOP = "contract.json", "decisions.json", "order.json", "stop.json"
RUN = "run"
_LEAST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class RunOrder:
    """That a study is to run.

    Attributes:
        sites: How many sites to wait for before round 1; 0 for the study's ``min_sites``.
        wait_s: How long to wait for them.
    """

    sites: int = 0
    wait_s: float = 600.0


class Proposals:
    """The studies in one folder.

    Args:
        folder: ``studies`` of the coordinator's home.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def digests(self) -> tuple[str, ...]:
        """Digests of all contracts, the oldest first."""
        found = sorted(self.folder.glob(f"*/{CONTRACT}"), key=lambda path: path.stat().st_mtime_ns)
        return tuple(path.parent.name for path in found)

    def find(self, study: str) -> str:
        """Digest of the study that a person means by its name or the beginning of its digest.

        Raises:
            StudyUnknown: There is none; or several, of which none is meant for sure.
        """
        named = [each for each in self.digests() if self.contract(each).name == study]
        if len(study) >= _LEAST_DIGITS:
            named += [each for each in self.digests() if each.startswith(study) and each not in named]
        if not named:
            raise StudyUnknown(f"{study!r} was not proposed", hint="`consilium study status` lists what was.")
        return named[-1]  # an amendment takes the place of what it amends

    def keep(self, contract: Contract, sealed: Sealed) -> Path:
        """The folder of a contract that is there from now on.

        Raises:
            OutputExists: It was proposed before.
            DiskFull, OutputUnwritable: It cannot be written.
        """
        folder = self.folder / contract.digest
        if (folder / CONTRACT).exists():
            raise OutputExists(f"{contract.name} was proposed in these words", hint="Nothing is to do.")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None
        text = [base64.b64encode(part).decode() for part in (sealed.body, sealed.signature)]
        _write(folder / CONTRACT, {"body": text[0], "signature": text[1]})
        return folder

    def sealed(self, digest: str) -> Sealed:
        """A contract as it is sent.

        Raises:
            StudyUnknown: There is none of that digest.
            ContractInvalid: It is not as it was written.
        """
        try:
            document = json.loads((self.folder / digest / CONTRACT).read_bytes())
            return Sealed(*(base64.b64decode(document[name]) for name in ("body", "signature")))
        except FileNotFoundError:
            raise StudyUnknown(f"{digest[:12]} was not proposed") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ContractInvalid(f"{self.folder / digest / CONTRACT} cannot be read: {error}") from None

    def contract(self, digest: str) -> Contract:
        """A contract that was proposed.

        Raises:
            StudyUnknown, ContractInvalid: As :meth:`sealed`.
        """
        return contract_of(json.loads(self.sealed(digest).body)["content"])

    def decisions(self, digest: str) -> dict[str, str]:
        """The last decision of each site that told one."""
        return {site: str(decision) for site, decision in _read(self.folder / digest / DECISIONS).items()}

    def decide(self, digest: str, site: str, decision: str) -> None:
        """Take note of a site's decision; one on a study that is not ours changes nothing."""
        if (self.folder / digest / CONTRACT).exists():
            _write(self.folder / digest / DECISIONS, {**self.decisions(digest), site: decision})

    def order(self, digest: str, order: RunOrder) -> None:
        """Have a study run.

        Raises:
            OutputExists: It has run, or runs, or is to run.
        """
        folder = self.folder / digest
        if (folder / ORDER).exists() or self.run_folder(digest).exists():
            raise OutputExists(
                f"{folder} has a run already",
                hint="`consilium study status` shows it; a study runs again under a new contract.",
            )
        _write(folder / ORDER, asdict(order))

    def ordered(self) -> tuple[tuple[str, RunOrder], ...]:
        """The studies that are to run and have not begun."""
        found = ((digest, self.folder / digest / ORDER) for digest in self.digests())
        return tuple((digest, RunOrder(**_read(path))) for digest, path in found if path.exists())

    def begun(self, digest: str) -> None:
        """Take note that an ordered study has begun, or cannot begin."""
        (self.folder / digest / ORDER).unlink(missing_ok=True)

    def stop(self, digest: str, by: str) -> bool:
        """Have a study stop; whether it had begun.

        Args:
            digest: Its contract's.
            by: Who says so.

        Raises:
            StudyUnknown: It neither runs nor is to run.
        """
        if read_run(self.run_folder(digest)) is not None and not self.has_run(digest):
            _write(self.folder / digest / STOP, {"by": by})
            return True
        if not (self.folder / digest / ORDER).exists():
            raise StudyUnknown(
                f"{digest[:12]} does not run", hint="`consilium study status` lists what does."
            )
        self.begun(digest)
        return False

    def stopping(self) -> tuple[tuple[str, str], ...]:
        """The studies that are to stop, with who said so."""
        found = ((digest, self.folder / digest / STOP) for digest in self.digests())
        return tuple((digest, str(_read(path).get("by", ""))) for digest, path in found if path.exists())

    def stopped(self, digest: str) -> None:
        """Take note that a study was stopped, or did not run."""
        (self.folder / digest / STOP).unlink(missing_ok=True)

    def has_run(self, digest: str) -> bool:
        """Whether a study's run has ended for good, in whatever way."""
        run = read_run(self.run_folder(digest))
        if run is None or run["status"] == "running":
            return False
        return run["error"] is None or is_final(ConsiliumError.of_code(run["error"]["code"]))

    def run_folder(self, digest: str) -> Path:
        """Where what comes out of a study's run is put."""
        return self.folder / digest / RUN


def _write(path: Path, document: Mapping[str, object]) -> None:
    write_atomically(path, json.dumps(document, indent=1) + "\n", 0o600)


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return document
