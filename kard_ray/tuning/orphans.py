"""Give back what a trial that was stopped or killed had reserved.

Ray Train's controller reserves its workers' CPUs in a placement group, and Ray frees a group only when both its creator
and the driver have died: without this, each trial that is stopped early would take its CPUs with it, until none can
start. Ray Train's own cleaner needs the dashboard, finds it only where no other cluster runs on the machine, and does
not know a group before its workers have started.
"""

from __future__ import annotations

import ray
from ray import ActorID, PlacementGroupID
from ray._private import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]
from ray.util.placement_group import PlacementGroup, remove_placement_group


def free_orphans() -> int:
    """Remove the placement groups of this driver's job whose creators are dead; returns how many there were."""
    job = ray.get_runtime_context().get_job_id()
    found = 0
    for raw in state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        if (
            group.creator_actor_dead
            and not ActorID(
                group.creator_actor_id
            ).is_nil()  # the driver's own have no creator, who counts as dead
            and group.creator_job_id.hex() == job
            and not group.is_detached
            and group.state != PlacementGroupTableData.REMOVED
        ):
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
            found += 1
    return found
