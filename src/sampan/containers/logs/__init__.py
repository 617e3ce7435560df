"""What containers print: drivers, conmon's file format, reading it back, rotation."""
