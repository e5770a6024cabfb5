"""Invented hospitals for the demo: DICOM files of chest phantoms, with and without a lesion.

Invariants:

* Nobody is depicted: every picture, name, identifier and date is computed from the seed.
* The same seed gives the same bytes, today and tomorrow; a site does not depend on how many others there
  are. (Another processor or release of numpy may round a few pixels the other way.)
* A patient has one label and one split, whatever the number of images.
"""

from deploy.phantom.hospitals import write_hospitals
from deploy.phantom.phantom import write_phantom

__all__ = ["write_hospitals", "write_phantom"]
