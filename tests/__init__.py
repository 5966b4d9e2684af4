"""The tests. They mirror the source tree; ``support`` holds what several rooms share."""
