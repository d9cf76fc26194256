"""A slow, obvious simulator of one server on which predictions cost. Plain Python, no heaps, everybody ranked anew."""

import math
from types import SimpleNamespace

import numpy as np

from llmqueue_gym.jobs import CHEAP, EXPENSIVE, PROFILE, SERVE, outcome_table

RESOLUTION = 0.02  # slice of service after which ranks that may rise are looked at, relative to age + mean size


def predicting_schedule(drawn, policy, costs):
    """Play a policy.

    At any time: who has its prediction from elsewhere comes back, then whoever arrives comes in, and each is asked
    what comes next. The server works on the stage of the job of least rank, the earlier arrival among equals, until
    that stage ends or anything else happens.

    Returns:
        the outcome table; what is known of each job in the end, `(predicted, class)`, 0 and -1 where nothing was
        bought; and how many predictions of each kind were bought, and their price.
    """
    found, mean = outcome_table(len(drawn.sizes)), float(np.mean(drawn.sizes))
    price = {CHEAP: costs.cheap, EXPENSIVE: costs.expensive}
    bought, paid = {CHEAP: 0, EXPENSIVE: 0, PROFILE: 0}, 0.0
    rows = []
    for i, size in enumerate(drawn.sizes.tolist()):
        job = SimpleNamespace(
            arrival=float(drawn.work["arrival"][i]), predicted=0.0, weight=1.0, age=0.0, klass=-1, deadline=math.inf
        )
        stage = SimpleNamespace(
            kind=SERVE, known=0, done=0.0, in_system=0, predicting=0, coin=float(drawn.truth["coin"][i])
        )
        klass = sum(edge < drawn.truth["cheap"][i] for edge in policy.edges)
        rows.append(
            SimpleNamespace(
                **{"i": i, "size": size, "job": job, "stage": stage, "y": float(drawn.truth["predictions"][i])},
                **{"class_": klass, "place": "coming"},
            )
        )
    clock, last = 0.0, None
    line, predictors = [], [None] * costs.servers  # who waits for a predictor; (row, until) of who is predicted

    def inside():
        return [one for one in rows if one.place in ("here", "away")]

    def look(one):
        one.stage.in_system = len(inside())
        one.stage.predicting = sum(other.stage.kind in (CHEAP, EXPENSIVE) for other in inside())

    def told(one, kind):
        if kind == CHEAP:
            one.job.klass, one.stage.known = one.class_, one.stage.known | 1
        else:
            one.job.predicted, one.stage.known = one.y, one.stage.known | 2
        one.stage.kind, one.stage.done = SERVE, 0.0

    def ask(one):
        nonlocal paid
        one.place = "here"
        while True:
            look(one)
            kind = SERVE if policy.ask is None else policy.ask(one.job, one.stage, np.array(policy.params))
            if (kind == CHEAP and one.stage.known & 1) or (kind in (EXPENSIVE, PROFILE) and one.stage.known & 2):
                kind = SERVE
            if kind != SERVE:
                bought[kind] += 1
            if kind not in price or costs.where != "outside":
                break
            paid += price[kind]
            told(one, kind)
        one.stage.kind, one.stage.done = kind, 0.0
        if kind in price and costs.where == "servers":
            one.place = "away"
            line.append(one)

    while any(one.place != "left" for one in rows):
        for k in range(len(predictors)):
            if predictors[k] is None and line:
                one = line.pop(0)
                predictors[k] = (one, clock + price[one.stage.kind])
        back = [(until, one.i, k) for k, held in enumerate(predictors) if held for one, until in [held]]
        if back and min(back)[0] <= clock:
            k = min(back)[2]
            one, predictors[k] = predictors[k][0], None
            told(one, one.stage.kind)
            ask(one)
            continue
        coming = [one for one in rows if one.place == "coming"]
        if coming and coming[0].job.arrival <= clock:
            ask(coming[0])
            continue
        events = [one.job.arrival for one in coming[:1]] + [until for until, _, _ in back]
        here = [one for one in rows if one.place == "here"]
        if not here:
            clock = min(events)
            continue
        for one in here:
            look(one)
        best = min(here, key=lambda one: (policy.rank(one.job, one.stage, np.array(policy.params)), one.i))
        if last is not None and last is not best:
            found["preemptions"][last.i] += 1
        last, job, stage = best, best.job, best.stage
        if stage.kind in (SERVE, PROFILE) and math.isnan(found["start"][best.i]):
            found["start"][best.i] = clock
        speed = 1.0 - costs.slow if stage.kind == PROFILE else 1.0
        if stage.kind == SERVE:
            left = (policy.pause if job.age < policy.pause < best.size else best.size) - job.age
        elif stage.kind == PROFILE:
            left = min(costs.profile - stage.done, best.size - job.age)
        else:
            left = price[stage.kind] - stage.done
        if policy.shape == "general" and len(here) > 1:
            events.append(clock + RESOLUTION * (job.age + mean))
        until = clock + left / speed
        ended = not events or until <= min(events)
        step = left if ended else (min(events) - clock) * speed
        clock = until if ended else min(events)
        stage.done += step
        if stage.kind in (SERVE, PROFILE):
            job.age += step
        if not ended:
            continue
        last = None
        if stage.kind in (SERVE, PROFILE) and math.isclose(job.age, best.size, rel_tol=1e-12):
            found["completion"][best.i], best.place = clock, "left"
            continue
        if stage.kind != SERVE:
            told(best, stage.kind)
        else:
            job.age = policy.pause
        ask(best)
    known = [(one.job.predicted, one.job.klass) for one in rows]
    return found, known, {**bought, "price": paid}
