"""Months of refreshes in seconds: honest clients and thieves against the real rule, and against what others do."""
