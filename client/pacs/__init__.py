"""The hospital's archive (PACS): receiving, asking and fetching pictures into a plain folder, the inbox.

What arrives is still identified patient data. It stays as the archive sent it, readable by its owner only,
under names that say nothing, until it is taken in like any other folder.
"""
