"""What is wrong with an appliance, or will be, and what to do: for `semi-pd doctor` and the console's health page."""

from appliance.doctor.finding import Finding, Level
from appliance.doctor.report import health_report

__all__ = ["Finding", "Level", "health_report"]
