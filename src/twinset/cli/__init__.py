"""The command line: each command parses its arguments, calls one library function, and prints.

A command is a function that a module of this folder names in its `COMMANDS`, with the function that
declares its arguments; `app` finds it there. Its docstring is its help. Arguments that several
commands share are declared once, in `arguments`. What is heavy is imported when a command runs.
"""
