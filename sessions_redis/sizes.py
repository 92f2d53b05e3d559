"""Numbers of bytes, for people to read."""

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def shown_size(size: float) -> str:
    """``size``, in bytes, with three digits or four and its unit: 1 kB is 1,000 bytes."""
    unit = 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size /= 1000
        unit += 1
    digits = 1 if unit and size < 99.95 else 0
    return f"{size:,.{digits}f} {UNITS[unit]}"
