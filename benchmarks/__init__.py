"""The figures that the README states, each as a command: ``./dev bench NAME``."""
