"""What happens when something is killed, cut, full, broken or late."""
