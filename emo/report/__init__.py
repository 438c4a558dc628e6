"""The report: what a run did and found, as one HTML page that opens without a network.

Three steps, because all clips are counted and only a sample of them is shown: `summary.summarise` the light
columns of all tables, `gallery.choose_gallery` and read the full rows of those clips, `build.render`.
"""
