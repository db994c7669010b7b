"""TextCombinatorics: permutations, combinations, arrangements, paths and inclusion-exclusion."""

from __future__ import annotations

from collections import Counter
from math import comb, factorial, lcm, perm, prod

from textgym.registration import register_task
from textgym.task import Problem
from textgym.tasks.math.choices import Choices
from textgym.tasks.math.family import Family, question
from textgym.tasks.math.writing import listed

WORDS = tuple(
    "BANANA LEVEL COFFEE PEPPER BALLOON LETTER SUCCESS MAMMAL BUBBLE KAYAK RADAR CARROT PAPAYA "
    "ROTATOR REFERRER COCOA TATTOO SEESAW ASSESS POTATO TOMATO ALASKA CANADA PANAMA GOGGLES "
    "COMMITTEE ENGINEER PARALLEL SASSES ERROR TERRACE CABBAGE GIGGLE NOODLE HAMMOCK ACCESS "
    "BAGGAGE CHEESE DADDY EELS FREEZER GREEN HORROR INDIGO JUJUBE KITTEN LLAMA MUMMY NANNY "
    "OTTER PUPPY QUEUE RABBIT SUMMER TEETER VALVE WILLOW YELLOW ZIGZAG APPLE BOTTLE COOKIE "
    "DAGGER EFFECT FUNNEL GALLOP HAPPEN ISSUE JELLY KOOKABURRA LITTLE MISSISSIPPI NEEDLE OPPOSE "
    "PADDOCK RACCOON SADDLE TUNNEL UNUSUAL VACUUM WALLET ABACUS BAOBAB CACAO DEEDED".split()
)
_GROUPS = (("men", "women"), ("boys", "girls"), ("doctors", "nurses"), ("poets", "painters"))
_THINGS = ("sweets", "coins", "marbles", "apples", "books of one kind")


def surjections(n: int, k: int) -> int:
    """How many maps from n things hit each of k others (inclusion-exclusion)."""
    return sum((-1) ** j * comb(k, j) * (k - j) ** n for j in range(k + 1))


def derangements(n: int) -> int:
    """How many permutations of n things leave none in its place."""
    count, sign = 1, 1
    for k in range(1, n + 1):
        sign = -sign
        count = k * count + sign
    return count


def rearrangements(word: str) -> int:
    """How many different words have the letters of a word."""
    return factorial(len(word)) // prod(factorial(k) for k in Counter(word).values())


# ----------------------------------------------------------------------- symbols


def symbols(choose: Choices) -> Problem:
    """C(n,k) or P(n,k), alone or with another one."""
    first, value = _symbol(choose)
    kind = choose.below(5) // 2
    if not kind:
        return question(f"{first}=", value, form="number")
    second, other = _symbol(choose)
    first, second = sorted((first, second))
    text = f"{first}{'+*'[kind - 1]}{second}"
    return question(f"{text}=", value + other if kind == 1 else value * other, form="number")


def _symbol(choose: Choices) -> tuple[str, int]:
    n = choose.between(4, 10)
    if choose.below(2):
        k = choose.between(1, n - 1)
        return f"C({n},{k})", comb(n, k)
    k = choose.between(1, 3)
    return f"P({n},{k})", perm(n, k)


# -------------------------------------------------------------------- selections


def choose_team(choose: Choices) -> Problem:
    """An unordered choice."""
    n = choose.between(6, 40)
    k = choose.between(2, 5)
    prompt = choose.one_of(
        (
            "In how many ways can {k} players be chosen from {n}? ",
            "How many subsets with {k} elements does a set of {n} elements have? ",
            "A club has {n} members. How many committees of {k} are there? ",
        )
    ).format(n=n, k=k)
    return question(prompt, comb(n, k), f"combinations {n} {k}", "number")


