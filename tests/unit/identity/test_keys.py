"""Keys in files: nobody else can have read them, and nothing of them gets out by an error."""

from __future__ import annotations

import base64
import errno
import os
import stat
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConsiliumError, DiskFull, IdentityExists, KeyUnreadable, KeyUnsafe, OutputUnwritable
from common.identity import (
    PrivateKey,
    fingerprint,
    key_of,
    key_pem,
    new_signing_key,
    new_tls_key,
    public_of,
    public_text,
    read_key,
    read_passphrase,
    sign,
    verify,
    write_key,
)

KEYS: dict[str, PrivateKey] = {"tls": new_tls_key(), "signing": new_signing_key()}
FOREIGN: dict[str, ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey] = {
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65537, 2048),
}
PASSPHRASE = b"correct horse \xf0\x9f\x90\x8e battery"

of_kind = pytest.mark.parametrize("kind", KEYS)


def _written(folder: Path, key: PrivateKey, passphrase: bytes | None = None) -> Path:
    path = folder / "key.pem"
    write_key(path, key, passphrase)
    return path


def _said(error: BaseException) -> str:
    """All that could be printed of an error, with those it came from."""
    said = [repr(error), str(error), *traceback.format_exception(error)]
    if isinstance(error, ConsiliumError):
        said += [error.private, error.hint, repr(error.refusal())]
    return "\n".join([*said, _said(error.__context__) if error.__context__ else ""])


@of_kind
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_key_comes_back(closed: Path, kind: str, passphrase: bytes | None) -> None:
    path = _written(closed, KEYS[kind], passphrase)
    assert read_key(path, passphrase).public_key() == KEYS[kind].public_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in path.read_bytes()) == (passphrase is not None)


def test_an_open_umask_opens_nothing(closed: Path) -> None:
    before = os.umask(0)
    try:
        path = _written(closed, KEYS["tls"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(closed: Path) -> None:
    path = _written(closed, KEYS["tls"])
    content = path.read_bytes()
    with pytest.raises(IdentityExists):
        write_key(path, KEYS["signing"])
    assert path.read_bytes() == content


def test_a_link_to_nowhere_is_not_written_through(closed: Path, tmp_path: Path) -> None:
    (closed / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IdentityExists):
        write_key(closed / "key.pem", KEYS["tls"])
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_needs_a_folder_that_is_there(closed: Path) -> None:
    with pytest.raises(OutputUnwritable):
        write_key(closed / "none" / "key.pem", KEYS["tls"])


def test_a_full_disk_leaves_nothing(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        write_key(closed / "key.pem", KEYS["tls"])
    assert not list(closed.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o620, 0o602, 0o610, 0o601, 0o660, 0o777])
def test_a_key_that_others_may_open_is_not_read(closed: Path, mode: int) -> None:
    path = _written(closed, KEYS["tls"])
    path.chmod(mode)
    with pytest.raises(KeyUnsafe, match=f"{mode:04o}"):
        read_key(path)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o710, 0o770, 0o1777])
def test_a_folder_that_others_may_enter_is_not_used(closed: Path, mode: int) -> None:
    path = _written(closed, KEYS["tls"])
    closed.chmod(mode)
    with pytest.raises(KeyUnsafe):
        read_key(path)
    with pytest.raises(KeyUnsafe):
        write_key(closed / "new.pem", KEYS["tls"])
    assert not (closed / "new.pem").exists()


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_key_only_its_owner_may_open_is_read(closed: Path, mode: int) -> None:
    path = _written(closed, KEYS["tls"])
    path.chmod(mode)
    assert read_key(path).public_key() == KEYS["tls"].public_key()


def test_links_are_not_followed(closed: Path, tmp_path: Path) -> None:
    path = _written(closed, KEYS["tls"])
    (closed / "link.pem").symlink_to(path)
    (tmp_path / "folder").symlink_to(closed)
    for link in (closed / "link.pem", tmp_path / "folder" / "key.pem"):
        with pytest.raises(KeyUnsafe, match="link"):
            read_key(link)
    with pytest.raises(KeyUnsafe, match="link"):
        write_key(tmp_path / "folder" / "new.pem", KEYS["tls"])


