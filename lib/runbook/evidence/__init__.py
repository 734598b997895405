"""What runs leave: sealed, chained, verified, shown."""
