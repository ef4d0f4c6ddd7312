#!lua
-- The line above makes Redis ask before a script begins whether memory is left (OOM). Without it only the first write
-- command is asked, and one that frees memory, such as ZREM, would open the door for all that follow.

