"""The comparisons with other simulators, which import what lies beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "fidelity"))

import distserve
import splitwise

__all__ = ["distserve", "splitwise"]
