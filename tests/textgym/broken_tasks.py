"""Tasks for test_checking: two sound ones, and many that are called after their one defect."""

from __future__ import annotations

import random

import numpy as np

from textgym import Grade, Problem, Task


class Sum(Task):
    """A sound task: add two numbers."""

    max_response_tokens = 6
    alphabet = "0123456789"

    def sample(self, rng, *difficulty):
        a, b = (int(n) for n in rng.integers(1000, size=2))
        return Problem(prompt=f"{a}+{b}=", answer=str(a + b))

    def grade(self, problem, response):
        return {"correct": float(response == problem.answer)}


class GuessWithHints(Sum):
    """A sound dialogue."""

    max_turns = 3
    max_reply_tokens = 5
    alphabet = None

    def reply(self, problem, turns):
        return None if turns[-1] == problem.answer else "more?"


class Coin(Sum):
    """A sound task that half of the answers solve, and says so."""

    floor = 0.5

    def sample(self, rng):
        return Problem(prompt=f"is it {rng.integers(10**6)}?", answer=str(rng.integers(2)))


# ------------------------------------------------------------- broken attributes


class NoRewards(Sum):
    rewards = {}


class WeightIsNaN(Sum):
    rewards = {"correct": float("nan")}


class OnlyPenalties(Sum):
    rewards = {"correct": -1.0}


class TwoLevelsOfOneName(Sum):
    difficulties = ("easy", "hard", "easy")


class UnknownDefaultLevel(Sum):
    difficulties = ("easy", "hard")
    default_difficulty = "medium"


class NoTurns(Sum):
    max_turns = 0


class DialogueWithoutRoomForReplies(Sum):
    max_turns = 2


class RoomForRepliesWithoutDialogue(Sum):
    max_reply_tokens = 5


class EmptyStopString(Sum):
    stop_strings = (";", "")


class StopStringsInOneText(Sum):
    stop_strings = ";"


class EmptyAlphabet(Sum):
    alphabet = ""


# --------------------------------------------------------------- broken problems


class SamplesATuple(Sum):
    def sample(self, rng):
        return "1+1=", "2"


class AnswerIsANumber(Sum):
    def sample(self, rng):
        return Problem(prompt="1+1=", answer=2)


class SurrogateInPrompt(Sum):
    def sample(self, rng):
        return Problem(prompt="1+1=\ud800", answer="2")


class SamplesWithNumpysGlobalGenerator(Sum):
    def sample(self, rng):
        np.random.random()
        return super().sample(rng)


class SamplesWithRandomsGlobalGenerator(Sum):
    def sample(self, rng):
        random.random()
        return super().sample(rng)


class SamplesByACounter(Sum):
    calls = 0

    def sample(self, rng):
        self.calls += 1
        return Problem(prompt=f"{self.calls}+0=", answer=str(self.calls))


class CountsItsSamples(Sum):
    calls = 0

    def sample(self, rng):
        self.calls += 1
        return super().sample(rng)


class FewProblems(Sum):
    def sample(self, rng):
        n = int(rng.integers(60))
        return Problem(prompt=f"{n}+1=", answer=str(n + 1))


class TwoProblems(Sum):
    def sample(self, rng):
        n = int(rng.integers(2))
        return Problem(prompt=f"{n}+1=", answer=str(n + 1))


class OnePromptInTwoSplits(Sum):
    def sample(self, rng):
        problem = super().sample(rng)
        return Problem(prompt="1+1=", answer="2", key=problem.prompt)


class AnswerOverBudget(Sum):
    max_response_tokens = 3


class StopStringInsideAnswer(Sum):
    stop_strings = ("1",)


class PromptWithUnknownCharacters(Sum):
    def sample(self, rng):
        problem = super().sample(rng)
        return Problem(prompt=problem.prompt.replace("+", "\u2295"), answer=problem.answer)


# ----------------------------------------------------------------- broken grades


class MissingComponent(Sum):
    rewards = {"correct": 1.0, "short": 1.0}

    def grade(self, problem, response):
        return {"correct": 1.0}


class GradeAboveOne(Sum):
    def grade(self, problem, response):
        return {"correct": 100.0 * (response == problem.answer)}


class GradeIsABool(Sum):
    def grade(self, problem, response):
        return {"correct": response == problem.answer}


