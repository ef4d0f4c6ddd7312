#!lua flags=allow-oom
-- The line above lets a script begin although Redis is full: it is what makes room again, or lets those in who can.

