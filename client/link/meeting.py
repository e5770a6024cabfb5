"""The last step of the way to the coordinator: being let in, and comparing clocks.

A site whose daemon is connected must not take it: the coordinator would see it connect twice.
"""

from __future__ import annotations

import time
from queue import SimpleQueue
from uuid import uuid4

import grpc

from client.link.dialling import Dial, dial, link_over
from client.link.failures import coded
from client.link.hello import Greeting, skew_of
from client.link.identity import SiteIdentity
from common.chain import Clock, utc_now
from common.checks.finding import Advice, Finding
from common.errors import ClockSkewed, CoordinatorUnreachable, TrustError
from common.link.link_pb2 import FromCoordinator, FromSite

WARN_MS = 30_000
"""A difference of clocks that is borne, and grows."""


def meet(
    identity: SiteIdentity,
    greeting: Greeting,
    now: Clock = utc_now,
    timeout_s: float = 10.0,
    dialled: Dial = dial,
) -> Finding:
    """What the coordinator answers to our hello; the session ends with that.

    Args:
        identity: Who the site is.
        greeting: What it says of itself.
        now: The clock, which is compared with the coordinator's.
        timeout_s: How long it may take.
        dialled: Opens a channel.
    """
    try:
        skew_ms = _greeted(identity, greeting, now, timeout_s, dialled)
    except ClockSkewed as error:
        return Finding.failed("clock", error)
    except TrustError as error:
        return Finding.failed("session", error)
    return judged_skew(skew_ms)


def judged_skew(skew_ms: int) -> Finding:
    """What it means that the coordinator lets us in with its clock so far ahead of ours."""
    said = f"the coordinator lets us in; its clock is {skew_ms / 1000:+.1f} s from ours"
    drifts = abs(skew_ms) > WARN_MS
    return Finding("clock", said, advice=Advice(ClockSkewed.code, ClockSkewed.hint) if drifts else None)


def _greeted(identity: SiteIdentity, greeting: Greeting, now: Clock, timeout_s: float, dialled: Dial) -> int:
    words: SimpleQueue[FromSite | None] = SimpleQueue()
    words.put(FromSite(hello=greeting.hello(uuid4().hex, _ms(now))))
    with dialled(identity) as channel:
        session = link_over(channel).Session(iter(words.get, None), timeout=timeout_s)
        try:
            answer: FromCoordinator = next(session)
            return skew_of(answer, _ms(now))
        except StopIteration:
            raise CoordinatorUnreachable("the coordinator ended the session without a word") from None
        except grpc.RpcError as error:
            raise coded(error) from None
        finally:
            words.put(None)
            _ended(session)


def _ended(session: grpc.Call) -> None:
    """Let the coordinator end the session itself, so that it knows at once that we are gone."""
    until = time.monotonic() + 1.0
    while session.is_active() and time.monotonic() < until:
        time.sleep(0.01)
    session.cancel()


def _ms(now: Clock) -> int:
    return int(now().timestamp() * 1000)
