"""The demo's real material: a real model and real data, both out of packages that pip can fetch."""
