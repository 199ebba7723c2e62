"""Laws that every merge method must obey. A new method is tested by being listed in the catalogue."""
