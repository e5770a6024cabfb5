"""Errors of a federation that cannot go on: exit status 5."""

from __future__ import annotations

from common.errors.base import ConsiliumError


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


class CoordinatorStopped(RunError):  # noqa: D101
    code = "coordinator-stopped"
    public = "The coordinator's daemon was stopped while the study ran."
    hint = (
        "Nothing is lost: the study goes on in the same round when `consilium coordinator start` runs again."
    )


class StudyUnfinished(RunError):  # noqa: D101
    code = "study-unfinished"
    public = "The study has no results yet."
    hint = "`consilium study status` says how it stands; `study results --wait` waits for its end."


class StudyStopped(RunError):  # noqa: D101
    code = "study-stopped"
    public = "The study was stopped at the coordinator before its last round."
    hint = "What its rounds had learnt until then is kept. It runs again under a new contract."


class NothingLearned(RunError):  # noqa: D101
    code = "nothing-learned"
    public = "A round ended without a usable change of the model."
    hint = "A robust strategy may need more sites than answered; a learning rate may be too small."


class UpdateRefused(RunError):  # noqa: D101
    code = "update-refused"
    public = "A site's update did not pass the coordinator's checks."
    hint = "Ask the site to compare versions; the update was left out of the round."


class SiteSuspended(RunError):  # noqa: D101
    code = "site-suspended"
    public = "The coordinator leaves this site out of the study until a person decides."
    hint = "See why its last updates were refused; then `consilium study readmit STUDY SITE`."


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


class TrialsSpendBudget(RunError):  # noqa: D101
    code = "trials-spend-budget"
    public = "Every trial of a private study on real patients tells something of them, and none is free."
    hint = "Search on public or phantom data, or with fewer trials; --yes goes on, and takes the cost."
