"""From a file of an archive to what may be trained on: reading, decoding, placing, de-identifying.

Every module here works on one object at a time and knows no cohort and no database. Nothing in it raises
anything at a broken file but :class:`~client.dicom.outcomes.Quarantined`.
"""
