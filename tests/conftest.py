"""How many examples Hypothesis tries: few by default, many where EVERLOG_LONG=1."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A shared machine may stop for seconds at any moment, which says nothing about the code: no deadline, no such check.
PATIENT = settings(deadline=None, derandomize=False, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

settings.register_profile("fast", parent=PATIENT, max_examples=25, stateful_step_count=25)
settings.register_profile("long", parent=PATIENT, max_examples=2_000, stateful_step_count=100)
settings.load_profile("long" if os.environ.get("EVERLOG_LONG") == "1" else "fast")
