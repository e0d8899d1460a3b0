"""The benchmark: `.llc` against other lossless formats, in size, speed, memory and start-up."""
