"""The link between a site and the coordinator: one outbound connection over mutual TLS 1.3.

- ``link.proto``: what travels, with the stubs that ``make proto`` makes of it.
- ``envelope``: statements that one side signs and the other can prove; ``seen``: none of them counts twice.
- ``transport``: credentials and options of the connection; ``tls13``: why nothing older gets in.
- ``records``, ``blobs``: weights, beside the statements that name them.
"""

PROTOCOL = 1
"""The version that both sides say first; another one is refused."""
