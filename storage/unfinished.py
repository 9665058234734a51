"""The mark of a restore that has not come to its end: a data folder that has it is no store yet."""

from __future__ import annotations

from pathlib import Path

from storage.errors import NotReady

RESTORING = "restoring"
"""The folder, within the data folder, in which a restore works; at its end it is gone."""


def refuse_unfinished(data_folder: Path) -> None:
    """NotReady if a restore into this folder was begun and not finished."""
    if (data_folder / RESTORING).exists():
        raise NotReady(f"{data_folder} holds a restore that did not finish: empty it and run `callvault restore` again")
