"""Training in a process of its own: what happens to it costs a task, and never the daemon."""

from client.executor.executor import Cancelled, Executor
from client.executor.order import Order

__all__ = ["Cancelled", "Executor", "Order"]
