"""``[receive]`` and ``[archives.NAME]`` of site.toml: who may send, whom to ask, how much is too much.

A key that is not named here is refused. Secrets never stand here: a key names the environment variable or
the file that holds one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from common.errors import HomeInvalid

MIB, GIB = 2**20, 2**30
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("an absolute path is needed")
    return path


AeTitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""VR AE without blanks around it: 1 to 16 characters of ASCII, no backslash (PS3.5 6.2)."""
Host = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+$")]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Section(BaseModel):
    """A table of site.toml: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ServerTls(Section):
    """``[receive.tls]``: what the receiver shows to those who send.

    Attributes:
        certificate: PEM file, the receiver's own certificate first.
        key: PEM file without a password.
        ca: PEM file; if given, a sender must show a certificate signed by one of these.
    """

    certificate: AbsolutePath
    key: AbsolutePath
    ca: AbsolutePath | None = None


class ClientTls(Section):
    """``[archives.NAME.tls]``: by what the archive is known, and what is shown to it.

    Attributes:
        ca: PEM file of the authorities that may vouch for the archive; None for the system's.
        server_name: Name in the archive's certificate, if it is not its host.
        certificate: PEM file shown to the archive.
        key: Its key, without a password.
    """

    ca: AbsolutePath | None = None
    server_name: Host | None = None
    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None

    @model_validator(mode="after")
    def _pair(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class Receiver(Section):
    """``[receive]``: the DICOM receiver of this site (C-STORE and C-ECHO SCP).

    Attributes:
        ae_title: What senders must call it; a sender that calls another title is rejected.
        host: Address to listen at; only this machine unless said otherwise.
        port: Port to listen at; 0 for a free one.
        allowed_ae_titles: Who may send. Nobody, if empty.
        max_associations: Connections at a time.
        max_object_bytes: A larger object is refused while it arrives.
        max_total_bytes: What the inbox may hold; None for as much as the disk does.
        min_free_bytes: What must stay free on its disk.
        idle_timeout_s: An association on which nothing moves for so long is ended.
        network_timeout_s: Longest wait for a handshake, or for the rest of a message part.
        tls: Without it the network carries the pictures in clear.
    """

    ae_title: AeTitle = "CONSILIUM"
    host: Host = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    allowed_ae_titles: tuple[AeTitle, ...] = ()
    max_associations: int = Field(8, ge=1, le=100)
    max_object_bytes: int = Field(2 * GIB, ge=MIB)
    max_total_bytes: int | None = Field(None, ge=MIB)
    min_free_bytes: int = Field(GIB, ge=0)
    idle_timeout_s: float = Field(60.0, gt=0.0)
    network_timeout_s: float = Field(30.0, gt=0.0)
    tls: ServerTls | None = None

    @property
    def where(self) -> str:
        """``host:port`` for messages."""
        return f"{self.host}:{self.port}"


class Archive(Section):
    """``[archives.NAME]``: a PACS, by DICOM's own protocol (host, port, ae_title), DICOMweb (url), or both.

    Attributes:
        host: Of its DICOM service.
        port: Of its DICOM service.
        ae_title: What the archive is called.
        calling_ae_title: What this site calls itself when it asks.
        tls: DICOM over TLS; an empty table trusts the system's authorities.
        url: DICOMweb service, such as https://pacs.example.org/dicom-web.
        user: For HTTP basic authentication.
        password_env: Environment variable with its password.
        password_file: File with its password.
        token_env: Environment variable with a bearer token.
        token_file: File with a bearer token.
        ca: PEM file of the authorities that may vouch for the url; None for the system's.
        network_timeout_s: Longest wait for a connection and for a handshake.
        response_timeout_s: Longest time in which nothing at all may arrive of what was asked for.
    """

    host: Host | None = None
    port: int | None = Field(None, ge=1, le=65535)
    ae_title: AeTitle | None = None
    calling_ae_title: AeTitle = "CONSILIUM"
    tls: ClientTls | None = None
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@?#]+$")] | None = None
    user: Annotated[str, StringConstraints(pattern=r"^[^:\s]+$")] | None = None
    password_env: Variable | None = None
    password_file: AbsolutePath | None = None
    token_env: Variable | None = None
    token_file: AbsolutePath | None = None
    ca: AbsolutePath | None = None
    network_timeout_s: float = Field(30.0, gt=0.0)
    response_timeout_s: float = Field(300.0, gt=0.0)

    @model_validator(mode="after")
    def _reachable(self) -> Archive:
        service = (self.host, self.port, self.ae_title)
        if any(part is None for part in service) and any(part is not None for part in service):
            raise ValueError("host, port and ae_title belong together")
        if self.host is None and self.url is None:
            raise ValueError("either host, port and ae_title are needed, or url")
        return self

    @model_validator(mode="after")
    def _secrets(self) -> Archive:
        given = [self.password_env, self.password_file, self.token_env, self.token_file]
        if sum(one is not None for one in given) > 1:
            raise ValueError("one of password_env, password_file, token_env and token_file is enough")
        if (self.user is None) != (self.password_env is None and self.password_file is None):
            raise ValueError("user and its password belong together")
        if any(one is not None for one in given) and not self._confidential():
            raise ValueError("a secret is sent by https only, unless the archive is on this machine")
        return self

    def _confidential(self) -> bool:
        parts = urlsplit(self.url or "")
        return parts.scheme == "https" or parts.hostname in _LOOPBACK

    @property
    def speaks_dimse(self) -> bool:
        """Whether DICOM's own protocol can be used."""
        return self.host is not None

    @property
    def where(self) -> str:
        """``host:port`` of the DICOM service, for messages."""
        return f"{self.host}:{self.port}"

    @property
    def where_web(self) -> str:
        """``host:port`` of the DICOMweb service, for messages."""
        parts = urlsplit(self.url or "")
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    def secret(self) -> tuple[Literal["password", "token"], str] | None:
        """The kind and value of the secret that the url asks for, or None.

        Raises:
            HomeInvalid: The variable or file does not hold one.
        """
        password = _secret(self.password_env, self.password_file)
        if password is not None:
            return "password", password
        token = _secret(self.token_env, self.token_file)
        return None if token is None else ("token", token)


def _secret(variable: str | None, file: Path | None) -> str | None:
    if variable is not None:
        value = os.environ.get(variable, "")
        return value or _missing(f"The environment variable {variable} is not set.")
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").strip() or _missing(f"{file} is empty.")
    except (OSError, UnicodeDecodeError):
        return _missing(f"{file} cannot be read.")


def _missing(what: str) -> str:
    raise HomeInvalid(what, hint="An archive in site.toml names where its secret is; put it there.")
