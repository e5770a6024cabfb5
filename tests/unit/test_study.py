"""The study file: closed to unknown keys, every value bounded, every value knows where it comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from common.errors import InvalidValue, StudyError, StudyFileMissing, StudySyntaxError, UnknownKey
from common.study import (
    STRATEGY_NAMES,
    Patches,
    Setting,
    StrategyChoice,
    Study,
    digest,
    from_canonical,
    load_study,
    parse_study,
    settings,
    template,
    to_canonical,
    to_toml,
)
from common.study.data import Window
from common.study.federation import DEFAULT_FRACTION, MEAN_STRATEGIES
from common.study.privacy import Privacy, SitePrivacy
from common.study.sequence import Frames, Rows, Sequence, Slices, Steps, Variable, Views

MakeStudy = Callable[..., Study]
HEAD = {"name": "x", "labels": {"0": "normal", "1": "abnormal"}}
VARIABLES = {"HR": {"centre": 80, "scale": 20}, "pH": {"centre": 7.4, "scale": 0.1}}
KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(Sequence)[0])}
HEAD_TOML = '[study]\nname = "x"\n[study.labels]\n0 = "normal"\n1 = "abnormal"\n'


def document(key: str, value: Any) -> dict[str, Any]:
    """A valid study document but for one dotted key."""
    found: dict[str, Any] = {"study": {**HEAD}}
    *tables, last = key.split(".")
    table = found
    for name in tables:
        table = table.setdefault(name, {})
    table[last] = value
    return found


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key to value of every leaf."""
    if not isinstance(value, Mapping):
        return {prefix[:-1]: value}
    return {key: leaf for name, item in value.items() for key, leaf in flat(item, f"{prefix}{name}.").items()}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# --- the template


def test_template_is_the_defaults() -> None:
    labels = {"0": "normal", "1": "abnormal"}
    given = parse_study(tomllib.loads(template()))
    assert given == parse_study({"study": {"name": "my-study", "labels": labels}})


def test_template_shows_every_key() -> None:
    shown = set(re.findall(r"^(?:# )?(\w+) = ", template(), flags=re.MULTILINE))
    shown |= set(re.findall(r"^# \[(?:\w+\.)?(\w+)\]", template(), flags=re.MULTILINE))
    keys = {key.rpartition(".")[2] for key in flat(parse_study({"study": HEAD}).model_dump())}
    tables = (*KINDS.values(), Privacy, SitePrivacy)
    assert keys.union(*(kind.model_fields for kind in tables)) - {"noise_multiplier"} <= shown
    assert template().count("or noise_multiplier = ") == 2  # beside the epsilon that it takes the place of


UNCOMMENTED = re.sub(r"^# (\[?[\w.]+(\]| = ))", r"\1", template(), flags=re.MULTILINE)


def uncommented(kind: str) -> Study:
    """The template's study with every commented key that a kind of sequence takes."""
    document = tomllib.loads(UNCOMMENTED)
    del document["privacy"]  # see the next test: not with clip_grad_norm
    del document["training"]["local_epochs"]  # in whose place work_s is
    document["training"]["loss"] = "focal"  # of which focal_gamma is
    document["federation"]["codec"] = "topk"  # of which codec_fraction is
    given = {**document["sequence"], "kind": kind}
    known = KINDS[kind].model_fields
    return parse_study({**document, "sequence": {key: given[key] for key in given if key in known}})


@pytest.mark.parametrize(
    "sequence",
    [
        Rows(pixel_spacing_mm=1.5),
        Patches(size=128, patch=16, pixel_spacing_mm=1.5),
        Slices(pixel_spacing_mm=1.5, slice_spacing_mm=5.0, max_steps=400),
        Frames(pixel_spacing_mm=1.5, max_steps=400),
        Steps(
            variables={"heart_rate": Variable(centre=80, scale=20)},
            categories={"chest_pain": (1, 2, 3, 4)},
            plausible={"heart_rate": (10, 300)},
            every=60.0,
            limit=5.0,
            max_steps=400,
        ),
        Views(pixel_spacing_mm=1.5, max_steps=400),
    ],
    ids=lambda s: str(s.kind),
)
def test_template_s_commented_keys_are_allowed(sequence: Any) -> None:
    study = uncommented(sequence.kind)
    assert study.sequence == sequence
    assert study.training.clip_grad_norm == 1.0
    assert (study.training.work_s, study.training.local_epochs) == (600.0, None)
    assert study.data.window == Window(centre=40, width=400)


def test_template_s_commented_privacy_is_allowed() -> None:
    study = parse_study({"study": HEAD, "privacy": tomllib.loads(UNCOMMENTED)["privacy"]})
    sites = SitePrivacy(target_epsilon=8.0, planned_sites=100)
    extra = {"target_delta": 1e-4, "clip_quantile": 0.5, "evaluation_epsilon": 1.0}
    assert study.privacy == Privacy(target_epsilon=8.0, sites=sites, **extra)


