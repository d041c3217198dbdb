"""Stage contamination as a Ray job, started like the others: ``python jobs/contamination.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main("contamination")
