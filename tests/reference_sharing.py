"""A slow, obvious simulator of policies that share one server: job by job, event by event, in exact fractions."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from llmqueue_gym.jobs import outcome_table


class Ambiguous(Exception):
    """Jobs that came at different times tie to the last digit, so rounding would decide who goes first."""


def sharing_schedule(drawn, policy):
    """Play one server. At every event, in this order: who is done leaves, who has come joins, who is late is told so.

    Returns:
        start, completion and preemptions of each job, a preemption being a time that it lost its whole share.
    """
    rows = zip(drawn.work["arrival"], drawn.sizes, drawn.work["predicted"], drawn.work["weight"], strict=True)
    jobs = [
        SimpleNamespace(
            number=k,
            arrival=Fraction(float(arrival)),
            left=Fraction(float(size)),
            age=Fraction(0),
            weight=Fraction(float(weight)) if policy.weighted else Fraction(1),
            predicted=Fraction(float(predicted)),
            imagined=Fraction(float(predicted)),  # left of the prediction under processor sharing
            late=False,
        )
        for k, (arrival, size, predicted, weight) in enumerate(rows)
    ]
    found, clock, late = outcome_table(len(jobs)), Fraction(0), []
    coming, present, virtual, served_last = list(jobs), [], [], []
    while coming or present:
        working = served(policy, present, late)
        pace = {job.number: job.weight / sum(other.weight for other in working) for job in working}
        burden = sum(job.weight for job in virtual)
        steps = [job.left / pace[job.number] for job in working]
        steps += [max(job.arrival - clock, 0) for job in coming]
        if policy.order == "virtual":
            steps += [job.imagined * burden / job.weight for job in virtual]
        if policy.order == "remaining":
            steps += [(job.predicted - job.age) / pace[job.number] for job in working if not job.late]
        if policy.late == "youngest":
            pairs = [(job, other) for job in working if job.late for other in late if other.age > job.age]
            steps += [(other.age - job.age) / pace[job.number] for job, other in pairs]
        step = min(steps)
        if step > 0:
            for job in working:
                if np.isnan(found[job.number]["start"]):
                    found[job.number]["start"] = clock
            for job in served_last:
                found[job.number]["preemptions"] += job in present and job not in working
            served_last = working
        clock += step
        for job in working:
            job.age += step * pace[job.number]
            job.left -= step * pace[job.number]
        for job in virtual:
            job.imagined -= step * job.weight / burden
        for job in working:
            if job.left == 0:
                found[job.number]["completion"] = clock
                if np.isnan(found[job.number]["start"]):
                    found[job.number]["start"] = clock
                present.remove(job)
                if job.late:
                    late.remove(job)
        for job in [job for job in coming if job.arrival <= clock]:
            coming.remove(job)
            present.append(job)
            virtual.append(job)
        for job in [job for job in virtual if job.imagined == 0]:
            virtual.remove(job)
            if policy.order == "virtual" and job in present:
                job.late = True
                late.append(job)
        for job in present:
            outlived = policy.order == "none" or (policy.order == "remaining" and job.predicted <= job.age)
            if outlived and not job.late:
                job.late = True
                late.append(job)
    return found


def served(policy, present, late):
    """Return the jobs that share the server."""
    jobs = []
    if late and policy.late == "share":
        jobs += late
    elif late and policy.late == "first":
        jobs += late[:1]
    elif late:
        jobs += [job for job in late if job.age == min(other.age for other in late)]
    on_time = [job for job in present if not job.late]
    if on_time and (policy.beside or not late):
        jobs.append(first(policy, on_time))
    return jobs


def first(policy, on_time):
    """Return the first job on time; ties go to the first come."""

    def key(job):
        return job.imagined / job.weight if policy.order == "virtual" else job.predicted - job.age

    best = min(key(job) for job in on_time)
    tied = [job for job in on_time if key(job) == best]
    if len({job.arrival for job in tied}) > 1:
        raise Ambiguous
    return tied[0]
