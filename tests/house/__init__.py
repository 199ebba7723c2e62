"""The rules of the house: doors, form, and how it starts."""
