"""Benchmarks: what each part costs beside the least that the same work can cost, measured in one run.

`python -m bench [names] [--quick]`. Machines and disks drift: only ratios taken inside one run mean anything.
"""
