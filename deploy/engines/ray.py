"""Simulation on Flower's own runtime, Ray."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.app import answer, describe, evaluate_round, train_round
from client.site import Site
from common.errors import ConsiliumError, EngineFailed, ExtraMissing
from server.study_run import RunPlan, run_study


class RayEngine:
    """Flower's simulation runtime; needs the extra ``ray``."""

    name = "ray"

    def __init__(self) -> None:
        if find_spec("ray") is None:
            raise ExtraMissing("--engine ray needs Ray", hint="pip install 'consilium[ray]'")

    def run(self, plan: RunPlan, sites: Sequence[Site], loads: Sequence[int]) -> None:
        """See :class:`deploy.engines.engine.Engine`."""
        failures: list[BaseException] = []
        resources: dict[str, Any] = {"num_cpus": 1, "num_gpus": _gpu_share(sites)}
        with _quiet():
            from flwr.simulation import run_simulation

            try:
                run_simulation(
                    server_app=_server_app(plan, failures),
                    client_app=_client_app(sites),
                    num_supernodes=len(sites),
                    backend_config={
                        "client_resources": resources,
                        "init_args": {"include_dashboard": False, "log_to_driver": False},
                    },
                )
            except RuntimeError as error:
                raise EngineFailed(f"Flower's simulation runtime: {error}") from None
        if failures:
            raise failures[0]


def _server_app(plan: RunPlan, failures: list[BaseException]) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            run_study(grid, plan)
        except ConsiliumError as error:  # the runtime would wrap it in its own
            failures.append(error)

    return app


def _client_app(sites: Sequence[Site]) -> ClientApp:
    """A ClientApp that is the site of the virtual node it runs for."""
    app = ClientApp()
    actions = {app.query: describe, app.train: train_round, app.evaluate: evaluate_round}
    for register, action in actions.items():

        def reply(message: Message, context: Context, action=action) -> Message:  # type: ignore[no-untyped-def]
            import torch

            torch.set_num_threads(1)
            site = sites[int(context.node_config["partition-id"])]
            own = Context(context.run_id, context.node_id, dict(site.node_config()), RecordDict(), {})
            return answer(message, own, action)

        register()(reply)
    return app


def _gpu_share(sites: Sequence[Site]) -> float:
    import torch

    wants_gpu = any(site.device != "cpu" for site in sites) and torch.cuda.is_available()
    return min(1.0, torch.cuda.device_count() / (os.cpu_count() or 1)) if wants_gpu else 0.0


@contextmanager
def _quiet() -> Iterator[None]:
    """No telemetry, no usage statistics, no log lines between the lines of our progress display."""
    os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
