"""Every error a person can meet, as one tree.

    ConsiliumError                      exit
    ├── StudyError                         3   the study file
    │   ├── StudyFileMissing, StudySyntaxError
    │   ├── UnknownKey, InvalidValue
    │   ├── LayerNotPrivate, PrivacyUnreachable, BudgetUnused
    │   └── SearchInvalid
    ├── DataError                          4   a site's data
    │   ├── ManifestMissing, ManifestInvalid, NoSuchSite, SitesOverruled
    │   ├── LabelUnknown, TargetInvalid, PatientInTwoSplits
    │   ├── EmptySite, TooFewCases, NoTestCases, NoValidationCases
    │   ├── ImageMissing, ImageUnreadable, WrongModality
    │   ├── NothingFound, LabelsInvalid, RecordsInvalid, MasksInvalid
    │   ├── CohortUnknown, CohortDiffers, CohortUnsuitable, CohortHeldBack, CohortEmpty
    │   ├── CaseCorrupt, CaseTooWide
    │   ├── ModelMissing, ModelWithoutStudy, ModelUnsuitable, TaskNotServed, NothingToExplain, ExportDiffers
    │   ├── InputWithoutSpacing, InputManyFrames, InputTooSmall, InputBlank, InputOtherKind
    │   └── PacsUnreachable, PacsRefused, PacsIncomplete, PacsQueryTooWide
    ├── RunError                           5   a federation that cannot go on
    │   ├── SiteRefused, QuorumNotReached, StudyStopped, CoordinatorStopped, StudyUnfinished, NothingLearned
    │   ├── UpdateRefused, SiteSuspended, ModelDiverged, TaskInvalid
    │   ├── BudgetSpent, TargetSpent, ReservationClosed
    │   └── PrivacyRequired, UnitRefused, PrivacyViolated, TrialsSpendBudget
    ├── MachineError                       6   this computer
    │   ├── OutputExists, SearchDiffers, OutputUnwritable, DiskFull, PortTaken
    │   ├── HomeMissing, HomeInvalid, HomeBusy, AuditBroken
    │   ├── LedgerMissing, LedgerBroken, LedgerRolledBack
    │   ├── DeviceUnavailable, ExtraMissing
    │   ├── OutOfMemory, DeviceFailed, ExecutorDied
    │   ├── MixedInstallation, FlowerMoved, EngineFailed
    │   └── WeightsDamaged, JournalTaken, DatabaseUnavailable
    └── TrustError                         7   identity, consent, the link
        ├── KeyUnsafe, KeyUnreadable, IdentityExists, NotEnrolled
        ├── CertificateRefused, CertificateExpired, SiteRevoked, SiteUninvited
        ├── InvitationInvalid, InvitationUsed, InvitationExpired, EnrolmentLimited
        ├── SiteConnectedTwice, CoordinatorUnreachable, TlsIntercepted
        ├── ProtocolMismatch, EnvelopeRefused, EnvelopeReplayed, ClockSkewed, BlobRefused
        ├── ContractInvalid, ContractExpired, CodeDiffers, TaskOutsideContract
        ├── StudyUnknown, StudyUnapproved, StudyWithdrawn, ApproverRefused, PolicyRefused
        └── ModelNotInEvidence

Each class has a stable ``code``, a ``public`` sentence free of patient data and paths, and a ``hint``
that says what to do next. Only these three ever leave a site; the private message given when raising
may name files and rows, and is shown only to the person at that machine. Exit status 1 is a defect of
Consilium, 2 wrong usage, 130 an interruption.
"""

from common.errors.application import (
    ExportDiffers,
    InputBlank,
    InputManyFrames,
    InputOtherKind,
    InputTooSmall,
    InputWithoutSpacing,
    ModelMissing,
    ModelUnsuitable,
    ModelWithoutStudy,
    NothingToExplain,
    TaskNotServed,
)
from common.errors.base import ConsiliumError, Refusal
from common.errors.data import (
    CaseCorrupt,
    CaseTooWide,
    CohortDiffers,
    CohortEmpty,
    CohortHeldBack,
    CohortUnknown,
    CohortUnsuitable,
    DataError,
    EmptySite,
    ImageMissing,
    ImageUnreadable,
    LabelsInvalid,
    LabelUnknown,
    ManifestInvalid,
    ManifestMissing,
    MasksInvalid,
    NoSuchSite,
    NoTestCases,
    NothingFound,
    NoValidationCases,
    PacsIncomplete,
    PacsQueryTooWide,
    PacsRefused,
    PacsUnreachable,
    PatientInTwoSplits,
    RecordsInvalid,
    SitesOverruled,
    TargetInvalid,
    TooFewCases,
    WrongModality,
)
from common.errors.federation import (
    BudgetSpent,
    CoordinatorStopped,
    ModelDiverged,
    NothingLearned,
    PrivacyRequired,
    PrivacyViolated,
    QuorumNotReached,
    ReservationClosed,
    RunError,
    SiteRefused,
    SiteSuspended,
    StudyStopped,
    StudyUnfinished,
    TargetSpent,
    TaskInvalid,
    TrialsSpendBudget,
    UnitRefused,
    UpdateRefused,
)
from common.errors.machine import (
    AuditBroken,
    DatabaseUnavailable,
    DeviceFailed,
    DeviceUnavailable,
    DiskFull,
    EngineFailed,
    ExecutorDied,
    ExtraMissing,
    FlowerMoved,
    HomeBusy,
    HomeInvalid,
    HomeMissing,
    JournalTaken,
    LedgerBroken,
    LedgerMissing,
    LedgerRolledBack,
    MachineError,
    MixedInstallation,
    OutOfMemory,
    OutputExists,
    OutputUnwritable,
    PortTaken,
    SearchDiffers,
    WeightsDamaged,
)
from common.errors.study import (
    BudgetUnused,
    InvalidValue,
    LayerNotPrivate,
    PrivacyUnreachable,
    SearchInvalid,
    StudyError,
    StudyFileMissing,
    StudySyntaxError,
    UnknownKey,
)
from common.errors.trust import (
    ApproverRefused,
    BlobRefused,
    CertificateExpired,
    CertificateRefused,
    ClockSkewed,
    CodeDiffers,
    ContractExpired,
    ContractInvalid,
    CoordinatorUnreachable,
    EnrolmentLimited,
    EnvelopeRefused,
    EnvelopeReplayed,
    IdentityExists,
    InvitationExpired,
    InvitationInvalid,
    InvitationUsed,
    KeyUnreadable,
    KeyUnsafe,
    ModelNotInEvidence,
    NotEnrolled,
    PolicyRefused,
    ProtocolMismatch,
    SiteConnectedTwice,
    SiteRevoked,
    SiteUninvited,
    StudyUnapproved,
    StudyUnknown,
    StudyWithdrawn,
    TaskOutsideContract,
    TlsIntercepted,
    TrustError,
)

