"""Other engines at the same workloads; each runs in an environment of its own, which has nothing of ours."""
