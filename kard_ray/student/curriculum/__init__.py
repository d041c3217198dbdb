"""The curriculum of SKIntern: how much of the knowledge and of the examples a student sees at each stage."""
