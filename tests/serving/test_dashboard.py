"""The dashboard asks for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kard_ray.serving.metrics import Metrics, chosen_lines

DASHBOARD = Path(__file__).resolve().parents[2] / "docs" / "serving-dashboard.json"


def test_every_panel_asks_for_metrics_that_the_service_has() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    named = {name.removesuffix("_bucket") for name in re.findall(r"ray_kard_ray_\w+", asked)}
    known = {f"ray_{instrument.info['name']}" for instrument in vars(Metrics()).values()}
    assert named
    assert named <= known


def test_other_metrics_of_the_cluster_stay_out() -> None:
    text = "\n".join(
        [
            "# HELP ray_kard_ray_running Questions.",
            'ray_kard_ray_running{a="b"} 1.0',
            "ray_serve_deployment_replica_healthy 1.0",
            "ray_serve_long_poll_host_transmission_counter 7",
            "ray_gcs_actors_count 3",
            "python_info 1",
        ]
    )
    assert list(chosen_lines(text)) == text.split("\n")[:3]