__all__ = [
    "KeyUnsafe",
    "KeyUnreadable",
    "IdentityExists",
    "NotEnrolled",
    "CertificateRefused",
    "CertificateExpired",
    "SiteRevoked",
    "SiteUninvited",
    "InvitationInvalid",
    "InvitationUsed",
    "InvitationExpired",
    "EnrolmentLimited",
    "SiteConnectedTwice",
    "CoordinatorUnreachable",
    "TlsIntercepted",
    "TrialsSpendBudget",
    "ProtocolMismatch",
    "EnvelopeRefused",
    "EnvelopeReplayed",
    "ClockSkewed",
    "BlobRefused",
    "ContractInvalid",
    "ContractExpired",
    "ModelNotInEvidence",
    "StudyUnknown",
    "StudyUnapproved",
    "StudyWithdrawn",
    "ApproverRefused",
    "CodeDiffers",
    "TaskOutsideContract",
    "PolicyRefused",
    "TrustError",
    "AuditBroken",
    "BudgetSpent",
    "BudgetUnused",
    "CaseCorrupt",
    "CaseTooWide",
    "CohortDiffers",
    "CohortEmpty",
    "CohortHeldBack",
    "CohortUnknown",
    "CohortUnsuitable",
    "ConsiliumError",
    "DataError",
    "DeviceFailed",
    "DeviceUnavailable",
    "DiskFull",
    "EmptySite",
    "EngineFailed",
    "ExecutorDied",
    "JournalTaken",
    "DatabaseUnavailable",
    "WeightsDamaged",
    "ExtraMissing",
    "FlowerMoved",
    "HomeBusy",
    "HomeInvalid",
    "HomeMissing",
    "ImageMissing",
    "ImageUnreadable",
    "InvalidValue",
    "LabelUnknown",
    "LabelsInvalid",
    "LayerNotPrivate",
    "LedgerBroken",
    "LedgerMissing",
    "LedgerRolledBack",
    "MachineError",
    "ManifestInvalid",
    "ManifestMissing",
    "MasksInvalid",
    "MixedInstallation",
    "ModelDiverged",
    "NoSuchSite",
    "NoTestCases",
    "NoValidationCases",
    "NothingFound",
    "NothingLearned",
    "NothingToExplain",
    "StudyStopped",
    "CoordinatorStopped",
    "StudyUnfinished",
    "OutOfMemory",
    "OutputExists",
    "OutputUnwritable",
    "PacsIncomplete",
    "PacsQueryTooWide",
    "PacsRefused",
    "PacsUnreachable",
    "PatientInTwoSplits",
    "PortTaken",
    "PrivacyRequired",
    "PrivacyUnreachable",
    "PrivacyViolated",
    "QuorumNotReached",
    "RecordsInvalid",
    "Refusal",
    "ReservationClosed",
    "RunError",
    "SearchDiffers",
    "SearchInvalid",
    "SiteRefused",
    "SiteSuspended",
    "SitesOverruled",
    "StudyError",
    "StudyFileMissing",
    "StudySyntaxError",
    "TargetInvalid",
    "TargetSpent",
    "TaskInvalid",
    "TooFewCases",
    "UnitRefused",
    "UnknownKey",
    "UpdateRefused",
    "WrongModality",
    "ExportDiffers",
    "InputBlank",
    "InputManyFrames",
    "InputOtherKind",
    "InputTooSmall",
    "InputWithoutSpacing",
    "ModelMissing",
    "ModelUnsuitable",
    "ModelWithoutStudy",
    "TaskNotServed",
]
