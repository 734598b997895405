"""Read what a Linux kernel tells of a machine, a control group or a process: text in, numbers out.

It knows no target and asks nobody: the same text comes from this machine, over ssh, or from inside a container.
"""
