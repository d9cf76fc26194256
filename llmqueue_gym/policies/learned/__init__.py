"""Learned policies: a small network as rank or score, replayed like any other policy, and the trained ones in the zoo.

The zoo is `agents/zoo/<kind>/<name>/` in a checkout and travels inside the package; its policies stand in the
registries of their kind beside the hand-made ones. A folder anywhere is played by `load`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmqueue_gym.policies.learned.artefact import CARD, load, read_card, save

__all__ = ["load", "read_card", "save", "stored", "zoo_folder"]

_PACKAGE = Path(__file__).parents[2]


def zoo_folder() -> Path:
    """Return where the trained policies lie: inside the package, or beside it in a checkout without links."""
    inside = _PACKAGE / "zoo"
    return inside if inside.is_dir() else _PACKAGE.parent / "agents" / "zoo"


class Trained:
    """Builds the policy of a folder; its description is that of the card."""

    __doc__ = property(lambda self: read_card(self.folder)["description"])  # type: ignore[assignment]

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self) -> Any:
        """Return the policy."""
        return load(self.folder)


def stored(*kinds: str) -> dict[str, Callable[[], Any]]:
    """Return what builds each trained policy of some kinds, by name, for a registry."""
    folders = [
        folder for kind in kinds for folder in sorted((zoo_folder() / kind).glob("*")) if (folder / CARD).is_file()
    ]
    return {folder.name: Trained(folder) for folder in folders}
