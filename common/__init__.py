"""The vocabulary that hospitals and coordinator share; imports neither side."""

__version__ = "0.1.0"
