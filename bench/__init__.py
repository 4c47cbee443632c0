"""Load that also checks what it got back: each figure is a ratio to a floor measured in the same run.

`python -m bench [ROW ...] [--quick]`. Nothing here is a test: figures move from machine to machine, ratios less so.
"""
