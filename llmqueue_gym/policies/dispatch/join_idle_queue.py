"""Join idle queue: any idle server, drawn at random; if there is none, any server.

Source: Lu, Xie, Kliot, Geller, Larus, Greenberg, Join-Idle-Queue, Performance Evaluation 2011. Here idle servers are
known at once and reported nowhere, as with one dispatcher.
"""

from llmqueue_gym.policies.dispatch.base import DispatchPolicy


def score(job, queue, params):
    return 0.0 if queue.jobs == 0 else 1.0


def join_idle_queue() -> DispatchPolicy:
    return DispatchPolicy("join-idle-queue", score, looks="all", source="Lu et al., Performance Evaluation 2011")
