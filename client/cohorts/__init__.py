"""A site's cohorts: what has been taken in, kept, and may be trained on."""