def test_somebody_elses_key_is_not_read(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, me = _written(closed, KEYS["tls"]), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(KeyUnsafe, match="belongs to"):
        read_key(path)


def test_somebody_elses_file_in_ones_own_folder_is_not_read(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, me = _written(closed, KEYS["tls"]), os.geteuid()
    answers = iter([me, me + 1, me + 1])  # the folder's owner; then somebody who is not the file's
    monkeypatch.setattr(os, "geteuid", lambda: next(answers))
    with pytest.raises(KeyUnsafe, match=r"key\.pem belongs to"):
        read_key(path)


def test_a_pipe_a_folder_and_a_huge_file_are_no_keys(closed: Path) -> None:
    os.mkfifo(closed / "pipe", 0o600)
    (closed / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(KeyUnsafe, match="regular"):
            read_key(closed / name)
    (closed / "huge").touch(0o600)
    os.truncate(closed / "huge", 10**9)
    with pytest.raises(KeyUnreadable, match="larger"):
        read_key(closed / "huge")


def test_a_missing_key_is_named(closed: Path) -> None:
    with pytest.raises(KeyUnreadable, match=r"none\.pem"):
        read_key(closed / "none.pem")


@of_kind
@pytest.mark.parametrize(
    ("written", "given_"), [(PASSPHRASE, None), (PASSPHRASE, b"wrong"), (None, PASSPHRASE), (PASSPHRASE, b"")]
)
def test_another_passphrase_opens_nothing_and_is_told(
    closed: Path, kind: str, written: bytes | None, given_: bytes | None
) -> None:
    path = _written(closed, KEYS[kind], written)
    with pytest.raises(KeyUnreadable) as caught:
        read_key(path, given_)
    said = _said(caught.value)
    assert "key.pem" in caught.value.private
    assert "key.pem" not in repr(caught.value.refusal())
    secrets = [line for line in path.read_text().splitlines() if "KEY" not in line]
    assert secrets
    assert not [secret for secret in (*secrets, "horse", "wrong") if secret and secret in said]


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1024])
def test_a_key_is_not_written_under_what_could_not_be_read_again(closed: Path, passphrase: bytes) -> None:
    with pytest.raises(KeyUnreadable):
        write_key(closed / "key.pem", KEYS["tls"], passphrase)
    assert not list(closed.iterdir())


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" two words \n", b" two words "),
        (b"\xff\x00\n", b"\xff\x00"),
        (b"ends in \r", b"ends in \r"),
        (b"x" * 1023 + b"\n", b"x" * 1023),
    ],
)
def test_a_passphrase_comes_from_a_file(closed: Path, content: bytes, passphrase: bytes) -> None:
    (closed / "phrase").touch(0o600)
    (closed / "phrase").write_bytes(content)
    assert read_passphrase(closed / "phrase") == passphrase


def test_a_key_opens_with_the_passphrase_that_an_editor_saved(closed: Path) -> None:
    (closed / "phrase").touch(0o600)
    (closed / "phrase").write_bytes(PASSPHRASE + b"\n")
    path = _written(closed, KEYS["tls"], PASSPHRASE)
    assert read_key(path, read_passphrase(closed / "phrase")).public_key() == KEYS["tls"].public_key()


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"x" * 1024, b"x" * 100_000])
def test_some_files_hold_no_passphrase(closed: Path, content: bytes) -> None:
    (closed / "phrase").touch(0o600)
    (closed / "phrase").write_bytes(content)
    with pytest.raises(KeyUnreadable):
        read_passphrase(closed / "phrase")


