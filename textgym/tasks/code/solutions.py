"""Small algorithms: each function's docstring is the question, its source the reference program.

`textgym.tasks.code.algorithms` puts numbers in the place of the keyword-only parameters. So these
functions stay plain: no annotations, no helpers, nothing of this module but themselves.
"""

# ruff: noqa: D205, D209  (a question is no summary with a description)

from __future__ import annotations


def common_divisor(a, b, *, j, k):
    """Return {j} times the greatest common divisor of a and b (0 of 0 and 0), plus {k}."""
    while b:
        a, b = b, a % b
    return j * abs(a) + k


def common_multiple(a, b, *, j, k):
    """Return {j} times the least common multiple of a and b (0 if one of them is 0), minus {k}."""
    if a == 0 or b == 0:
        return -k
    x, y = a, b
    while y:
        x, y = y, x % y
    return j * abs(a * b // x) - k


def power_modulo(a, b, *, m):
    """Return a to the power of the absolute value of b, modulo {m}."""
    result = 1 % m
    for _ in range(abs(b)):
        result = result * a % m
    return result


def divisors(n, *, j, k):
    """Return the list of the divisors of n from {j} up that are no multiples of {k}, ascending."""
    return [d for d in range(j, n + 1) if n % d == 0 and d % k != 0]


def divisor_sum(n, *, j, k):
    """Return the sum of the divisors of n that are at least {j}, each to the power of {k}."""
    total = 0
    for d in range(j, n + 1):
        if n % d == 0:
            total += d**k
    return total


def primes(n, *, r, m):
    """Return the list of the primes up to n whose remainder by {m} is {r}."""
    found = []
    for p in range(2, n + 1):
        if all(p % d for d in range(2, int(p**0.5) + 1)) and p % m == r:
            found.append(p)
    return found


def next_prime(n, *, k):
    """Return the prime number {k} of those greater than n, counted from 1."""
    count = 0
    while count < k:
        n += 1
        if n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)):
            count += 1
    return n


def prime_factors(n, *, j, k):
    """Return the prime factors of n from {j} to {k}, ascending, each as often as it divides n."""
    factors = []
    d = 2
    while d * d <= n:
        while n % d == 0:
            factors.append(d)
            n //= d
        d += 1
    if n > 1:
        factors.append(n)
    return [p for p in factors if j <= p <= k]


def digits(n, *, base):
    """Return the list of the digits of n in base {base}, the highest first; [] for 0."""
    result = []
    while n:
        result.append(n % base)
        n //= base
    return result[::-1]


def digit_sum(n, *, base, k):
    """Return the sum of the digits of n in base {base}, each to the power of {k}."""
    total = 0
    while n:
        total += (n % base) ** k
        n //= base
    return total


def fibonacci(n, *, x, y):
    """Return element n of the sequence {x}, {y}, ..., counted from 0, in which each of the further
    elements is the sum of the two before."""
    a, b = x, y
    for _ in range(n):
        a, b = b, a + b
    return a


def recurrence(n, *, x, y, m):
    """Begin with {x}; n times replace the value v by the remainder of {y} * v + n by {m}. Return
    it."""
    value = x
    for _ in range(n):
        value = (value * y + n) % m
    return value


def collatz(n, *, j, k):
    """Return how often n is replaced until it is at most 1, but at most {j} times: an even n by its
    half, an odd n by 3 * n + {k}."""
    steps = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + k
        steps += 1
        if steps == j:
            break
    return steps


def survivor(n, *, k):
    """People 1 to n stand in a circle, every {k}th one left goes out. Return the number of the last
    one."""
    place = 0
    for size in range(2, n + 1):
        place = (place + k) % size
    return place + 1


def ways_to_pay(n, *, x, y, z):
    """Return how many ways there are to pay n with coins of {x}, {y} and {z}, in any order."""
    ways = [1] + [0] * n
    for coin in (x, y, z):
        for total in range(coin, n + 1):
            ways[total] += ways[total - coin]
    return ways[n]


