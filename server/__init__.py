"""The coordinator's side: its Flower ServerApp and the round engine. Never imports the hospital."""

import common as _common  # noqa: F401  first of all: it sees to TLS before flwr loads gRPC
