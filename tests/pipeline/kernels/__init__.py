"""The primitives under the methods: against each other, and against exact arithmetic."""
