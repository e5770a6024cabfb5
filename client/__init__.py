"""The hospital's side: its data, its trainer, its Flower ClientApp. Never imports the coordinator."""
