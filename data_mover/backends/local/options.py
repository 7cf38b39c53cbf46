"""The options of a local directory."""

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ValidationInfo,
    model_validator,
)

from data_mover.backends.options import HostOptions


class LocalOptions(HostOptions):
    """A directory that the workers see as local; `root` may be relative to the registry."""

    protocol: Literal["local"]

    @model_validator(mode="before")
    @classmethod
    def _root_beside_the_registry(cls, data: Any, info: ValidationInfo) -> Any:
        root = data.get("root") if isinstance(data, dict) else None
        if isinstance(root, str) and root and not root.startswith("/"):
            directory: Path = (info.context or {}).get("directory", Path.cwd())
            return {**data, "root": str((directory / root).resolve())}
        return data
