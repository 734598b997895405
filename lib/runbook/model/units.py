"""Write quantities as people read them."""


def as_bytes(count: float) -> str:
    """Return a number of bytes with its binary unit and one decimal: 12.3 MiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
