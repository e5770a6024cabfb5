"""What is met in folders and archives, good and bad, and what comes out of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from client.dicom.archive import Found, close_archives, companion, find, opening, packed, read_bytes
from client.dicom.outcomes import Quarantined, Reason

LIMIT = 2**20
NAMES = ("one/a.dcm", "one/b.dcm", "c")
CONTENT = {name: f"content of {name} ".encode() * 70 for name in NAMES}

Pack = Callable[[Mapping[str, bytes]], bytes]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_archives()


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes], *more: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in more:
            archive.addfile(entry)
    return stream.getvalue()


PACKS: dict[str, Pack] = {
    "a.zip": zipped,
    "a.tar": tarred,
    "a.TAR.GZ": lambda files: gzip.compress(tarred(files)),
    "a.tgz": lambda files: gzip.compress(tarred(files)),
    "a.tar.bz2": lambda files: bz2.compress(tarred(files)),
    "a.tar.xz": lambda files: lzma.compress(tarred(files)),
}


def met(folder: Path) -> list[tuple[str, str | None]]:
    """Where each thing was found below ``folder``, and why it cannot be used."""
    found = find([folder])
    return [(f.name.removeprefix(f"{folder}/"), "repeat" if f.repeat else f.reason) for f in found]


def read_all(*roots: Path) -> dict[str, bytes | Reason]:
    """What :func:`read_bytes` makes of everything below ``roots``, by member or file name."""
    contents: dict[str, bytes | Reason] = {}
    for found in find(roots):
        name = found.path.name if found.member is None else found.member
        try:
            contents[name] = read_bytes(found, LIMIT)
        except Quarantined as refused:
            contents[name] = refused.reason
    return contents


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_folders_are_walked_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a", "b/1/z", "c.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    assert met(tmp_path) == [("a", None), ("b/1/z", None), ("b/10", None), ("b/2", None), ("c.dcm", None)]


def test_a_file_is_found_once_by_whichever_links(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "hard").hardlink_to(tmp_path / "real")
    once = [("again", None), ("hard", "repeat"), ("real", "repeat")]
    assert met(tmp_path) == once
    first, *repeats = find([tmp_path])
    assert first.locator == str(tmp_path / "real")
    assert len({first.locator, *(repeat.locator for repeat in repeats)}) == 3


def test_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "deep" / "x").write_bytes(b"x")
    (tmp_path / "self").symlink_to("self")
    assert met(tmp_path) == [("deep/up", "repeat"), ("deep/x", None), ("self", Reason.unreadable)]


def test_a_root_named_twice_counts_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    found = list(find([tmp_path / "x", tmp_path, tmp_path]))
    assert [f.repeat for f in found] == [False, True, True]


def test_what_is_no_file_is_told_of_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "empty").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert dict(met(tmp_path)) == {
            "broken": Reason.unreadable,
            "empty": Reason.empty,
            "null": Reason.unreadable,
            "pipe": Reason.unreadable,
            "s": Reason.unreadable,
        }
    assert [f.reason for f in find([tmp_path / "absent"])] == [Reason.unreadable]


def test_a_folder_that_cannot_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").write_bytes(b"x")
    listdir = os.listdir

    def denied(path: str) -> list[str]:
        if path.endswith("closed"):
            raise PermissionError(13, "denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", denied)
    assert met(tmp_path) == [("closed", Reason.unreadable), ("open", None)]


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    (found,) = find([path])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Quarantined) as caught:
        read_bytes(found, LIMIT)
    assert caught.value.reason is Reason.unreadable


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    (found,) = find([path])
    assert read_bytes(found, 100) == bytes(100)
    with pytest.raises(Quarantined) as caught:
        read_bytes(found, 99)
    assert caught.value.reason is Reason.too_large
    path.unlink()
    with pytest.raises(Quarantined) as caught:
        read_bytes(found, 100)
    assert caught.value.reason is Reason.unreadable


def test_found_is_small_stable_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(CONTENT))
    found, *_ = find([tmp_path])
    assert pickle.loads(pickle.dumps(found)) == found
    assert len(pickle.dumps(found)) < 400
    assert hash(found) == hash(next(find([tmp_path])))
    assert found.locator == f"{tmp_path}/a.zip//one/a.dcm"
    with pytest.raises(Quarantined):
        read_bytes(found, 3)


def test_names_on_the_screen_cannot_command_it(tmp_path: Path) -> None:
    (tmp_path / "Zoë\x1b[31m\n").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4")).write_bytes(b"x")
    first, second = find([tmp_path])
    assert first.name.endswith("Zoë\\x1b[31m\\n") and second.name.endswith("\\udce4")
    assert read_bytes(second, 1) == b"x"


@pytest.mark.parametrize("name", PACKS)
def test_members_of_every_kind_of_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKS[name](CONTENT))
    found = list(find([tmp_path]))
    assert [f.member for f in found] == list(NAMES)
    assert [f.size_bytes for f in found] == [len(CONTENT[n]) for n in NAMES]
    assert {f.modified_ns for f in found} == {(tmp_path / name).stat().st_mtime_ns}
    assert read_all(tmp_path) == CONTENT
    backwards = [read_bytes(f, LIMIT) for f in (*reversed(found), *reversed(found))]
    assert backwards == [CONTENT[n] for n in (*reversed(NAMES), *reversed(NAMES))]


@pytest.mark.parametrize("name", PACKS)
def test_an_archive_named_as_root_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / "export").write_bytes(PACKS[name](CONTENT))
    assert read_all(tmp_path / "export") == CONTENT
    assert met(tmp_path) == [("export", None)]


def test_dicom_is_no_archive_whatever_its_preamble_holds(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM" + bytes(200))
    assert [f.member for f in find([tmp_path / "x"])] == [None]


@pytest.mark.parametrize("outer", PACKS)
@pytest.mark.parametrize("inner", ["a.zip", "a.tar.bz2"])
def test_an_archive_within_is_looked_into_and_one_within_that_is_not(
    tmp_path: Path, outer: str, inner: str
) -> None:
    within = PACKS[inner]({**CONTENT, "deeper.zip": zipped(CONTENT)})
    (tmp_path / outer).write_bytes(PACKS[outer]({"x": b"x", inner: within, "y": b"y"}))
    expected: dict[str, bytes | Reason] = {f"{inner}//{name}": data for name, data in CONTENT.items()}
    too_deep = {f"{inner}//deeper.zip": Reason.archive_too_large}
    assert read_all(tmp_path) == {"x": b"x", **expected, **too_deep, "y": b"y"}


def test_a_large_archive_within_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "NESTED_BYTES", 50)
    (tmp_path / "a.zip").write_bytes(zipped({"b.zip": zipped(CONTENT), "x": b"x"}))
    assert read_all(tmp_path) == {"b.zip": Reason.archive_too_large, "x": b"x"}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out_of_the_archive_lead_nowhere(tmp_path: Path, pack: Pack) -> None:
    names = {"../up": b"1", "/abs": b"2", "C:\\x": b"3", "a//b": b"4", "./c": b"5"}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ("a.zip" if pack is zipped else "a.tar")).write_bytes(pack(names))
    assert list(read_all(tmp_path).values()) == list(names.values())
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) in (["a.zip"], ["a.tar"])


def test_members_of_one_name_are_all_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for number in range(3):
            archive.writestr("x", str(number))
        archive.writestr("x (2)", "another")
    assert read_all(tmp_path) == {"x": b"0", "x (2)": b"1", "x (3)": b"2", "x (2) (2)": b"another"}


def test_large_zips_and_a_program_before_the_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, archive.open("x", "w", force_zip64=True) as x:
        x.write(b"zip64")
    (tmp_path / "b.zip").write_bytes(b"MZ program" + zipped({"y": b"behind"}))
    assert read_all(tmp_path) == {"x": b"zip64", "y": b"behind"}


def test_encrypted_members_are_told_of(tmp_path: Path) -> None:
    data = bytearray(zipped({"x": b"secret", "y": b"secret"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # general purpose bit 0 of x
    (tmp_path / "a.zip").write_bytes(data)
    assert read_all(tmp_path) == {"x": Reason.archive_broken, "y": b"secret"}
    assert met(tmp_path) == [("a.zip//x", Reason.archive_broken), ("a.zip//y", None)]


def test_unknown_compression_costs_one_member(tmp_path: Path) -> None:
    data = bytearray(zipped({"x": b"deflate64", "y": b"fine"}))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(signature) + offset] = 9
    (tmp_path / "a.zip").write_bytes(data)
    assert read_all(tmp_path) == {"x": Reason.archive_broken, "y": b"fine"}


def test_links_in_a_tar_are_repeats_or_lead_nowhere(tmp_path: Path) -> None:
    links = (link("s", "one/../c"), link("h", "./c", tarfile.LNKTYPE), link("out", "/etc/passwd"))
    special = tarfile.TarInfo("pipe")
    special.type = tarfile.FIFOTYPE
    (tmp_path / "a.tar").write_bytes(tarred({"one/../c": b"x", "c": b"c"}, *links, special))
    found = {f.member: f for f in find([tmp_path])}
    assert list(found) == ["one/../c", "c", "pipe", "s", "h", "out"]
    assert [m for m, f in found.items() if f.repeat and not f.reason] == ["s", "h"]
    assert [m for m, f in found.items() if f.reason is Reason.unreadable] == ["pipe", "out"]
    assert [m for m, data in read_all(tmp_path).items() if data is not Reason.unreadable] == ["one/../c", "c"]


def test_links_in_a_zip_are_repeats_or_lead_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, target in (("d/in", "../x"), ("d/out", "../../x")):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
        archive.writestr("x", "x")
        archive.mkdir("e")
    found = {f.member: f for f in find([tmp_path])}
    assert list(found) == ["x", "d/in", "d/out"]
    assert found["d/in"].repeat and found["d/in"].reason is None
    assert found["d/out"].reason is Reason.unreadable


def test_sparse_members_are_read_with_their_holes(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(sparse(data=b"data", offset=1000, size=5000))
    assert read_all(tmp_path) == {"s": bytes(1000) + b"data" + bytes(3996), "end": b"end"}


def sparse(data: bytes, offset: int, size: int) -> bytes:
    """A tar with a sparse member in GNU's old format (GNU tar manual, "Old GNU Format"), and one more."""
    head = tarfile.TarInfo("s")
    head.type, head.size = tarfile.GNUTYPE_SPARSE, len(data)
    block = bytearray(head.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (offset, len(data))
    block[483:495] = b"%011o\0" % size
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block) + data.ljust(512, b"\0") + tarred({"end": b"end"})


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_bombs_are_refused_by_what_they_say_and_by_what_comes_out(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 2000)
    monkeypatch.setattr(packed, "RATIO", 1)
    bomb = sparse(b"", 0, 10**12)
    data = {"a.zip": zipped({"x": bytes(10**6)}), "a.tar": bomb, "a.tar.gz": gzip.compress(bomb)}[name]
    (tmp_path / name).write_bytes(data)
    assert met(tmp_path) == [(name, Reason.archive_too_large)]


