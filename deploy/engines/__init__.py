"""What carries the messages between one ServerApp and many ClientApps: each engine is one Flower Grid."""
