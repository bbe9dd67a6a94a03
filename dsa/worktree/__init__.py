"""What lies in a person's folder: scanned, selected, ignored, remembered."""
