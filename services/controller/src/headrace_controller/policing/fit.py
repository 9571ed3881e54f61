"""Whether a deployment can carry out a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from headrace_controller.culling.metric_rules import check_rules
from headrace_controller.options.catalogue import Option
from headrace_controller.policy.file import Path, PolicyFile, UnfitPolicy
from headrace_controller.profiles import Profiles, build_profiles
from headrace_controller.signals.settings import SignalSettings


def check_fit(
    policy: PolicyFile,
    backend_options: Mapping[str, Sequence[Option]],
    backend_models: Mapping[str, type[BaseModel]],
    signals: SignalSettings,
) -> Profiles:
    """Return a policy's profiles; raise `UnfitPolicy` with all that this deployment cannot carry out.

    Parameters
    ----------
    backend_options
        Each backend's own options, by its name; the first one is the default.
    backend_models
        Models of what backends have settings of profiles for, by the backend's name.
    signals
        Where measurements come from.
    """
    profiles, faults = Profiles(()), list[tuple[Path, str]]()
    try:
        profiles = build_profiles(policy, backend_options, backend_models)
    except UnfitPolicy as error:
        faults += error.faults
    try:
        check_rules(policy, signals)
    except UnfitPolicy as error:
        faults += error.faults
    if faults:
        raise UnfitPolicy(faults)
    return profiles
