"""Leaves imageio out of programs that do not import it themselves: to register with it is no reason to have it."""

excludedimports = ["imageio"]
