"""The command line of raftbook: parse, call, render.

main.py holds the application; each subject has a module of its own, which imports what is heavy inside its
commands, so that `raftbook --help` answers at once.
"""
