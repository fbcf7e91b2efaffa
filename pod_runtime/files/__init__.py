"""Files that outlive a kill: framed records, and replacement in one step."""