def test_template_names_every_kind_of_sequence() -> None:
    assert {f'"{kind}"' for kind in KINDS} <= set(re.findall(r'"\w+"', template()))


def test_template_and_names_list_every_strategy() -> None:
    union = get_args(get_args(StrategyChoice)[0])
    assert tuple(kind.model_fields["name"].default for kind in union) == STRATEGY_NAMES
    assert set(STRATEGY_NAMES) <= set(re.findall(r"\w+", template()))


# --- unknown keys


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("modle", "'model'"),
        ("study.nmae", "'name'"),
        ("data.min_case", "'min_cases'"),
        ("training.learning_rat", "'learning_rate'"),
        ("federation.round", "'rounds'"),
        ("model.bidirektional", "'bidirectional'"),
        ("sequence.siez", "'size'"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_right_one(key: str, advice: str) -> None:
    with pytest.raises(UnknownKey, match=f"did you mean {advice}"):
        parse_study(document(key, 1))


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        ({"sequence": {"kind": "patches", "patc": 8}}, "'patch'"),
        ({"sequence": {"kind": "rows", "siz": 8}}, "'size'"),
        ({"sequence": {"kind": "slices", "slice_spacing": 8}}, "'slice_spacing_mm'"),
        ({"sequence": {"kind": "frames", "max_frames": 8}}, "'max_steps'"),
        ({"sequence": {"kind": "steps", "variables": VARIABLES, "time_scal": 8}}, "'time_scale'"),
        ({"data": {"window": {"center": 40, "width": 400}}}, "'centre'"),
        ({"federation": {"strategy": {"name": "fedprox", "proximal": 1}}}, "'proximal_mu'"),
        ({"federation": {"strategy": {"name": "fedadam", "beta1": 1}}}, "'beta_1'"),
        ({"federation": {"strategy": {"name": "krum", "num_malicious": 1}}}, "'num_malicious_sites'"),
    ],
)
def test_unknown_option_of_a_kind_is_told_the_options_of_that_kind(
    table: dict[str, Any], advice: str
) -> None:
    with pytest.raises(UnknownKey, match=f"did you mean {advice}"):
        parse_study({"study": HEAD, **table})


def test_option_of_another_kind_is_unknown_and_the_known_ones_are_listed() -> None:
    with pytest.raises(UnknownKey, match="known here: name"):
        parse_study({"study": HEAD, "federation": {"strategy": {"name": "fedavg", "tau": 1.0}}})


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"sequence": {"kind": "rows", "patch": 8}}, "sequence.patch"),
        ({"sequence": {"kind": "rows", "max_steps": 8}}, "sequence.max_steps"),
        ({"sequence": {"kind": "frames", "slice_spacing_mm": 8}}, "sequence.slice_spacing_mm"),
        ({"sequence": {"kind": "steps", "variables": VARIABLES, "size": 8}}, "sequence.size"),
        ({"data": {"window": {"centre": 40, "width": 400, "level": 1}}}, "data.window.level"),
        ({"federation": {"strategy": {"name": "fedavg", "tau": 1.0}}}, "federation.strategy.tau"),
    ],
)
def test_unknown_key_is_named_as_the_file_has_it(table: dict[str, Any], key: str) -> None:
    with pytest.raises(UnknownKey) as caught:
        parse_study({"study": HEAD, **table})
    assert f"unknown key {key}:" in str(caught.value)


def test_every_unknown_key_is_named_at_once() -> None:
    with pytest.raises(UnknownKey) as caught:
        parse_study({"study": HEAD, "modle": {}, "training": {"batchsize": 1, "lr": 1}})
    assert all(key in str(caught.value) for key in ("modle", "training.batchsize", "training.lr"))


