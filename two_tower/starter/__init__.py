"""A first feature repository, from three plain tables: what `two-tower init` does.

files       a file in whatever form it comes as a table
values      what a column's values are: numbers, times, words, lists
encode      what a column of a user or an item becomes as a feature
keys        which columns are the keys, and which is the time
plan        all of that decided, as it is shown, and kept in init.json
build       the plan applied to the files: sources of the repository
definitions the Feast code that a user edits from then on
"""
