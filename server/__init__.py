"""The coordinator's side: its Flower ServerApp and the round engine. Never imports the hospital."""
