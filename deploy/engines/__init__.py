"""What carries the messages between one ServerApp and many ClientApps: each engine is one Flower Grid."""

from deploy.engines.engine import EVIDENCE, Engine, build_engine

__all__ = ["EVIDENCE", "Engine", "build_engine"]
