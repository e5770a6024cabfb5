"""Real archives on this machine, Orthanc and DCMTK's dcmqrscp, and pictures for them that never existed."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_fragments
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from client.pacs.settings import Archive, Receiver

PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc"))
USER, PASSWORD, PASSWORD_VARIABLE = "consilium", "quite secret", "CONSILIUM_TEST_PACS_PASSWORD"
OUR_TITLE = "CONSILIUM"
SECRET = (
    "Mueller^Anna"  # the patient's name in every object; must never be seen in a message or a file's name
)
START_S = 20.0


def missing_part(what: str) -> None:
    """Skip the test, visibly; fail where every part is required."""
    text = f"needs {what} (tests/debian.txt)"
    if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
        pytest.fail(text)
    pytest.skip(text)


def program(name: str) -> str:
    """Where an external program is."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if found is None:
        missing_part(name)
    return str(found)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for_listener(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when somebody listens at the port."""
    last_s = time.monotonic() + START_S
    while time.monotonic() < last_s and (process is None or process.poll() is None):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.02)
    pytest.fail(f"nobody listens at {port}")


@contextmanager
def running(command: list[str], ports: Iterable[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, until the block ends."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            for port in ports:
                wait_for_listener(port, process)
            yield process
        finally:
            process.kill()  # nothing of it is needed any more, and an orderly end takes seconds


@dataclass(slots=True)
class Orthanc:
    """An Orthanc of its own: DICOM and DICOMweb on free ports of this machine.

    Attributes:
        folder: Where everything of it lies.
        receiver: What it knows as ``CONSILIUM``: the receiver of this site.
    """

    folder: Path
    dicom_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    receiver: Receiver = field(
        default_factory=lambda: Receiver(ae_title=OUR_TITLE, port=free_port(), min_free_bytes=0)
    )
    process: subprocess.Popen[bytes] | None = None

    @property
    def archive(self) -> Archive:
        """How this site knows it."""
        return Archive(
            host="127.0.0.1",
            port=self.dicom_port,
            ae_title="ORTHANC",
            calling_ae_title=OUR_TITLE,
            url=f"http://127.0.0.1:{self.http_port}/dicom-web",
            user=USER,
            password_env=PASSWORD_VARIABLE,
            network_timeout_s=10.0,
            response_timeout_s=20.0,
        )

    @contextmanager
    def started(self) -> Iterator[Orthanc]:
        """Running, until the block ends; it keeps what it holds from one start to the next."""
        self.folder.mkdir(exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        command = [program("Orthanc"), str(configuration)]
        with running(command, (self.dicom_port, self.http_port), self.folder / "log.txt") as self.process:
            yield self

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def add(self, files: Iterable[Path]) -> None:
        """Have it keep these files."""
        for file in files:
            self.ask("instances", file.read_bytes())

    def ask(self, address: str, data: bytes | None = None) -> Any:
        """Its own REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}/{address}", data)
        request.add_header("Authorization", "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as answer:
            return json.loads(answer.read())

    def _configuration(self) -> dict[str, Any]:
        plugins = [p / "libOrthancDicomWeb.so" for p in PLUGINS if (p / "libOrthancDicomWeb.so").exists()]
        if not plugins:
            missing_part("orthanc-dicomweb")
        us = {"AET": OUR_TITLE, "Host": "127.0.0.1", "Port": self.receiver.port, "AllowGet": True}
        return {
            "Name": "consilium-test",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [str(plugins[0])],
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowFind": False,
            "DicomModalities": {"us": us},
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "StorageCompression": False,
            "OverwriteInstances": False,
            "SynchronousCMove": True,
        }


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files of a hospital, by SOP instance UID."""

    files: dict[str, Path]

    def of(self, study: str) -> set[str]:
        """SOP instance UIDs of a study."""
        return {uid for uid, path in self.files.items() if path.parent.parent.name == study}

    @property
    def studies(self) -> list[str]:
        """Study instance UIDs."""
        return sorted({path.parent.parent.name for path in self.files.values()})


def slice_of(study: str, series: str, number: int, rng: np.random.Generator, size: int = 32) -> Dataset:
    """A CT slice of a patient who does not exist."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID = study, series
    one.PatientID, one.PatientName, one.StudyID = f"P{study[-4:]}", SECRET, "1"
    one.StudyDate = one.SeriesDate = "20200102"
    one.StudyTime, one.AccessionNumber, one.PatientBirthDate, one.PatientSex = "101500", "", "", "F"
    one.Modality, one.SeriesNumber, one.InstanceNumber = "CT", 1, number
    one.SeriesDescription, one.StudyDescription = "axial", "head"
    one.Rows = one.Columns = size
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
    one.PixelSpacing, one.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    one.ImagePositionPatient = [0, 0, number]
    one.PixelData = rng.integers(0, 4096, (size, size), dtype=np.uint16).tobytes()
    return one


def write_studies(
    folder: Path, sizes: Iterable[tuple[int, ...]], seed: int = 0, edge: int = 32, mixed: bool = True
) -> Pictures:
    """Studies with as many slices in their series as said; if mixed, every third is RLE-compressed."""
    rng, files = np.random.default_rng(seed), {}
    for slices in sizes:
        study = generate_uid()
        for count in slices:
            series = generate_uid()
            for number in range(count):
                one = slice_of(study, series, number, rng, edge)
                if mixed and number % 3 == 2:
                    one.compress(RLELossless, generate_instance_uid=False)
                path = folder / study / series / f"{number}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                one.save_as(path, enforce_file_format=True)
                files[str(one.SOPInstanceUID)] = path
    return Pictures(files)


def stored(inbox: Path) -> dict[str, Path]:
    """The files in an inbox by SOP instance UID; fails if a half-written one is there."""
    assert not list(inbox.rglob(".*"))
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in inbox.rglob("*.dcm")}


