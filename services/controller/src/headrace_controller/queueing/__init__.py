"""The queue of clusters that wait for room: who gets it, and what those are told that wait."""
