"""Retry policies: whether a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from math import inf
from typing import cast, final

from everlog.core.durations import Duration, microseconds
from everlog.core.numbers import check_count, is_number
from everlog.core.plain import is_tuple
from everlog.errors import UsageError


@final
class RetryPolicy:
    """How often a step is tried. Without a policy a step has one attempt (and runs again after a crash).

    The n-th retry comes after `first_delay * backoff ** (n - 1)` seconds, at most `max_delay`, changed by up to
    `jitter` (a fraction) in either direction. Only exceptions of `retry_on` that are not of `give_up_on` are retried.
    `max_attempts=None` never gives up. Raises `UsageError` for values that make no sense.
    """

    __slots__ = ("backoff", "first_delay", "give_up_on", "jitter", "max_attempts", "max_delay", "retry_on")

    def __init__(
        self,
        *,
        max_attempts: int | None = 3,
        first_delay: Duration = 1,
        backoff: float = 2,
        max_delay: Duration = 3600,
        jitter: float = 0.1,
        retry_on: tuple[type[Exception], ...] = (Exception,),
        give_up_on: tuple[type[Exception], ...] = (),
    ) -> None:
        if not is_number(backoff) or not 1 <= backoff < inf:
            raise UsageError(f"backoff must be a number of at least 1, got {backoff!r}")
        if not is_number(jitter) or not 0 <= jitter <= 1:
            raise UsageError(f"jitter must be a fraction between 0 and 1, got {jitter!r}")
        self.max_attempts = None if max_attempts is None else check_count(max_attempts, what="max_attempts")
        self.first_delay = microseconds(first_delay, what="first_delay")
        self.backoff = backoff
        self.max_delay = microseconds(max_delay, what="max_delay")
        self.jitter = jitter
        self.retry_on = _types(retry_on, "retry_on")
        self.give_up_on = _types(give_up_on, "give_up_on")

    def __repr__(self) -> str:
        return f"RetryPolicy(max_attempts={self.max_attempts}, first_delay={self.first_delay / 1e6:g})"


def _types(given: object, what: str) -> tuple[type[Exception], ...]:
    types = given if is_tuple(given) else (given,)
    for one in types:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise UsageError(f"{what} must be a tuple of exception types, got {one!r}")
    return cast("tuple[type[Exception], ...]", types)


def next_delay(policy: RetryPolicy | None, attempt: int, error: BaseException, chance: float) -> int | None:
    """Give the microseconds until the next attempt, or None when attempt number `attempt` (1, 2, ...) was the last.

    `chance` is uniform in [0, 1) and decides the jitter.
    """
    if policy is None or (policy.max_attempts is not None and attempt >= policy.max_attempts):
        return None
    if not isinstance(error, policy.retry_on) or isinstance(error, policy.give_up_on):
        return None
    try:
        delay = min(policy.first_delay * policy.backoff ** (attempt - 1), policy.max_delay)
    except OverflowError:
        delay = policy.max_delay if policy.first_delay else 0
    return min(round(delay * (1 + policy.jitter * (2 * chance - 1))), policy.max_delay)
