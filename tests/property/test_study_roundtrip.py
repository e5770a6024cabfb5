"""Any study survives being written as TOML and as canonical text, with its classes and its digest."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from common.errors import StudyError
from common.study import STRATEGY_NAMES, Study, digest, from_canonical, parse_study, to_canonical, to_toml
from common.study.federation import MEAN_STRATEGIES

# What writers of TOML and JSON stumble over: quotes, escapes, controls, separators, other planes.
texts = st.text(st.sampled_from("ab0é. #='\"\\\n\t\r\x00\x7f\u2028\U0001f600"), min_size=1, max_size=12)
names = st.text(st.sampled_from("aZ0"), min_size=1, max_size=64)
labels = st.dictionaries(texts, texts, min_size=2, max_size=5).filter(lambda d: len(set(d.values())) > 1)
positive = st.floats(1e-300, 100.0, allow_nan=False)
counts = st.integers(1, 1000)


def table(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


sequences = st.one_of(
    table(kind=st.just("rows"), size=st.integers(8, 1024)).map(lambda d: {"kind": "rows", **d}),
    st.builds(
        lambda patch, n: {"kind": "patches", "patch": patch, "size": patch * n},
        st.integers(8, 64),
        st.integers(1, 16),
    ),
    table(size=st.integers(8, 1024), slice_spacing_mm=positive, max_steps=counts).map(
        lambda d: {"kind": "slices", **d}
    ),
    table(size=st.integers(8, 1024), pixel_spacing_mm=positive).map(lambda d: {"kind": "frames", **d}),
    st.builds(
        lambda variables, extra: {"kind": "steps", "variables": variables, **extra},
        st.dictionaries(texts, st.fixed_dictionaries({"centre": positive, "scale": positive}), min_size=1),
        table(fill=st.sampled_from(["none", "last"]), limit=positive, every=positive),
    ),
    st.builds(
        lambda numbers, low: {
            "kind": "steps",
            "variables": {"HR": {"centre": 80.0, "scale": 20.0}},
            "categories": {"pain": numbers},
            "plausible": {"HR": [low, 200.0]},
        },
        st.lists(positive, min_size=2, max_size=5, unique=True),
        positive,
    ),
)
documents = st.fixed_dictionaries(
    {"study": st.fixed_dictionaries({"name": names, "labels": labels})},
    optional={
        "data": table(
            modality=st.lists(texts, max_size=3),
            min_cases=counts,
            min_test_cases=counts,
            window=st.fixed_dictionaries({"centre": positive, "width": st.floats(1, 4000)}),
        ),
        "sequence": sequences,
        "model": table(
            cell=st.sampled_from(["gru", "lstm", "rnn"]), dropout=st.floats(0, 0.99), hidden=counts
        ),
        "training": table(learning_rate=positive, clip_grad_norm=positive, weight_decay=st.floats(0, 10))
        | st.fixed_dictionaries({"work_s": st.floats(1e-300, 1e-290)}),
        "federation": table(
            rounds=counts,
            deadline_s=positive,
            strategy=st.sampled_from(STRATEGY_NAMES),
            min_sites=counts,
            codec=st.sampled_from(["float32", "bf16", "int8"]),
            enough=st.floats(1e-9, 1.0),
        )
        | st.fixed_dictionaries(
            {"late_rounds": st.integers(0, 100)}, optional={"strategy": st.sampled_from(MEAN_STRATEGIES)}
        )
        | st.fixed_dictionaries(
            {"codec": st.just("topk")},
            optional={"codec_fraction": st.floats(1e-6, 1.0), "strategy": st.sampled_from(MEAN_STRATEGIES)},
        ),
    },
)
studies = documents.map(parse_study) | st.builds(
    lambda document, privacy: parse_study({"study": document["study"], "privacy": privacy}),
    documents,
    table(
        target_delta=st.floats(1e-9, 0.1),
        clip_norm=st.floats(1e-6, 1e6),
        clip_quantile=st.floats(0.01, 0.99),
        sample_rate=st.floats(0.001, 1.0),
        secure_noise=st.booleans(),
        sites=st.fixed_dictionaries({"planned_sites": counts, "noise_multiplier": st.floats(0.1, 10)}),
    ).map(lambda privacy: {"target_epsilon": 8.0, **privacy}),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(studies)
def test_toml_gives_the_same_study(study: Study) -> None:
    again = parse_study(tomllib.loads(to_toml(study)))
    assert again == study
    assert again.study.classes == study.study.classes
    assert digest(again) == digest(study)


@given(studies)
def test_canonical_text_gives_the_same_study(study: Study) -> None:
    text = to_canonical(study)
    assert text.isascii()
    again = from_canonical(text)
    assert again == study
    assert again.study.classes == study.study.classes
    assert to_canonical(again) == text


@given(labels)
def test_every_stored_value_means_its_class(meanings: dict[str, str]) -> None:
    head = parse_study({"study": {"name": "x", "labels": meanings}}).study
    assert set(head.classes) == set(meanings.values())
    for stored, name in meanings.items():
        if stored == stored.strip():
            assert head.classes[head.class_index(stored)] == name  # type: ignore[index]


@given(documents, st.sampled_from(["study", "data", "sequence", "model", "federation", "more"]), json_values)
def test_any_table_replaced_by_anything_is_a_study_or_a_study_error(
    document: dict[str, Any], section: str, value: Any
) -> None:
    with suppress(StudyError):
        assert isinstance(parse_study({**document, section: value}), Study)


@given(
    documents, st.sampled_from(["data", "sequence", "model", "training", "federation"]), st.text(max_size=6)
)
def test_any_key_more_is_named_in_the_error(document: dict[str, Any], section: str, key: str) -> None:
    known = parse_study(document).model_dump()[section]
    if key in known or key in ("patch", "kind"):  # of another kind
        return
    try:
        parse_study({**document, section: {**document.get(section, {}), key: 1}})
    except StudyError as error:
        assert error.code == "study-unknown-key"
        assert key in str(error)
    else:
        raise AssertionError(f"{section}.{key} was accepted")
