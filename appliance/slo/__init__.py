"""From latencies to splits: what was seen, what another split would give, what is done. No torch, no sockets."""

from appliance.slo.manager import SLOAwareResourceManager
from appliance.slo.metrics import RequestRecord, WorkloadMetrics, WorkTotals
from appliance.slo.policy import Mode
from appliance.slo.target import SLOTarget

__all__ = ["Mode", "RequestRecord", "SLOAwareResourceManager", "SLOTarget", "WorkTotals", "WorkloadMetrics"]
