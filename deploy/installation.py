"""Start-up check: server, client, common and deploy are names that others use too."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from common.errors import MixedInstallation

PACKAGES = ("server", "client", "common", "deploy")


def check_one_place() -> Path:
    """The folder that all four packages come from.

    Raises:
        MixedInstallation: They come from several, so another project's package hides one of ours.
    """
    places: dict[str, Path | None] = {}
    for name in PACKAGES:
        spec = find_spec(name)
        places[name] = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
    home = places["deploy"]
    if home is None or set(places.values()) != {home}:
        raise MixedInstallation(
            "\n".join(f"{name}: {place or 'not found'}" for name, place in places.items())
        )
    return home
