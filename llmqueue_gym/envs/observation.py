"""What an agent sees and what it can do, in words and as Gymnasium spaces. True sizes are not among it.

`jobs`, float32 `(slots, 6)`: the first jobs in system by order of arrival, the one in service included; rows of zeros
where there are fewer.

| column         | unit | meaning                                             |
|----------------|------|-----------------------------------------------------|
| present        |      | 1 where the slot holds a job                        |
| predicted      | s    | predicted size                                      |
| age            | s    | service received so far                             |
| time_in_system | s    | since its arrival                                   |
| weight         | 1/s  | cost per second in system, 1 unless the workload says otherwise |
| in_service     |      | 1 where it ran last and is not finished             |

`system`, float32 `(3,)`

| column         | unit | meaning                                             |
|----------------|------|-----------------------------------------------------|
| in_system      |      | number of jobs in system                            |
| unseen         |      | how many of them are beyond the last slot           |
| since_decision | s    | time since the last decision, as in `info["dt"]`    |

`action_mask`, int8 `(slots,)`: 1 where the slot holds a job.

The action is the slot of the job to serve. An action that names an empty slot serves slot 0, the earliest job, and
sets `info["illegal_action"]`, so that learners without masks can be used; a number outside the space is an error.

The kernel that writes the observation is `observe` in `engines.single_server`.
"""

import numpy as np
from gymnasium import spaces

FEATURES = ("present", "predicted", "age", "time_in_system", "weight", "in_service")
SYSTEM = ("in_system", "unseen", "since_decision")


def observation_space(slots: int) -> spaces.Dict:
    """Return the space of one observation."""
    high = np.full((slots, len(FEATURES)), np.inf, np.float32)
    high[:, [FEATURES.index("present"), FEATURES.index("in_service")]] = 1.0
    return spaces.Dict(
        {
            "jobs": spaces.Box(np.zeros_like(high), high, dtype=np.float32),
            "system": spaces.Box(0.0, np.inf, (len(SYSTEM),), np.float32),
            "action_mask": spaces.MultiBinary(slots),
        }
    )


def action_space(slots: int) -> spaces.Discrete:
    """Return the space of one action: the slot to serve."""
    return spaces.Discrete(slots)
