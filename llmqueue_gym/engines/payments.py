"""Rewards that are paid when a job leaves: what accrues while it is in system would give its size away."""

from llmqueue_gym._jit import lean_kernel
from llmqueue_gym.engines.state import SKIP, START


@lean_kernel
def pay_leavers(steps, actions, arrival, completion, worth, due, paid, first):
    """Let the reward of each of E runs be minus the worth of the response times of those who left in the last step.

    Where deadlines count it is minus the worth of each who left after its own, however late.

    Args:
        steps: `STEP` rows `(E,)`, whose rewards are written.
        actions: `(E,)`, of the last step.
        arrival: `(E, n)`, s, ascending; infinite behind the last job.
        completion: `(E, n)`, s; NaN for who has not left.
        worth: `(E, n)`, cost of each second of a response time, or of a missed deadline.
        due: `(E, n)`, deadlines, s; `(E, 0)` where they do not count.
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
                if due.shape[1] == 0:
                    reward -= worth[e, i] * (completion[e, i] - arrival[e, i])
                elif completion[e, i] > due[e, i]:
                    reward -= worth[e, i]
                paid[e, i] = True
            if first[e] == i and paid[e, i]:
                first[e] = i + 1
            i += 1
        steps[e].reward = reward


@lean_kernel
def paid_by(steps, actions, times, values, slopes, place, before, paid):
    """Write what another player of the same jobs was paid in the time of the last step of each of E runs.

    Its pay is linear between knots, where it may jump. Where a run has ended, the rest of it is paid.

    Args:
        steps: `STEP` rows `(E,)`.
        actions: `(E,)`, of the last step.
        times: knots `(E, m)`, s, ascending, the first -inf; inf behind the last.
        values: what it has been paid at a knot `(E, m)`, that of the last behind it.
        slopes: what it is paid from a knot on `(E, m)`, per s.
        place: `(E,)`, the last knot that has been reached, written.
        before: `(E,)`, what it had been paid by the last step, written.
        paid: `(E,)`, written.
    """
    for e in range(steps.shape[0]):
        if actions[e] == SKIP:
            continue
        clock, k = steps[e].clock, place[e]
        while k + 1 < times.shape[1] and times[e, k + 1] <= clock:
            k += 1
        place[e] = k
        now = values[e, k] + (slopes[e, k] * (clock - times[e, k]) if slopes[e, k] != 0.0 else 0.0)
        if steps[e].terminated:
            now = values[e, values.shape[1] - 1]
        paid[e] = 0.0 if actions[e] == START else now - before[e]
        before[e] = now
