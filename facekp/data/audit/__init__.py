"""What is wrong in a data set: `python -m facekp.data.audit root=...`."""
