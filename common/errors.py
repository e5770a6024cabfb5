"""Every error a person can meet, as one tree.

    ConsiliumError                      exit
    ├── StudyError                         3   the study file
    │   ├── StudyFileMissing, StudySyntaxError
    │   ├── UnknownKey, InvalidValue
    │   └── LayerNotPrivate, PrivacyUnreachable, BudgetUnused
    ├── DataError                          4   a site's data
    │   ├── ManifestMissing, ManifestInvalid, NoSuchSite, SitesOverruled
    │   ├── LabelUnknown, PatientInTwoSplits
    │   ├── EmptySite, TooFewCases, NoTestCases
    │   ├── ImageMissing, ImageUnreadable, WrongModality
    │   ├── NothingFound, LabelsInvalid, RecordsInvalid, MasksInvalid
    │   ├── CohortUnknown, CohortDiffers, CohortUnsuitable, CohortHeldBack, CohortEmpty
    │   ├── CaseCorrupt, CaseTooWide
    │   └── PacsUnreachable, PacsRefused, PacsIncomplete, PacsQueryTooWide
    ├── RunError                           5   a federation that cannot go on
    │   ├── SiteRefused, QuorumNotReached, NothingLearned
    │   ├── UpdateRefused, ModelDiverged, TaskInvalid
    │   ├── BudgetSpent, TargetSpent, ReservationClosed
    │   └── PrivacyRequired, UnitRefused, PrivacyViolated
    └── MachineError                       6   this computer
        ├── OutputExists, OutputUnwritable, DiskFull, PortTaken
        ├── HomeMissing, HomeInvalid, HomeBusy, AuditBroken
        ├── LedgerMissing, LedgerBroken, LedgerRolledBack
        ├── DeviceUnavailable, ExtraMissing
        └── MixedInstallation, FlowerMoved, EngineFailed

Each class has a stable ``code``, a ``public`` sentence free of patient data and paths, and a ``hint``
that says what to do next. Only these three ever leave a site; the private message given when raising
may name files and rows, and is shown only to the person at that machine. Exit status 1 is a defect of
Consilium, 2 wrong usage, 130 an interruption.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """What crosses the network of an error: a protocol value, not a crash."""

    code: str
    public: str
    hint: str

    def __str__(self) -> str:
        return f"{self.code}: {self.public}"


class ConsiliumError(Exception):
    """Root of the tree.

    Args:
        private: What happened, for the person at this machine. Defaults to the public sentence.
        hint: What to do next, where this occurrence knows better than its class. Must be as free of
            patient data and paths as ``public``.
    """

    code = "internal"
    public = "Consilium failed in a way it does not know."
    hint = "Please report this with the command you ran and the lines above."
    exit_code = 1

    def __init__(self, private: str = "", *, hint: str = "") -> None:
        super().__init__(private or self.public)
        self.private = private or self.public
        if hint:
            self.hint = hint

    @staticmethod
    def of_code(code: str, private: str = "") -> ConsiliumError:
        """An error of the class that has ``code``, or of the root if none has."""
        classes: list[type[ConsiliumError]] = [ConsiliumError]
        for known in classes:
            if vars(known).get("code") == code:  # its own, not one it inherits
                return known(private)
            classes.extend(known.__subclasses__())
        return ConsiliumError(private)

    def refusal(self) -> Refusal:
        """Code, public sentence and hint: all that may leave this machine."""
        return Refusal(self.code, self.public, self.hint)


class StudyError(ConsiliumError):
    """The study file is not one that can be run."""

    exit_code = 3


class StudyFileMissing(StudyError):  # noqa: D101
    code = "study-file-missing"
    public = "The study file cannot be read."
    hint = "Check the path, or write a first study with `consilium study new`."


class StudySyntaxError(StudyError):  # noqa: D101
    code = "study-syntax"
    public = "The study file is not valid TOML."
    hint = "Mend the line named above; text values need quotes."


class UnknownKey(StudyError):  # noqa: D101
    code = "study-unknown-key"
    public = "The study file holds a key that Consilium does not know."
    hint = "`consilium study new` prints every key; docs/strategies.md has the options of strategies."


class InvalidValue(StudyError):  # noqa: D101
    code = "study-invalid-value"
    public = "A value in the study file is not allowed."
    hint = "`consilium study new` prints every key with its allowed values."


class LayerNotPrivate(StudyError):  # noqa: D101
    code = "layer-not-private"
    public = "The model has a layer that cannot be trained with differential privacy."
    hint = "Choose another encoder or cell; docs/privacy.md names the layers that can."


class PrivacyUnreachable(StudyError):  # noqa: D101
    code = "privacy-unreachable"
    public = "No amount of noise that is of use reaches the privacy that the study asks for."
    hint = "Ask for a larger target_epsilon, fewer rounds, or a smaller sample_rate."


class BudgetUnused(StudyError):  # noqa: D101
    code = "budget-unused"
    public = "A budget was given that no site would keep to."
    hint = (
        "--budget is for the virtual hospitals of a study with [privacy]; a cohort's stands in policy.toml."
    )


class DataError(ConsiliumError):
    """A site's data cannot serve the study."""

    exit_code = 4


