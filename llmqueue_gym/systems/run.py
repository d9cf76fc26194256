"""What one run leaves behind, whatever served: the tables from which every metric is computed."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """One table of jobs or requests played to its end.

    Attributes:
        player: name of the policy or agent.
        jobs: `JOB` or `REQUEST` rows `(n,)` as they were at the end.
        sizes: true sizes `(n,)`, s, or output tokens.
        outcome: `OUTCOME` or `SERVICE` rows `(n,)`; the completion is NaN for who was not served.
        elapsed: s of wall time in the kernel alone (for an agent: in its episode), compilation not counted.
        system: what served, as it was set for this player.
        reason: how it ended: "drained", or "horizon", "stuck" or "livelock".
        totals: sums over the run by name, such as server-seconds in use.
        parts: the same of each replica of a fleet.
        read_at: the replica that read each prompt `(n,)`, where that is known and may be another than `jobs["site"]`.
    """

    player: str
    jobs: np.ndarray
    sizes: np.ndarray
    outcome: np.ndarray
    elapsed: float
    system: Any = None
    reason: str = "drained"
    totals: dict[str, float] = field(default_factory=dict)
    parts: tuple[dict[str, float], ...] = ()
    read_at: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def __repr__(self) -> str:
        done = self.done
        mean = float(self.response_times[done].mean()) if done.any() else float("nan")
        served = f"{int(done.sum()):,} of {len(self):,} served"
        return f"<Run of {self.player}: {served}, mean response time {mean:.6g} s, {self.reason}>"

    @property
    def done(self) -> np.ndarray:
        """Who was served `(n,)`."""
        return ~np.isnan(self.outcome["completion"])

    @property
    def response_times(self) -> np.ndarray:
        """Completion minus arrival `(n,)`, s; NaN for who was not served."""
        return self.outcome["completion"] - self.jobs["arrival"]

    @property
    def waits(self) -> np.ndarray:
        """Time until each was first served `(n,)`, s; NaN for who never was."""
        start = "start" if "start" in (self.outcome.dtype.names or ()) else "scheduled"
        waits: np.ndarray = self.outcome[start] - self.jobs["arrival"]
        return waits

    @property
    def slowdowns(self) -> np.ndarray:
        """Response time over true size `(n,)`."""
        return self.response_times / self.sizes

    def after_warmup(self, share: float = 0.1) -> "Run":
        """Return the run without its first jobs, which met a system that had just been empty; totals stay whole."""
        kept = slice(int(share * len(self)), None)
        tables = {name: getattr(self, name) for name in ("jobs", "sizes", "outcome", "read_at")}
        return replace(self, **{name: table[kept] for name, table in tables.items() if table is not None})
