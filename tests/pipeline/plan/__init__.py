"""Tests of the planning room: config and headers in, orders out."""
