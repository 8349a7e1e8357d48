"""Where labelled images come from: the built-in set, folders, tables, other people's layouts."""
