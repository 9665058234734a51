"""Builds the native core with the package; without a C compiler the package is built without it and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-O3", "-fPIC", "-shared", "-std=gnu11", "-Wall", "-Wextra", "-Wl,-z,relro,-z,now")


class NativeCore(BuildHookInterface):  # type: ignore[type-arg]  # hatchling's own examples leave the parameter open
    """media/native/core.c to core.so, beside it, for wheels and editable installs alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel with the library belongs to this platform, though to every Python."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / "media" / "native"
        library = folder / "core.so"
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            library.unlink(missing_ok=True)
            self.app.display_warning(
                "no C compiler: callvault is built without its native core, which costs speed only"
            )
            return
        fresh = library.with_suffix(".so.new")
        subprocess.run([*compiler.split(), *FLAGS, str(folder / "core.c"), "-o", str(fresh)], check=True)  # noqa: S603
        fresh.replace(library)  # a running worker keeps the one it has mapped
        build_data["artifacts"].append("media/native/core.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
