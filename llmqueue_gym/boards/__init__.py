"""Boards: named scenarios on which everybody plays the same jobs, and the ranking that follows.

    board -> entries -> play -> results -> standings -> words, page

A board is data, a table in a file of `data/`: scenarios, reporting seeds, who has score 0 and who may play. The
leaderboard is the boards with stored results, one file for each entry; `llmqueue bench` plays them at few seeds, with
recorded work where it is at hand.
"""

from llmqueue_gym.boards.board import Board, board, boards, load_boards
from llmqueue_gym.boards.entry import Entry, registered

__all__ = ["Board", "Entry", "board", "boards", "load_boards", "registered"]
