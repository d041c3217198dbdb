from __future__ import annotations

import time
from typing import Any

import pytest
import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from kard_ray.runtime.placement_groups import free_groups_of, free_orphans

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(120)]


@ray.remote(num_cpus=0)
class Controller:
    """Reserves a CPU, as Ray Train's does for a worker."""

    def reserve(self) -> PlacementGroup:
        group = placement_group([{"CPU": 1}])
        ray.get(group.ready())
        return group


@ray.remote(num_cpus=0)
class Trial:
    """Has a controller of its own."""

    def start(self) -> PlacementGroup:
        self.controller = Controller.remote()
        group: PlacementGroup = ray.get(self.controller.reserve.remote())
        return group

    def controllers_id(self) -> str:
        return self.controller._actor_id.hex()  # type: ignore[no-any-return]


def state_of(group: PlacementGroup) -> Any:
    return placement_group_table(group)["state"]


def test_only_what_dead_trials_have_reserved_is_freed() -> None:
    dead, living = Trial.remote(), Trial.remote()
    lost, kept = ray.get([dead.start.remote(), living.start.remote()])
    mine = placement_group([{"CPU": 1}])  # as Ray Tune's, of the driver itself
    ray.get(mine.ready())
    assert free_orphans() == 0

    ray.kill(dead)  # its controller goes with it
    deadline = time.monotonic() + 60
    while free_orphans() == 0:
        assert time.monotonic() < deadline, "the controller's death is not known"
        time.sleep(0.1)
    assert state_of(lost) == "REMOVED"
    assert (state_of(kept), state_of(mine)) == ("CREATED", "CREATED")
    assert free_orphans() == 0
    remove_placement_group(mine)
    ray.kill(living)


def test_what_one_actor_has_reserved_is_freed_though_it_lives() -> None:
    one, other = Trial.remote(), Trial.remote()
    given_back, kept = ray.get([one.start.remote(), other.start.remote()])
    assert free_groups_of(ray.get(one.controllers_id.remote())) == 1
    assert (state_of(given_back), state_of(kept)) == ("REMOVED", "CREATED")
    ray.kill(one)
    ray.kill(other)
