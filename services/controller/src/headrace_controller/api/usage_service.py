"""UsageService: what was used, what it cost, and what budgets leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.errors import InvalidRequest, PermissionDenied, Violation
from headrace.resource_names import last_part, user_name
from headrace.v1 import usage_service_pb2 as pb
from headrace.v1.enums import Right
from headrace.v1.usage_service_pb2_grpc import UsageServiceServicer, add_UsageServiceServicer_to_server
from headrace_chassis import paging
from headrace_chassis.identity.caller import Caller, current_caller
from headrace_controller.api import convert
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.fields import shown
from headrace_controller.meter import Sums
from headrace_controller.model import UserId
from headrace_controller.policy.file import PolicyFile
from headrace_controller.store.accounts import Kept
from headrace_controller.store.usage import Days, UsageOf
from headrace_controller.usage.budgets import BudgetWatch
from headrace_controller.usage.periods import date_of, day_of, period, read_day
from headrace_controller.usage.reading import UsageReading
from headrace_controller.usage.report import MAX_SUMS, Dimension, Line, Report, TooManySums
from headrace_controller.usage.standing import Standing

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_DIMENSIONS = {pb.UsageDimension.Value(f"USAGE_DIMENSION_{name.name}"): name for name in Dimension}
_EVERYBODY = "-"
_ADDED_AT_ONCE = 32  # rows after which other calls get their turn: one may have dozens of tags
_SUMMED = {Dimension.USER: "users", Dimension.GROUP: "groups", Dimension.PROFILE: "profiles"}
"""What sums are kept of when rows are not kept any more."""


class UsageService(UsageServiceServicer):
    """Answers users about their own, group operators about their group, and admins about everybody."""

    def __init__(
        self,
        reading: UsageReading,
        budgets: BudgetWatch,
        access: ClusterAccess,
        policy: Callable[[], PolicyFile],
        kept: Kept,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._reading = reading
        self._budgets = budgets
        self._access = access
        self._policy = policy
        self._kept = kept
        self._clock = clock

    @override
    async def ListUsage(self, request: pb.ListUsageRequest, context: Context) -> pb.ListUsageResponse:
        caller = current_caller()
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, caller=caller.user)
        by, days = _dimensions(request), self._days(request)
        report = Report(by, request.tag_key)
        try:
            async for rows in await self._rows(request.subject, days, by, caller):
                for start in range(0, len(rows), _ADDED_AT_ONCE):
                    report.add(rows[start : start + _ADDED_AT_ONCE])
                    await asyncio.sleep(0)
        except TooManySums:
            text = f"there are more than {MAX_SUMS} sums; ask for a shorter period or by less"
            raise InvalidRequest.of(Violation("group_by", text)) from None
        lines = report.lines()
        start = int(after or 0) if after.isdigit() or not after else 0
        page = lines[start : start + size]
        end = start + len(page)
        return pb.ListUsageResponse(
            usage=[_row(line, by) for line in page],
            next_page_token=paging.make_token(request, str(end), caller=caller.user) if end < len(lines) else "",
            currency=self._policy().currency,
            as_of=convert.timestamp(self._clock()),
        )

    @override
    async def ListBudgets(self, request: pb.ListBudgetsRequest, context: Context) -> pb.ListBudgetsResponse:
        caller = current_caller()
        user, groups = caller.user, caller.groups
        if request.user and (user := last_part(request.user, "users", "user")) != caller.user:
            if not caller.is_admin:
                raise PermissionDenied(
                    f"{caller.user} may not see the budgets of {shown(request.user)}; only admins may"
                )
            groups = await self._reading.groups_of(UserId(user))
        states = [_state(one) for one in await self._budgets.read(user, groups)]
        return pb.ListBudgetsResponse(budgets=states, currency=self._policy().currency)

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_UsageServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["UsageService"].full_name

    async def _rows(
        self, subject: str, days: Days, by: list[Dimension], caller: Caller
    ) -> AsyncIterator[list[UsageOf]]:
        """The rows of a subject, if the caller may see them."""
        subject = subject or user_name(caller.user)
        kind = subject.partition("/")[0]
        if kind == "clusters":
            cluster = await self._access.get(subject, caller, "subject", Right.CLUSTER_VIEW)
            self._check_kept(days)
            return _only(self._reading.of_owner(cluster.owner, days), cluster.id)
        if subject != _EVERYBODY and kind not in {"users", "groups"}:
            text = f'must be users/{{user}}, groups/{{group}}, clusters/{{cluster}} or "-", is {shown(subject)}'
            raise InvalidRequest.of(Violation("subject", text))
        name = "" if subject == _EVERYBODY else last_part(subject, kind, "subject")
        self._check(subject, kind, name, caller)
        if days[0] < self._oldest_row():
            whose = set(by) - {Dimension.DAY, Dimension.MONTH}
            own = Dimension.USER if kind == "users" else Dimension.GROUP
            if name and whose <= {own}:
                return self._reading.totals([subject], days)
            if not name and len(whose) <= 1 and whose <= _SUMMED.keys():
                return self._reading.all_totals(_SUMMED[whose.pop() if whose else Dimension.USER], days)
            self._check_kept(days)
        if kind == "users":
            return self._reading.of_owner(UserId(name), days)
        return self._reading.of_all(days, name)

    def _check(self, subject: str, kind: str, name: str, caller: Caller) -> None:
        if caller.is_admin or (kind == "users" and name == caller.user):
            return
        if kind == "groups" and name in self._policy().roles.groups_operated_by(caller):
            return
        text = "the usage of everybody" if subject == _EVERYBODY else f"the usage of {shown(subject)}"
        raise PermissionDenied(
            f"{caller.user} may not see {text}: users see their own, operators of a group that of the group, and "
            "admins that of everybody"
        )

    def _days(self, request: pb.ListUsageRequest) -> Days:
        today = day_of(self._clock())
        first = _day("start_day", request.start_day, period("month", self._clock())[0])
        last = _day("end_day", request.end_day, today)
        oldest = today - self._kept.days
        if first < oldest:
            raise InvalidRequest.of(Violation("start_day", f"usage is kept from {date_of(oldest)} on"))
        if last < first:
            raise InvalidRequest.of(Violation("end_day", f"is before the first day, {date_of(first)}"))
        return range(first, max(first, min(last, today)) + 1)

    def _oldest_row(self) -> int:
        return day_of(self._clock()) - self._kept.row_days

    def _check_kept(self, days: Days) -> None:
        if days[0] < (oldest := self._oldest_row()):
            text = (
                f"usage is kept in detail from {date_of(oldest)} on; before, only sums by day and month of a user or a "
                "group, and for admins of all users, groups or profiles"
            )
            raise InvalidRequest.of(Violation("start_day", text))


def _day(field: str, text: str, default: int) -> int:
    try:
        return read_day(text) if text else default
    except ValueError:
        raise InvalidRequest.of(Violation(field, f"must be a day such as 2026-11-26, is {shown(text)}")) from None


async def _only(rows: AsyncIterator[list[UsageOf]], cluster: str) -> AsyncIterator[list[UsageOf]]:
    async for some in rows:
        yield [row for row in some if row.labels.cluster == cluster]


def _dimensions(request: pb.ListUsageRequest) -> list[Dimension]:
    by = [_DIMENSIONS.get(number) for number in request.group_by]
    known = [dimension for dimension in by if dimension is not None]
    if len(set(known)) < len(by):
        raise InvalidRequest.of(Violation("group_by", "may have each dimension of this release once"))
    if request.tag_key and Dimension.TAG not in known:
        raise InvalidRequest.of(Violation("tag_key", "is for USAGE_DIMENSION_TAG, which group_by does not have"))
    return known


def _row(line: Line, by: list[Dimension]) -> pb.UsageRow:
    row = pb.UsageRow(promised=_promised(line.sums), measured=_measured(line.measured), alias=line.alias)
    for dimension, value in zip(by, line.key, strict=True):
        setattr(row, dimension, value)
    return row


def _state(one: Standing) -> pb.BudgetState:
    return pb.BudgetState(
        subject=one.bound.subject,
        period=one.bound.budget.per,
        what=one.bound.what,
        limit=one.bound.limit,
        used=one.used,
        reset_time=convert.timestamp(one.resets / 1000),
        used_up_time=None if one.used_up is None else convert.timestamp(one.used_up / 1000),
        then=one.bound.budget.then,
    )


def _measured(sums: Sums | None) -> pb.MeasuredUsage | None:
    if sums is None:
        return None
    return pb.MeasuredUsage(
        cluster_seconds=sums.cluster_seconds, core_seconds=sums.core_seconds, memory_gib_seconds=sums.gib_seconds
    )


def _promised(sums: Sums) -> pb.Usage:
    return pb.Usage(
        cluster_seconds=sums.cluster_seconds,
        worker_seconds=sums.worker_seconds,
        core_seconds=sums.core_seconds,
        memory_gib_seconds=sums.gib_seconds,
        gpu_seconds=sums.gpu_seconds,
        cost=sums.money,
    )
