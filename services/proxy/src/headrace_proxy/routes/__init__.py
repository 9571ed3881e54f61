"""Routes of the controller: followed, kept in memory and on disk."""
