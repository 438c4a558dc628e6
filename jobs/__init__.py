"""The Ray jobs of emo: one file each, readable top to bottom as read, map, write."""
