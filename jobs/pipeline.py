"""All stages as one Ray job: ``ray job submit --working-dir . -- python jobs/pipeline.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main()
