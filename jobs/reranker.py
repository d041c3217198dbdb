"""Stage reranker as a Ray job: ``ray job submit --working-dir . -- python jobs/reranker.py --recipe RECIPE``."""

from entry import main

if __name__ == "__main__":
    main("reranker")
