"""
What is stored in Redis: names, fields and commands as values.

Nothing here does I/O, reads a setting or looks at a clock.
"""
