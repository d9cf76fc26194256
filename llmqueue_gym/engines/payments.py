"""Rewards that are paid when a job leaves: what accrues while it is in system would give its size away."""

from llmqueue_gym._jit import lean_kernel
from llmqueue_gym.engines.state import SKIP, START


@lean_kernel
def pay_leavers(steps, actions, arrival, completion, worth, paid, first):
    """Let the reward of each of E runs be minus the worth of the response times of those who left in the last step.

    Args:
        steps: `STEP` rows `(E,)`, whose rewards are written.
        actions: `(E,)`, of the last step.
        arrival: `(E, n)`, s, ascending; infinite behind the last job.
        completion: `(E, n)`, s; NaN for who has not left.
        worth: `(E, n)`, cost of each second of a response time.
        paid: `(E, n)`, who has been paid for, written.
        first: `(E,)`, first row that has not been, written.
    """
    for e in range(steps.shape[0]):
        if actions[e] == SKIP:
            continue
        if actions[e] == START:
            first[e] = 0
            paid[e, :] = False
        clock, reward, i = steps[e].clock, 0.0, first[e]
        while i < arrival.shape[1] and arrival[e, i] <= clock:
            if not paid[e, i] and completion[e, i] <= clock:
                reward -= worth[e, i] * (completion[e, i] - arrival[e, i])
                paid[e, i] = True
            if first[e] == i and paid[e, i]:
                first[e] = i + 1
            i += 1
        steps[e].reward = reward
