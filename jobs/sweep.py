"""A sweep as one Ray job: ``ray job submit --working-dir . -- python jobs/sweep.py --recipe RECIPE``."""

from entry import work

if __name__ == "__main__":
    from kard_ray.sweep import sweep

    work(lambda options: sweep(options.recipe, run_dir=options.run_dir, overrides=options.set))
