"""Links to dashboards, as browsers open them, and what a caller sends instead."""

from __future__ import annotations

from http.cookies import SimpleCookie

from tests.auth.running import Metadata, RunningAuth


def header(caller: Metadata) -> str:
    return caller[0][1]


async def opened(auth: RunningAuth, link: str) -> str:
    """Opens a link as a browser does; returns the page's path, with the session in it."""
    answer = await auth.ask(link)
    assert answer.status == 302
    return answer.headers["location"]


async def cookie_of(auth: RunningAuth, link: str) -> str:
    """Opens a link as a browser does; returns the cookie."""
    answer = await auth.ask(link)
    return next(iter(SimpleCookie(answer.headers["set-cookie"]).values())).OutputString().partition(";")[0]
