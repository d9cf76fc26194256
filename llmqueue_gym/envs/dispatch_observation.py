"""What a dispatcher sees when a job arrives and what it can do. True sizes are not among it.

`jobs`, float32 `(sees, 7)`: the visible queues. Where all are visible, row s is server s, the fastest first; else the
rows are those sampled for this arrival, in random order.

| column    | unit | meaning                                                                          |
|-----------|------|----------------------------------------------------------------------------------|
| present   |      | 1: every row holds a queue                                                       |
| jobs      |      | jobs in the queue, the one in service included                                   |
| work      | s    | sum of their predicted sizes                                                     |
| work_left | s    | the same, less what they have received; a job that outlives its prediction has 0 |
| alike     |      | waiting jobs predicted on the same side of `split` as the arrival                |
| speed     |      | s of service per s                                                               |
| server    |      | its number                                                                       |

`system`, float32 `(5,)`: predicted size (s) and weight (1/s) of the job that has arrived, jobs in system with it, how
many of them are in queues that are not visible, and s since the last decision. When all jobs have left, the first two
are 0 and the queues are those that the last job saw.

The action is the row of the queue that the job joins for good; every row is open. Each arrival is a decision, also
where a single queue is visible: the agent sees every job once.
"""

import numpy as np
from gymnasium import spaces

FEATURES = ("present", "jobs", "work", "work_left", "alike", "speed", "server")
SYSTEM = ("predicted", "weight", "in_system", "unseen", "since_decision")


def observation_space(visible: int) -> spaces.Dict:
    """Return the space of one observation of so many queues."""
    high = np.full((visible, len(FEATURES)), np.inf, np.float32)
    high[:, FEATURES.index("present")] = 1.0
    return spaces.Dict(
        {
            "jobs": spaces.Box(np.zeros_like(high), high, dtype=np.float32),
            "system": spaces.Box(0.0, np.inf, (len(SYSTEM),), np.float32),
            "action_mask": spaces.MultiBinary(visible),
        }
    )
