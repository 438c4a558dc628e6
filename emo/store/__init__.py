"""An OUT: its tables and runs, on a local disk or on S3 alike."""
