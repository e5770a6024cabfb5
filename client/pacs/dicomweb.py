"""DICOMweb (PS3.18): asking by QIDO-RS, and the connection that WADO-RS uses too.

Only what site.toml says decides where a question goes and who is believed: no proxy and no password file of
the environment is used, and no redirection is followed, since addresses here hold patients' identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from client.pacs.index import Answer
from client.pacs.reception import silence
from client.pacs.settings import Archive
from common.errors import HomeInvalid, PacsQueryTooWide, PacsRefused, PacsUnreachable

if TYPE_CHECKING:
    from requests import Session

_PAGE = 500
_TAG = re.compile("[0-9A-Fa-f]{8}")


@contextmanager
def web_session(archive: Archive) -> Iterator[Session]:
    """A session that speaks for this site.

    Raises:
        HomeInvalid: The archive has no url, or a secret or a file is not where it is said to be.
    """
    from requests import Session

    silence()
    if archive.url is None:
        raise HomeInvalid("The archive has no url, which DICOMweb needs.")
    with Session() as session:
        session.trust_env = False
        session.max_redirects = 0
        if archive.ca is not None:
            if not archive.ca.is_file():
                raise HomeInvalid(f"{archive.ca} cannot be used as a list of authorities.")
            session.verify = str(archive.ca)
        secret = archive.secret()
        if secret is not None and secret[0] == "token":
            session.headers["Authorization"] = f"Bearer {secret[1]}"
        elif secret is not None:
            session.auth = (archive.user or "", secret[1])
        yield session


@contextmanager
def web_errors(archive: Archive, step: str) -> Iterator[None]:
    """Coded errors for whatever a request meets; none quotes an address or an answer."""
    from requests import exceptions

    where = archive.where_web
    try:
        yield
    except exceptions.HTTPError as error:
        status = error.response.status_code if error.response is not None else "unknown"
        raise PacsRefused(f"{where}: {step} was answered with HTTP status {status}.") from None
    except exceptions.TooManyRedirects:
        raise PacsRefused(
            f"{where}: {step} was redirected; the url in site.toml must be the final one."
        ) from None
    except exceptions.JSONDecodeError:
        raise PacsRefused(f"{where}: {step} was not answered in DICOM JSON.") from None
    except exceptions.SSLError:
        raise PacsUnreachable(f"{where}: {step} failed, the server's certificate is not trusted.") from None
    except (exceptions.RequestException, OSError):
        raise PacsUnreachable(f"{where}: {step} failed, the connection could not be made or broke.") from None


class WebIndex:
    """An archive that is asked by QIDO-RS (PS3.18 10.6)."""

    def __init__(self, archive: Archive, session: Session) -> None:
        self._archive = archive
        self._session = session

    @classmethod
    @contextmanager
    def open(cls, archive: Archive) -> Iterator[WebIndex]:
        """An index, as long as its session lasts."""
        with web_session(archive) as session:
            yield cls(archive, session)

    @property
    def where(self) -> str:
        """``host:port`` for messages."""
        return self._archive.where_web

    def studies(self, keys: Mapping[str, str], wanted: Sequence[str], most: int) -> Iterator[Answer]:
        """Studies; see :class:`client.pacs.index.Index`."""
        return self._ask("/studies", keys, wanted, most)

    def series(
        self, study_uid: str, keys: Mapping[str, str], wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """Series of a study."""
        return self._ask(f"/studies/{quote(study_uid)}/series", keys, wanted, most)

    def instances(
        self, study_uid: str, series_uid: str, wanted: Sequence[str], most: int
    ) -> Iterator[Answer]:
        """Instances of a series."""
        path = f"/studies/{quote(study_uid)}/series/{quote(series_uid)}/instances"
        return self._ask(path, {}, wanted, most)

    def _ask(self, path: str, keys: Mapping[str, str], wanted: Sequence[str], most: int) -> Iterator[Answer]:
        """Answers page by page; a server may make pages smaller than asked for, or know no pages at all."""
        seen: set[str] = set()
        while True:
            answers = self._page(path, keys, wanted, min(_PAGE, most + 1), len(seen))
            fresh = {answer.text(wanted[0]): answer for answer in answers}
            fresh = {uid: answer for uid, answer in fresh.items() if uid and uid not in seen}
            seen.update(fresh)
            yield from fresh.values()
            if len(seen) > most:
                raise PacsQueryTooWide(f"{self.where}: more than {most} match.")
            if not fresh:
                return

    def _page(
        self, path: str, keys: Mapping[str, str], wanted: Sequence[str], limit: int, offset: int
    ) -> list[Answer]:
        timeouts = (self._archive.network_timeout_s, self._archive.response_timeout_s)
        asked = [*keys.items(), ("limit", str(limit)), ("offset", str(offset))]
        asked += [("includefield", keyword) for keyword in sorted({*wanted, *keys})]
        with web_errors(self._archive, "a query"):
            answer = self._session.get(
                f"{(self._archive.url or '').rstrip('/')}{path}?{_written(asked)}",
                headers={"Accept": "application/dicom+json"},
                timeout=timeouts,
            )
            answer.raise_for_status()
            found = answer.json() if answer.content else []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise PacsRefused(f"{self.where}: a query was not answered in DICOM JSON.")
        return [Answer(_texts(one)) for one in found]


def _written(asked: Sequence[tuple[str, str]]) -> str:
    """The query of an address; wildcards stand as they are, since not every archive decodes them."""
    return "&".join(f"{key}={quote(value, safe='*?')}" for key, value in asked)


def _texts(one: Mapping[str, Any]) -> dict[str, str]:
    """Keyword to text out of the DICOM JSON model (PS3.18 F.2)."""
    from pydicom.datadict import keyword_for_tag

    found = {}
    for tag, element in one.items():
        if isinstance(element, dict) and _TAG.fullmatch(tag):
            found[keyword_for_tag(tag)] = "\\".join(map(_text, element.get("Value") or []))
    return found


def _text(value: Any) -> str:
    """A value of DICOM JSON; of a person's name (VR PN) what stands in the alphabet."""
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return str(value).strip()
