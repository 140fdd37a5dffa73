"""How fast this package is, beside what people would use instead: ``python -m benchmarks``.

Whatever is compared is measured in one run, in turns: what else the machine does slows down all alike.
A module for each measure has its `TITLE` and a function `measure`.
"""