class GradeIsNaN(Sum):
    def grade(self, problem, response):
        return {"correct": float("nan")}


class GradesByTheResponseBefore(Sum):
    last = ""

    def grade(self, problem, response):
        seen, self.last = self.last, response
        return {"correct": float(response == problem.answer != seen)}


class GradesByChance(Sum):
    def grade(self, problem, response):
        return {"correct": float(response == problem.answer) * random.random()}


class GradesManyByTheFirst(Sum):
    def grade_many(self, problems, responses):
        return [self.grade(problem, responses[0]) for problem in problems]


class ForgetsFactsOfMany(Sum):
    def grade(self, problem, response):
        return Grade(super().grade(problem, response), facts={"rule": "same"})

    def grade_many(self, problems, responses):
        return [Sum.grade(self, *pair) for pair in zip(problems, responses, strict=True)]


class ReferenceCannotBeJudged(Sum):
    def grade(self, problem, response):
        if response == problem.answer:
            return Grade(error="no verdict")
        return super().grade(problem, response)


class PrintsWhileGrading(Sum):
    def grade(self, problem, response):
        print("graded", response)
        return super().grade(problem, response)


class CannotReadWords(Sum):
    def grade(self, problem, response):
        value = int(response) if response and response != problem.prompt else -1
        return {"correct": float(value == int(problem.answer))}


class RaisesForAMegabyte(Sum):
    def grade(self, problem, response):
        digits = response.isascii() and response.isdecimal()
        return {"correct": float(digits and int(response) == int(problem.answer))}


class ReferenceEarnsHalf(Sum):
    def grade(self, problem, response):
        return {"correct": 0.5 * (response == problem.answer)}


class SilenceIsGolden(Sum):
    def grade(self, problem, response):
        return {"correct": float(response in ("", problem.answer))}


class AnswerAnywhereCounts(Sum):
    alphabet = None

    def grade(self, problem, response):
        return {"correct": float(problem.answer in response)}


class NumbersAnywhereCount(Sum):
    alphabet = None

    def sample(self, rng):
        a, b = (int(n) for n in rng.integers(1, 1000, size=2))
        return Problem(prompt=f"max {a},{b}:", answer=str(max(a, b)))

    def grade(self, problem, response):
        return {"correct": float(problem.answer in response.split()[:2])}


class AboveItsStatedFloor(Sum):
    floor = 0.1

    def grade(self, problem, response):
        return {"correct": 1.0 if response == problem.answer else 0.3 * (response == "")}


class FloorOverOne(Sum):
    floor = 10


class ThreeAnswersInAll(Sum):
    def sample(self, rng):
        problem = super().sample(rng)
        return Problem(prompt=problem.prompt, answer=str(int(problem.answer) % 3))


class GradeIgnoresTheAlphabet(Sum):
    def grade(self, problem, response):
        return {"correct": float(response.strip(" x") == problem.answer)}


class ReferenceOutsideTheAlphabet(Sum):
    alphabet = "01234567"


class HoldsAFunction(Sum):
    def __init__(self):
        self.add = lambda a, b: a + b


class ReplyIsANumber(GuessWithHints):
    def reply(self, problem, turns):
        return len(turns)


class RepliesByChance(GuessWithHints):
    def reply(self, problem, turns):
        return str(np.random.default_rng().integers(10**5))


class ReplyWithoutRoom(GuessWithHints):
    def reply(self, problem, turns):
        return "guess again"