def choose_posts(choose: Choices) -> Problem:
    """An ordered choice without repetition."""
    n, k = choose.between(5, 60), choose.between(2, 4)
    prompt = choose.one_of(
        (
            "In how many ways can the first {k} places of a race with {n} runners be taken? ",
            "A club of {n} fills {k} different posts. In how many ways? ",
        )
    ).format(n=n, k=k)
    return question(prompt, perm(n, k), f"permutations {n} {k}", "number")


def choose_mixed(choose: Choices) -> Problem:
    """So many of one group and so many of another."""
    (one, other), a, b = choose.one_of(_GROUPS), choose.between(4, 18), choose.between(4, 18)
    i, j = choose.between(1, 4), choose.between(1, 4)
    team = f"{i} of the {one} and {j} of the {other}"
    prompt = f"From {a} {one} and {b} {other}, how many teams with {team} are there? "
    key = f"mixed {sorted(((a, i), (b, j)))}"
    return question(prompt, comb(a, i) * comb(b, j), key, "number")


def codes(choose: Choices) -> Problem:
    """Codes of letters and digits, with or without repetition."""
    n, k, repeated = choose.between(4, 40), choose.between(2, 4), choose.below(2)
    how = "may" if repeated else "may not"
    prompt = f"How many codes of {k} signs are there from {n} different signs that {how} repeat? "
    return question(prompt, n**k if repeated else perm(n, k), form="number")


# ------------------------------------------------------------------ arrangements


def arrange_letters(choose: Choices) -> Problem:
    """The letters of a word, some of them repeated."""
    word = choose.one_of(WORDS)
    prompt = f"In how many ways can the letters of {word} be arranged? "
    return question(prompt, rearrangements(word), form="number")


def arrange_balls(choose: Choices) -> Problem:
    """Balls of two or three colours in a row."""
    counts = sorted(choose.between(2, 6) for _ in range(choose.between(2, 4)))
    names = choose.shuffled(("red", "green", "blue", "black"))
    balls = listed(f"{n} {name}" for n, name in zip(counts, names, strict=False))
    prompt = f"In how many ways can {balls} balls be put in a row (one colour looks the same)? "
    answer = factorial(sum(counts)) // prod(map(factorial, counts))
    return question(prompt, answer, f"balls {counts}", "number")


def arrange_seats(choose: Choices) -> Problem:
    """People in a row of whom some sit together, or two apart."""
    n, k, apart = choose.between(5, 12), choose.between(2, 4), choose.below(2)
    together = factorial(n - k + 1) * factorial(k)
    how, answer = ("not all ", factorial(n) - together) if apart else ("all ", together)
    prompt = (
        f"{n} people sit in a row; {k} of them are friends who must {how}sit together. "
        "How many ways are there? "
    )
    return question(prompt, answer, form="number")


def arrange_shelf(choose: Choices) -> Problem:
    """Different books of two subjects, one subject or both kept together."""
    a, b, both = choose.between(2, 7), choose.between(2, 7), choose.below(2)
    if both:
        how, answer = "each subject stays together", 2 * factorial(a) * factorial(b)
    else:
        how, answer = "the maths books stay together", factorial(a) * factorial(b + 1)
    prompt = (
        f"{a} different maths books and {b} different novels stand in a row; {how}. How many ways? "
    )
    return question(prompt, answer, form="number")


def paths(choose: Choices) -> Problem:
    """Lattice paths, some of them through a given point."""
    a, b = choose.between(3, 8), choose.between(3, 8)
    start = f"How many paths of unit steps right or up lead from (0,0) to ({a},{b})"
    if choose.below(3):
        i, j = choose.between(1, a - 1), choose.between(1, b - 1)
        through = comb(i + j, i) * comb(a + b - i - j, a - i)
        if choose.below(2):
            return question(f"{start} through ({i},{j})? ", through, form="number")
        return question(f"{start} without ({i},{j})? ", comb(a + b, a) - through, form="number")
    return question(f"{start}? ", comb(a + b, a), form="number")


# ---------------------------------------------------------------- stars and bars


