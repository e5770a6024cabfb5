"""Texts beside compressed pictures become zeros; the pictures stay as they are."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from client.dicom.deidentification.codestreams import without_texts

RAMP = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8))
NAME = b"MUSTERMANN^ERIKA"


def jpeg(**options: object) -> bytes:
    stream = BytesIO()
    exif = Image.Exif()
    exif[0x010E] = NAME.decode()
    RAMP.save(stream, "JPEG", exif=exif, comment=NAME, **options)
    return stream.getvalue()


def jpeg_2000() -> bytes:
    stream = BytesIO()
    RAMP.save(stream, "JPEG2000", no_jp2=True, comment=NAME)
    return stream.getvalue()


def pixels(data: bytes) -> list[int]:
    return np.asarray(Image.open(BytesIO(data))).ravel().tolist()


@pytest.mark.parametrize(
    "stream", [jpeg(), jpeg(progressive=True), jpeg(restart_marker_blocks=2), jpeg_2000()]
)
@pytest.mark.parametrize("fragments", [1, 3])
def test_names_go_and_pictures_stay(stream: bytes, fragments: int) -> None:
    assert NAME in stream
    before = encapsulate([stream, stream], fragments_per_frame=fragments)
    after = without_texts(before)
    assert len(after) == len(before)
    for frame in generate_frames(after, number_of_frames=2):
        assert NAME not in frame
        assert pixels(frame) == pixels(stream)


def test_what_stands_behind_the_picture_goes() -> None:
    plain = BytesIO()
    RAMP.save(plain, "JPEG")
    after = without_texts(encapsulate([plain.getvalue() + NAME]))
    assert NAME not in after
    assert pixels(next(generate_frames(after, number_of_frames=1))) == pixels(plain.getvalue())


def test_a_picture_without_texts_is_given_back_itself() -> None:
    plain = BytesIO()
    RAMP.save(plain, "JPEG")
    data = encapsulate([plain.getvalue()])
    assert without_texts(data) is data


@pytest.mark.parametrize(
    "data", [b"", b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe0\xff\xff\xff\xff\xff\xd8\xff", NAME]
)
def test_broken_data_is_no_matter(data: bytes) -> None:
    assert len(without_texts(data)) == len(data)


def test_every_cut_of_a_stream_can_be_looked_at() -> None:
    stream = encapsulate([jpeg()])
    for end in range(0, len(stream), 7):
        assert len(without_texts(stream[:end])) == end
