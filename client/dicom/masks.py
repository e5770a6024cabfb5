"""Masks that somebody drew over pictures: from DICOM segmentations and NIfTI files to the pictures' grid."""

from client.dicom.laying import Mask, MaskElsewhere, matches, place
from client.dicom.nifti import nifti_mask
from client.dicom.segmentations import seg_mask

__all__ = ["Mask", "MaskElsewhere", "matches", "nifti_mask", "place", "seg_mask"]
