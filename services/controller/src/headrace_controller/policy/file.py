"""The policy file: its model, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

from pydantic import Field, ValidationError

from headrace_chassis.policy_document import BadPolicy, Document
from headrace_chassis.roles import Roles
from headrace_controller.policy.offers import AllLimits, Key, ProfileSettings, SchedulerSettings, WorkerDefaults
from headrace_controller.policy.sections import Budgets, Culling, Section


class PolicyFile(Section):
    """What an administrator has decided."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    profiles: dict[Key, ProfileSettings] = Field(
        default={"default": ProfileSettings()},
        min_length=1,
        description="Profiles that users may choose, by key. The first one is the default.",
    )
    limits: AllLimits = Field(default=AllLimits(), description="Limits of what may be promised.")
    worker: WorkerDefaults = Field(default=WorkerDefaults(), description="Defaults of the options of workers.")
    scheduler: SchedulerSettings = Field(
        default=SchedulerSettings(), description="What a scheduler counts as, where limits bind."
    )
    roles: Roles = Field(default=Roles(), description="Who may do what to others' clusters.")
    culling: Culling = Field(default=Culling(), description="When clusters are given back.")
    budgets: Budgets = Field(default=Budgets(), description="How much may be used in a period.")
    currency: str = Field(default="", max_length=16, description="Name of the currency of prices and budgets.")

    @property
    def modules(self) -> set[str]:
        """Names of the Python modules with the functions of profiles."""
        return {profile.python.partition(":")[0] for profile in self.profiles.values() if profile.python}

    @classmethod
    def read(cls, text: str, check: Check | None = None) -> Self:
        """Read a policy; raise `BadPolicy` that names each problem with its line.

        Parameters
        ----------
        check
            Raises `UnfitPolicy` for a policy that a deployment cannot carry out.
        """
        document = Document.parse(text)
        try:
            policy = cls.model_validate(document.content)
            if check is not None:
                check(policy)
        except ValidationError as error:
            raise BadPolicy(*(document.problem(path, reason) for path, reason in faults_of(error))) from None
        except UnfitPolicy as error:
            raise BadPolicy(*(document.problem(path, reason) for path, reason in error.faults)) from None
        return policy


Check = Callable[[PolicyFile], object]
Path = tuple[str | int, ...]


class UnfitPolicy(ValueError):
    """A well-formed policy that this deployment cannot carry out: the path of each fault, and its reason."""

    def __init__(self, faults: Sequence[tuple[Path, str]]) -> None:
        super().__init__("\n".join(f"{'.'.join(map(str, path))}: {reason}" for path, reason in faults))
        self.faults = faults


def refused(text: str, error: UnfitPolicy) -> BadPolicy:
    """Return what is wrong with the policy of a text, each fault with its line."""
    document = Document.parse(text)
    return BadPolicy(*(document.problem(path, reason) for path, reason in error.faults))


_MAPPING = "must be a mapping of keys to values"
_REASONS = {"extra_forbidden": "there is no such key", "model_type": _MAPPING, "dict_type": _MAPPING}
_OF_KEY = "[key]"  # pydantic's last step to a key


def faults_of(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Yield the path of each fault that a model has found, and its reason."""
    for problem in error.errors(include_url=False):
        path, reason = problem["loc"], _REASONS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        if path[-1:] == (_OF_KEY,):
            path, reason = path[:-1], f"cannot be a key here: {reason}"
        yield path, reason
