"""Words and values that everybody shares: errors, locations, states."""
