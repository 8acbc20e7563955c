"""Measurements on a device that is not the CPU, without one: what a GPU would refuse, refused here."""
