"""What an agent sees of a replica and what it can do, in words and as Gymnasium spaces. True lengths are not among it.

`jobs`, float32 `(slots, 12)`: the first `window` requests of the queue, the head first, then the first `seats` of the
running list; rows of zeros where there are fewer. A ranking agent sees before them, in slot 0, the request to rank.

| column        | unit   | meaning                                                     |
|---------------|--------|-------------------------------------------------------------|
| present       |        | 1 where the slot holds a request                            |
| running       |        | 1 where it is in the running list                           |
| prompt        | tokens | prompt length                                               |
| generated     | tokens | output so far                                               |
| predicted     | tokens | predicted output in all, by the present prediction          |
| upper         | tokens | most output, for predictors of intervals; else as predicted |
| computed      | tokens | keys and values in the cache, or on the host                |
| blocks        | blocks | KV blocks held                                              |
| time_in_system| s      | since its arrival                                           |
| since_token   | s      | since its last output token, or its arrival                 |
| weight        | 1/s    | cost per second in system                                   |
| preemptions   |        | times it was preempted                                      |

`system`, float32 `(9,)`

| column        | unit   | meaning                                                     |
|---------------|--------|-------------------------------------------------------------|
| waiting       |        | requests in the queue                                       |
| unseen        |        | how many of them are beyond the window                      |
| running       |        | requests in the running list                                |
| free          | blocks | free KV blocks                                              |
| blocks        | blocks | KV blocks in all                                            |
| budget        | tokens | what is left of the token budget of this iteration          |
| step_time     | s      | duration of the last iteration                              |
| since_decision| s      | time since the last decision, as in `info["dt"]`            |
| question      |        | 1: admit or run, 2: somebody must be preempted, 3: rank     |

Actions, `Discrete`, and where they are open (`action_mask`):

* "admission": 0 to window - 1 admit that request of the queue; `window` runs the iteration.
* "eviction": the same; then `seats` actions that preempt that running request, to be recomputed, and `seats` that swap
  it to the host; the last runs the iteration. Where a running request lacks memory (question 2), one must be preempted.
* "ranking": the level, 0 first, of the request in slot 0, on its arrival and whenever its prediction is refreshed.

An action that is not open stands for the first open one (admit the first that can be, else run; preempt the last) and
sets `info["illegal_action"]`, so that learners without masks can be used; a number outside the space is an error. An
agent is asked only where there is a choice. The kernels behind this are in `engines.batching.stepping`.
"""

import numpy as np
from gymnasium import spaces

_TOKENS = ("prompt", "generated", "predicted", "upper", "computed", "blocks")
FEATURES = ("present", "running", *_TOKENS, "time_in_system", "since_token", "weight", "preemptions")
SYSTEM = ("waiting", "unseen", "running", "free", "blocks", "budget", "step_time", "since_decision", "question")
DECISIONS = ("admission", "eviction", "ranking")


def n_slots(decides: str, window: int, seats: int) -> int:
    """Return the rows of the observation's `jobs`."""
    return window + seats + (decides == "ranking")


def n_actions(decides: str, window: int, seats: int, levels: int) -> int:
    """Return the number of actions."""
    return {"admission": window + 1, "eviction": window + 2 * seats + 1, "ranking": levels}[decides]


def observation_space(decides: str, window: int, seats: int, levels: int) -> spaces.Dict:
    """Return the space of one observation."""
    high = np.full((n_slots(decides, window, seats), len(FEATURES)), np.inf, np.float32)
    high[:, [FEATURES.index("present"), FEATURES.index("running")]] = 1.0
    return spaces.Dict(
        {
            "jobs": spaces.Box(np.zeros_like(high), high, dtype=np.float32),
            "system": spaces.Box(0.0, np.inf, (len(SYSTEM),), np.float32),
            "action_mask": spaces.MultiBinary(n_actions(decides, window, seats, levels)),
        }
    )


def action_space(decides: str, window: int, seats: int, levels: int) -> spaces.Discrete:
    """Return the space of one action."""
    return spaces.Discrete(n_actions(decides, window, seats, levels))