class ManifestMissing(DataError):  # noqa: D101
    code = "manifest-missing"
    public = "The manifest cannot be read."
    hint = "Check the path given with --data; docs/data.md shows what a manifest looks like."


class ManifestInvalid(DataError):  # noqa: D101
    code = "manifest-invalid"
    public = "The manifest is not one that Consilium can read."
    hint = (
        "A CSV in UTF-8 with commas and the columns path, site, patient_id, split, label; see docs/data.md."
    )


class NoSuchSite(DataError):  # noqa: D101
    code = "site-unknown"
    public = "The manifest holds no rows of this site."
    hint = "Check the site's name and every --where against the manifest's columns."


class SitesOverruled(DataError):  # noqa: D101
    code = "sites-overruled"
    public = "--sites would overrule the real sites of the manifest."
    hint = "Leave --sites away, or choose one site first with --where site=NAME."


class LabelUnknown(DataError):  # noqa: D101
    code = "label-unknown"
    public = "A case has a label that the study does not name."
    hint = "Add the stored value under [study.labels], or leave those rows out with --where."


class PatientInTwoSplits(DataError):  # noqa: D101
    code = "patient-in-two-splits"
    public = "A patient is in more than one split."
    hint = "Give all images of a patient the same split; a test patient must never be trained on."


class EmptySite(DataError):  # noqa: D101
    code = "site-empty"
    public = "A site has no training cases."
    hint = "Give it rows with split=train, or leave the site out."


class TooFewCases(DataError):  # noqa: D101
    code = "site-too-small"
    public = "A site has fewer cases or patients than the study asks for."
    hint = "Leave the site out, or lower [data] min_cases or min_patients."


class NoTestCases(DataError):  # noqa: D101
    code = "site-without-test-cases"
    public = "A site has no test cases, so nothing could be said about the model there."
    hint = (
        "Give it test rows, test on another split with [data] test_split, or accept it: min_test_cases = 0."
    )


class ImageMissing(DataError):  # noqa: D101
    code = "image-missing"
    public = "An image named by the manifest does not exist."
    hint = "Paths are relative to the manifest's folder."


class ImageUnreadable(DataError):  # noqa: D101
    code = "image-unreadable"
    public = "An image cannot be decoded."
    hint = "Open it in a viewer; replace it or take its row out of the manifest."


class WrongModality(DataError):  # noqa: D101
    code = "image-wrong-modality"
    public = "An image has another modality than the study asks for."
    hint = "Take its row out, or widen [data] modality."


class NothingFound(DataError):  # noqa: D101
    code = "intake-nothing-found"
    public = "There is no file to take in."
    hint = "Check the folders or archives given with --dicom, and that you may read them."


class LabelsInvalid(DataError):  # noqa: D101
    code = "labels-invalid"
    public = "The table of labels cannot be used."
    hint = "A CSV in UTF-8: label and one of patient_id, study_uid, series_uid, sop_uid; see docs/cohorts.md."


class RecordsInvalid(DataError):  # noqa: D101
    code = "records-invalid"
    public = "The table of records cannot be used."
    hint = "A CSV in UTF-8: patient, time, variable, value; or one row a case. See docs/data.md."


class MasksInvalid(DataError):  # noqa: D101
    code = "masks-invalid"
    public = "The masks cannot be used."
    hint = "DICOM SEG or NIfTI files (.nii, .nii.gz) in the same space as the pictures; see docs/geometry.md."


class CohortUnknown(DataError):  # noqa: D101
    code = "cohort-unknown"
    public = "This site has no cohort of that name."
    hint = "`consilium site cohort list` shows the cohorts; --home or CONSILIUM_HOME chooses the site."


class CohortDiffers(DataError):  # noqa: D101
    code = "cohort-differs"
    public = "A cohort of that name was taken in with other settings."
    hint = "Use the settings it was begun with, choose another name, or remove it first."


class CohortUnsuitable(DataError):  # noqa: D101
    code = "cohort-unsuitable"
    public = "A cohort is not what the study asks for."
    hint = "Take the archive in again with the study's kind of sequence, or choose another cohort."


class CohortHeldBack(DataError):  # noqa: D101
    code = "cohort-held-back"
    public = "Too much of a cohort is in quarantine for it to be used."
    hint = "`consilium site cohort show NAME` says why; mend the files, or raise the limit in policy.toml."


class CohortEmpty(DataError):  # noqa: D101
    code = "cohort-empty"
    public = "A cohort holds no case that can be used."
    hint = "`consilium site cohort show NAME` says what became of each file."