# --- values out of bounds


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study.name", ""),
        ("study.name", "../up"),
        ("study.name", "a b"),
        ("study.name", "x\n"),
        ("study.name", "n" * 65),
        ("study.task", "dreaming"),
        ("study.labels", {}),
        ("study.labels", {"0": "same", "1": "same"}),
        ("study.labels", {"0": "", "1": "b"}),
        ("study.labels", {"0": "n" * 201, "1": "b"}),
        ("data.min_cases", 0),
        ("data.min_patients", 0),
        ("data.min_test_cases", -1),
        ("data.test_split", "train"),
        ("sequence.kind", "columns"),
        ("sequence.size", 7),
        ("sequence.size", 1025),
        ("sequence.pixel_spacing_mm", 0.0),
        ("sequence.pixel_spacing_mm", float("inf")),
        ("sequence", {"kind": "slices", "slice_spacing_mm": 0.0}),
        ("sequence", {"kind": "slices", "max_steps": 0}),
        ("sequence", {"kind": "frames", "max_steps": 65_537}),
        ("data.window", {"centre": 40}),
        ("data.window", {"centre": 40, "width": 0}),
        ("data.window", {"centre": 40, "width": 0.5}),
        ("data.window", {"centre": 40, "width": 400, "function": "gamma"}),
        ("model.encoder", "resnet"),
        ("model.cell", "transformer"),
        ("model.hidden", 0),
        ("model.hidden", 4097),
        ("model.layers", 0),
        ("model.layers", 9),
        ("model.pooling", "sum"),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("training.local_epochs", 0),
        ("training.local_epochs", -0.25),
        ("training.local_epochs", 1000.5),
        ("training.batch_size", 0),
        ("training.optimizer", "lion"),
        ("training.learning_rate", 0.0),
        ("training.learning_rate", float("nan")),
        ("training.learning_rate", float("inf")),
        ("training.weight_decay", -1e-9),
        ("training.clip_grad_norm", 0.0),
        ("training.schedule", "step"),
        ("training.warmup_rounds", -1.0),
        ("training.label_smoothing", 1.0),
        ("training.focal_gamma", 2.0),
        ("training.optimizer_state", "lost"),
        ("training.sampling", "rare"),
        ("augmentation.shift", 0.51),
        ("augmentation.rotate_deg", -1.0),
        ("augmentation.flip", "diagonal"),
        ("augmentation.contrast", 1.0),
        ("training.class_weights", "inverse"),
        ("federation.rounds", 0),
        ("federation.rounds", 1.5),
        ("federation.fraction_sites", 0.0),
        ("federation.fraction_sites", 1.01),
        ("federation.min_sites", 0),
        ("federation.deadline_s", 0.0),
        ("federation.deadline_s", float("inf")),
        ("federation.evaluate_every", 0),
        ("federation.enough", 0.0),
        ("federation.enough", 1.01),
        ("federation.late_rounds", -1),
        ("federation.late_rounds", 101),
        ("training.work_s", 0.0),
        ("training.work_s", float("inf")),
        ("federation.strategy", "fedavgg"),
        ("federation.strategy", 3),
        ("federation.strategy", {"name": "fedtrimmedavg", "beta": 0.5}),
        ("federation.strategy", {"name": "fedavgm", "server_momentum": 1.0}),
        ("federation.strategy", {"name": "krum", "num_malicious_sites": -1}),
        ("federation", 3),
    ],
)
def test_value_out_of_bounds_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(InvalidValue, match=key.split(".")[-1]):
        parse_study(document(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study.name", "n" * 64),
        ("data.min_test_cases", 0),
        ("sequence.size", 8),
        ("sequence.size", 1024),
        ("sequence.pixel_spacing_mm", 1000.0),
        ("model.hidden", 4096),
        ("model.dropout", 0.999),
        ("training.learning_rate", 100),
        ("federation.fraction_sites", 1e-9),
        ("federation.rounds", 100_000),
    ],
)
def test_bounds_themselves_are_allowed(key: str, value: Any) -> None:
    assert flat(parse_study(document(key, value)).model_dump())[key] == value


def test_missing_head_is_named() -> None:
    with pytest.raises(InvalidValue, match="study"):
        parse_study({})
    with pytest.raises(InvalidValue, match=r"study\.labels"):
        parse_study({"study": {"name": "x"}})


def test_patch_must_divide_size() -> None:
    with pytest.raises(InvalidValue, match="size 100 must be a multiple of patch 16"):
        parse_study({"study": HEAD, "sequence": {"kind": "patches", "size": 100, "patch": 16}})


def test_encoder_needs_patches_it_can_halve_twice(study: MakeStudy) -> None:
    with pytest.raises(InvalidValue, match="at least 8 pixels"):
        study(sequence={"kind": "patches", "size": 16, "patch": 4}, model={"encoder": "cnn"})
    study(sequence={"kind": "patches", "size": 16, "patch": 8}, model={"encoder": "cnn"})
    study(sequence={"kind": "patches", "size": 16, "patch": 4})


@pytest.mark.parametrize(
    "sequence",
    [
        {"kind": "steps"},
        {"kind": "steps", "variables": {}},
        {"kind": "steps", "variables": {"HR": {"centre": 80}}},
        {"kind": "steps", "variables": {"HR": {"centre": 80, "scale": 0}}},
        {"kind": "steps", "variables": {"HR": {"centre": float("nan"), "scale": 1}}},
        {"kind": "steps", "variables": {"": {"centre": 80, "scale": 1}}},
        {"kind": "steps", "variables": VARIABLES, "time_scale": 0},
        {"kind": "steps", "variables": VARIABLES, "max_steps": 0},
    ],
)
def test_steps_need_variables_with_centre_and_scale(sequence: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=r"^sequence\.(variables|time_scale|max_steps)"):
        parse_study({"study": HEAD, "sequence": sequence})


