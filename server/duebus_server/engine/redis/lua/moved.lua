-- The loader puts this behind common.lua, except where a script says that it runs on closed partitions too.
--
-- The keys of a topic know over how many partitions it is spread, and those of a partition know whether they are open: a
-- caller that believes otherwise is told so before anything has happened. See DATA_MODEL.md.
if TOPIC ~= '' then
  local open = redis.pcall('HGET', topic_key('config'), 'partitions')
  if type(open) ~= 'table' and tonumber(open or 1) ~= PARTS then
    return 'moved'
  end
end
