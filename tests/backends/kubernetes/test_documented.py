"""The example of docs/profiles.md is a policy, and makes the pods that the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace.option_types import BadValue, Text
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.options import options
from headrace_backend_kubernetes.plugin import ProfileSettings
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_controller.backends.process import Role
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Profile, build_profiles

PAGE = Path(__file__).parents[3] / "docs" / "profiles.md"


def profile(text: str, key: str) -> Profile:
    built = list[Profile]()
    PolicyFile.read(
        text,
        lambda policy: built.append(
            build_profiles(policy, {"kubernetes": options(Settings())}, {"kubernetes": ProfileSettings}).get(key)
        ),
    )
    return built[0]


def test_the_example_makes_pods() -> None:
    [example] = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if "standby:" in block
    ]
    settings = profile(example, "spot").backend_settings
    assert isinstance(settings, ProfileSettings)
    templates = PodTemplates(PodDefaults(), {"spot": settings})
    assert templates.settings("spot", Role.SCHEDULER).node_selector == {"pool": "on-demand"}
    gpu = templates.settings("spot", Role.WORKER, "gpu")
    assert (gpu.node_selector, gpu.gpu_resource) == ({"pool": "spot"}, "amd.com/gpu")
    assert settings.standby.workers == 4


def test_what_is_documented_narrows_the_image() -> None:
    [narrowed] = re.findall(r"`(options: \{image: \{allow: .*?\}\})`", PAGE.read_text("utf-8"))
    made = profile(f"profiles: {{p: {{{narrowed}}}}}", "p")
    image = made.options["image"].type
    assert image.check("") == ""
    assert image.check("registry.example.org/dask:1") == "registry.example.org/dask:1"
    for other in ("registry-example.org/dask:1", "registry.example.org/dask:latest", "registry.example.org/dask"):
        with pytest.raises(BadValue):
            image.check(other)


@pytest.mark.parametrize("image", ["a b", "a\n", "\x1b[31m", "-x", "a:", "x" * 4096, "é", "$(X)", "a;b"])
def test_what_is_no_image_is_refused_before_a_cluster_is_made(image: str) -> None:
    [option] = options(Settings())
    assert isinstance(option.type, Text)
    with pytest.raises(BadValue):
        option.type.check(image)


@pytest.mark.parametrize("image", ["", "dask", "dask:1", "localhost:5000/a/b:1", f"r.io/a@sha256:{'0' * 64}"])
def test_images_are_taken(image: str) -> None:
    [option] = options(Settings())
    assert option.type.check(image) == image
