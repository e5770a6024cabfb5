"""Errors of this computer: exit status 6."""

from __future__ import annotations

from common.errors.base import ConsiliumError


class MachineError(ConsiliumError):
    """This computer cannot do what was asked."""

    exit_code = 6


class OutputExists(MachineError):  # noqa: D101
    code = "output-exists"
    public = "Where the output should go, there is something already."
    hint = "Choose another --out, or add --overwrite to replace an earlier run."


class SearchDiffers(MachineError):  # noqa: D101
    code = "search-differs"
    public = "The folder holds another search than the one that was asked for."
    hint = "Choose another --out, or give the same study, search, data and options to go on with this one."


class OutputUnwritable(MachineError):  # noqa: D101
    code = "output-unwritable"
    public = "The output folder cannot be written."
    hint = "Choose another --out, or ask for write permission."


class DiskFull(MachineError):  # noqa: D101
    code = "disk-full"
    public = "There is no space left on the disk."
    hint = "Free some space or choose another --out; nothing half-written was left behind."


class PortTaken(MachineError):  # noqa: D101
    code = "port-taken"
    public = "A network port is already in use."
    hint = "Leave --port away to let Consilium find a free one, or stop the program that holds it."


class HomeMissing(MachineError):  # noqa: D101
    code = "home-missing"
    public = "There is no home of a site or a coordinator here."
    hint = "Make one with `consilium site init` or `consilium coordinator init`, or name one with --home."


class HomeInvalid(MachineError):  # noqa: D101
    code = "home-invalid"
    public = "The home of this site or coordinator cannot be used."
    hint = "Mend what is named above; a new home, made with `init --home NEW`, shows what belongs in one."


class HomeBusy(MachineError):  # noqa: D101
    code = "home-busy"
    public = "Another process is using this home."
    hint = "Wait until it has ended, or stop it; an interrupted intake goes on where it stopped."


class AuditBroken(MachineError):  # noqa: D101
    code = "audit-broken"
    public = "The audit log is not the one that was written."
    hint = "Keep a copy as it is, and find out who changed it; nothing is added to a broken log."


class DeviceUnavailable(MachineError):  # noqa: D101
    code = "device-unavailable"
    public = "The chosen device does not exist on this machine."
    hint = "Use --device auto or --device cpu."


class ExtraMissing(MachineError):  # noqa: D101
    code = "extra-missing"
    public = "An optional part is not installed."
    hint = "Install it with pip, for example `pip install 'consilium[ray]'`."


class MixedInstallation(MachineError):  # noqa: D101
    code = "mixed-installation"
    public = "The packages server, client, common and deploy come from different places."
    hint = "Install Consilium in a virtual environment of its own."


class FlowerMoved(MachineError):  # noqa: D101
    code = "flower-moved"
    public = "The installed Flower lacks a name that Consilium needs."
    hint = "Install the tested version: pip install 'flwr==1.41.*'."


class EngineFailed(MachineError):  # noqa: D101
    code = "engine-failed"
    public = "A process of the federation ended unexpectedly."
    hint = "Its last lines are above; the whole log is kept where they say."


class LedgerMissing(MachineError):  # noqa: D101
    code = "ledger-missing"
    public = "The site has no privacy ledger, and without one it does not train privately."
    hint = "Register the cases as a cohort of a home, or give the site a ledger=... ; see docs/privacy.md."


class LedgerBroken(MachineError):  # noqa: D101
    code = "ledger-broken"
    public = "The site's privacy ledger is not the one that was written, so private training stands still."
    hint = "See `consilium site ledger verify`; a person decides with `consilium site ledger accept`."


class LedgerRolledBack(MachineError):  # noqa: D101
    code = "ledger-rolled-back"
    public = "The site's privacy ledger lacks entries that it once had, so private training stands still."
    hint = "Put the newest copy back, or decide with `consilium site ledger accept`."


class WeightsDamaged(MachineError):  # noqa: D101
    code = "weights-damaged"
    public = "A file of weights is not what was written."
    hint = (
        "Put the file back from a backup and start again; what a round under way has lost is asked for anew."
    )


class JournalTaken(MachineError):  # noqa: D101
    code = "journal-taken"
    public = "Another coordinator has taken over this run."
    hint = "One coordinator conducts a run. Stop the other one first, or leave it to that one."


class DatabaseUnavailable(MachineError):  # noqa: D101
    code = "database-unavailable"
    public = "The database that the coordinator keeps its record in does not answer."
    hint = "Nothing is lost: start the coordinator again once it does. coordinator.toml names the database."


class OutOfMemory(MachineError):  # noqa: D101
    code = "out-of-memory"
    public = "The memory of this computer, or of its GPU, does not suffice for this study."
    hint = "Let nothing else run there, or agree on a smaller batch_size, max_steps or model."


class DeviceFailed(MachineError):  # noqa: D101
    code = "device-failed"
    public = "The GPU does not answer any more."
    hint = "See nvidia-smi and the system's log, and restart the computer, or go on with --device cpu."


class ExecutorDied(MachineError):  # noqa: D101
    code = "executor-died"
    public = "The process that trains ended before it had finished."
    hint = "Memory is the usual reason: the system's log says so. A smaller batch_size needs less of it."
