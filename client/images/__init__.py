"""One file, one picture: the simple reading path for PNG, JPEG, DICOM and numpy arrays.

Invariants:

* A picture comes out as it would be displayed: float32 in [0, 1], 0 is black, one channel.
* Whatever else happens is ``ImageMissing`` or ``ImageUnreadable``. Their private message names the file
  and the step that failed, never a value out of the file, because a decoder's own words may quote one.
* Sizes are checked before pixels are decoded, so a small file cannot ask for all of the memory.
"""

from client.images.picture import Picture, resize
from client.images.reading import read_array_row, read_image

__all__ = ["Picture", "read_array_row", "read_image", "resize"]