def test_a_bomb_that_says_nothing_is_refused_by_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "FREE_BYTES", 2000)
    monkeypatch.setattr(packed, "RATIO", 1)
    folders = [tarfile.TarInfo(str(n)) for n in range(100)]  # nothing but headers
    for folder in folders:
        folder.type = tarfile.DIRTYPE
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tarred({"x": b"x"}, *folders)))
    assert met(tmp_path)[-1] == ("a.tgz", Reason.archive_too_large)


def test_members_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"q": b"x", "z": b"y"}).replace(b"q", b"\0"))
    assert read_all(tmp_path) == {"": b"x", "z": b"y"}


def test_a_zip_that_understates_a_member_gives_no_more_than_it_says(tmp_path: Path) -> None:
    data = bytearray(zipped({"x": bytes(10**6)}))
    size = (10**6).to_bytes(4, "little")
    while size in data:
        at = data.index(size)
        data[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    assert read_all(tmp_path) == {"x": Reason.archive_broken}  # its checksum differs


def test_members_larger_than_the_limit(tmp_path: Path) -> None:
    for name, pack in PACKS.items():
        (tmp_path / name).write_bytes(pack({"large": bytes(5000), "small": b"x"}))
    for found in find([tmp_path]):
        if found.member == "small":
            assert read_bytes(found, 4999) == b"x"
        else:
            with pytest.raises(Quarantined) as caught:
                read_bytes(found, 4999)
            assert caught.value.reason is Reason.too_large


@pytest.mark.parametrize("name", PACKS)
def test_a_cut_archive_gives_what_it_has_and_is_told_of(tmp_path: Path, name: str) -> None:
    rng = random.Random(0)
    files = {f"{n}.dcm": rng.randbytes(3000) for n in range(30)}
    whole = PACKS[name](files)
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    contents = read_all(tmp_path)
    assert contents.pop(name) is Reason.archive_broken
    assert name in ("a.zip", "a.tar.bz2") or len(contents) >= 15  # a zip's directory is at its end
    cut = [member for member, data in contents.items() if data != files[member]]
    assert len(cut) <= 1 and all(contents[member] is Reason.archive_broken for member in cut)


def test_a_broken_header_in_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    data = bytearray(tarred({"a": b"1", "b": b"2", "c": b"3"}))
    data[1024:1034] = b"\xff" * 10  # the name of b, so that its checksum differs
    for name in ("a.tar", "b.tar.gz"):
        (tmp_path / name).write_bytes(bytes(data) if name == "a.tar" else gzip.compress(data))
    assert met(tmp_path) == [
        ("a.tar//a", None),
        ("a.tar", Reason.archive_broken),
        ("b.tar.gz//a", None),
        ("b.tar.gz", Reason.archive_broken),
    ]


def test_a_tar_cut_between_members_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tarred({"a": b"1", "b": b"2"})[:1024])
    assert met(tmp_path) == [("a.tar//a", None), ("a.tar", Reason.archive_broken)]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.zip", b"no zip", Reason.archive_broken),
        ("a.tgz", b"no gzip", Reason.archive_broken),
        ("a.tar", b"no tar" * 200, Reason.archive_broken),
        ("a.tar.gz", gzip.compress(b"no tar", mtime=0), Reason.archive_broken),
        ("a.zip", zipped({}), Reason.empty),
        ("a.tar", tarred({}), Reason.empty),
        ("a.tar.xz", b"", Reason.empty),
    ],
)
def test_what_only_says_that_it_is_an_archive(tmp_path: Path, name: str, data: bytes, reason: Reason) -> None:
    (tmp_path / name).write_bytes(data)
    assert met(tmp_path) == [(name, reason)]


