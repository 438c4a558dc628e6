"""How good the labels are: the field's metrics, with their coverage and their uncertainty."""