def pixel_bytes(path: Path) -> bytes:
    """The pixel data as stored: of an encapsulated picture its fragments without the offset table."""
    one = dcmread(path)
    if not one.file_meta.TransferSyntaxUID.is_encapsulated:
        return bytes(one.PixelData)
    return b"".join(list(generate_fragments(one.PixelData))[1:])


def assert_same(inbox: Path, originals: dict[str, Path]) -> None:
    """The inbox holds these objects and no others, their pixel data byte for byte."""
    arrived = stored(inbox)
    assert arrived.keys() == originals.keys()
    for uid, path in arrived.items():
        assert pixel_bytes(path) == pixel_bytes(originals[uid])
        assert path.stat().st_mode & 0o777 == 0o600


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: an authority, a certificate of it for this machine, and another one of nobody."""

    ca: Path
    certificate: Path
    key: Path
    stranger: Path
    stranger_key: Path


def write_certificate(
    folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """``name.pem`` and ``name.key`` for 127.0.0.1, signed by the issuer or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(secret)
    return certificate, key


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """See :class:`Certificates`."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = write_certificate(folder, "ca", None)
    write_certificate(folder, "here", authority)
    write_certificate(folder, "stranger", None)
    names = ("ca.pem", "here.pem", "here.key", "stranger.pem", "stranger.key")
    return Certificates(*(folder / name for name in names))


@pytest.fixture(scope="session", autouse=True)
def _password() -> Iterator[None]:
    os.environ[PASSWORD_VARIABLE] = PASSWORD
    yield
    del os.environ[PASSWORD_VARIABLE]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Two studies: one of two series, one of one."""
    return write_studies(tmp_path_factory.mktemp("pictures"), [(4, 3), (5,)])


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Iterator[Orthanc]:
    """An Orthanc that holds ``pictures``; other tests may add to it."""
    with Orthanc(tmp_path_factory.mktemp("orthanc")).started() as one:
        one.add(pictures.files.values())
        yield one


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Where files go."""
    return tmp_path / "inbox"
