"""TLS 1.3 for gRPC, and nothing older. Import this before anything imports ``grpc``, as ``flwr`` does.

gRPC has no option for the lowest version of TLS. It hands the variable GRPC_SSL_CIPHER_SUITES to BoringSSL as
the list of suites for TLS 1.2 and older; those of TLS 1.3 cannot be chosen. A list of one suite, which works
with a secret that both sides share beforehand and nobody here has, leaves TLS 1.3. gRPC reads the variable
once, while it is imported (measured with grpcio 1.85), and processes started from here inherit it.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "GRPC_SSL_CIPHER_SUITES"
SUITES = "ECDHE-PSK-AES128-CBC-SHA"

IN_FORCE = "grpc" not in sys.modules or os.environ.get(VARIABLE) == SUITES
"""Whether gRPC was, or will be, loaded with the variable set."""

# Its own lines on the console speak of addresses and sockets; what they mean is said with a code.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# Whatever was there before: a looser list would let TLS 1.2 in.
os.environ[VARIABLE] = SUITES
