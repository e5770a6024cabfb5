"""Whatever is done to a log is found, and the first entry that is not what was written is named."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from common.audit import AuditLog, Limits
from common.chain import Head
from common.errors import AuditBroken
from common.evidence.entry import PLAIN
from common.evidence.export import EXPORTED, export_line
from common.evidence.reading import Fault, Part
from common.evidence.source import Source, open_source
from common.evidence.verdict import examine
from common.evidence.verification import verify

Files = dict[str, bytes]
HEAD, CURRENT = "audit.head", "audit.jsonl"
CLOSED = ("audit-000001.jsonl", "audit-000002.jsonl")
LOGS = (*CLOSED, CURRENT)
PER_FILE = 4


@pytest.fixture(scope="module")
def written() -> Iterator[Files]:
    """Files of a log of three files, the last with two entries."""
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(Path(folder) / CURRENT, limits=Limits(PER_FILE))
        for number in range(8):
            log.append("cohort.records-begun", cohort=f"bröst {number}", cases=number)
        yield {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def exported(written: Files) -> bytes:
    """The same log as an export."""
    with placed(written) as folder:
        return b"".join(export_line(entry) for entry in AuditLog(folder / CURRENT).entries())


@contextmanager
def placed(files: Files) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        yield Path(name)


def source_of(files: Files) -> Source:
    parts = [Part(name, files[name]) for name in sorted(files) if name != HEAD]
    return Source(parts, Part(HEAD, files[HEAD]), PLAIN, is_live=True)


def fault_in(files: Files) -> Fault:
    found = examine("log", source_of(files)).first_bad
    assert found is not None, "nothing was found"
    return found


def first_number(files: Files, name: str) -> int:
    return 1 + sum(files[other].count(b"\n") for other in LOGS[: LOGS.index(name)])


def require_found(files: Files) -> None:
    """It is found offline, and by whoever reads the log or would add to it; nothing is then added."""
    with placed(files) as folder:
        found = examine("log", open_source(folder)).first_bad
        assert found is not None
        for action in (
            lambda log: list(log.entries()),
            lambda log: log.append("site.created", site="alder"),
        ):
            with pytest.raises(AuditBroken):
                action(AuditLog(folder / CURRENT, limits=Limits(PER_FILE)))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_the_log_itself_is_whole(written: Files, exported: bytes) -> None:
    assert sorted(written) == sorted((*LOGS, HEAD))
    verdict = examine("log", source_of(written))
    assert verdict.first_bad is None and verdict.entries == 10
    export = Source([Part("export", exported)], None, EXPORTED, is_live=False)
    again = examine("log", export, [verdict.head])
    assert again.first_bad is None and again.places == verdict.places and again.ended_by == "--head"


@pytest.mark.parametrize("name", [*LOGS, HEAD])
def test_every_byte_of_every_file_counts(written: Files, name: str) -> None:
    content = bytearray(written[name])
    for place, byte in enumerate(written[name]):
        content[place] ^= (0x01, 0x20, 0x80, 0xFF)[place % 4]
        fault = fault_in({**written, name: bytes(content)})
        content[place] = byte
        if name != HEAD:
            number = first_number(written, name) + written[name].count(b"\n", 0, place)
            assert (fault.file, fault.number) == (name, number), (place, str(fault))
            assert fault.line == number - first_number(written, name) + 1


def test_every_byte_of_an_export_counts(exported: bytes) -> None:
    last = examine("log", Source([Part("e", exported)], None, EXPORTED, is_live=False)).head
    content = bytearray(exported)
    for place, byte in enumerate(exported):
        content[place] ^= (0x01, 0x20, 0x80, 0xFF)[place % 4]
        changed = Source([Part("e", bytes(content))], None, EXPORTED, is_live=False)
        fault = examine("log", changed, [last]).first_bad
        content[place] = byte
        assert fault is not None and fault.number == 1 + exported.count(b"\n", 0, place), place


@given(st.sampled_from([*LOGS, HEAD]), st.data())
def test_any_other_byte_anywhere_is_found_by_all(written: Files, name: str, data: st.DataObject) -> None:
    content = bytearray(written[name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    require_found({**written, name: bytes(content)})


@given(st.sampled_from(LOGS), st.data())
def test_any_cut_is_found(written: Files, name: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(written[name]) - 1))
    require_found({**written, name: written[name][:size]})


@given(st.sampled_from(LOGS), st.data())
def test_bytes_that_are_missing_or_too_many_are_found(written: Files, name: str, data: st.DataObject) -> None:
    content = written[name]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    put = data.draw(st.binary(max_size=20) | st.just(content[start:end] * 2))
    changed = content[:start] + put + content[end:]
    torn = name == CURRENT and changed.startswith(content)  # what a crash leaves, or an entry that is no more
    assume(changed != content and not (torn and b"\n" not in changed[len(content) :]))
    require_found({**written, name: changed})


def places(files: Files) -> list[tuple[str, int]]:
    return [(name, line) for name in LOGS for line in range(files[name].count(b"\n"))]


def with_lines(files: Files, change: Callable[[dict[tuple[str, int], bytes]], None]) -> Files:
    lines = {
        (name, number): line
        for name in LOGS
        for number, line in enumerate(files[name].splitlines(keepends=True))
    }
    change(lines)
    return {
        HEAD: files[HEAD],
        **{name: b"".join(lines[at] for at in lines if at[0] == name) for name in LOGS},
    }


@given(st.data())
def test_lines_that_are_missing_are_found(written: Files, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(places(written)), min_size=1))

    def drop(lines: dict[tuple[str, int], bytes]) -> None:
        for place in gone:
            del lines[place]

    require_found(with_lines(written, drop))


@given(st.data())
def test_lines_in_another_order_are_found(written: Files, data: st.DataObject) -> None:
    order = data.draw(st.permutations(places(written)))
    assume(order != places(written))

    def move(lines: dict[tuple[str, int], bytes]) -> None:
        lines.update(dict(zip(places(written), [lines[place] for place in order], strict=True)))

    require_found(with_lines(written, move))


@given(st.data())
def test_a_line_that_is_there_twice_is_found(written: Files, data: st.DataObject) -> None:
    source, target = data.draw(st.tuples(*[st.sampled_from(places(written))] * 2))

    def repeat(lines: dict[tuple[str, int], bytes]) -> None:
        lines[target] += lines[source]

    require_found(with_lines(written, repeat))


@given(st.permutations(LOGS).filter(lambda order: tuple(order) != LOGS))
def test_files_that_were_exchanged_are_found(written: Files, order: list[str]) -> None:
    require_found(
        {HEAD: written[HEAD], **{name: written[other] for name, other in zip(LOGS, order, strict=True)}}
    )


@given(st.sets(st.sampled_from([*LOGS, HEAD]), min_size=1).filter(lambda gone: not gone >= {*LOGS}))
@example({CURRENT})
def test_files_that_are_gone_are_found(written: Files, gone: set[str]) -> None:
    files = {name: content for name, content in written.items() if name not in gone}
    with placed(files) as folder:
        assert examine("log", open_source(folder)).first_bad is not None
        with pytest.raises(AuditBroken):
            AuditLog(folder / CURRENT).append("site.created", site="alder")


@given(
    st.sampled_from(CLOSED),
    st.sampled_from(["audit-000003.jsonl", "audit-000000.jsonl", "audit-000009.jsonl"]),
)
def test_a_closed_file_that_is_there_twice_is_found_or_none_of_the_log(
    written: Files, name: str, new: str
) -> None:
    files = {**written, new: written[name]}
    if new.endswith("0.jsonl"):  # no closed file has that number
        with placed(files) as folder:
            assert examine("log", open_source(folder)).entries == 10
        return
    require_found(files)


@given(st.integers(1, 9), st.booleans())
def test_an_old_copy_of_everything_is_found_by_a_head_that_was_kept(
    written: Files, kept: int, as_export: bool
) -> None:
    with placed(written) as folder:
        entries = list(AuditLog(folder / CURRENT).entries())
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy.jsonl"
        line = export_line if as_export else PLAIN.write
        copy.write_bytes(b"".join(line(entry) for entry in entries[:kept]))
        assert verify({"log": copy}).is_whole, "by itself it is a log"
        assert verify({"log": copy}, [entries[kept - 1].place]).is_whole
        later = Head(entries[-1].number, entries[-1].digest)
        assert not verify({"log": copy}, [later]).is_whole


@given(st.binary(min_size=1, max_size=300).filter(lambda torn: b"\n" not in torn))
def test_what_a_crash_left_is_repaired_and_told(written: Files, torn: bytes) -> None:
    with placed({**written, CURRENT: written[CURRENT] + torn}) as folder:
        log = AuditLog(folder / CURRENT)
        assert len(list(log.entries())) == 10
        assert log.append("site.created", site="alder").number == 12
        told = list(log.entries())[10]
        assert (told.event, told.facts["bytes"]) == ("audit.repaired", len(torn))
        assert examine("log", open_source(folder)).first_bad is None


@pytest.fixture(autouse=True, scope="module")
def _no_disk() -> Iterator[None]:
    """Nothing here cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
