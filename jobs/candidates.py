"""Stage candidates as a Ray job: ``ray job submit --working-dir . -- python jobs/candidates.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main("candidates")
