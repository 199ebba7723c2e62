"""The tests of mergescale: a mirror of the code, plus laws, hostile input, house rules and whole runs."""