def test_narrow_window_is_allowed_where_its_function_takes_it() -> None:
    for window in (
        {"width": 1},
        {"width": 0.5, "function": "linear-exact"},
        {"width": 0.5, "function": "sigmoid"},
    ):
        assert parse_study({"study": HEAD, "data": {"window": {"centre": 0, **window}}}).data.window


@pytest.mark.parametrize(
    ("sequence", "frame"),
    [
        ({"kind": "slices", "size": 24}, (24, 24)),
        ({"kind": "frames", "size": 24}, (24, 24)),
        ({"kind": "steps", "variables": VARIABLES}, (1, 6)),
    ],
)
def test_sequence_of_any_length_knows_what_a_step_shows(
    sequence: dict[str, Any], frame: tuple[int, int]
) -> None:
    found = parse_study({"study": HEAD, "sequence": sequence}).sequence
    assert (found.frame, found.max_steps) == (frame, None)  # type: ignore[union-attr]
    assert not hasattr(found, "steps")  # nobody takes it for one length of all cases


def test_encoder_is_for_pictures_only() -> None:
    steps = {"kind": "steps", "variables": VARIABLES}
    with pytest.raises(InvalidValue, match="encoder cnn looks at pictures"):
        parse_study({"study": HEAD, "sequence": steps, "model": {"encoder": "cnn"}})
    for kind in ("slices", "frames"):
        parse_study({"study": HEAD, "sequence": {"kind": kind, "size": 8}, "model": {"encoder": "cnn"}})


@pytest.mark.parametrize(
    ("sequence", "steps", "frame"),
    [({"size": 24}, 24, (1, 24)), ({"kind": "patches", "size": 24, "patch": 8}, 9, (8, 8))],
)
def test_sequence_knows_its_steps(
    study: MakeStudy, sequence: dict[str, Any], steps: int, frame: tuple[int, int]
) -> None:
    found = study(sequence=sequence).sequence
    assert (found.steps, found.frame) == (steps, frame)
    assert found.steps * found.frame[0] * found.frame[1] == found.size**2


def test_kind_and_strategy_s_name_have_defaults_too() -> None:
    found = parse_study({"study": HEAD, "sequence": {"size": 64}, "federation": {"strategy": {}}})
    assert (found.sequence.kind, found.sequence.size) == ("rows", 64)
    assert found.federation.strategy.name == "fedavg"


# --- classes


def test_classes_are_in_the_order_of_first_mention() -> None:
    labels = {"b": "sick", "a": "well", "c": "sick"}
    head = parse_study({"study": {"name": "x", "labels": labels}}).study
    assert head.classes == ("sick", "well")
    assert [head.class_index(stored) for stored in ("a", "b", " c ", "d", "")] == [1, 0, 0, None, None]


@pytest.mark.parametrize(
    "again",
    [lambda s: from_canonical(to_canonical(s)), lambda s: parse_study(tomllib.loads(to_toml(s)))],
    ids=["canonical", "toml"],
)
def test_order_of_the_classes_survives_writing(again: Callable[[Study], Study]) -> None:
    written = parse_study({"study": {"name": "x", "labels": {"b": "well", "a": "sick"}}})
    assert again(written).study.classes == ("well", "sick")


def test_order_of_the_variables_survives_writing_and_is_part_of_the_digest() -> None:
    turned = dict(reversed(VARIABLES.items()))
    one, other = (
        parse_study({"study": HEAD, "sequence": {"kind": "steps", "variables": variables}})
        for variables in (VARIABLES, turned)
    )
    assert digest(one) != digest(other)
    for again in (from_canonical(to_canonical(other)), parse_study(tomllib.loads(to_toml(other)))):
        assert again == other
        assert list(again.sequence.variables) == ["pH", "HR"]  # type: ignore[union-attr]


def test_order_of_the_classes_is_part_of_the_digest() -> None:
    one, other = ({"0": "well", "1": "sick"}, {"1": "sick", "0": "well"})
    digests = {digest(parse_study({"study": {"name": "x", "labels": labels}})) for labels in (one, other)}
    assert len(digests) == 2


def test_study_cannot_be_changed() -> None:
    found = parse_study({"study": HEAD})
    with pytest.raises(ValidationError, match="frozen"):
        found.federation.rounds = 3
    with pytest.raises(ValidationError, match="frozen"):
        found.model = found.model


# --- files and options


