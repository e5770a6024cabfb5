"""Flower's own deployment as an engine: stock SuperLink and SuperNodes, real processes, TLS, loopback."""

from deploy.engines.superlink.engine import SuperLinkEngine

__all__ = ["SuperLinkEngine"]
