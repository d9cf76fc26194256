"""What one run leaves behind: the table of outcomes, from which every metric is computed."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Run:
    """One job table played to its end.

    Attributes:
        player: name of the policy or agent.
        jobs: `JOB` rows `(n,)` as they were at the end.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`.
        elapsed: s of wall time in the kernel alone (for an agent: in its episode), compilation not counted.
    """

    player: str
    jobs: np.ndarray
    sizes: np.ndarray
    outcome: np.ndarray
    elapsed: float

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival `(n,)`, s; NaN for a job that was not done when the run ended."""
        return self.outcome["completion"] - self.jobs["arrival"]

    @property
    def slowdowns(self) -> np.ndarray:
        """Response time over true size `(n,)`."""
        return self.response_times / self.sizes

    def after_warmup(self, share: float = 0.1) -> "Run":
        """Return the run without its first jobs, which met a queue that had just been empty."""
        kept = slice(int(share * len(self)), None)
        return Run(self.player, self.jobs[kept], self.sizes[kept], self.outcome[kept], self.elapsed)