def test_missing_file_and_folder_are_no_study(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(StudyFileMissing, match=re.escape(str(path))):
            load_study(path)


@pytest.mark.parametrize("text", ["[study", "a = ", "name = x", "[study]\n[study]\n", "\0"])
def test_file_that_is_no_toml_is_refused(file: Callable[[str], Path], text: str) -> None:
    with pytest.raises(StudySyntaxError, match=r"my\.toml"):
        load_study(file(text))


def test_line_of_a_syntax_error_is_named(file: Callable[[str], Path]) -> None:
    with pytest.raises(StudySyntaxError, match="line 3"):
        load_study(file('[study]\nname = "x"\nlabels = oops\n'))


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"\xff\xfe[study]")
    with pytest.raises(StudySyntaxError):
        load_study(tmp_path / "s.toml")


def test_strategy_s_name_alone_stands_for_its_defaults(file: Callable[[str], Path]) -> None:
    short = load_study(file(HEAD_TOML + '[federation]\nstrategy = "fedadam"\n'))
    long = load_study(file(HEAD_TOML + '[federation.strategy]\nname = "fedadam"\n'))
    assert short == long and short.federation.strategy.name == "fedadam"


@pytest.mark.parametrize("text", [HEAD_TOML, HEAD_TOML + "[federation]\nrounds = 5\n"])
def test_option_goes_before_file_and_default(file: Callable[[str], Path], text: str) -> None:
    assert load_study(file(text), {"federation.rounds": (30, "--rounds")}).federation.rounds == 30


@pytest.mark.parametrize("value", [0, "many"])
def test_option_is_bounded_like_a_file_s_value(file: Callable[[str], Path], value: Any) -> None:
    with pytest.raises(InvalidValue, match=r"federation\.rounds"):
        load_study(file(HEAD_TOML), {"federation.rounds": (value, "--rounds")})


def test_option_over_a_table_that_is_none_in_the_file_is_refused(file: Callable[[str], Path]) -> None:
    with pytest.raises(StudyError):
        load_study(file("federation = 3\n" + HEAD_TOML), {"federation.rounds": (30, "--rounds")})


def test_settings_say_where_each_value_comes_from(file: Callable[[str], Path]) -> None:
    path = file(HEAD_TOML + "[model]\nhidden = 128\n[federation]\nrounds = 5\nstrategy = 'fedavgm'\n")
    options = {"federation.rounds": (30, "--rounds")}
    found = {setting.key: setting for setting in settings(load_study(path, options), path, options)}
    assert found["federation.rounds"] == Setting("federation.rounds", 30, "--rounds")
    origins = {
        "model.hidden": "my.toml",  # said, although it is the default
        "model.layers": "default",
        "study.labels.1": "my.toml",
        "federation.strategy.name": "my.toml",
        "federation.strategy.server_momentum": "default",
    }
    assert {key: found[key].origin for key in origins} == origins


def test_settings_list_every_value_once(file: Callable[[str], Path]) -> None:
    path = file(HEAD_TOML)
    found = settings(load_study(path), path)
    assert {s.key: s.value for s in found} == flat(load_study(path).model_dump())
    assert len({s.key for s in found}) == len(found)


def test_settings_know_a_label_with_a_dot(file: Callable[[str], Path]) -> None:
    path = file('[study]\nname = "x"\n[study.labels]\n"1.0" = "a"\n"2.0" = "b"\n')
    origins = {s.key: s.origin for s in settings(load_study(path), path)}
    assert origins["study.labels.1.0"] == "my.toml"


# --- canonical text and digest

OTHERWISE: dict[str, Any] = {
    "study.several_labels": True,
    "federation.calibrate": "off",
    "federation.subgroups": ["sex"],
    "federation.min_cell": 20,
    "study.name": "y",
    "study.labels.0": "other",
    "study.labels.1": "other",
    "data.modality": ["CR"],
    "data.min_cases": 2,
    "data.min_patients": 2,
    "data.min_test_cases": 2,
    "data.test_split": "val",
    "data.window": {"centre": 40.0, "width": 400.0},
    "data.max_boxes": 3,
    "sequence.kind": "patches",
    "sequence.size": 64,
    "sequence.pixel_spacing_mm": 0.5,
    "model.encoder": "cnn",
    "model.cell": "lstm",
    "model.hidden": 64,
    "model.layers": 2,
    "model.bidirectional": True,
    "model.pooling": "last",
    "model.dropout": 0.5,
    "training.local_epochs": 2,
    "training.batch_size": 8,
    "training.optimizer": "sgd",
    "training.learning_rate": 0.5,
    "training.weight_decay": 0.5,
    "training.clip_grad_norm": 1.0,
    "training.schedule": "cosine",
    "training.class_weights": "balanced",
    "training.precision": "bfloat16",
    "training.work_s": 60.0,
    "training.optimizer_state": "kept",
    "training.warmup_rounds": 1.5,
    "training.loss": "focal",
    "training.label_smoothing": 0.1,
    "training.sampling": "balanced",
    "augmentation.shift": 0.1,
    "augmentation.rotate_deg": 5.0,
    "augmentation.scale": 0.1,
    "augmentation.crop": 0.1,
    "augmentation.flip": "horizontal",
    "augmentation.noise": 0.1,
    "augmentation.brightness": 0.1,
    "augmentation.contrast": 0.1,
    "federation.rounds": 20,
    "federation.fraction_sites": 0.5,
    "federation.min_sites": 3,
    "federation.deadline_s": 60.0,
    "federation.evaluate_every": 2,
    "federation.average_last": 2,
    "federation.enough": 0.5,
    "federation.late_rounds": 2,
    "federation.patience": 3,
    "federation.codec": "bf16",
    "privacy": {"target_epsilon": 8.0},
    "federation.strategy.name": "fedmedian",
}
# See tests/unit/test_study_tasks.py for the first two, and the tests of codecs, models and training.
ONLY_VALUE = {
    "federation.patience_by",
    "federation.patience_min_delta",
    "study.task",
    "study.several_labels",
    "federation.codec_fraction",
    "model.residual",
    "model.layer_norm",
    "training.focal_gamma",
}


