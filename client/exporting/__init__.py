"""A finished model for others: in formats of other runtimes, as a card that tells of it, and in DICOM."""

from client.exporting.card import card_of
from client.exporting.exporting import Exported, exported

__all__ = ["Exported", "card_of", "exported"]
