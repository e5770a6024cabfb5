"""Errors of a site's data: exit status 4."""

from __future__ import annotations

from common.errors.base import ConsiliumError


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


class TargetInvalid(DataError):  # noqa: D101
    code = "target-invalid"
    public = "A case lacks what the study's task compares it with, or that does not fit the case."
    hint = (
        "docs/data.md says what each task reads: label, mask_path, boxes or time; mend the row named above."
    )


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


class NoValidationCases(DataError):  # noqa: D101
    code = "no-validation-cases"
    public = "No site has validation cases, so nothing could say when the study is to stop."
    hint = "Mark 10 to 20 % of each site's training patients as split val, or take federation.patience away."


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
    hint = "Check the files, folders and archives that you named, and that you may read them."


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
