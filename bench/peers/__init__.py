"""The servers that are measured, a file each, with the configuration their users would write."""
