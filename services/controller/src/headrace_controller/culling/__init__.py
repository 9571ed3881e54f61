"""Clusters that nobody needs: which rules of the policy hold for one, since when, and what follows."""
