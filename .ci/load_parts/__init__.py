"""The parts of .ci/load, which says what they are for."""
