"""Fixtures that several wings share."""

from tests.helpers.cluster import three_nodes

__all__ = ["three_nodes"]
