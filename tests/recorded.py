"""What lies beside the project: recorded traces, logs and runs. Tests of it skip where it is missing."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def recorded(*parts):
    """Return a file or folder, or skip the test."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the project")
    return path
