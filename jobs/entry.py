"""What the job scripts share: their options are those of ``kard-ray run``, with ``--recipe`` by name."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

# The job's working directory is the repository; the package need not be installed beside Ray on the cluster.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(*stages: str) -> None:
    """Run ``stages`` (all when none is named)."""
    from kard_ray.execution import run_stages
    from kard_ray.pipeline import STAGES

    work(
        lambda options: run_stages(
            options.recipe, stages or STAGES, run_dir=options.run_dir, overrides=options.set
        )
    )


def work(job: Callable[[argparse.Namespace], None]) -> None:
    """Do ``job`` with the options; exit code 2 with one sentence on a user's error."""
    from kard_ray.runtime.errors import explain

    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--run-dir")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    try:
        job(options)
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        print(f"kard-ray: {sentence}", file=sys.stderr)
        sys.exit(2)
