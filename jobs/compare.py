"""A comparison as one Ray job: ``ray job submit --working-dir . -- python jobs/compare.py --recipe RECIPE``."""

from entry import work

if __name__ == "__main__":
    from kard_ray.compare import compare

    work(lambda options: compare(options.recipe, run_dir=options.run_dir, overrides=options.set))
