"""Stage question_passages as a Ray job.

``ray job submit --working-dir . -- python jobs/question_passages.py --recipe RECIPE``
"""

from entry import main

if __name__ == "__main__":
    main("question_passages")