def with_values(values: Mapping[str, Any]) -> Study:
    found: dict[str, Any] = {"study": {"name": "x", "labels": dict(HEAD["labels"])}}
    for key, value in values.items():
        *tables, last = key.split(".")
        table = found
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return parse_study(found)


def test_digest_known_answer() -> None:
    text = to_canonical(parse_study({"study": HEAD}))
    assert text == (
        '{"study":{"name":"x","task":"classification","labels":{"0":"normal","1":"abnormal"}},'
        '"data":{"modality":[],"min_cases":1,"min_patients":1,"min_test_cases":1,"test_split":"test",'
        '"window":null},'
        '"sequence":{"kind":"rows","size":128,"pixel_spacing_mm":null},'
        '"model":{"encoder":"none","cell":"gru","hidden":128,"layers":1,"bidirectional":false,'
        '"pooling":"mean","dropout":0.0},'
        '"training":{"local_epochs":1,"batch_size":32,"optimizer":"adam","learning_rate":0.001,'
        '"weight_decay":0.0,"clip_grad_norm":null,"schedule":"constant","class_weights":"none",'
        '"precision":"float32"},'
        '"federation":{"rounds":10,"strategy":{"name":"fedavg"},"fraction_sites":1.0,"min_sites":2,'
        '"deadline_s":3600.0,"evaluate_every":1,"average_last":1,"codec":"float32","codec_fraction":null},'
        '"privacy":null}'
    )
    assert (
        digest(parse_study({"study": HEAD}))
        == "6bf6d3dfde2b842c344e8a34f1f265fccd2fca2df5c3b17451812351cc4716d8"
    )


def test_every_field_has_another_value_here() -> None:
    keys = set(flat(parse_study({"study": HEAD}).model_dump()))
    assert keys == set(OTHERWISE) | ONLY_VALUE


def test_a_study_of_records_without_younger_keys_keeps_its_text() -> None:
    text = to_canonical(parse_study({"study": HEAD, "sequence": {"kind": "steps", "variables": VARIABLES}}))
    assert (
        '"sequence":{"kind":"steps","variables":{"HR":{"centre":80.0,"scale":20.0},'
        '"pH":{"centre":7.4,"scale":0.1}},"time_scale":1.0,"max_steps":null},'
    ) in text


def test_digest_changes_with_every_field() -> None:
    digests = {digest(with_values({key: value})) for key, value in OTHERWISE.items()}
    assert len(digests | {digest(parse_study({"study": HEAD}))}) == len(OTHERWISE) + 1


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (kind.model_fields["name"].default, option)
        for kind in get_args(get_args(StrategyChoice)[0])
        for option in kind.model_fields
        if option != "name"
    ],
)
def test_digest_changes_with_every_option_of_a_strategy(study: MakeStudy, name: str, option: str) -> None:
    default = study(federation={"strategy": name})
    value = getattr(default.federation.strategy, option)
    other = value + 1 if isinstance(value, int) else value / 2 or 0.25
    assert digest(study(federation={"strategy": {"name": name, option: other}})) != digest(default)


