"""Stage contamination as a Ray job: ``ray job submit --working-dir . -- python jobs/contamination.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main("contamination")
