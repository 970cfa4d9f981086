"""Create a feature repository from plain tables: the library of `two-tower init`.

files       read a table from a file, a folder, a pattern or an archive
raw_files   find and decompress the files of a path
delimited_text  read text: encoding, delimiter, header, comments
arrow_types convert the types of columns to those that the library reads
source      the table of a file, with what the reader left out
values      infer and parse the kind of a column: numbers, times, words, lists
encode      infer the feature of a column of a user or an item
keys        infer the key columns and the time column
decide      infer the plan from the tables and the options
plan        the plan: what each column becomes; stored in init.json
build       apply the plan to the files: the sources of the repository
definitions write the Feast code, which the user can edit
"""