def test_joined_gzip_streams_are_one(tmp_path: Path) -> None:
    data = tarred(CONTENT)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    assert read_all(tmp_path) == CONTENT


def test_an_archive_that_changed_is_not_read_by_old_positions(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tarred(CONTENT))
    os.utime(path, ns=(1, 1))
    found, *_ = find([tmp_path])
    path.write_bytes(tarred({"other": b"another patient"}))
    with pytest.raises(Quarantined) as caught:
        read_bytes(found, LIMIT)
    assert caught.value.reason is Reason.unreadable


def test_reading_in_order_goes_through_a_compressed_tar_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {str(n): bytes([n]) * 2000 for n in range(50)}
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tarred(files)))
    found = list(find([tmp_path]))
    assert [f.before_bytes for f in found] == [n * (512 + 2048) for n in range(50)]
    read, inflated = gzip.GzipFile.read, [0]

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        data = read(self, size)
        inflated[0] += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    for item in found[::3]:
        read_bytes(item, LIMIT)
    assert inflated[0] <= len(tarred(files))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_few_archives_stay_open(tmp_path: Path) -> None:
    for number in range(20):
        inner = zipped({"x": b"x"})
        (tmp_path / f"{number}.zip").write_bytes(zipped({"in.zip": inner, "y": b"y"}))
    before = open_files()
    for _ in range(2):
        assert all(read_bytes(found, LIMIT) in (b"x", b"y") for found in find([tmp_path]))
    assert open_files() <= before + 2
    close_archives()
    assert open_files() == before