def test_a_passphrase_that_others_could_read_or_exchange_is_not_used(closed: Path) -> None:
    phrase = closed / "phrase"
    phrase.touch(0o600)
    phrase.write_bytes(b"sesame\n")
    closed.chmod(0o755)  # as credentials are often mounted
    assert read_passphrase(phrase) == b"sesame"
    closed.chmod(0o775)
    with pytest.raises(KeyUnsafe):
        read_passphrase(phrase)
    closed.chmod(0o700)
    phrase.chmod(0o644)
    with pytest.raises(KeyUnsafe) as caught:
        read_passphrase(phrase)
    assert "sesame" not in _said(caught.value)


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_kinds_of_keys_are_not_read(closed: Path, kind: str) -> None:
    path = closed / "key.pem"
    path.touch(0o600)
    path.write_bytes(FOREIGN[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyUnreadable, match="neither"):
        read_key(path)


@given(st.binary(max_size=200))
def test_what_is_no_key_is_coded(content: bytes) -> None:
    with pytest.raises(KeyUnreadable):
        key_of(content)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_damaged_key_gives_no_text_of_itself(position: int, change: int) -> None:
    pem = bytearray(key_pem(KEYS["tls"]))
    pem[position % len(pem)] ^= change
    try:
        key_of(bytes(pem))
    except KeyUnreadable as error:
        secrets = [line for line in pem.decode("latin-1").splitlines() if len(line) > 40]
        assert not [secret for secret in secrets if secret in _said(error)]


@of_kind
@given(data=st.binary(max_size=100), other=st.binary(max_size=100))
def test_a_signature_is_good_for_its_data_alone(kind: str, data: bytes, other: bytes) -> None:
    key = KEYS[kind]
    signature = sign(key, data)
    assert verify(key.public_key(), signature, data)
    assert verify(key.public_key(), signature, other) == (other == data)
    assert not verify(new_signing_key().public_key(), signature, data)


@of_kind
@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_changed_signature_is_none(kind: str, position: int, change: int) -> None:
    signature = bytearray(sign(KEYS[kind], b"text"))
    signature[position % len(signature)] ^= change
    assert not verify(KEYS[kind].public_key(), bytes(signature), b"text")
    for wrong in (b"", bytes(signature[:-1]), bytes(signature) * 2):
        assert not verify(KEYS[kind].public_key(), wrong, b"text")


@of_kind
def test_a_public_key_comes_back_from_its_line(kind: str) -> None:
    public = KEYS[kind].public_key()
    text = public_text(public)
    assert public_of(text) == public
    assert len(text.splitlines()) == 1
    assert len(fingerprint(public)) == 64
    assert fingerprint(public) == fingerprint(public_of(text))


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_public_keys_are_refused(kind: str) -> None:
    der = FOREIGN[kind].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyUnreadable):
        public_of(base64.b64encode(der).decode())


@pytest.mark.parametrize(
    "spoilt", [lambda t: t + "\n", lambda t: " " + t, lambda t: t[:-4], lambda t: t + "AAAA"]
)
def test_a_public_key_has_one_spelling(spoilt: object) -> None:
    assert callable(spoilt)
    with pytest.raises(KeyUnreadable):
        public_of(spoilt(public_text(KEYS["tls"].public_key())))


def test_a_public_key_has_one_encoding() -> None:
    text = public_text(KEYS["signing"].public_key())
    assert text.endswith("=")
    unused_bit = text[:-2] + chr(ord(text[-2]) + 1) + "="
    assert base64.b64decode(unused_bit) == base64.b64decode(text)
    compressed = KEYS["tls"].public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")  # SubjectPublicKeyInfo
    point = load_der_public_key(header + compressed)
    assert point == KEYS["tls"].public_key()
    for other in (unused_bit, base64.b64encode(header + compressed).decode()):
        with pytest.raises(KeyUnreadable):
            public_of(other)


@given(st.text(max_size=200))
def test_what_is_no_public_key_is_coded(text: str) -> None:
    with pytest.raises(KeyUnreadable):
        public_of(text)


def test_two_keys_are_never_the_same() -> None:
    assert len({fingerprint(new_tls_key().public_key()) for _ in range(5)}) == 5
    assert len({fingerprint(new_signing_key().public_key()) for _ in range(5)}) == 5
