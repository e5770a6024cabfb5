"""Where a site's cases come from: rows of a manifest, or a cohort that the site has registered.

Either gives entries, which the study's checks look at, and turns entries into tensors.
"""

from client.sources.cohort import CohortSource
from client.sources.entry import Entry, class_of, subgroups
from client.sources.manifest import ManifestSource, manifest_entries

Source = ManifestSource | CohortSource

__all__ = [
    "CohortSource",
    "Entry",
    "ManifestSource",
    "Source",
    "class_of",
    "manifest_entries",
    "subgroups",
]
