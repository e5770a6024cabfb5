"""What a study's task means once there is a model: what it loses on a case, and what is counted of it."""

from common.learning.learning import Learning, learning_of

__all__ = ["Learning", "learning_of"]
