"""Reading media files with PyAV: nothing but the file itself is opened, whatever it is called."""
