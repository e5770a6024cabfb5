"""What a simulation's worker needs, imported once in the fork server while the parent starts up."""

from __future__ import annotations

import logging

import torch
from flwr.app import Context, RecordDict

from client.app import app as client_app
from client.site import Site

torch.set_num_threads(1)
# The first optimiser of a process makes torch import its compiler, two seconds of work: here, once.
torch.optim.SGD([torch.zeros(1)], lr=1.0)
# What a site logs of a refusal is for its own administrator; a simulation shows the error itself.
logging.getLogger("consilium").addHandler(logging.NullHandler())
logging.getLogger("consilium").propagate = False  # libraries give the root logger handlers of their own


def context_of(node_id: int, site: Site) -> Context:
    """A site's Flower context."""
    return Context(
        run_id=1, node_id=node_id, node_config=dict(site.node_config()), state=RecordDict(), run_config={}
    )


__all__ = ["client_app", "context_of"]
