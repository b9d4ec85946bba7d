"""Patients in: tables read and checked, codes of diagnoses, visits, and the simulated cohort."""
