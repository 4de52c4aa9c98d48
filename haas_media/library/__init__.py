"""What is done to the catalog on request or by schedule: add, refresh, remove, clean up.

Importing this package is cheap; each operation is in a module of its own.
"""
