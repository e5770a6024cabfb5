"""Errors of the study file: exit status 3."""

from __future__ import annotations

from common.errors.base import ConsiliumError


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


class SearchInvalid(StudyError):  # noqa: D101
    code = "search-invalid"
    public = "The file that says what to search is not one that can be searched."
    hint = "docs/tuning.md has an example: each key of the study with a list of values, or low and high."
