"""Stage predict as a Ray job: ``ray job submit --working-dir . -- python jobs/predict.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main("predict")
