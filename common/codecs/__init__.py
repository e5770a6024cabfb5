"""How an update travels: as it is, rounded, or its largest entries only (``[federation] codec``).

- ``codec``: the seam, and the codec that a study names; ``float32``, ``bf16``, ``int8``, ``topk``: the four.
- ``coding``: whole updates; which of their arrays are encoded, and under which names the parts travel.

Invariants: NumPy only, array by array. Equal arrays give equal bytes. What arrives is decoded as if it came
from a stranger: the parts that the study's codec makes of the model's arrays, or an UpdateRefused.
"""

from common.codecs.codec import Codec, codec_of
from common.codecs.coding import Encoded, Form, carried, decode, encode, encodes
from common.codecs.float32 import FLOAT32

__all__ = ["FLOAT32", "Codec", "Encoded", "Form", "carried", "codec_of", "decode", "encode", "encodes"]
