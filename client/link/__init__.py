"""The site's end of the link: one outbound connection, kept up for ever, that loses no finished reply."""

from common.link import tls13  # noqa: F401  (first: flwr loads gRPC, which reads what this sets)

# isort: split
from client.link.enrolment import enrol
from client.link.handler import Handler, LinkState, OfferedTask
from client.link.hello import Greeting
from client.link.identity import SiteIdentity
from client.link.meeting import meet
from client.link.outbox import HeldReply, Outbox
from client.link.probe import Target, error_of, probe
from client.link.replies import sealed_reply
from client.link.session import LinkClient, link_client
from client.link.timing import Timing
from common.checks.finding import Finding

__all__ = [
    "Finding",
    "Greeting",
    "Handler",
    "HeldReply",
    "LinkClient",
    "LinkState",
    "OfferedTask",
    "Outbox",
    "SiteIdentity",
    "Target",
    "Timing",
    "enrol",
    "error_of",
    "link_client",
    "meet",
    "probe",
    "sealed_reply",
]
