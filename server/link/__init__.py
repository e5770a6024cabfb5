"""The coordinator's end of the link: its home, its sites, what they are asked, and the Grid over it."""
