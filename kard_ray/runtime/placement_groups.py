"""Give back what Ray Train's controllers had reserved and did not free.

A controller reserves its workers' CPUs in a placement group, and Ray frees a group only when both its creator and the
driver have died. So a trial that is stopped early, or a training that ends while memory is short, would take its CPUs
with it, until nothing can start. Ray Train's own cleaner needs the dashboard, finds it only where no other cluster runs
on the machine, and does not know a group before its workers have started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray import ActorID, PlacementGroupID
from ray._private import state
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]
from ray.util.placement_group import PlacementGroup, remove_placement_group


def free_orphans() -> int:
    """Remove the placement groups of this driver's job whose creators are dead; returns how many there were."""
    # The driver's own have no creator, who counts as dead.
    return _free(lambda group: group.creator_actor_dead and not ActorID(group.creator_actor_id).is_nil())


def free_groups_of(actor: str) -> int:
    """The same for what the actor with this id, in hexadecimal digits, has reserved, whether it lives or not."""
    return _free(lambda group: group.creator_actor_id.hex() == actor)


def _free(wanted: Callable[[Any], bool]) -> int:
    job = ray.get_runtime_context().get_job_id()
    found = 0
    for raw in state.state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        if (
            wanted(group)
            and group.creator_job_id.hex() == job
            and not group.is_detached
            and group.state != PlacementGroupTableData.REMOVED
        ):
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
            found += 1
    return found
