"""Making one target: its action key, scratch, commit by rename, what is known of it afterwards."""
