"""How well what is seen, heard and said of a clip go together, learned without labels: a flag for people."""
