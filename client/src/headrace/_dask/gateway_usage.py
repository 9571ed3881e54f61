"""What a `Gateway` reports of usage, budgets and limits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date
from typing import Any

from headrace._dask.faces import Asynchronous, TwoFaced, both_faces
from headrace._wire import limits_calls, usage_calls


class GatewayUsage(TwoFaced[Asynchronous]):
    """The part of `Gateway` that reports what was used, and what may be used."""

    @both_faces
    async def usage(
        self,
        by: str | Iterable[str] = "day",
        *,
        since: date | str | None = None,
        until: date | str | None = None,
        of: str = "",
    ) -> list[dict[str, Any]]:
        """Report what was used and what it cost (ListUsage); what runs counts up to now.

        ``pandas.DataFrame(gateway.usage(["day", "profile"]))`` makes a table of it.

        Parameters
        ----------
        by
            What to sum by: "day", "month", "user", "group", "profile", "cluster", "tag" (each tag), "tag:KEY" (the
            values of one tag); one or several.
        since, until
            First and last day in UTC, as dates or as text such as "2026-11-26". Default: the first day of this month,
            and today.
        of
            Whose usage: "users/NAME", "groups/NAME" (for its operators), "clusters/ID", or "-" for everybody (for
            admins). Default: yours.

        Returns
        -------
        list of dict
            A sum each: what it is summed by; ``cluster_hours``, ``worker_hours``, ``core_hours``, ``memory_gib_hours``
            and ``gpu_hours`` that were promised; ``cost`` in ``currency``; and beside them what was really used,
            ``measured_core_hours`` and ``measured_memory_gib_hours``, in the ``measured_cluster_hours`` of it that were
            measured. These are None if nothing was measured.

        Raises
        ------
        PermissionDenied
            It is others' usage, and you are neither an operator of that group nor an admin.
        InvalidRequest
            A day or a dimension is wrong, or from before usage was kept.
        """
        dimensions = [by] if isinstance(by, str) else list(by)
        return await usage_calls.usage(self._session.connection, by=dimensions, since=since, until=until, of=of)

    @both_faces
    async def budgets(self, user: str = "") -> list[dict[str, Any]]:
        """Report the budgets that bind your clusters, and what is used of them (ListBudgets).

        Parameters
        ----------
        user
            Whose budgets. Default: yours.

        Returns
        -------
        list of dict
            One for each budget, those of the user first, then those of the user's groups: ``subject`` (such as
            ``"users/ann"``), ``period`` (``"day"``, ``"week"`` or ``"month"``), ``what`` is counted (``"cost"``,
            ``"core_hours"`` or ``"gpu_hours"``), ``currency`` (of costs), ``limit``, ``used``, ``left``,
            ``used_up_time`` (when it will be used up if what runs now goes on; None if not in this period),
            ``reset_time`` (when it begins again) and ``then``, what follows when it is used up. Times are in UTC.

        Raises
        ------
        PermissionDenied
            It is somebody else's, and you are not an admin.
        """
        found = await usage_calls.budgets(self._session.connection, user)
        return [
            {
                "subject": budget.subject,
                "period": budget.period,
                "what": budget.what,
                "currency": found.currency if budget.what == "cost" else "",
                "limit": budget.limit,
                "used": budget.used,
                "left": max(0.0, budget.limit - budget.used),
                "used_up_time": budget.used_up_time.ToDatetime(tzinfo=UTC) if budget.HasField("used_up_time") else None,
                "reset_time": budget.reset_time.ToDatetime(tzinfo=UTC),
                "then": budget.then,
            }
            for budget in found.budgets
        ]

    @both_faces
    async def limits(self, user: str = "") -> list[dict[str, Any]]:
        """Report the limits that bind your clusters, and what is promised (GetLimits).

        Parameters
        ----------
        user
            Whose limits. Default: yours.

        Returns
        -------
        list of dict
            One for each limit, in the order in which they are checked: ``subject`` (whose clusters it binds together,
            such as ``"users/ann"``; ``"clusters/-"`` is each cluster by itself), ``resource``, ``limit``, ``used`` and
            ``left``.

        Raises
        ------
        PermissionDenied
            It is somebody else's, and you are not an admin.
        """
        found = await limits_calls.limits(self._session.connection, user)
        return [
            {
                "subject": limit.subject,
                "resource": limit.resource,
                "limit": limit.limit,
                "used": limit.used,
                "left": max(0.0, limit.limit - limit.used),
            }
            for limit in found.limits
        ]
