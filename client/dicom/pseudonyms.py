"""Names that stand for patients, identifiers and dates, by HMAC-SHA-256 under a key that only the site holds.

The same value always gets the same name, so a patient's pictures stay together over years and intakes;
without the key nobody can go back, and two sites give the same patient different names. A hash without a key
would not do: identifiers are few enough to be tried one by one.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b32encode

KEY_BYTES = 32
SHIFT_DAYS = 3650
"""Dates move back by 1 to this many days, the same for all dates of a patient."""


class Pseudonyms:
    """The pseudonyms of one site.

    Args:
        key: ``KEY_BYTES`` secret bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes is needed, not {len(key)}")
        self._key = key

    def patient(self, patient_id: str) -> str:
        """``P-`` and 16 letters for a PatientID (0010,0020); blanks around it do not count (PS3.5 6.2)."""
        return "P-" + self._letters("patient", patient_id.strip(), 16)

    def uid(self, uid: str) -> str:
        """A UID (VR UI) of the form 2.25.<128-bit number> (PS3.5 B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid.strip())[:16], 'big')}"

    def text(self, value: str, letters: int = 16) -> str:
        """Letters for any other identifier, such as an accession number (SH, 16 characters at most)."""
        return self._letters("text", value.strip(), letters)

    def shift_days(self, patient_id: str) -> int:
        """By how many days the patient's dates move back, 1 to ``SHIFT_DAYS``."""
        digest = self._digest("shift", patient_id.strip())
        return 1 + int.from_bytes(digest[:8], "big") % SHIFT_DAYS

    def mark(self, value: str) -> str:
        """64 hexadecimal digits by which a thing, as a file by its path, is known again but not named."""
        return self._digest("mark", value).hex()

    def share(self, name: str) -> float:
        """A number in [0, 1) that is drawn by the key for this name, once and for all."""
        return int.from_bytes(self._digest("share", name)[:7], "big") / 2**56

    def _letters(self, kind: str, value: str, letters: int) -> str:
        return b32encode(self._digest(kind, value)).decode("ascii")[:letters]

    def _digest(self, kind: str, value: str) -> bytes:
        message = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).digest()
