"""TextNim: play Nim against a fixed opponent, or a past self."""

from __future__ import annotations

from textgym.games.nim import Nim, NimState
from textgym.games.task import GameTask
from textgym.registration import register_task


@register_task("TextNim-v0")
class TextNim(GameTask):
    """Win a game of Nim.

    ## Description
    A dialogue. The prompt is the rules and a position, such as
    `Nim: take 1 to 3 from a heap, taking the last one wins. a5 b7: `, and a turn is a move: `b2`
    takes two from the heap b. The reply is the position after the opponent's move, such as
    `a5 b4: ` in a line of its own. Where there is one heap, it has no letter, and neither has a
    move. A heap of h objects counts as h mod (k + 1), where k is the most that may be taken, and
    whoever leaves heaps whose counts have the binary sum (xor) 0 can win from there.

    `textgym.games.nim_v0` is the same game for two policies, as PettingZoo environments.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. The budget is 60 tokens for all turns, each with
    its eos, where no game needs more than 45. White space around a move is no mistake.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the turns and replies so far, padding. A prompt has at
    most 69 characters and a reply 14.

    ## Starting State
    Heaps and a limit from 2 to 9, at random among those from which the policy can win, but not in
    its first turn. The policy begins.

    ## Rewards
    * `correct`, weight 1: 1 for a game that is won.
    * `legal`, weight 0: the share of the policy's moves that were legal.

    The reward comes at the end of the game. Whoever says something that is no legal move loses.

    ## Episode End
    The episode terminates with the game's last move, by whomever, with a move that is not legal, or
    when the budget is spent; a turn cut off there is a move as it stands. A game that is not over
    then is not won. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`. `verdict` has `outcome` ("won", "lost", "illegal move",
    "unfinished") and `turns`, how many the policy had.

    ## Arguments
    `opponent`: "random" (any legal move), "optimal" (a move that wins, where one does, else any),
    "mixed:0.3" (optimal with probability 0.3, else random), or a function: it gets a list of
    transcripts, each a tuple of what its player was told and said in turn, and returns as many
    moves; in a vector environment once a step for all games that wait for one. It has to answer the
    same transcript with the same move; `agents.self_play.as_opponent` makes one of a policy. The
    other opponents' moves are a function of problem and game so far. `difficulty`: a level of the
    table, the first one unless told otherwise.

    ## Difficulties
    Positions are counted as questions, in which the order of heaps does not matter. From each, best
    play wins every game against any opponent (probability 1). The last columns are how often moves
    chosen at random among the legal ones win, exactly, for an average game.

    | level | questions | heaps | objects in each | against random | mixed:0.5 | optimal |
    |-------|-----------|-------|-----------------|----------------|-----------|---------|
    | one   |       155 |     1 |           to 30 |          0.504 |     0.278 |   0.034 |
    | two   |       735 |     2 |         1 to 15 |          0.501 |     0.285 |   0.033 |
    | three |     1,127 |     3 |          1 to 9 |          0.501 |     0.279 |   0.022 |
    | four  |     1,323 |     4 |          1 to 7 |          0.500 |     0.271 |   0.011 |

    ## References
    Bouton 1902, "Nim, a Game with a Complete Mathematical Theory".

    ## Version History
    * v0: initial version.
    """

    game = Nim()
    difficulties = Nim.difficulties
    max_turns = Nim.max_turns
    max_reply_tokens = Nim.max_reply + 1
    max_response_tokens = Nim.max_turns * (Nim.max_move + 2)

    def key(self, state: NimState) -> str:
        """The heaps in order of size, and the limit."""
        return f"nim {sorted(state.heaps)} {state.limit}"
