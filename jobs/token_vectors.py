"""Stage token_vectors as a Ray job.

ray job submit --working-dir . -- python jobs/token_vectors.py --recipe RECIPE
"""

from entry import main

if __name__ == "__main__":
    main("token_vectors")
