"""What a `Gateway` reports of the deployment: profiles, options, the user and the server."""

from __future__ import annotations

from headrace._dask import options
from headrace._dask.deployment import Profile, ServerInfo, User
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces
from headrace._dask.options import Options
from headrace._target import config
from headrace._wire import auth_calls, calls


class GatewayDeployment(TwoFaced[Asynchronous]):
    """The part of `Gateway` that asks about the deployment."""

    @both_faces
    async def profiles(self) -> list[Profile]:
        """List the profiles that you may choose, the default one first (ListProfiles)."""
        return [Profile.from_proto(profile) for profile in await calls.profiles(self._session.connection)]

    @both_faces
    async def cluster_options(self, use_local_defaults: bool = True, *, profile: str | None = None) -> Options:
        """Return the options that you may set for a new cluster (ListOptions).

        Parameters
        ----------
        use_local_defaults
            Whether to set the values of ``headrace.cluster.options``.
        profile
            Key of the profile. Default: the deployment's default profile.

        Raises
        ------
        InvalidRequest
            There is no such profile, or a configured value is wrong.
        UnknownOption
            A configured option does not exist.
        """
        found = Options(await calls.options(self._session.connection, profile or ""), profile or "")
        if use_local_defaults:
            options.configure(found, config.get_mapping("cluster.options"))
        return found

    @both_faces
    async def whoami(self) -> User:
        """Return who you are for headrace (WhoAmI)."""
        return User.from_proto(await auth_calls.whoami(self._session.connection))

    @both_faces
    async def server_info(self) -> ServerInfo:
        """Return version, ways to log in and features of the server (GetServerInfo). Needs no login."""
        return ServerInfo.from_proto(await auth_calls.server_info(self._session.connection))

    @both_faces
    async def get_versions(self) -> dict[str, dict[str, str | None]]:
        """Return the versions of this client and of the server (GetServerInfo).

        Returns
        -------
        dict
            ``{"server": {"version": ...}, "client": {"version": ...}}``. None means that the server gives no version.
        """
        from headrace import __version__

        info = await auth_calls.server_info(self._session.connection)
        return {"server": {"version": info.version or None}, "client": {"version": __version__}}