def stars_and_bars(choose: Choices) -> Problem:
    """Equal things for different people; each may get none, or at least one."""
    n, k, least = choose.between(6, 40), choose.between(3, 6), choose.below(2)
    thing = choose.one_of(_THINGS)
    how = "each getting at least one" if least else "some perhaps getting none"
    prompt = f"In how many ways can {n} equal {thing} be shared by {k} children, {how}? "
    answer = comb(n - 1, k - 1) if least else comb(n + k - 1, k - 1)
    return question(prompt, answer, f"share {n} {k} {least}", "number")


def solutions(choose: Choices) -> Problem:
    """Whole solutions of a sum with lower bounds."""
    k = choose.between(3, 4)
    bounds = sorted(choose.between(0, 4) for _ in range(k))
    rest = choose.between(4, 30)
    names = "xyzw"[:k]
    conditions = ", ".join(f"{v}>={b}" for v, b in zip(names, bounds, strict=True))
    prompt = (
        f"How many integer solutions has {'+'.join(names)}={rest + sum(bounds)} with {conditions}? "
    )
    return question(prompt, comb(rest + k - 1, k - 1), form="number")


def bounded_solutions(choose: Choices) -> Problem:
    """Whole solutions of a sum of three numbers with one upper bound (inclusion-exclusion)."""
    bound = choose.between(4, 30)
    total = choose.between(bound + 1, 3 * bound - 1)
    answer = sum(
        (-1) ** j * comb(3, j) * comb(total - j * (bound + 1) + 2, 2)
        for j in range(4)
        if total >= j * (bound + 1)
    )
    prompt = f"How many solutions has x+y+z={total} in integers from 0 to {bound}? "
    return question(prompt, answer, form="number")


# -------------------------------------------------------------------------- hard


def divisible(choose: Choices) -> Problem:
    """How many numbers up to n are divisible by one of two or three, or by none of them."""
    n, count = choose.between(100, 1500), choose.between(2, 3)
    divisors = sorted(choose.distinct(count, 2, 15))
    answer = 0
    for chosen in range(1, 2**count):
        some = [d for i, d in enumerate(divisors) if chosen >> i & 1]
        answer += n // lcm(*some) * (-1) ** (len(some) + 1)
    any_of = listed(divisors, "or")
    if choose.below(2):
        prompt = f"How many integers from 1 to {n} are divisible by {any_of}? "
        return question(prompt, answer, form="number")
    prompt = f"How many integers from 1 to {n} are not divisible by {any_of}? "
    return question(prompt, n - answer, form="number")


def onto(choose: Choices) -> Problem:
    """Different things in different boxes, none of which stays empty."""
    k = choose.between(2, 5)
    n = choose.between(k + 1, 9)
    thing, place = choose.one_of((("toys", "boxes"), ("guests", "rooms"), ("letters", "files")))
    prompt = (
        f"In how many ways can {n} different {thing} go into {k} different {place}, "
        "with none left empty? "
    )
    return question(prompt, surjections(n, k), f"onto {n} {k}", "number")


def fixed_points(choose: Choices) -> Problem:
    """Permutations with a given number of fixed points."""
    n = choose.between(5, 10)
    k = choose.between(0, n - 2)
    prompt = (
        f"{n} people take their {n} hats at random. "
        f"In how many ways do exactly {k} of them get their own? "
    )
    return question(prompt, comb(n, k) * derangements(n - k), form="number")


def at_least(choose: Choices) -> Problem:
    """A committee with at least so many of one group."""
    (one, other), a, b = choose.one_of(_GROUPS), choose.between(4, 10), choose.between(4, 10)
    size = choose.between(3, 6)
    least = choose.between(1, size - 1)
    prompt = (
        f"From {a} {one} and {b} {other}, how many committees of {size} have "
        f"at least {least} of the {one}? "
    )
    answer = sum(comb(a, i) * comb(b, size - i) for i in range(least, size + 1))
    return question(prompt, answer, f"at least {a} {b} {size} {least}", "number")


