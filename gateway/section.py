"""What every section of the configuration is, and the types of values that several sections have."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from storage.regions import region_problem, rule_problem


def _region(text: str) -> str:
    if text and (problem := region_problem(text)):
        raise ValueError(problem)
    return text


def _rule(text: str) -> str:
    if problem := rule_problem(text):
        raise ValueError(problem)
    return text


Region = Annotated[str, AfterValidator(_region), Field(description="such as NL or NL-AMS; empty: nobody says")]
"""Where something is: a country or a part of one; empty where nobody says."""
RegionRule = Annotated[str, AfterValidator(_rule)]
"""Where something may be: a region, or a group of countries."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
