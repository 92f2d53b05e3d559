"""A module that cannot be imported."""

raise RuntimeError("Model class x is not in INSTALLED_APPS.")
