"""A web server that misbehaves is met with a coded error, and nothing half-written is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from client.pacs.inbox import Inbox
from client.pacs.order import Order
from client.pacs.query import Found, find
from client.pacs.retrieval import retrieve
from client.pacs.settings import Archive, Receiver
from client.pacs.wado import WebFetcher
from common.errors import ConsiliumError, HomeInvalid, PacsIncomplete, PacsRefused
from tests.unit.pacs.bodies import BOUNDARY, body, head

LIMITS = Receiver(min_free_bytes=0)
SECRET = "Mueller^Anna"
MULTIPART = f"multipart/related; type=application/dicom; boundary={BOUNDARY.decode()}"
Served = Callable[[int, dict[str, str], bytes], Archive]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    status, headers, content = 200, dict[str, str](), b""
    asked: list[str]
    authorisations: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.authorisations.append(self.headers.get("Authorization"))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as one:
        one.asked, one.authorisations = [], []
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        yield one
        one.shutdown()
        thread.join()


@pytest.fixture
def served(server: _Server) -> Served:
    """Answers everything with a status, headers and a body."""

    def serve(status: int, headers: dict[str, str], content: bytes) -> Archive:
        server.status, server.headers, server.content = status, headers, content
        return Archive(url=f"http://127.0.0.1:{server.server_port}/dicom-web", network_timeout_s=5.0)

    return serve


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (200, {}, b"<html>"),
        (200, {}, b'{"error": 1}'),
        (200, {}, b"[1, 2]"),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
        (401, {}, b""),
        (500, {}, SECRET.encode()),
    ],
    ids=["no JSON", "no list", "no objects", "redirected", "no right", "defect"],
)
def test_an_answer_that_is_none_is_a_refusal(
    served: Served, status: int, headers: dict[str, str], content: bytes
) -> None:
    with pytest.raises(PacsRefused) as caught:
        find(served(status, headers, content), {"PatientName": SECRET})
    assert "Mueller" not in caught.value.private and "127.0.0.1:" in caught.value.private


@pytest.mark.parametrize("content", [b"", b"[]", b'[{"0020000D": {"vr": "UI"}}]', b'[{"odd": 1}]'])
def test_an_empty_answer_finds_nothing(served: Served, content: bytes) -> None:
    assert find(served(200, {}, content), {}) == []


def test_a_server_that_knows_no_pages_is_asked_once_more_only(served: Served, server: _Server) -> None:
    archive = served(200, {}, b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]')
    assert find(archive, {}) == [Found("1.2")]
    assert len(server.asked) == 2


def test_neither_proxies_nor_passwords_of_the_environment_are_used(
    served: Served, server: _Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert find(served(200, {}, b"[]"), {}) == []
    assert server.authorisations == [None]


def test_the_secret_is_sent(served: Served, server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_TOKEN", "quite secret")
    find(served(200, {}, b"[]").model_copy(update={"token_env": "PACS_TOKEN"}), {})
    assert server.authorisations == ["Bearer quite secret"]


def test_wildcards_stand_as_they_are(served: Served, server: _Server) -> None:
    find(served(200, {}, b"[]"), {"PatientName": "M?ller*&x=1"})
    assert "PatientName=M?ller*%26x%3D1&" in server.asked[0]


def test_parts_are_kept_as_they_come(served: Served, server: _Server, tmp_path: Path) -> None:
    archive = served(200, {"Content-Type": MULTIPART}, body([head("1.2"), head("1.3")]))
    with Inbox(tmp_path, LIMITS) as inbox, WebFetcher.open(archive, inbox) as fetcher:
        assert fetcher.fetch(Order("1", "1.1")) == ""
        assert inbox.path("1.2").read_bytes() == head("1.2") and inbox.holds("1.3")
    assert server.asked == ["/dicom-web/studies/1/series/1.1"]


def test_a_single_file_is_kept_too(served: Served, tmp_path: Path) -> None:
    archive = served(200, {"Content-Type": "application/dicom"}, head("1.2"))
    with Inbox(tmp_path, LIMITS) as inbox, WebFetcher.open(archive, inbox) as fetcher:
        assert fetcher.fetch(Order("1", "1.1", ("1.2",))) == ""
        assert inbox.holds("1.2")


@pytest.mark.parametrize(
    ("headers", "content", "kept"),
    [
        ({"Content-Type": MULTIPART}, body([head("1.2"), head("1.3")])[:-60], 1),
        ({"Content-Type": MULTIPART, "Content-Length": "100000"}, body([head("1.2")])[:-40], 0),
        ({"Content-Type": "text/html"}, b"<html>", 0),
    ],
    ids=["cut off", "shorter than announced", "another kind"],
)
def test_what_breaks_off_keeps_whole_parts_only(
    served: Served, tmp_path: Path, headers: dict[str, str], content: bytes, kept: int
) -> None:
    archive = served(200, headers, content)
    with Inbox(tmp_path, LIMITS) as inbox, WebFetcher.open(archive, inbox) as fetcher:
        with pytest.raises(PacsIncomplete):
            fetcher.fetch(Order("1"))
        assert inbox.tally.new == kept
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == kept


def test_a_part_that_is_no_dicom_file_is_not_kept(served: Served, tmp_path: Path) -> None:
    archive = served(200, {"Content-Type": MULTIPART}, body([b"<html>", head("1.2"), b"", head("1.3")[:140]]))
    with Inbox(tmp_path, LIMITS) as inbox, WebFetcher.open(archive, inbox) as fetcher:
        assert "no DICOM file" in fetcher.fetch(Order("1"))
    assert list(tmp_path.rglob("*.dcm")) == [inbox.path("1.2")]
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("method", "given", "kind"),
    [
        ("web", {"host": "h", "port": 1, "ae_title": "A"}, HomeInvalid),
        ("move", {"url": "https://h"}, HomeInvalid),
        ("get", {"url": "https://h"}, HomeInvalid),
    ],
)
def test_a_method_that_the_archive_has_not_is_a_coded_error(
    tmp_path: Path, method: str, given: dict[str, object], kind: type[ConsiliumError]
) -> None:
    with pytest.raises(kind):
        retrieve(Archive.model_validate(given), [], tmp_path, None, method)  # type: ignore[arg-type]
