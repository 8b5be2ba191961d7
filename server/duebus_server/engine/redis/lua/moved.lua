-- The loader puts this after common.lua, unless a script says that it runs on closed partitions too.
--
-- A topic's `config` says how many partitions it has, and a partition's says whether it is open. A caller that assumes
-- something else gets an error before the script writes anything. See DATA_MODEL.md.
if TOPIC ~= '' then
  local open = redis.pcall('HGET', topic_key('config'), 'partitions')
  if type(open) ~= 'table' and tonumber(open or 1) ~= PARTS then
    return 'moved'
  end
end
