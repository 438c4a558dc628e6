"""What comes from outside: folders of videos, manifests, data-set layouts, and tables of any kind."""
