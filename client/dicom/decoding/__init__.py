"""From an object's pixel data to grey pictures, and how they are to be shown."""

from client.dicom.decoding.pictures import decode, has_pixels

__all__ = ["decode", "has_pixels"]
