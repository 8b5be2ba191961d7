-- Opens a partition, unless another change has taken it over meanwhile.
--
-- KEYS     topic
-- ARGV     1..6 as in partitions.lua
-- returns  nothing
-- runs on closed partitions too
-- includes deleting
-- includes partitions

if read_partitions() == CLOSED then
  regardless_of_memory()
  write_partitions(OPEN)
end