def digits(choose: Choices) -> Problem:
    """Numbers with different digits out of 0 to m that are even, odd or anything."""
    m, length, kind = choose.between(5, 9), choose.between(3, 5), choose.below(3)
    # Digits are filled in the order last, first, rest: the last decides, and the first is not 0.
    odd = (m + 1) // 2
    tail = perm(m - 1, length - 2)
    ending_odd = odd * (m - 1) * tail
    anything = m * perm(m, length - 1)
    answer = (anything, ending_odd, anything - ending_odd)[kind]
    name = ("", "odd ", "even ")[kind]
    prompt = (
        f"How many {name}numbers of {length} different digits can be formed from the "
        f"digits 0 to {m}, not starting with 0? "
    )
    return question(prompt, answer, form="number")


LEVELS = {
    "symbols": (symbols,),
    "selections": (choose_team, choose_posts, choose_mixed, codes),
    "arrangements": (arrange_letters, arrange_balls, arrange_seats, arrange_shelf, paths),
    "stars-bars": (stars_and_bars, solutions, bounded_solutions),
    "hard": (divisible, onto, fixed_points, at_least, digits),
}


@register_task("TextCombinatorics-v0")
class TextCombinatorics(Family):
    """Count selections, arrangements, paths and distributions.

    ## Description
    The prompt is a question such as `C(7,2)=` (combinations), `P(7,2)=` (permutations) or
    `In how many ways can 3 players be chosen from 12? `, and the response a number.

    ## Action Space
    `Discrete(V)`: one token of the tokenizer's V. A bare answer holds digits. The budget is 24
    tokens, eos included, and no reference answer in 20,000 of a level has more than 13 characters;
    give `max_response_tokens` where there is to be reasoning before the answer.

    ## Observation Space
    `Box(0, V - 1, (L,), int64)`: the prompt, the response so far, padding. Prompts have up to 16
    characters at the first level and 109 at the longest, without the words of an `answer_format`.

    ## Starting State
    A question of the level, at random, made backwards from its answer where it has to be. The kinds
    of a level are equally likely.

    ## Rewards
    `correct`, weight 1: 1 if the response is the number of the reference answer, written as a
    number with nothing left to compute: `120`, but not `5!`. The reward comes at the end of the
    episode.

    `format`, weight 0: 1 if the answer stands where `answer_format` wants it.

    ## Episode End
    The episode terminates with eos or after 24 tokens. A response cut off there is graded as it
    stands. It is never truncated.

    ## Information
    That of `textgym.RLEnvironment`; `verdict` has the `rule` by which the response was judged.

    ## Arguments
    `difficulty`: a level of the table, the first one unless told otherwise. `answer_format`:
    "bare", "boxed", "hash" or "any"; see `textgym.tasks.math.base.MathTask`.

    ## Difficulties
    Questions are counted by their key, exactly where no `>` says that there are more. Repeats are
    the share of 20,000 draws whose question came before. Questions about other people or things are
    the same question.

    | level        | questions | repeats | what is asked                                   |
    |--------------|-----------|---------|-------------------------------------------------|
    | symbols      |     4,095 |  82.7 % | C(n,k), P(n,k), their sums and products         |
    | selections   |     2,360 |  88.8 % | teams, posts, two groups, codes                 |
    | arrangements |     1,819 |  92.5 % | letters, colours, seats, shelves, lattice paths |
    | stars-bars   |     4,006 |  82.9 % | shares and integer solutions, with bounds       |
    | hard         | > 100,000 |  76.3 % | inclusion-exclusion, onto maps, fixed points    |

    An example of each:

    * symbols: `C(6,2)+P(5,3)=`
    * selections: `A club has 9 members. ...`
    * arrangements: `In how many ways can ...`
    * stars-bars: `In how many ways can 9 equal ...`
    * hard: `How many integers from 1 to ...`

    ## References
    Hendrycks et al. 2021, "Measuring Mathematical Problem Solving With the MATH Dataset" (counting
    and probability).

    ## Version History
    * v0: initial version.
    """

    levels = LEVELS
    difficulties = tuple(LEVELS)
    max_response_tokens = 24
