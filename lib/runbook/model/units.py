"""Write quantities as people read them."""


def as_bytes(count: float) -> str:
    """Return a number of bytes with its binary unit and one decimal: 12.3 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number of things in words: 1 error, 2,000 errors; ``many`` where an s is not the plural."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def length(seconds: float) -> str:
    """Return a length of time as people say it, in its two largest units: 45 s, 12 min, 2 h 5 min, 3 d 1 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    larger, smaller = (f"{hours} h", f"{minutes} min") if hours < 48 else (f"{hours // 24} d", f"{hours % 24} h")
    return larger if smaller.startswith("0 ") else f"{larger} {smaller}"


def quantity(value: float | str | None, unit: str) -> str:
    """Return a value with its unit, numbers with at most four significant digits after the whole ones."""
    if value is None:
        return ""
    if isinstance(value, float | int):
        number = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
        return f"{number} {unit}".rstrip()
    return f"{value} {unit}".rstrip()
