"""The coordinator's side: its Flower ServerApp and everything between a reply and a model. Never imports a hospital."""
