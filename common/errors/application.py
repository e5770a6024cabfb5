"""Errors of using a trained model: exit status 4, as what does not fit is the file that was given."""

from __future__ import annotations

from common.errors.data import DataError


class ModelMissing(DataError):  # noqa: D101
    code = "model-missing"
    public = "There is no trained model at that place."
    hint = "Give the folder of a finished run, or its model.safetensors."


class ModelWithoutStudy(DataError):  # noqa: D101
    code = "model-without-study"
    public = "Nothing says what the model was trained for."
    hint = "Keep the run's study.toml beside the model; newer releases write the study into the file."


class ModelUnsuitable(DataError):  # noqa: D101
    code = "model-unsuitable"
    public = "The model's weights are not those of its study's model."
    hint = "Keep each model with its own study.toml, and use the release that trained it or a newer one."


class InputWithoutSpacing(DataError):  # noqa: D101
    code = "input-without-spacing"
    public = "The model needs to know how large a pixel is, and the input does not say."
    hint = "Give the DICOM file with Pixel Spacing, not a PNG or JPEG made of it."


class InputManyFrames(DataError):  # noqa: D101
    code = "input-many-frames"
    public = "The input holds several pictures, and the model reads one."
    hint = "Give the one picture that is meant as a file of its own."


class InputTooSmall(DataError):  # noqa: D101
    code = "input-too-small"
    public = "The picture has far fewer pixels than those that the model was trained on."
    hint = "Give the original picture, not a thumbnail."


class InputBlank(DataError):  # noqa: D101
    code = "input-blank"
    public = "There is nothing to see in the input: all of it has one brightness."
    hint = "Open it in a viewer; another file may be meant."


class InputOtherKind(DataError):  # noqa: D101
    code = "input-other-kind"
    public = "The input is of another kind than those that the model was trained on."
    hint = "The study's [sequence] says what a case is: a picture, a stack, a clip or a record."


class TaskNotServed(DataError):  # noqa: D101
    code = "task-not-served"
    public = "This command cannot do that for a model of this kind."
    hint = "docs/explain.md has a table of what can be done with which model."


class NothingToExplain(DataError):  # noqa: D101
    code = "nothing-to-explain"
    public = "The model says nothing of the kind that should be explained about this case."
    hint = "Ask `consilium predict` what it finds, and choose another --class, --step or --box."


class ExportDiffers(DataError):  # noqa: D101
    code = "export-differs"
    public = "The exported model does not give what the original gives; nothing was written."
    hint = "Export without --int8, or in the other --format; please report it."
