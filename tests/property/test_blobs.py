"""Whatever an interruption left in a blob store, a blob is completed or begun anew, and never a wrong one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from common.errors import BlobRefused
from common.link.blobs import BlobStore

LIMIT = 60
BLOBS = st.binary(max_size=40)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(store: BlobStore, data: bytes, size: int) -> None:
    """As a sender does that asks first how much has come."""
    digest, start = digest_of(data), store.offset(digest_of(data))
    for at in range(start, len(data), size):
        store.append(digest, at, len(data), data[at : at + size])
    if start > len(data) or not data:
        store.append(digest, 0, len(data), b"")
    store.finish(digest)


@given(BLOBS, st.binary(max_size=50), st.integers(0, 50), st.booleans(), st.integers(1, 9), st.booleans())
def test_a_blob_is_completed_from_whatever_is_there(
    data: bytes, rubbish: bytes, cut: int, honest: bool, size: int, complete: bool
) -> None:
    """Left behind: a beginning of the blob, or rubbish, under the name of a complete or unfinished one."""
    digest = digest_of(data)
    with TemporaryDirectory() as name:
        store = BlobStore(Path(name), LIMIT)
        file = digest if complete else f"{digest}.{len(data)}.partial"
        left = data[:cut] if honest else rubbish
        (store.folder / file).write_bytes(left)
        if complete and left != data:
            with suppress(BlobRefused):
                assert store.read(digest) == data
                raise AssertionError("given out")
        try:
            send(store, data, size)
        except BlobRefused:
            assert not honest or complete
            send(store, data, size)
        assert store.read(digest) == data
        assert b"".join(store.chunks(digest, 0, repeat(size))) == data


class Stores(RuleBasedStateMachine):
    """Two processes at work in one folder, one of which is restarted now and then."""

    blobs = Bundle("blobs")

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.stores = [self.opened(), self.opened()]
        self.contents: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    def opened(self) -> BlobStore:
        return BlobStore(Path(self.folder.name), LIMIT)

    @rule(target=blobs, data=BLOBS)
    def blob(self, data: bytes) -> str:
        self.contents[digest_of(data)] = data
        return digest_of(data)

    @rule(who=st.integers(0, 1))
    def restart(self, who: int) -> None:
        self.stores[who] = self.opened()

    @rule(who=st.integers(0, 1), digest=blobs)
    def put(self, who: int, digest: str) -> None:
        with suppress(BlobRefused):
            self.stores[who].put([self.contents[digest]])
            assert self.stores[1 - who].read(digest) == self.contents[digest]

    @rule(
        who=st.integers(0, 1),
        digest=blobs,
        start=st.integers(0, 40),
        stop=st.integers(0, 41),
        longer=st.sampled_from([0, 0, 0, 1]),
        noise=st.sampled_from([b"", b"", b"", b"?"]),
    )
    def append(self, who: int, digest: str, start: int, stop: int, longer: int, noise: bytes) -> None:
        data = self.contents[digest]
        with suppress(BlobRefused):
            self.stores[who].append(digest, start, len(data) + longer, data[start:stop] + noise)

    @rule(who=st.integers(0, 1), digest=blobs)
    def go_on(self, who: int, digest: str) -> None:
        store, data = self.stores[who], self.contents[digest]
        with suppress(BlobRefused):
            at = store.offset(digest)
            store.append(digest, at, len(data), data[at : at + 9])

    @rule(who=st.integers(0, 1), digest=blobs)
    def finish(self, who: int, digest: str) -> None:
        with suppress(BlobRefused):
            self.stores[who].finish(digest)
            assert self.stores[1 - who].read(digest) == self.contents[digest]

    @rule(digest=blobs, cut=st.integers(0, 40))
    def power_cut(self, digest: str, cut: int) -> None:
        """What was not synchronised may be shorter, or zeros."""
        for path in Path(self.folder.name).glob(f"{digest}.*.partial"):
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.truncate(min(size, cut))
                if cut % 2:
                    file.truncate(size)

    @rule(who=st.integers(0, 1), digest=blobs)
    def remove(self, who: int, digest: str) -> None:
        self.stores[who].remove(digest)

    @rule(who=st.integers(0, 1), digest=blobs)
    def keep(self, who: int, digest: str) -> None:
        self.stores[who].keep([digest])

    @invariant()
    def what_is_given_out_is_what_its_digest_names(self) -> None:
        for digest, data in getattr(self, "contents", {}).items():
            for store in self.stores:
                if store.has(digest):
                    assert store.read(digest) == data

    @invariant()
    def the_limit_is_kept(self) -> None:
        if hasattr(self, "folder"):
            files = [path for path in Path(self.folder.name).iterdir() if path.name != "lock"]
            assert sum(path.stat().st_size for path in files) <= LIMIT


Stores.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStores = Stores.TestCase


@given(st.lists(BLOBS, min_size=1, max_size=6), st.integers(1, 9))
def test_room_that_was_announced_can_be_used(blobs: list[bytes], size: int) -> None:
    """An upload that was begun always finds its room, whatever is begun after it."""
    with TemporaryDirectory() as name:
        store = BlobStore(Path(name), LIMIT)
        begun = []
        for data in blobs:
            with suppress(BlobRefused):
                store.append(digest_of(data), 0, len(data), b"")
                begun.append(data)
        for data in begun:
            send(store, data, size)
            assert store.read(digest_of(data)) == data
        assert sum(map(len, set(begun))) <= LIMIT
