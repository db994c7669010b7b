"""Small tasks that the environment tests share: plain, with stop strings, and a dialogue."""

from __future__ import annotations

from textgym import Grade, Problem, Task, register_task


@register_task("Sort-test-v0", max_response_tokens=6)
class Sort(Task):
    """Sort three letters. Two components, so that weights matter."""

    rewards = {"correct": 1.0, "short": 0.5, "shouting": -0.25}
    difficulties = ("abc", "abcdefgh")

    def sample(self, rng, difficulty):
        word = "".join(rng.choice(list(difficulty), size=4))
        return Problem(prompt=f"sort {word}:", answer="".join(sorted(word)))

    def grade(self, problem, response):
        return {
            "correct": float(response.strip() == problem.answer),
            "short": float(len(response) < 3),
            "shouting": float(any(c.isupper() for c in response)),
        }


@register_task("Stop-test-v0", max_response_tokens=7)
class StopAtSemicolon(Task):
    """Say the letter twice; ';' or "ab" ends the response."""

    stop_strings = (";", "ab")

    def sample(self, rng):
        letter = "abcd"[int(rng.integers(4))]
        filler = "".join(rng.choice(list("xyz"), size=5))
        return Problem(prompt=f"{filler} twice {letter}: ", answer=2 * letter)

    def grade(self, problem, response):
        return {"correct": float(response.rstrip(";") == problem.answer)}


@register_task("Judge-test-v0", max_response_tokens=4)
class Judged(Task):
    """Say the letter: verdicts with facts of every type, of which some are none."""

    rewards = {"correct": 1.0, "short": 0.5, "digits": -0.25}

    def sample(self, rng):
        return Problem(
            f"{int(rng.integers(1000))} say {(letter := 'abcd'[rng.integers(4)])}:", letter
        )

    def grade(self, problem, response):
        if "0" in response or (problem.id % 7 == 0 and response == problem.answer):
            return Grade(error="cannot judge a 0" if "0" in response else "a bad day")
        components = {
            "correct": float(response == problem.answer),
            "short": float(len(response) < 3),
            "digits": float(any(c.isdigit() for c in response)),
        }
        facts = {"rule": "same" if response == problem.answer else "other", "size": len(response)}
        if response.isupper():
            facts |= {"share": len(response) / 4, "is_loud": True}
        return Grade(components, facts={} if response == ";" else facts)


@register_task("Guess-test-v0", max_response_tokens=8)
class Guess(Task):
    """Guess a digit in three turns; the environment says higher or lower."""

    max_turns = 3
    max_reply_tokens = 4
    stop_strings = ("!",)

    def sample(self, rng):
        secret = int(rng.integers(10))
        return Problem(prompt=f"guess {int(rng.integers(1000))}: ", answer=str(secret))

    def reply(self, problem, turns):
        guess = turns[-1].strip("! ")
        if guess == problem.answer:
            return None
        return " lower " if guess > problem.answer else " up "
