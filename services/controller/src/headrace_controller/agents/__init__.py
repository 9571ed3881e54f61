"""Agents of running processes: their enrolment, their sessions, their reports and their instructions."""
