"""Commands of the command line that do not work on an OUT, one file each."""
