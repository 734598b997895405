"""When notebooks run by themselves: written for schedulers that exist, and held against what was archived."""
