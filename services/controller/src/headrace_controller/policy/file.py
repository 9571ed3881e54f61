"""The policy file: its model, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import yaml
from pydantic import Field, ValidationError

from headrace.errors import HeadraceError
from headrace_controller.policy.offers import AllLimits, Key, ProfileSettings, SchedulerSettings, WorkerDefaults
from headrace_controller.policy.sections import Budgets, Culling, Roles, Section

MAX_BYTES = 1 << 20


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

    @classmethod
    def read(cls, text: str, check: Check | None = None) -> Self:
        """Read a policy; raise `BadPolicy` that names each problem with its line.

        Parameters
        ----------
        check
            Raises `UnfitPolicy` for a policy that a deployment cannot carry out.
        """
        if len(text.encode()) > MAX_BYTES:
            raise BadPolicy((Problem(1, "", f"the file has more than {MAX_BYTES} bytes"),))
        try:
            root = yaml.compose(text, Loader=yaml.CSafeLoader)
            content: Any = yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            mark = cast("yaml.Mark | None", getattr(error, "problem_mark", None))
            raise BadPolicy((Problem(mark.line + 1 if mark else 1, "", _sentence(error)),)) from None
        if root is not None and (twice := _repeated(root)):
            raise BadPolicy(tuple(twice))
        try:
            policy = cls.model_validate({} if content is None else content)
            if check is not None:
                check(policy)
        except ValidationError as error:
            raise BadPolicy(tuple(_problems(error, root))) from None
        except UnfitPolicy as error:
            raise BadPolicy(
                tuple(Problem(line_of(root, path), ".".join(path), reason) for path, reason in error.faults)
            ) from None
        return policy


Check = Callable[[PolicyFile], object]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a policy file. `key` is a path such as ``limits.user.cores``."""

    line: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.key}: {self.reason}" if self.key else f"line {self.line}: {self.reason}"


class UnfitPolicy(ValueError):
    """A well-formed policy that this deployment cannot carry out: the path of each fault, and its reason."""

    def __init__(self, faults: Sequence[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("\n".join(f"{'.'.join(path)}: {reason}" for path, reason in faults))
        self.faults = faults


class BadPolicy(HeadraceError, ValueError):
    """A policy that cannot be used, with all that is wrong in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def read_text(file: Path) -> str:
    """Return what a policy file has; raise `BadPolicy` if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1).decode()
    except OSError as error:
        raise BadPolicy((Problem(1, "", f"the policy file {file} cannot be read: {error.strerror}"),)) from None
    except UnicodeDecodeError as error:
        raise BadPolicy((Problem(1, "", f"the policy file {file} is not text in UTF-8: {error.reason}"),)) from None


def line_of(root: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """Return the line of a key, or of the closest one above it."""
    node, line = root, 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if str(key.value) == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _problems(error: ValidationError, root: yaml.Node | None) -> list[Problem]:
    found: list[Problem] = []
    for problem in error.errors(include_url=False):
        path = problem["loc"]
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = "there is no such key"
        found.append(Problem(line_of(root, path), ".".join(map(str, path)), reason))
    return found


def _repeated(node: yaml.Node, path: str = "") -> list[Problem]:
    """Find keys that a mapping has twice: YAML would let the last one win."""
    found: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            where = f"{path}.{name}".removeprefix(".")
            if name in seen:
                found.append(Problem(key.start_mark.line + 1, where, "the key is there twice"))
            seen.add(name)
            found += _repeated(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for n, value in enumerate(node.value):
            found += _repeated(value, f"{path}.{n}".removeprefix("."))
    return found


def _sentence(error: yaml.YAMLError) -> str:
    return "this is not YAML: " + str(getattr(error, "problem", None) or error)
