"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: the machine may be busy, and the first example of a test pays for imports.
settings.register_profile("kard_ray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kard_ray")
