"""What people say of the labels: the page on which they say it, and what it is used for."""
