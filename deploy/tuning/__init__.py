"""``consilium tune``: the keys of a study, searched in simulation by cross-validation over training patients.

Invariant: the test split has no part in the search.
"""
