"""The administrator's policy: what people may choose, how much they may use, and when it is taken back."""
