"""From one backward pass to a clipped sum: whose rows are whose, what gradients are made of, their norms."""
