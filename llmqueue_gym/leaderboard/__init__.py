"""The leaderboard: frozen scenarios, stored results of every policy on them, and what follows from those alone.

    boards -> entries -> run -> results/<board>/<policy>.json -> table -> README, page

A board is a kind of decision with its scenarios and reporting seeds. An entry is a registered policy, or a folder with
a policy and a card. What is played is stored, one file for each policy; all that is shown is a pure function of those
files.
"""

from llmqueue_gym.leaderboard.boards import BOARDS, Board, board
from llmqueue_gym.leaderboard.entries import Entry, registered
from llmqueue_gym.leaderboard.run import play_entry

__all__ = ["BOARDS", "Board", "Entry", "board", "play_entry", "registered"]
