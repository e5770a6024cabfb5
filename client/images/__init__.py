"""One file, one picture, clip or mask: the simple reading path for PNG, JPEG, DICOM and numpy arrays.

Invariants:

* A picture comes out as it would be displayed: float32 in [0, 1], 0 is black, one channel.
* Whatever else happens is ``ImageMissing`` or ``ImageUnreadable``. Their private message names the file
  and the step that failed, never a value out of the file, because a decoder's own words may quote one.
* Sizes are checked before pixels are decoded, so a small file cannot ask for all of the memory.
"""

from client.images.picture import Picture, Stack, resize
from client.images.place import Place, place_of
from client.images.reading import (
    read_array_row,
    read_arrays,
    read_image,
    read_mask,
    read_stack,
    stack_length,
)

__all__ = [
    "Picture",
    "Place",
    "Stack",
    "place_of",
    "read_array_row",
    "read_arrays",
    "read_image",
    "read_mask",
    "read_stack",
    "resize",
    "stack_length",
]