class CaseCorrupt(DataError):  # noqa: D101
    code = "case-corrupt"
    public = "What is stored of a case is not what was written."
    hint = "Check the disk, remove the cohort and take it in again."


class CaseTooWide(DataError):  # noqa: D101
    code = "case-too-wide"
    public = "A case is larger than the study's field of view, and nothing is cut away silently."
    hint = "Raise [sequence] size or pixel_spacing_mm, or leave the case out."


class PacsUnreachable(DataError):  # noqa: D101
    code = "pacs-unreachable"
    public = "The archive cannot be reached."
    hint = "Check host, port, TLS and the firewall; the archive's administrator must know this AE title."


class PacsRefused(DataError):  # noqa: D101
    code = "pacs-refused"
    public = "The archive refused what was asked."
    hint = "Ask its administrator to allow this AE title, or check the user and the address."


class PacsIncomplete(DataError):  # noqa: D101
    code = "pacs-incomplete"
    public = "The archive did not send everything that was asked for."
    hint = "Run the same command again: what has arrived is kept, and only the rest is fetched."


class PacsQueryTooWide(DataError):  # noqa: D101
    code = "pacs-query-too-wide"
    public = "A query would fetch more than was allowed."
    hint = "Narrow it with --match, or raise --limit."


class RunError(ConsiliumError):
    """A federation cannot go on."""

    exit_code = 5


class SiteRefused(RunError):  # noqa: D101
    code = "site-refused"
    public = "A site refused to take part."
    hint = "The reason above is the site's own; mend it there and start again."


class QuorumNotReached(RunError):  # noqa: D101
    code = "quorum-not-reached"
    public = "Fewer sites answered than the study asks for."
    hint = "Mend what keeps the sites above away, or lower min_sites or raise deadline_s in [federation]."


class NothingLearned(RunError):  # noqa: D101
    code = "nothing-learned"
    public = "A round ended without a usable change of the model."
    hint = "A robust strategy may need more sites than answered; a learning rate may be too small."


class UpdateRefused(RunError):  # noqa: D101
    code = "update-refused"
    public = "A site's update did not pass the coordinator's checks."
    hint = "Ask the site to compare versions; the update was left out of the round."


class ModelDiverged(RunError):  # noqa: D101
    code = "model-diverged"
    public = "Training ran away: the model's output is no longer a finite number."
    hint = "Lower learning_rate, clip gradients (clip_grad_norm, or clip_norm in [privacy]), or start again."


class TaskInvalid(RunError):  # noqa: D101
    code = "task-invalid"
    public = "The site received a task that it cannot read or that does not match its base model."
    hint = "Run the same Consilium release at the coordinator and at every site."


class BudgetSpent(RunError):  # noqa: D101
    code = "budget-spent"
    public = "This round would cost more privacy than the hospital has left for the cohort."
    hint = "Only the hospital can raise it, in policy.toml; `consilium site ledger show` says what is spent."


class TargetSpent(RunError):  # noqa: D101
    code = "target-spent"
    public = "The study has already cost this site's patients all that it said it would."
    hint = "To run it again, give the study another name: it is then another one, and the ledger counts both."


class PrivacyRequired(RunError):  # noqa: D101
    code = "privacy-required"
    public = "The hospital takes part only in studies that train with differential privacy."
    hint = "Give the study a table [privacy]; docs/privacy.md says what it holds."


class UnitRefused(RunError):  # noqa: D101
    code = "unit-refused"
    public = "The study hides single images; the hospital's budget is for whole patients."
    hint = 'Set unit = "patient" in the study\'s [privacy]; or the hospital allows images in its policy.'


class PrivacyViolated(RunError):  # noqa: D101
    code = "privacy-violated"
    public = "The audit measured more privacy loss than the training claims."
    hint = "Do not train with this installation; please report it with the audit's attack.json."


class ReservationClosed(RunError):  # noqa: D101
    code = "reservation-closed"
    public = "The privacy that was reserved for this task has been used by another process."
    hint = "Nothing was sent. Ask for the round again: it is then paid for anew."


class MachineError(ConsiliumError):
    """This computer cannot do what was asked."""

    exit_code = 6


class OutputExists(MachineError):  # noqa: D101
    code = "output-exists"
    public = "The output folder already holds something."
    hint = "Choose another --out, or add --overwrite to replace an earlier run."


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
    public = "There is no site here."
    hint = "Make one with `consilium site init`, or name it with --home or CONSILIUM_HOME."


class HomeInvalid(MachineError):  # noqa: D101
    code = "home-invalid"
    public = "The site's home cannot be used."
    hint = "Mend the file named above; `consilium site init --home NEW` shows what belongs in it."


class HomeBusy(MachineError):  # noqa: D101
    code = "home-busy"
    public = "Another command is changing this cohort."
    hint = "Wait until it has ended; an interrupted intake goes on where it stopped."


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
