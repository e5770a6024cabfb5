"""The vocabulary that hospitals and coordinator share; imports neither side."""

from common.link import tls13 as _tls13  # noqa: F401  before anything loads gRPC, as flwr does

__version__ = "0.1.0"