# --- when a round closes


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        *(
            ({"federation": {"late_rounds": 1, "strategy": name}}, f"{name} does not go by the weights")
            for name in ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan", "qfedavg")
        ),
        (
            {
                "federation": {"enough": 0.5},
                "privacy": {"sites": {"planned_sites": 9, "target_epsilon": 1.0}},
            },
            "hides who took part",
        ),
        (
            {
                "federation": {"late_rounds": 1},
                "privacy": {"sites": {"planned_sites": 9, "target_epsilon": 1.0}},
            },
            "hides who took part",
        ),
        ({"training": {"work_s": 60.0, "local_epochs": 1}}, "either local_epochs or work_s"),
        ({"training": {"local_epochs": None}}, "local_epochs, or work_s"),
        ({"training": {"work_s": 3600.0}}, "no site would have answered by then"),
        ({"training": {"work_s": 60.0}, "privacy": {"target_epsilon": 1.0}}, "paid for before it begins"),
    ],
)
def test_rounds_that_cannot_be_are_refused(tables: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse_study({"study": HEAD, **tables})
    assert word in str(error.value)


@pytest.mark.parametrize("name", MEAN_STRATEGIES)
def test_strategies_of_a_mean_take_late_updates(study: MakeStudy, name: str) -> None:
    assert study(federation={"strategy": name, "late_rounds": 3}).federation.late_rounds == 3


def test_the_coordinators_own_noise_goes_with_work_by_time(study: MakeStudy) -> None:
    sites = {"planned_sites": 9, "target_epsilon": 1.0}
    assert study(training={"work_s": 60.0}, privacy={"sites": sites}).training.work_s == 60.0


def test_a_study_of_work_by_time_is_written_and_read(study: MakeStudy) -> None:
    written = study(training={"work_s": 60.0}, federation={"enough": 0.5, "late_rounds": 2})
    assert from_canonical(to_canonical(written)) == written
    assert parse_study(tomllib.loads(to_toml(written))) == written


# --- codecs


@pytest.mark.parametrize(
    ("federation", "word"),
    [
        ({"codec": "gzip"}, "federation.codec: Input should be 'float32', 'bf16', 'int8' or 'topk'"),
        ({"codec_fraction": 0.1}, "federation.codec_fraction: only codec"),
        ({"codec": "int8", "codec_fraction": 0.1}, "federation.codec_fraction: only codec"),
        ({"codec": "topk", "codec_fraction": 0.0}, "federation.codec_fraction"),
        ({"codec": "topk", "codec_fraction": 1.5}, "federation.codec_fraction"),
        *(
            ({"codec": "topk", "strategy": name}, f"{name} looks at whole updates")
            for name in ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan", "qfedavg")
        ),
    ],
)
def test_codec_that_cannot_be_is_refused(federation: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse_study({"study": HEAD, "federation": federation})
    assert word in str(error.value)


def test_every_other_codec_goes_with_every_strategy(study: MakeStudy) -> None:
    for name in STRATEGY_NAMES:
        for codec in ("bf16", "int8"):
            assert study(federation={"strategy": name, "codec": codec}).federation.codec_fraction is None


def test_topk_has_a_share_that_stands_in_the_study(study: MakeStudy) -> None:
    default, other = (
        study(federation={"codec": "topk", **share}) for share in ({}, {"codec_fraction": 0.25})
    )
    assert default.federation.codec_fraction == DEFAULT_FRACTION
    assert f'"codec_fraction":{DEFAULT_FRACTION}' in to_canonical(default)
    assert digest(default) != digest(other)
    for written in (default, other):
        assert from_canonical(to_canonical(written)) == written
        assert parse_study(tomllib.loads(to_toml(written))) == written


def test_topk_is_not_for_noise_on_every_entry() -> None:
    for codec in ("bf16", "int8"):
        parse_study({"study": HEAD, "privacy": {"sites": SITES}, "federation": {"codec": codec}})
    with pytest.raises(InvalidValue, match=r"federation\.codec"):
        parse_study({"study": HEAD, "privacy": {"sites": SITES}, "federation": {"codec": "topk"}})


# --- privacy

PRIVATE = {"target_epsilon": 8.0}
SITES = {"target_epsilon": 8.0, "planned_sites": 10}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unit", "image"),
        ("target_epsilon", 3.0),
        ("target_delta", 1e-4),
        ("clip_norm", 0.5),
        ("clip_quantile", 0.5),
        ("clip_rate", 0.1),
        ("sample_rate", 0.5),
        ("max_cases_per_patient", 1),
        ("accountant", "rdp"),
        ("secure_noise", True),
        ("evaluation_epsilon", 1.0),
        ("sites", SITES),
        ("sites", {**SITES, "clip_norm": 0.5}),
        ("sites", {**SITES, "target_delta": 1e-4}),
        ("sites", {**SITES, "planned_sites": 11}),
    ],
)
def test_digest_changes_with_every_option_of_privacy(key: str, value: Any) -> None:
    base = {**PRIVATE, **({"sites": SITES} if value is not SITES and key == "sites" else {})}
    default, other = (parse_study({"study": HEAD, "privacy": p}) for p in (base, {**base, key: value}))
    assert digest(other) != digest(default)


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        ({"privacy": {}}, "target_epsilon"),
        ({"privacy": {"target_epsilon": 1.0, "noise_multiplier": 1.0}}, "either"),
        ({"privacy": {"target_epsilon": 0.0}}, "target_epsilon"),
        ({"privacy": {"noise_multiplier": 0.0}}, "noise_multiplier"),
        ({"privacy": {"sites": {"planned_sites": 10}}}, "either"),
        ({"privacy": {**PRIVATE, "sample_rate": 1.5}}, "sample_rate"),
        ({"privacy": {**PRIVATE, "target_delta": 1.0}}, "target_delta"),
        ({"privacy": PRIVATE, "training": {"class_weights": "balanced"}}, "class_weights"),
        ({"privacy": {"sites": SITES}, "training": {"class_weights": "balanced"}}, "class_weights"),
        ({"privacy": PRIVATE, "training": {"clip_grad_norm": 1.0}}, "clip_grad_norm"),
        ({"privacy": PRIVATE, "federation": {"strategy": "qfedavg"}}, "qfedavg"),
        ({"privacy": {"sites": SITES}, "federation": {"strategy": "krum"}}, "strategy of a mean"),
    ],
)
def test_privacy_that_cannot_be_is_refused(tables: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse_study({"study": HEAD, **tables})
    assert word in str(error.value)


def test_privacy_of_the_coordinator_alone_leaves_training_plain() -> None:
    training = {"clip_grad_norm": 1.0}
    study = parse_study({"study": HEAD, "privacy": {"sites": SITES}, "training": training})
    assert study.privacy is not None and not study.privacy.at_sites


@pytest.mark.parametrize(("sample_rate", "steps"), [(1.0, 1), (0.5, 2), (0.3, 3), (0.01, 100)])
def test_an_epoch_has_steps_enough_for_every_unit(sample_rate: float, steps: int) -> None:
    assert Privacy(target_epsilon=1.0, sample_rate=sample_rate).steps_per_epoch == steps


@pytest.mark.parametrize(
    ("sequence", "key", "value"),
    [
        ({"kind": "slices"}, "slice_spacing_mm", 5.0),
        ({"kind": "slices"}, "max_steps", 400),
        ({"kind": "frames"}, "max_steps", 400),
        ({"kind": "patches"}, "patch", 8),
        ({"kind": "steps", "variables": VARIABLES}, "time_scale", 60.0),
        ({"kind": "steps", "variables": VARIABLES}, "max_steps", 400),
        ({"kind": "steps", "variables": VARIABLES}, "every", 60.0),
        ({"kind": "steps", "variables": VARIABLES}, "fill", "last"),
        ({"kind": "steps", "variables": VARIABLES}, "limit", 5.0),
        ({"kind": "steps", "variables": VARIABLES}, "categories", {"ward": [1, 2]}),
        ({"kind": "steps", "variables": VARIABLES}, "plausible", {"pH": [6.5, 8.0]}),
        ({"kind": "steps", "variables": VARIABLES}, "variables", {"HR": {"centre": 80, "scale": 10}}),
    ],
)
def test_digest_changes_with_every_option_of_a_kind(sequence: dict[str, Any], key: str, value: Any) -> None:
    default, other = (
        parse_study({"study": HEAD, "sequence": s}) for s in (sequence, {**sequence, key: value})
    )
    assert digest(default) != digest(other)


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        ({"categories": {"pH": [1, 2]}}, "both a variable and a category"),
        ({"categories": {"ward": [1]}}, "ward"),
        ({"categories": {"ward": [1, 2, 1]}}, "stands twice"),
        ({"plausible": {"ward": [1, 2]}}, "no variable: ward"),
        ({"plausible": {"pH": [8.0, 6.5]}}, "below the greatest: pH"),
        ({"limit": 0.0}, "limit"),
    ],
)
def test_records_that_cannot_be_read_so_are_refused(tables: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse_study({"study": HEAD, "sequence": {"kind": "steps", "variables": VARIABLES, **tables}})
    assert word in str(error.value)


def test_digest_is_of_values_not_of_how_they_are_written() -> None:
    one = {"study": HEAD, "training": {"learning_rate": 1, "batch_size": 8}, "model": {}}
    other = {"training": {"batch_size": 8, "learning_rate": 1.0}, "study": HEAD}
    assert digest(parse_study(one)) == digest(parse_study(other))


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", "[" * 10**5, '{"study": 1}', '{"studdy": {}}'])
def test_text_of_no_study_is_a_study_error(text: str) -> None:
    with pytest.raises(StudyError):
        from_canonical(text)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_strategy_is_written_and_read(study: MakeStudy, name: str) -> None:
    written = study(federation={"strategy": name})
    assert from_canonical(to_canonical(written)) == written
    assert parse_study(tomllib.loads(to_toml(written))) == written
