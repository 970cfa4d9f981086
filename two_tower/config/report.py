"""Settings of the report."""

from dataclasses import dataclass

from two_tower.config.fields import NonNegative
from two_tower.config.section import Section


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Section):
    """Report: what the report of `two-tower run` shows in addition to the measurements."""

    cost_per_hour: NonNegative = 0.0
    """Price of this machine per hour, in any currency. The report and `run.json` show the cost of each step: its
    duration times this price. 0 shows no cost. Only for `two-tower run`: a cluster bills its nodes itself."""