def fewest_coins(n, *, x, y):
    """Return the least number of coins of 1, {x} and {y} that pay n."""
    best = [0] + [-1] * n
    for total in range(1, n + 1):
        for coin in (1, x, y):
            if coin <= total and (best[total] < 0 or best[total - coin] + 1 < best[total]):
                best[total] = best[total - coin] + 1
    return best[n]


def climbs(n, *, x, y):
    """Return how many ways there are to climb n steps, taking {x} or {y} at a time, in order."""
    ways = [1] + [0] * n
    for step in range(1, n + 1):
        for stride in (x, y):
            if stride <= step:
                ways[step] += ways[step - stride]
    return ways[n]


def best_run(xs, *, k):
    """Subtract {k} from each number and return the largest sum of neighbours, 0 if all are
    negative."""
    best = current = 0
    for x in xs:
        current = max(0, current + x - k)
        best = max(best, current)
    return best


def longest_rise(xs, *, j, k):
    """Return the length of the longest subsequence, not always of neighbours, in which each number
    is {j} to {k} more than the one before."""
    lengths = []
    for i, x in enumerate(xs):
        before = [lengths[h] for h in range(i) if j <= x - xs[h] <= k]
        lengths.append(1 + max(before, default=0))
    return max(lengths, default=0)


def pairs_with_sum(xs, *, d, k):
    """Return how many pairs of places i < j, at most {d} apart, have numbers whose sum is {k}."""
    count = 0
    for i in range(len(xs)):
        for j in range(i + 1, len(xs)):
            if j - i <= d and xs[i] + xs[j] == k:
                count += 1
    return count


def pairs_apart(xs, *, d, k):
    """Return how many pairs of places i < j, at least {d} apart, have numbers at most {k} apart."""
    count = 0
    for i in range(len(xs)):
        for j in range(i + d, len(xs)):
            if abs(xs[i] - xs[j]) <= k:
                count += 1
    return count


def windows(xs, *, j, k):
    """Return the sums of every {k} neighbouring numbers, left to right, those of at least {j}."""
    sums = [sum(xs[i : i + k]) for i in range(len(xs) - k + 1)]
    return [total for total in sums if total >= j]


def rotated(xs, *, k):
    """Move the first {k} numbers to the end, one after the other, and return the list."""
    if not xs:
        return xs
    place = k % len(xs)
    return xs[place:] + xs[:place]


def by_remainder(xs, *, j, k):
    """Sort the numbers x by the remainder of x + {j} by {k}, equal ones by x. Return the list."""
    return sorted(xs, key=lambda x: ((x + j) % k, x))


def run_lengths(s, *, j, k):
    """Return the runs of equal characters that are {j} to {k} long, as lists [character, count]."""
    runs = []
    for c in s:
        if runs and runs[-1][0] == c:
            runs[-1][1] += 1
        else:
            runs.append([c, 1])
    return [[c, n] for c, n in runs if j <= n <= k]


def shifted(s, *, k):
    """Move each of the letters a to z on by {k} in the alphabet, from z to a. Return the text."""
    result = ""
    for c in s:
        if c.islower():
            c = chr((ord(c) - ord("a") + k) % 26 + ord("a"))
        result += c
    return result


def every(s, *, k, r):
    """Return the characters whose place, counted from 0, has remainder {r} by {k}."""
    return "".join(c for i, c in enumerate(s) if i % k == r)


def edits(s, t, *, a, b, k):
    """Return the least cost to turn s into t: {a} to insert a character, {b} to delete one, {k} to
    replace one."""
    row = [a * j for j in range(len(t) + 1)]
    for i, c in enumerate(s):
        new = [b * (i + 1)]
        for j, d in enumerate(t):
            change = row[j] + (0 if c == d else k)
            new.append(min(change, row[j + 1] + b, new[j] + a))
        row = new
    return row[-1]
