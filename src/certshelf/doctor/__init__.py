"""The doctor: one file per question; each returns findings and changes nothing."""
