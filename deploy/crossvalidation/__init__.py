"""Cross-validation of a study: every patient is held out once, and all held-out cases are judged together."""
