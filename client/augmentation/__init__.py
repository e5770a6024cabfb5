"""Training cases changed at random on their way to the model, their targets with them."""

from client.augmentation.augmented import Augmented, augmentation_of

__all__ = ["Augmented", "augmentation_of"]
