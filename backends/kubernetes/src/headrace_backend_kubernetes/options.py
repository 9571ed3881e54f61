"""The options that users have on Kubernetes, besides those of every backend."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.option_types import Text
from headrace_controller.options.catalogue import Option

IMAGE = r"([A-Za-z0-9]([A-Za-z0-9._:/@-]*[A-Za-z0-9_])?)?"


def options(settings: object) -> Sequence[Option]:  # noqa: ARG001 the seam passes them
    """Return the options; all else about pods is the administrator's."""
    return (
        Option(
            key="image",
            label="Image",
            description="Container image of the scheduler and the workers, with headrace beside Dask. Empty means the "
            "profile's own.",
            type=Text(max_bytes=512, pattern=IMAGE),
            default="",
            per_group=True,
        ),
    )