BROKEN = [
    (NoRewards, "error", "rewards", "rewards is {}, expected a mapping"),
    (WeightIsNaN, "error", "rewards", "rewards['correct'] is nan, expected a finite weight"),
    (OnlyPenalties, "error", "rewards", "the highest reward is 0.0, expected a component with a"),
    (TwoLevelsOfOneName, "error", "difficulties", "has 'easy' twice, expected unique names"),
    (UnknownDefaultLevel, "error", "difficulties", "'medium', expected None or one of ['easy'"),
    (NoTurns, "error", "limits", "max_turns is 0, expected an integer of at least 1"),
    (DialogueWithoutRoomForReplies, "error", "limits", "max_turns is 2 but max_reply_tokens 0"),
    (RoomForRepliesWithoutDialogue, "error", "limits", "max_reply_tokens is 5 but max_turns 1"),
    (EmptyStopString, "error", "texts", "stop_strings has '', expected texts that are not empty"),
    (StopStringsInOneText, "error", "texts", "stop_strings is ';', expected a tuple of texts"),
    (EmptyAlphabet, "error", "texts", "alphabet is '', expected None or a text"),
    (SamplesATuple, "error", "sampling", "SamplesATuple.sample returned tuple, expected Problem"),
    (AnswerIsANumber, "error", "sampling", "Problem.answer is 2, expected a text"),
    (SurrogateInPrompt, "error", "sampling", r"Problem.prompt '1+1=\ud800' has a lone surrogate"),
    (
        *(SamplesWithNumpysGlobalGenerator, "error", "purity of sample"),
        "sample uses numpy's global generator, expected only the one it is given",
    ),
    (
        *(SamplesWithRandomsGlobalGenerator, "error", "purity of sample"),
        "sample uses random's global generator, expected only the one it is given",
    ),
    (SamplesByACounter, "error", "purity of sample", "for one state of the generator, expected"),
    (CountsItsSamples, "error", "purity of sample", "sample changes the attributes ['calls']"),
    (FewProblems, "warning", "variety", "'all' has 60 distinct problems among 500 draws"),
    (TwoProblems, "error", "splits", "has no problem in ["),
    (OnePromptInTwoSplits, "error", "splits", "the prompt '1+1=' is in the splits"),
    (AnswerOverBudget, "error", "room", "needs 5 tokens with eos, max_response_tokens is 3"),
    (StopStringInsideAnswer, "error", "room", "contains the stop string '1': a response would end"),
    (PromptWithUnknownCharacters, "warning", "room", "(CharTokenizer) has no token for '\u2295'"),
    (MissingComponent, "error", "grades", "grade gave ['correct'] for"),
    (GradeAboveOne, "error", "grades", "grade gave correct=100.0 for"),
    (GradeIsABool, "error", "grades", "grade gave correct=True for"),
    (GradeIsNaN, "error", "grades", "grade gave correct=nan for"),
    (GradesByTheResponseBefore, "error", "purity of grade", "and then {'correct': 1.0} for"),
    (GradesByChance, "error", "purity of grade", "grade uses random's global generator"),
    (
        GradesManyByTheFirst,
        "error",
        "grade many",
        "where grade gave {'correct': 1.0}, expected",
    ),
    (
        ForgetsFactsOfMany,
        "error",
        "grade many",
        "gave {'correct': 1.0} {'rule': 'same'}, exp",
    ),
    (ReferenceCannotBeJudged, "error", "reference answers", "the verifier failed on the reference"),
    (NumbersAnywhereCount, "error", "baselines", "'its numbers' earns 1.00 of the highest reward"),
    (
        AboveItsStatedFloor,
        "error",
        "baselines",
        "'empty' earns 0.30 of the highest reward at 'all'",
    ),
    (FloorOverOne, "error", "limits", "floor is 10, expected None or a number from 0 to 1"),
    (PrintsWhileGrading, "error", "purity of grade", "grade prints 'graded "),
    (CannotReadWords, "error", "hostile responses", "grading null bytes raised ValueError"),
    (RaisesForAMegabyte, "error", "hostile responses", "a megabyte of digits raised ValueError"),
    (ReferenceEarnsHalf, "error", "reference answers", "earns 0.5, expected the highest reward, 1"),
    (SilenceIsGolden, "error", "baselines", "'empty' earns 1.00 of the highest reward at 'all'"),
    (AnswerAnywhereCounts, "error", "baselines", "'all answers' earns 1.00 of the highest reward"),
    (ThreeAnswersInAll, "warning", "baselines", "'constant' ("),
    (
        GradeIgnoresTheAlphabet,
        "error",
        "alphabet",
        "lacks 'x': an environment gives it nothing",
    ),
    (ReferenceOutsideTheAlphabet, "error", "alphabet", "which the alphabet '01234567' lacks"),
    (HoldsAFunction, "error", "pickling", "pickle"),
    (ReplyIsANumber, "error", "replies", "reply gave 1 to"),
    (RepliesByChance, "error", "replies", "expected the same each time"),
    (ReplyWithoutRoom, "warning", "replies", "a reply of 11 tokens is cut to max_reply_tokens=5"),
]
