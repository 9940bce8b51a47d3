"""Which input pixels a result depends on: Local Attribution Maps, and the halo they ask for."""
