"""The contract of a study: what a hospital agrees to, byte by byte.

- ``contract``: the contract itself, signed and read; ``leaving``: what it says leaves a site.
- ``code``: the digest of the code that touches data; ``model``: of the form of a model.
- ``amendment``: what changed between two contracts.
- ``task``: whether a task is within a contract; ``drafting``: how the coordinator draws one up. Both import
  more than a command that lists studies should wait for, so they are imported by their own names.
"""

from common.contract.amendment import differences
from common.contract.code import code_digest, installed_digest
from common.contract.contract import Bounds, Contract, Requirements, contract_of, read_contract, seal_contract
from common.contract.leaving import METRICS, Leaving, Metric, leavings_of, metrics_of
from common.contract.model import model_digest

__all__ = [
    "METRICS",
    "Bounds",
    "Contract",
    "Leaving",
    "Metric",
    "Requirements",
    "code_digest",
    "contract_of",
    "differences",
    "installed_digest",
    "leavings_of",
    "metrics_of",
    "model_digest",
    "read_contract",
    "seal_contract",
]
