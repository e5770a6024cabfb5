"""DICOM objects without their patients (PS3.15 Annex E), and whether a picture itself may show a name."""
