"""What is promised, watched and woken for, whatever the vendor that draws and rings."""
