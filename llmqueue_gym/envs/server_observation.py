"""What an agent of several servers sees and what it can do. True sizes and hidden patience are not among it.

`jobs`, float32 `(slots + servers, 8)`: the first jobs that wait, by order of arrival, then those in service; rows of
zeros where there are fewer.

| column         | unit | meaning                                             |
|----------------|------|-----------------------------------------------------|
| present        |      | 1 where the row holds a job                         |
| predicted      | s    | predicted size                                      |
| age            | s    | service received so far                             |
| time_in_system | s    | since its arrival                                   |
| weight         | 1/s  | cost per second in system                           |
| in_service     |      | 1 where it is in service, or was when a preemptive epoch opened |
| need           |      | servers that it occupies at once                    |
| time_left      | s    | until its deadline; 0 where it has none             |

`system`, float32 `(5,)`: waiting jobs, how many of them are beyond the last slot, jobs in service, free servers, and s
since the last decision.

The action is the slot of a waiting job to start, which is open where it fits. Where jobs may be dropped, `slots` more
actions send one away unserved. Where the agent may pass, the last action leaves the rest of the servers idle until
something happens. An action that is not open stands for the first that is and sets `info["illegal_action"]`.
"""

import numpy as np
from gymnasium import spaces

FEATURES = ("present", "predicted", "age", "time_in_system", "weight", "in_service", "need", "time_left")
SYSTEM = ("waiting", "unseen", "in_service", "free", "since_decision")


def n_actions(slots: int, may_pass: bool, may_drop: bool) -> int:
    """Return the number of actions."""
    return slots * (2 if may_drop else 1) + (1 if may_pass else 0)


def observation_space(slots: int, servers: int, actions: int) -> spaces.Dict:
    """Return the space of one observation."""
    high = np.full((slots + servers, len(FEATURES)), np.inf, np.float32)
    high[:, [FEATURES.index("present"), FEATURES.index("in_service")]] = 1.0
    return spaces.Dict(
        {
            "jobs": spaces.Box(np.zeros_like(high), high, dtype=np.float32),
            "system": spaces.Box(0.0, np.inf, (len(SYSTEM),), np.float32),
            "action_mask": spaces.MultiBinary(actions),
        }
    )
