"""The cluster file is one that Ray's launcher accepts, and a cluster made from it asks for the token."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent


def launcher_config(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of ``config`` before it touches a cloud; raises as `ray up` does."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_rays_launcher_accepts_the_cluster_file(config):
    prepared = launcher_config(config)
    assert set(prepared["available_node_types"]) == {"head", "teacher", "trainer", "retrieval"}


@pytest.mark.parametrize("where", [(), ("provider", "security_group"), ("available_node_types", "teacher")])
def test_a_misspelt_key_is_refused(config, where):
    misspelt = copy.deepcopy(config)
    place = misspelt
    for key in where:
        place = place.setdefault(key, {})
    place["max_wrokers"] = 3
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        launcher_config(misspelt)


def test_every_node_starts_ray_with_token_authentication(config):
    prepared = launcher_config(config)
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in prepared[commands] if "ray start" in command]
        assert starts, f"{commands} starts no Ray"
        assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)


def test_the_same_token_file_reaches_every_node_and_only_its_owner_reads_it(config):
    prepared = launcher_config(config)
    assert prepared["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    for commands in set_up_commands(prepared).values():
        assert any("chmod 600 /home/ray/.ray/auth_token" in command for command in commands)
        assert any("export RAY_AUTH_MODE=token" in command for command in commands)


def test_gpu_nodes_install_the_gpu_engine_and_the_others_none(config):
    prepared = launcher_config(config)
    for node_type, commands in set_up_commands(prepared).items():
        installs = [command for command in commands if "/home/ray/kard_ray" in command]
        assert len(installs) == 1, f"{node_type} does not install the project once"
        assert "--constraint /home/ray/kard_ray/constraints.txt" in installs[0]
        has_gpu = prepared["available_node_types"][node_type]["resources"].get("GPU", 0) > 0
        assert ("[gpu]" in installs[0]) == has_gpu
        assert "[cpu]" not in installs[0]


def test_the_containers_run_the_ray_version_of_the_constraints(config):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (version,) = [line.removeprefix("ray==") for line in lines if line.startswith("ray==")]
    prepared = launcher_config(config)
    images = [prepared["docker"]["image"]]
    images += [
        node["docker"]["worker_image"]
        for node in prepared["available_node_types"].values()
        if "worker_image" in node.get("docker", {})
    ]
    assert len(images) == 3
    assert all(image.startswith(f"rayproject/ray:{version}-py311") for image in images)


def set_up_commands(prepared: dict[str, Any]) -> dict[str, list[str]]:
    """Node type to the commands that set it up, as the launcher picks them."""
    return {
        name: prepared["head_setup_commands"]
        if name == prepared["head_node_type"]
        else node.get("worker_setup_commands", prepared["worker_setup_commands"])
        for name, node in prepared["available_node_types"].items()
    }
