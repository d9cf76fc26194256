"""What an agent sees of programs: columns, in the order in which `engines.fleet.program_steps` writes them."""

from llmqueue_gym.systems.view import Column, Columns

HELD: Columns = {  # calls that wait at the router, in order of their coming
    "present": Column("1 where the slot holds a call"),
    "prompt": Column("its prompt, tokens", "prompt"),
    "predicted": Column("its predicted output, tokens", "output"),
    "generated": Column("output that it had made where a machine vanished, tokens", "output"),
    "to_come": Column("tokens of the calls of its program still to come, itself included, as predicted", "request"),
    "path_to_come": Column("the same on the longest path from it on", "request"),
    "attained": Column("s that calls of its program which ended before it came have been served", "s"),
    "longest_path": Column("the same on the path to it on which that is most, s", "s"),
    "depth": Column("calls on the longest path before it"),
    "siblings": Column("calls of its program that became ready with it, itself included"),
    "waited": Column("since it is ready, s", "s"),
    "time_in_system": Column("since the arrival of its program, s", "s"),
    "weight": Column("cost per second of its program"),
    "answers": Column("answers that its program has given"),
    "planned": Column("answers that it gives at most"),
    "leading": Column("votes of the answer that most have given"),
}
PROGRAMS: Columns = {
    "question": Column("6: who goes on next, 7: what comes of the context, 8: does the program stop; 0 at the end"),
    "since_decision": Column('since the last decision, as in info["dt"], s', "iteration"),
    "in_system": Column("programs that have begun and are not over", "seats"),
    "held": Column("calls that wait at the router", "seats"),
    "unseen": Column("how many of them are beyond the last slot", "seats"),
    "running": Column("calls in running lists", "seats"),
    "waiting": Column("calls in the queues of replicas", "seats"),
    "free": Column("free KV blocks", "blocks"),
    "blocks": Column("KV blocks in all", "blocks"),
}
CONTEXT: Columns = {  # of the context in question, and of the replica that has it
    "context": Column("its tokens", "request"),
    "context_blocks": Column("KV blocks that it takes", "request_blocks"),
    "predicted_gap": Column("s until its program is back, as predicted", "s"),
    "next_prompt": Column("tokens that it brings back, as predicted", "prompt"),
    "next_output": Column("output tokens of the next call, as predicted", "output"),
    "calls_left": Column("calls of the program still to come, as predicted"),
    "scheduled": Column("tokens of the last iteration there", "request"),
    "tokens_held": Column("tokens that fit in the KV blocks of all who run there", "request"),
    "free_there": Column("free KV blocks there", "blocks"),
    "waiting_there": Column("calls in the queue there", "seats"),
    "running_there": Column("calls in the running list there", "seats"),
    "kept_there": Column("contexts that are kept there, this one included", "seats"),
}
ANSWERS: Columns = {  # of the program in question
    "answers": Column("that it has given so far"),
    "planned": Column("that it gives at most"),
    "leading": Column("votes of the answer that most have given"),
    "second": Column("of the one that is next, 0 where all agree"),
    "clusters": Column("different answers"),
    "entropy": Column("of the shares of the answers, bits"),
    "agree": Column("last answers that were the same"),
    "spent": Column("output tokens so far", "output"),
    "predicted_depth": Column("output tokens until its thought settles, as predicted; 0 where it has none", "output"),
    "confidence": Column("of that prediction"),
    "mean_score": Column("predicted chance to be right, of its answers on average"),
    "best_score": Column("of the best answer"),
    "answer_depth": Column("calls on its longest path so far"),
}
