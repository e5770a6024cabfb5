"""Masks that somebody drew over pictures: from DICOM segmentations and NIfTI files to the pictures' grid."""

from client.dicom.masks.laying import Mask, MaskElsewhere, matches, place
from client.dicom.masks.nifti import nifti_mask
from client.dicom.masks.segmentations import seg_mask

__all__ = ["Mask", "MaskElsewhere", "matches", "nifti_mask", "place", "seg_mask"]
