"""What puts faults between a site and its coordinator, both of which are the real ones.

``network``: a :class:`~tests.faults.injector.network.FaultyWire` between a site's link and the coordinator's
port. TLS passes through it untouched: neither side can tell it from a network. It can be

- ``cut()``: every connection is reset, and so is every new one, until ``mend()``;
- ``hold()``: packets vanish, in one direction or both. Connections stay and new ones are accepted, but
  nothing moves, and nobody is told, until ``mend()``; then what was under way arrives, as TCP sends it again;
- slow: ``rate_bytes_s`` is what it carries each way, ``delay_s`` how long each packet takes;
- told to do any of that once so many bytes have passed: ``after()``.

``messages``: a :class:`~tests.faults.injector.messages.Post` between the round engine and the hospitals,
which delivers answers several times, in any order, and late; and
:func:`~tests.faults.injector.messages.delivering`,
which has what both sides of a link say come again, or out of turn.

``clocks``: the clock of each daemon is a ``Clock`` that tests set; see :mod:`tests.faults.link`.

How long a fault lasts is to be seen against how long the link waits for a sign of life
(``common.link.transport``: a question every 5 s, and 10 s for its answer). Cases that are not ``slow`` have
all of it scaled down by the same factor, ``SCALE``.
"""

SCALE = 20
"""How many times quicker the scaled cases are."""
