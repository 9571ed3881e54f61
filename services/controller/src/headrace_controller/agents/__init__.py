"""The agents of running processes: their enrolment, their sessions, what they tell and what they are told."""
