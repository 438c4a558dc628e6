"""What all pages have in common: one frame with its security headers, one style, one way to draw."""
