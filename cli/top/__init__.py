"""`raftbook top`: a cluster and its markets on one screen, second by second.

overview.py     PURE: what there is to show, from what a node answers; rates from its counters
source.py       asks nodes, one after the other where one is gone
app.py          the screen (textual)
book_screen.py  one market's ladder, live
columns.py      PURE: the columns of both tables, for narrow and wide terminals
command.py      the command
"""
