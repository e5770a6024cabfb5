"""The hospital's side: its data, its trainer, its Flower ClientApp. Never imports the coordinator."""

import common as _common  # noqa: F401  first of all: it sees to TLS before flwr loads gRPC
