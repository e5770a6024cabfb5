"""The coordinator's Flower ServerApp."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.study_run import RunPlan, run_study

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the study that the run config names over whatever Grid carries the messages."""
    run_study(grid, RunPlan.from_config(context.run_config))
