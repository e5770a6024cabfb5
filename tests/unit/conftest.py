"""Small hospitals on disk, and a Grid in memory that can be told to fail."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from numpy.typing import NDArray
from PIL import Image

from client.app import app
from client.manifest import Row, write_manifest
from client.site import Site
from common.errors import Refusal
from common.flower import adopt_identity, error_reply, with_message_id
from common.models import initial_weights
from common.study import Study, parse_study
from common.tasks import ABOUT, ARRAYS, refusal_content
from common.weights import Weights
from server.detached import DetachedGrid
from server.roster import Roster, gather
from server.rounds import RoundEngine
from server.strategies import build_strategy

SIZE = 8
SITES = {"alder": (6, 2), "birch": (8, 4), "cedar": (10, 2), "dogwood": (5, 2)}  # training and test cases
SECRET = "Mueller^Anna"  # planted wherever a private text could come from

Arrays = dict[str, NDArray[Any]]
Answer = Callable[[Message, Message], Message | None]  # request and true reply, to what arrives


def picture(label: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(SIZE, SIZE): bright above for class 1, below for class 0."""
    pixels = rng.integers(0, 100, (SIZE, SIZE), dtype=np.uint8)
    half = slice(0, SIZE // 2) if label else slice(SIZE // 2, SIZE)
    pixels[half] += 120
    return pixels


def write_hospitals(folder: Path, sites: Mapping[str, tuple[int, int]]) -> Path:
    """A manifest with PNG pictures: training and test cases of each site, both classes by turns."""
    rng, rows = np.random.default_rng(0), []
    for site, (train, test) in sites.items():
        for number, split in enumerate(["train"] * train + ["test"] * test):
            patient, label = f"{site}-{number:02d}", number % 2
            Image.fromarray(picture(label, rng)).save(folder / f"{patient}.png")
            rows.append(Row(f"{patient}.png", site, patient, split, str(label), number))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def small_study(**sections: Any) -> Study:
    """A study of a model that trains in milliseconds; keyword arguments are laid over its sections."""
    document: dict[str, Any] = {
        "study": {"name": "small", "labels": {"0": "normal", "1": "lesion"}},
        "sequence": {"kind": "rows", "size": SIZE},
        "model": {"hidden": 4},
        "training": {"batch_size": 4, "learning_rate": 0.01},
        "federation": {"rounds": 2, "deadline_s": 10.0},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return parse_study(document)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one site's messages of one type."""

    answer: Answer = lambda request, reply: reply
    kind: str = MessageType.TRAIN
    late_s: float = 0.0
    accepted: bool = True


class Faults:
    """The faults there are."""

    @staticmethod
    def lost(kind: str = MessageType.TRAIN) -> Fault:
        return Fault(lambda request, reply: None, kind)

    @staticmethod
    def late(seconds: float, kind: str = MessageType.TRAIN) -> Fault:
        return Fault(kind=kind, late_s=seconds)

    @staticmethod
    def not_accepted() -> Fault:
        return Fault(accepted=False)

    @staticmethod
    def refused(kind: str = MessageType.TRAIN) -> Fault:
        content = refusal_content(Refusal("policy", "The hospital says no.", "Ask there."), "")
        return Fault(lambda request, reply: Message(content, reply_to=request), kind)

    @staticmethod
    def error(kind: str = MessageType.TRAIN) -> Fault:
        return Fault(lambda request, reply: error_reply(request, 7, SECRET), kind)

    @staticmethod
    def content(change: Callable[[RecordDict], RecordDict], kind: str = MessageType.TRAIN) -> Fault:
        return Fault(lambda request, reply: Message(change(reply.content), reply_to=request), kind)

    @staticmethod
    def says(kind: str = MessageType.TRAIN, **about: Any) -> Fault:
        """Other values in the reply; None leaves the field away."""

        def change(content: RecordDict) -> RecordDict:
            changed = {**content.config_records[ABOUT], **about}
            kept = ConfigRecord({key: value for key, value in changed.items() if value is not None})
            return RecordDict({**content, ABOUT: kept})

        return Faults.content(change, kind)

    @staticmethod
    def arrays(change: Callable[[Arrays], Mapping[str, Any]], kind: str = MessageType.TRAIN) -> Fault:
        """Other arrays in the reply."""

        def changed(content: RecordDict) -> RecordDict:
            arrays = change({name: array.numpy() for name, array in content.array_records[ARRAYS].items()})
            return RecordDict({**content, ARRAYS: ArrayRecord({n: Array(a) for n, a in arrays.items()})})

        return Faults.content(changed, kind)

    @staticmethod
    def bytes(data: bytes, name: str = "head.bias", kind: str = MessageType.TRAIN) -> Fault:
        """Other bytes in place of one array."""

        def changed(content: RecordDict) -> RecordDict:
            record = ArrayRecord(dict(content.array_records[ARRAYS].items()))
            old = record[name]
            record[name] = Array(dtype=old.dtype, shape=old.shape, stype=old.stype, data=data)
            return RecordDict({**content, ARRAYS: record})

        return Faults.content(changed, kind)


class FaultyGrid(DetachedGrid):
    """Calls the real ClientApp in this process and does to the replies what it is told.

    Attributes:
        sites: Node id to site; nodes come and go by changing it.
        faults: What goes wrong, by site name; may be changed at any time.
        asked: Type of each message and the site it was sent to.
        sent: Type and content of each.
        replies: Each content that left a site.
    """

    def __init__(
        self, sites: Sequence[Site], faults: Mapping[str, Fault] | None = None, order: int = 0
    ) -> None:
        super().__init__()
        self.sites = dict(enumerate(sites, start=1))
        self.faults = dict(faults or {})
        self.asked: list[tuple[str, str]] = []
        self.sent: list[tuple[str, RecordDict]] = []
        self.replies: list[RecordDict] = []
        self._order = random.Random(order)
        self._inbox: dict[str, tuple[float, Message]] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.sites)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What is there by now, in any order, and not always all of it."""
        wanted, now = set(message_ids), time.monotonic()
        ready = sorted(i for i, (at, _) in self._inbox.items() if i in wanted and at <= now)
        self._order.shuffle(ready)
        count = self._order.randint(1, len(ready)) if ready else 0
        return [self._inbox.pop(message_id)[1] for message_id in ready[:count]]

    def leave(self, name: str) -> None:
        """A site's nodes go offline."""
        self.sites = {node: site for node, site in self.sites.items() if site.name != name}

    def join(self, node_id: int, site: Site) -> None:
        """A node comes online."""
        self.sites[node_id] = site

    def _push(self, message: Message) -> str:
        site = self.sites[message.metadata.dst_node_id]
        fault = self.faults.get(site.name, Fault())
        fault = fault if fault.kind == message.metadata.message_type else Fault()
        self.asked.append((message.metadata.message_type, site.name))
        self.sent.append((message.metadata.message_type, message.content))
        if not fault.accepted:
            return ""
        request = self.numbered(message)
        true_reply = app(request, context_of(site))
        self.replies.append(true_reply.content)
        reply = fault.answer(request, true_reply)
        if reply is not None:
            self._inbox[request.metadata.message_id] = (time.monotonic() + fault.late_s, reply)
        return str(request.metadata.message_id)


def context_of(site: Site) -> Context:
    """A site's Flower context."""
    return Context(
        run_id=1, node_id=1, node_config=dict(site.node_config()), state=RecordDict(), run_config={}
    )


@dataclass
class Federation:
    """A federation that has been gathered."""

    grid: FaultyGrid
    study: Study
    roster: Roster
    engine: RoundEngine
    base: Weights
    seed: int = field(default=0)


def pytest_runtest_setup() -> None:
    """Flower's Bulyan and QFedAvg collect garbage once per array: let there be little to look through."""
    gc.freeze()


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of four hospitals: alder, birch, cedar, dogwood."""
    return write_hospitals(tmp_path_factory.mktemp("hospitals"), SITES)


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[[Mapping[str, tuple[int, int]]], Path]:
    """Writes a manifest with the pictures of other hospitals."""
    return lambda sites: write_hospitals(tmp_path, sites)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    """See :func:`small_study`."""
    return small_study


@pytest.fixture(scope="session")
def site_of(hospitals: Path) -> Callable[..., Site]:
    """One of the hospitals by name."""

    def make(name: str, **changes: Any) -> Site:
        return Site(**{"name": name, "manifest": str(hospitals), "device": "cpu", **changes})

    return make


@pytest.fixture(scope="session")
def faults() -> type[Faults]:
    """See :class:`Faults`."""
    return Faults


@pytest.fixture(scope="session")
def secret() -> str:
    """A patient's name, to be planted where it must not come out again."""
    return SECRET


@pytest.fixture
def grid_of(site_of: Callable[..., Site]) -> Callable[..., FaultyGrid]:
    """A Grid of the hospitals, or of the sites given."""

    def make(*sites: Site, faults: Mapping[str, Fault] | None = None, order: int = 0) -> FaultyGrid:
        return FaultyGrid(sites or [site_of(name) for name in SITES], faults, order)

    return make


@pytest.fixture
def federation(grid_of: Callable[..., FaultyGrid], site_of: Callable[..., Site]) -> Callable[..., Federation]:
    """A gathered federation of the hospitals, or of those named."""

    def make(
        *names: str, faults: Mapping[str, Fault] | None = None, order: int = 0, seed: int = 0, **study: Any
    ) -> Federation:
        grid = grid_of(*(site_of(name) for name in names), faults=faults, order=order)
        made = small_study(**study)
        roster = gather(grid, made, len(grid.sites), 1.0)
        engine = RoundEngine(grid, made, seed, roster, build_strategy(made.federation.strategy))
        return Federation(grid, made, roster, engine, initial_weights(made, seed), seed)

    return make


@pytest.fixture(scope="session")
def ask_app() -> Callable[..., RecordDict]:
    """Sends one message to a site's ClientApp and returns the content of its reply."""

    def ask(site: Site | Mapping[str, Any], message_type: str, content: RecordDict) -> RecordDict:
        adopt_identity(1)
        config = site.node_config() if isinstance(site, Site) else site
        context = Context(run_id=1, node_id=1, node_config=dict(config), state=RecordDict(), run_config={})
        request = with_message_id(Message(content, 1, message_type), "1")
        answered = app(request, context)
        assert not answered.has_error()
        return answered.content

    return ask


@pytest.fixture(scope="session")
def text_of() -> Callable[[RecordDict], str]:
    """Everything in a record as one text, array bytes included."""

    def text(content: RecordDict) -> str:
        configs = [str(dict(record)) for record in content.config_records.values()]
        metrics = [str(dict(record)) for record in content.metric_records.values()]
        arrays = [
            name + array.data.decode("latin-1")
            for record in content.array_records.values()
            for name, array in record.items()
        ]
        return "\n".join([*content.keys(), *configs, *metrics, *arrays])

    return text
