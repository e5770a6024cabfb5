"""One object's data set: read from bytes that may be anything, asked for values, told apart from others."""
