"""The demo: the whole path once on a real model and real data, told in five stages."""
