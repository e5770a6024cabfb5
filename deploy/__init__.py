"""Where both sides meet: the command `consilium`, simulation, local federations. No domain logic."""

import common as _common  # noqa: F401  first of all: it sees to TLS before flwr loads gRPC
