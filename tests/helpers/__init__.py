"""What several tests share: one module a topic. Holds no tests."""
