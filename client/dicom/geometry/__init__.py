"""Where and when pictures were taken: the place of each, and the order of many."""