@pytest.mark.parametrize(
    "name",
    [
        *("Thumbs.db", ".DS_Store", "desktop.ini", "AUTORUN.INF", "README", "README.TXT", "readme_v.pdf"),
        *("LOCKFILE", "VERSION", "viewer/start.exe", "a\\b\\view.dll", "INDEX.HTM", "style.css", "._IM0001"),
        *("__MACOSX/a.dcm", "x/__macosx/y/a.dcm"),
    ],
)
def test_companions_are_known_by_name(name: str) -> None:
    assert companion(name)


@pytest.mark.parametrize(
    "name", ["IM0001", "1.2.840.113619", "a.dcm", "report.pdf", "scan.jpg", "notes.txt", "exe", "VERSIONS/a"]
)
def test_what_may_be_a_picture_is_no_companion(name: str) -> None:
    assert not companion(name)


def test_real_files_are_the_same_in_a_folder_and_in_archives(data_folder: Path, tmp_path: Path) -> None:
    folder = (data_folder / "dicom" / "series").resolve()
    found = list(find([folder]))
    loose = {str(f.path.relative_to(folder)): read_bytes(f, LIMIT * 64) for f in found}
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zip_file,
        tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as tar_file,
    ):
        for name in loose:
            zip_file.write(folder / name, name)
            tar_file.add(folder / name, name)
    assert len(loose) == 80
    for archive in tmp_path.iterdir():
        assert {f.member: read_bytes(f, LIMIT * 64) for f in find([archive])} == loose


def test_a_repeat_is_marked_wherever_it_lies() -> None:
    assert Found(Path("/a/b"), repeat=True).locator != Found(Path("/a/b")).locator
