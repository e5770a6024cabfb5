"""The way to the coordinator below TLS: its name, its port, and an HTTP proxy in between."""

from __future__ import annotations

import base64
import re
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from common.errors import CoordinatorUnreachable

_ANSWER_LIMIT = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_SPELLING = "Write it as host:port; an IPv6 address stands in brackets."
_DNS = "Check the spelling. Where only a proxy knows names outside, name the proxy with --proxy."
_CLOSED = "Ask whether the coordinator is running, and whether this is the address it gives out."
_FILTERED = "Ask your network team to allow outgoing TCP to this address, or name the proxy with --proxy."
_REMEDIES = {
    407: "The proxy wants a name and password: --proxy http://NAME:PASSWORD@HOST:PORT.",
    403: "Ask your network team to let the proxy connect to the coordinator's address.",
    405: "Ask your network team to allow CONNECT to the coordinator's port; many proxies allow only 443.",
}
_BEHIND = "The proxy works, and cannot reach the coordinator itself: ask who runs it."


@dataclass(frozen=True, slots=True)
class Place:
    """Where something listens.

    Attributes:
        host: Its name or address.
        port: Its TCP port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        place: Where it listens.
        credentials: ``name:password``, or nothing.
    """

    place: Place
    credentials: str = ""


def place_of(address: str) -> Place:
    """The place that ``host:port`` names.

    Raises:
        CoordinatorUnreachable: It names none.
    """
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise CoordinatorUnreachable(f"{address!r} is no address", hint=_SPELLING)
    return Place(host.removeprefix("[").removesuffix("]"), int(port))


def proxy_of(url: str) -> Proxy:
    """The proxy that ``http://[name:password@]host:port`` names.

    Raises:
        CoordinatorUnreachable: It names none.
    """
    try:
        parts = urlsplit(url)
        place = Place(parts.hostname or "", parts.port or 0)
    except ValueError:
        place = Place("", 0)
    if not place.host or not place.port or parts.scheme != "http":
        raise CoordinatorUnreachable("the proxy's URL is none", hint="Write it as http://HOST:PORT.")
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Proxy(place, credentials)


def addresses(place: Place) -> tuple[str, ...]:
    """The network addresses behind a place's name.

    Raises:
        CoordinatorUnreachable: The name is not known here.
    """
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name"
        raise CoordinatorUnreachable(f"the name {place.host} is not known: {reason}", hint=_DNS) from None
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def reached(place: Place, timeout_s: float) -> socket.socket:
    """A TCP connection to a place.

    Raises:
        CoordinatorUnreachable: There is none to be had.
    """
    try:
        return socket.create_connection((place.host, place.port), timeout_s)
    except ConnectionRefusedError:
        raise CoordinatorUnreachable(f"nobody listens at {place}", hint=_CLOSED) from None
    except TimeoutError:
        raise CoordinatorUnreachable(f"{place} does not answer", hint=_FILTERED) from None
    except OSError as error:
        raise CoordinatorUnreachable(f"{place}: {error.strerror or error}", hint=_FILTERED) from None


def tunnelled(stream: socket.socket, proxy: Proxy, target: Place) -> None:
    """Have a proxy connect the stream through to the coordinator (RFC 9110, 9.3.6).

    Raises:
        CoordinatorUnreachable: It does not.
    """
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.credentials:
        encoded = base64.b64encode(proxy.credentials.encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {encoded}")
    try:
        stream.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = _answer(stream)
    except OSError as error:
        said = f"the proxy {proxy.place} does not answer: {error.strerror or error}"
        raise CoordinatorUnreachable(said, hint=_FILTERED) from None
    found = _STATUS.match(answer)
    if found is None:
        said = f"what listens at {proxy.place} is no HTTP proxy"
        raise CoordinatorUnreachable(said, hint="Ask your network team for the proxy's address.")
    if (status := int(found[1])) // 100 != 2:
        said = f"the proxy {proxy.place} answers {status} when asked for {target}"
        raise CoordinatorUnreachable(said, hint=_REMEDIES.get(status, _BEHIND))


def _answer(stream: socket.socket) -> bytes:
    """Status and headers, and not a byte of what follows: that belongs to TLS."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n") and len(answer) < _ANSWER_LIMIT:
        byte = stream.recv(1)
        if not byte:
            break
        answer += byte
    return answer
